"""A small simulated data set on disk, and settings that train on it in seconds."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from cryosphere.simulation.config import ImageSettings, SimulationConfig
from cryosphere.simulation.protein import two_domain_protein
from cryosphere.simulation.simulate import Simulation, simulate
from cryosphere.structures.write import write_model
from cryosphere.training.config import Config
from cryosphere.training.configure import configure

SMALL = ("images.box=24", "encoder.hidden=[16]", "encoder.latent_dim=2", "encoder.grid=6", "decoder.hidden=[16]")


@pytest.fixture(scope="session")
def hinge_data(tmp_path_factory: pytest.TempPathFactory) -> Simulation:
    """96 images of 32 pixels at 5 Å of a two-domain protein whose second domain turns by 0 to 60 degrees."""
    folder = tmp_path_factory.mktemp("hinge")
    protein = two_domain_protein(0, residues=(60, 40))
    write_model(folder / "protein.cif", protein.model)
    config = SimulationConfig(
        model=folder / "protein.cif",
        motion=protein.opening(60.0, 50),
        images=ImageSettings(count=96, box=32, pixel_size=5.0, snr=1.0, shift=4.0),
        seed=1,
    )
    return simulate(config, folder / "data")


@pytest.fixture
def settings(hinge_data: Simulation) -> Callable[..., Config]:
    """Settings for a tiny run on that data; named options and overrides as for `configure`."""

    def make(*overrides: str, **options: object) -> Config:
        options = {"epochs": 2, "batch_size": 16, "device": "cpu"} | options
        if not any(override.startswith("segmentation.parts") for override in overrides):
            options = {"segments": 2} | options
        return configure(
            particles=[hinge_data.particles], model=hinge_data.model, overrides=[*SMALL, *overrides], **options
        )

    return make


def read_metrics(run: Path) -> list[dict[str, str]]:
    """Rows of a run's metrics.csv."""
    names, *rows = [line.split(",") for line in (run / "metrics.csv").read_text().splitlines()]
    return [dict(zip(names, row, strict=True)) for row in rows]
