"""A small model on a small molecule, with images that it can explain."""

from __future__ import annotations

import pytest
import torch

from cryosphere.imaging.ctf import CtfParameters, contrast_transfer
from cryosphere.imaging.formation import particle_spectra
from cryosphere.imaging.grid import ImageGrid
from cryosphere.imaging.projection import SpreadProjector
from cryosphere.model.batch import Batch
from cryosphere.model.lifting import Lifter, LiftingGrid
from cryosphere.model.vae import BaseStructure

GRID = ImageGrid(24, 3.0)


@pytest.fixture
def base() -> BaseStructure:
    generator = torch.Generator().manual_seed(0)
    steps = torch.randn(40, 3, generator=generator)
    positions = torch.cumsum(3.8 * steps / steps.norm(dim=1, keepdim=True), dim=0)
    bonded = torch.stack([torch.arange(39), torch.arange(1, 40)], dim=1)
    return BaseStructure(0.6 * (positions - positions.mean(0)), torch.full((40,), 50.0), bonded, bonded)


@pytest.fixture
def projector() -> SpreadProjector:
    return SpreadProjector(GRID, 3.0)


def some_ctf(count: int) -> CtfParameters:
    values = (15000.0, 14500.0, 0.3, 0.0, 0.0, 1.0, 300.0, 2.7, 0.1)
    return CtfParameters(*(torch.full((count,), value) for value in values))


@pytest.fixture
def batch(base: BaseStructure, projector: SpreadProjector) -> Batch:
    generator = torch.Generator().manual_seed(1)
    rotations = torch.linalg.qr(torch.randn(6, 3, 3, generator=generator))[0]
    rotations = rotations * torch.linalg.det(rotations)[:, None, None]
    ctf = some_ctf(6)
    spectra = particle_spectra(base.positions, base.amplitudes, rotations, projector)
    empty = Batch(torch.arange(6), spectra * contrast_transfer(ctf, GRID), rotations, ctf)
    lifter = Lifter(
        base.positions, base.amplitudes, projector, LiftingGrid.around(base.positions.numpy(), 6), residual=True
    )
    return Batch(empty.rows, empty.spectra, rotations, ctf, lifter(empty))
