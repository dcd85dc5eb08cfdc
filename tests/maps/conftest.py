"""Simulated stacks of one rigid protein, with and without noise, and its true density on any grid."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
import torch

from cryosphere.imaging.grid import ImageGrid
from cryosphere.maps.density import bead_volumes
from cryosphere.maps.fsc import shell_correlations, volume_spectra
from cryosphere.simulation.config import DistributedCtf, ImageSettings, OpticsSettings, SimulationConfig
from cryosphere.simulation.protein import two_domain_protein
from cryosphere.simulation.simulate import Simulation, simulate
from cryosphere.structures.model import read_model
from cryosphere.structures.write import write_model

NO_NOISE = 1e9  # signal-to-noise ratio
BOX, PIXEL_SIZE = 48, 4.0


def images_of_one_shape(folder: Path, count: int, snr: float) -> Simulation:
    """Images by two microscopes, at defoci of 1 to 2.5 µm, with shifts, of a protein that does not move."""
    protein = two_domain_protein(0, residues=(90, 60))
    folder.mkdir(parents=True, exist_ok=True)
    write_model(folder / "protein.cif", protein.model)
    config = SimulationConfig(
        model=folder / "protein.cif",
        motion=protein.opening(1e-3, 1),
        images=ImageSettings(count=count, box=BOX, pixel_size=PIXEL_SIZE, snr=snr, shift=8.0),
        optics=(OpticsSettings(), OpticsSettings(voltage_kv=200.0, amplitude_contrast=0.1)),
        ctf=DistributedCtf(kind="distribution"),
        seed=1,
    )
    return simulate(config, folder / "data")


@pytest.fixture(scope="session")
def noiseless(tmp_path_factory: pytest.TempPathFactory) -> Simulation:
    """800 images of 48 pixels at 4 Å."""
    return images_of_one_shape(tmp_path_factory.mktemp("noiseless"), 800, NO_NOISE)


@pytest.fixture(scope="session")
def noisy(tmp_path_factory: pytest.TempPathFactory) -> Simulation:
    """1200 images with thirty times as much noise as signal."""
    return images_of_one_shape(tmp_path_factory.mktemp("noisy"), 1200, 0.03)


@pytest.fixture(scope="session")
def agreement_with_truth() -> Callable[[Simulation, object], torch.Tensor]:
    """The Fourier shell correlation of a reconstruction with the density that was simulated."""

    def agreement(simulation: Simulation, found, mask=1.0) -> torch.Tensor:
        beads = read_model(simulation.model).beads
        positions, amplitudes = (torch.as_tensor(x, dtype=torch.float64) for x in (beads.positions, beads.amplitudes))
        truth = bead_volumes(positions[None], amplitudes, ImageGrid(found.grid.box, found.grid.pixel_size))
        volume = torch.from_numpy(found.map * mask).double()[None]
        return shell_correlations(volume_spectra(volume), volume_spectra(truth * torch.as_tensor(mask)))[0]

    return agreement
