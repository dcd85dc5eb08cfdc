"""A simulated protein that hardly moves, its model file somewhere else, and what a preparation makes of them."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest
from scipy.spatial.transform import Rotation

from cryosphere.preparation.prepare import PreparationSettings, prepare
from cryosphere.preparation.result import Preparation
from cryosphere.simulation.config import ImageSettings, SimulationConfig
from cryosphere.simulation.protein import two_domain_protein
from cryosphere.simulation.simulate import simulate
from cryosphere.structures.model import AtomicModel, read_model
from cryosphere.structures.write import write_model

BOX, PIXEL_SIZE, IMAGES = 40, 4.0, 400


@dataclass(frozen=True)
class Prepared:
    """Particles, the model as it was given and as it truly stands, and the folder that was made."""

    particles: Path
    given: Path
    truth: AtomicModel
    folder: Path
    found: Preparation


@pytest.fixture(scope="session")
def simulated(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Folder of 400 images of 40 pixels at 4 Å of a protein of 150 residues whose hinge opens by a degree."""
    folder = tmp_path_factory.mktemp("prepared")
    protein = two_domain_protein(0, (90, 60))
    write_model(folder / "protein.cif", protein.model)
    images = ImageSettings(count=IMAGES, box=BOX, pixel_size=PIXEL_SIZE, snr=0.5, shift=6.0)
    config = SimulationConfig(model=folder / "protein.cif", motion=protein.opening(1.0, 2), images=images)
    simulate(config, folder / "data")
    return folder / "data"


def turned(model: AtomicModel) -> np.ndarray:
    """Its atoms turned by 140 degrees and 300 Å away, as in a file of some other origin."""
    rotation = Rotation.from_rotvec(np.radians(140) * np.array([0.6, -0.48, 0.64])).as_matrix()
    return model.positions @ rotation.T + np.array([180.0, -150.0, 190.0])


@pytest.fixture(scope="session")
def prepared(simulated: Path) -> Prepared:
    """The preparation of a model that was moved and turned away."""
    truth = read_model(simulated / "model.cif")
    given, folder = simulated / "turned.cif", simulated / "ready"
    write_model(given, truth, turned(truth))
    found = prepare([simulated / "particles.star"], given, folder, PreparationSettings(segments=4))
    return Prepared(simulated / "particles.star", given, truth, folder, found)
