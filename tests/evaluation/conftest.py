"""A small simulated data set with a known truth, and a run trained on it for a moment."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from cryosphere.simulation.config import ImageSettings, SimulationConfig
from cryosphere.simulation.protein import two_domain_protein
from cryosphere.simulation.simulate import Simulation, simulate
from cryosphere.structures.write import write_model
from cryosphere.training.configure import configure
from cryosphere.training.train import train

SMALL = ("images.box=24", "encoder.hidden=[16]", "encoder.latent_dim=2", "encoder.grid=6", "decoder.hidden=[16]")


@pytest.fixture(scope="session")
def simulated(tmp_path_factory: pytest.TempPathFactory) -> Callable[..., Simulation]:
    """Images of 100 residues in two domains, 1-60 and 61-100; the second one turns by 0 to 60 degrees."""
    protein = two_domain_protein(0, residues=(60, 40))

    def make(conformations: int, **images: float) -> Simulation:
        folder = tmp_path_factory.mktemp("evaluation")
        write_model(folder / "protein.cif", protein.model)
        config = SimulationConfig(
            model=folder / "protein.cif",
            motion=protein.opening(60.0, conformations),
            images=ImageSettings(**{"count": 100, "box": 32, "pixel_size": 4.0, "shift": 4.0, **images}),
            seed=3,
        )
        return simulate(config, folder / "data")

    return make


@pytest.fixture(scope="session")
def data(simulated: Callable[..., Simulation]) -> Simulation:
    return simulated(20, snr=1.0)


@pytest.fixture(scope="session")
def run(data: Simulation, tmp_path_factory: pytest.TempPathFactory) -> Path:
    outdir = tmp_path_factory.mktemp("trained") / "run"
    options = {"segments": 2, "epochs": 2, "batch_size": 20, "device": "cpu"}
    train(configure(particles=[data.particles], model=data.model, overrides=SMALL, **options), outdir)
    return outdir
