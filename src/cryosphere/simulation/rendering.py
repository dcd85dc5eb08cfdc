"""Noiseless images of particles, a bounded number at a time."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import torch
from numpy.typing import NDArray

from cryosphere.imaging.ctf import CtfParameters
from cryosphere.imaging.formation import particle_images
from cryosphere.imaging.grid import ImageGrid
from cryosphere.imaging.projection import SpreadProjector
from cryosphere.particles.table import ParticleTable

_NUMBERS_AT_ONCE = 2**24  # pixels, and what its beads take, of one batch: some 100 MB


class Renderer:
    """Makes the images that particles of a table show of beads given in the molecule's frame."""

    def __init__(
        self, table: ParticleTable, amplitudes: NDArray[np.float64], grid: ImageGrid, *, sigma: float, ctf: bool
    ) -> None:
        self._amplitudes = torch.as_tensor(amplitudes, dtype=torch.float32)
        self._rotations = torch.as_tensor(table.rotations, dtype=torch.float32)
        self._shifts = torch.as_tensor(table.shifts, dtype=torch.float32)
        self._ctf = CtfParameters.from_table(table) if ctf else None
        self._projector = SpreadProjector(grid, sigma)
        self._count = len(table)
        per_image = (2 * grid.box) ** 2 + 64 * len(amplitudes)
        self._batch = int(np.clip(_NUMBERS_AT_ONCE // per_image, 1, 256))

    def batches(self, rows: NDArray[np.int64] | None = None) -> Iterator[NDArray[np.int64]]:
        """The rows asked for (default: all particles) in pieces that fit into memory."""
        rows = np.arange(self._count) if rows is None else rows
        for start in range(0, len(rows), self._batch):
            yield rows[start : start + self._batch]

    def images(
        self,
        rows: NDArray[np.int64],
        positions: NDArray[np.floating],
        present: NDArray[np.bool_] | None = None,
    ) -> NDArray[np.float32]:
        """Noiseless images (m, box, box) of beads at (m, R, 3) or (R, 3), in Å, as the particles `rows` show them.

        present: (m, R), which beads are there; None: all.
        """
        index = torch.as_tensor(rows)
        amplitudes = self._amplitudes if present is None else self._amplitudes * torch.as_tensor(present)
        with torch.no_grad():
            images = particle_images(
                torch.as_tensor(positions, dtype=torch.float32),
                amplitudes,
                self._rotations[index],
                self._shifts[index],
                None if self._ctf is None else self._ctf[index],
                self._projector,
            )
        return np.asarray(images.numpy())
