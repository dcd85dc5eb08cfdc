"""Images in the molecule's frame: what the lifted encoder looks at.

The pose is known, so the network need not learn it. Each image is multiplied by its transfer function, low-passed, and
read at the projections of a fixed coarse grid of points in the molecule: a backprojection of one view. A value says how
much density lies along the line of sight through its point; with the base structure subtracted first, how much
appeared or vanished there.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor
from torch.nn.functional import grid_sample

from cryosphere.fourier import from_spectrum, low_pass, parseval_weights
from cryosphere.imaging.ctf import contrast_transfer
from cryosphere.imaging.formation import particle_spectra, seen_from
from cryosphere.imaging.projection import Projector
from cryosphere.model.batch import Batch

SPACING = 8.0  # Å; see docs/learning.md for what coarser and finer grids gave
PER_AXIS = (16, 20)  # at least, at most: features cost memory and, in the first layer, time


@dataclass(frozen=True)
class LiftingGrid:
    """Points inside a sphere, on a cubic grid centred at the molecule."""

    points: Tensor  # (points, 3) Å
    spacing: float  # Å

    @classmethod
    def around(cls, positions: Float[np.ndarray, "beads 3"], per_axis: int, *, margin: float = 1.15) -> LiftingGrid:
        """Grid over the sphere that holds nearly all beads, enlarged by `margin` for motions that lead outwards."""
        centre = positions.mean(0)
        radius = _radius(positions, margin)
        axis = (np.arange(per_axis) - (per_axis - 1) / 2) * (2 * radius / per_axis)
        cube = np.stack(np.meshgrid(axis, axis, axis, indexing="ij"), axis=-1).reshape(-1, 3)
        inside = cube[np.linalg.norm(cube, axis=1) <= radius]
        return cls(torch.as_tensor(inside + centre, dtype=torch.float32), 2 * radius / per_axis)

    @staticmethod
    def per_axis(positions: Float[np.ndarray, "beads 3"], *, margin: float = 1.15) -> int:
        """Points per axis that put them about SPACING apart, within PER_AXIS."""
        return int(np.clip(math.ceil(2 * _radius(positions, margin) / SPACING), *PER_AXIS))

    def to(self, device: torch.device | str) -> LiftingGrid:
        """The same points on another device."""
        return LiftingGrid(self.points.to(device), self.spacing)


def _radius(positions: np.ndarray, margin: float) -> float:
    """Of the sphere that holds nearly all beads, enlarged, in Å."""
    distances = np.linalg.norm(positions - positions.mean(0), axis=1)
    return margin * float(np.quantile(distances, 0.99)) + 2.0


class Lifter:
    """Turns batches into lifted features, for one base structure.

    The filter leaves nothing finer than two spacings of the grid, so images cropped to pixels of a third of a spacing
    give the same features, several times as fast. `noise`: standard deviation of the noise at each of their
    frequencies.
    """

    def __init__(
        self,
        base: Tensor,
        amplitudes: Tensor,
        projector: Projector,
        grid: LiftingGrid,
        *,
        residual: bool = False,
        noise: float = 1.0,
    ) -> None:
        self.residual = residual
        self.noise = noise
        self.base = base
        self.amplitudes = amplitudes
        self.projector = projector
        self.grid = grid.to(base.device)
        image = projector.grid
        self._filter = low_pass(image.box, image.pixel_size, 2 * grid.spacing, base.device)
        self._weights = parseval_weights(image.box, base.device)

    @torch.no_grad()
    def __call__(self, batch: Batch) -> Float[Tensor, "n points"]:
        """Each image, or with `residual` what it shows beside the base structure, at the grid's points.

        About unit variance.
        """
        image = self.projector.grid
        transfer = contrast_transfer(batch.ctf, image)
        seen = batch.spectra * (transfer * self._filter)
        left = seen - self._best_scaled_base(batch, seen, transfer) if self.residual else seen
        values = sample(from_spectrum(left, image.box), seen_from(self.grid.points, batch.rotations) / image.pixel_size)
        noise = (self._weights * (transfer * self._filter).square()).sum((-2, -1)).sqrt() * self.noise / image.box
        return values / noise.clamp_min(1e-6)[:, None]

    def _best_scaled_base(self, batch: Batch, seen: Tensor, transfer: Tensor) -> Tensor:
        """The base structure as `seen` would show it, scaled to fit each image best."""
        base = particle_spectra(self.base, self.amplitudes, batch.rotations, self.projector)
        expected = base * (transfer.square() * self._filter)
        overlap = (self._weights * (seen.real * expected.real + seen.imag * expected.imag)).sum((-2, -1))
        power = (self._weights * (expected.real.square() + expected.imag.square())).sum((-2, -1))
        return (overlap / power.clamp_min(1e-12))[:, None, None] * expected


def sample(images: Float[Tensor, "n box box"], pixels: Float[Tensor, "n points 2"]) -> Float[Tensor, "n points"]:
    """Read images between pixels (bilinear); positions (x, y) in pixels from the centre pixel; 0 beyond the border."""
    box = images.shape[-1]
    index = pixels + box // 2
    normalised = (2 * index + 1) / box - 1  # grid_sample without aligned corners: pixel 0's centre at 1 / box - 1
    values = grid_sample(images[:, None], normalised[:, None], mode="bilinear", align_corners=False)
    return values[:, 0, 0]
