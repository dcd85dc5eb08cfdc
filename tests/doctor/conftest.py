"""A sound data set, simulated once, in which faults are planted."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import pytest

from cryosphere.simulation.config import DistributedCtf, ImageSettings, SimulationConfig
from cryosphere.simulation.protein import two_domain_protein
from cryosphere.simulation.simulate import simulate
from cryosphere.structures.write import write_model

IMAGES = 300


@dataclass(frozen=True)
class Sound:
    """Where the data set lies."""

    particles: Path
    model: Path


def simulated(folder: Path, seed: int = 0, snr: float = 0.1) -> Sound:
    """Images of a protein whose second domain turns by up to 40 degrees: the model is right for few of them."""
    protein = two_domain_protein(seed)
    write_model(folder / "protein.cif", protein.model)
    config = SimulationConfig(
        model=folder / "protein.cif",
        motion=protein.opening(40.0, 50),
        images=ImageSettings(count=IMAGES, box=48, pixel_size=3.0, snr=snr, shift=6.0),
        ctf=DistributedCtf(kind="distribution"),
        seed=seed,
    )
    done = simulate(config, folder / "data")
    return Sound(done.particles, done.model)


@pytest.fixture(scope="session")
def sound(tmp_path_factory: pytest.TempPathFactory) -> Sound:
    """Nothing is wrong with it, though the protein moves."""
    return simulated(tmp_path_factory.mktemp("sound"))
