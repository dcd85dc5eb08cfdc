"""Projection of beads along z: each bead a Gaussian of width sigma, integrated along the line of sight.

Two projectors with the same meaning. `ReferenceProjector` is the literal separable sum over all beads and all pixels.
`SpreadProjector` lays each bead on a few pixels with a narrow kernel (`cryosphere.imaging.spreading`) and widens it to
the Gaussian in Fourier space, as non-uniform FFTs do.

Both take positions in Å from the image's centre, both leave out (clip) what falls beyond the border, and both sample
a grid fine enough for the Gaussian and keep its lowest frequencies, so that nothing aliases when sigma is below the
pixel size. The sum over an image's pixels is the beads' total amplitude: equations 1 and 2 of the paper up to a
constant.
"""

from __future__ import annotations

import math
from typing import Protocol, runtime_checkable

import numpy as np
import torch
from jaxtyping import Complex, Float
from scipy.fft import next_fast_len
from torch import Tensor

from cryosphere.fourier import from_spectrum, to_spectrum, to_truncated_spectrum
from cryosphere.imaging.grid import ImageGrid
from cryosphere.imaging.spreading import KERNEL_WIDTH, kernel_transform, spread

MINIMUM_SIGMA_PIXELS = 1.3  # of the grid that beads are laid on: values and gradients are then right to 5·10⁻⁴
REACH = 4.5  # how many sigma a bead reaches; beyond, its density is below 4·10⁻⁵ of the peak


@runtime_checkable
class Projector(Protocol):
    """Turns bead positions, seen along z, into the half-spectra of their projections."""

    grid: ImageGrid

    def __call__(
        self, xy: Float[Tensor, "n beads 2"], amplitudes: Float[Tensor, " beads"] | Float[Tensor, "#n beads"]
    ) -> Complex[Tensor, "n box half"]:
        """Spectra (see `cryosphere.fourier`) of the projections of beads at `xy` Å from the image's centre."""
        ...


def oversampling(grid: ImageGrid, sigma: float) -> int:
    """How many times finer than the image the beads' grid must be: 1 unless sigma is narrower than 1.3 pixels."""
    return max(1, math.ceil(MINIMUM_SIGMA_PIXELS * grid.pixel_size / sigma - 1e-9))


class ReferenceProjector:
    """The literal sum over all beads and all pixels, in the precision of its input: slow, plain, the yardstick."""

    def __init__(self, grid: ImageGrid, sigma: float = 2.0) -> None:
        self.grid = grid
        self.sigma = sigma
        self.factor = oversampling(grid, sigma)

    def __call__(
        self, xy: Float[Tensor, "n beads 2"], amplitudes: Float[Tensor, " beads"] | Float[Tensor, "#n beads"]
    ) -> Complex[Tensor, "n box half"]:
        """Spectra of the projections; see `Projector`."""
        box, pixel = self.grid.box * self.factor, self.grid.pixel_size / self.factor
        centre = self.factor * (self.grid.box // 2)
        axis = (torch.arange(box, device=xy.device, dtype=xy.dtype) - centre) * pixel
        along_x, along_y = (torch.exp(-((axis - xy[..., i, None]) ** 2) / (2 * self.sigma**2)) for i in (0, 1))
        scale = self.grid.pixel_size**2 / (2 * math.pi * self.sigma**2)
        images = scale * torch.einsum("nby,nbx->nyx", along_y * amplitudes[..., None], along_x)
        return to_truncated_spectrum(images, self.grid.box)


class SpreadProjector:
    """The fast projector: a few pixels per bead, one Fourier transform per image.

    Where a bead comes closer to the border than it reaches, its density beyond the border must not come back in on
    the other side. Then beads are laid on a padded grid, widened, and cut: two more transforms. On a CPU each call
    looks whether that is needed; elsewhere it is always done, since looking would stall the device.
    """

    def __init__(
        self,
        grid: ImageGrid,
        sigma: float = 2.0,
        device: torch.device | str = "cpu",
        dtype: torch.dtype = torch.float32,
    ) -> None:
        self.grid = grid
        self.sigma = sigma
        self.factor = oversampling(grid, sigma)
        self.fine_box = grid.box * self.factor
        self.fine_pixel = grid.pixel_size / self.factor
        self.margin = math.ceil(REACH * sigma / self.fine_pixel + KERNEL_WIDTH / 2)
        padded = next_fast_len(self.fine_box + 2 * self.margin, real=True)
        self.padded_box = padded + padded % 2
        self._widen = self._widening(self.fine_box, device, dtype, kept=grid.box)
        self._widen_padded = self._widening(self.padded_box, device, dtype)

    def _widening(self, box: int, device: torch.device | str, dtype: torch.dtype, kept: int | None = None) -> Tensor:
        """Filter that turns the spreading kernel into the bead's Gaussian, with its scale, on a grid of `box` pixels.

        Of its frequencies the lowest `kept` (kept, kept // 2 + 1); all of them by default.
        """
        sigma = self.sigma / self.fine_pixel
        kept = kept or box

        def ratio(frequency: np.ndarray) -> np.ndarray:
            gaussian = np.exp(-2 * np.pi**2 * sigma**2 * frequency**2)
            return np.asarray(self.factor * gaussian / kernel_transform(frequency))

        rows, columns = np.fft.fftfreq(kept, d=box / kept), np.fft.rfftfreq(kept, d=box / kept)
        return torch.as_tensor(ratio(rows)[:, None] * ratio(columns)[None, :], device=device, dtype=dtype)

    def __call__(
        self, xy: Float[Tensor, "n beads 2"], amplitudes: Float[Tensor, " beads"] | Float[Tensor, "#n beads"]
    ) -> Complex[Tensor, "n box half"]:
        """Spectra of the projections; see `Projector`."""
        pixels = xy / self.fine_pixel + self.factor * (self.grid.box // 2)
        if xy.device.type == "cpu" and self._reach_stays_inside(pixels):
            return to_truncated_spectrum(spread(pixels, amplitudes, self.fine_box), self.grid.box) * self._widen
        padded = to_spectrum(spread(pixels + self.margin, amplitudes, self.padded_box)) * self._widen_padded
        inside = slice(self.margin, self.margin + self.fine_box)
        return to_truncated_spectrum(from_spectrum(padded, self.padded_box)[..., inside, inside], self.grid.box)

    def _reach_stays_inside(self, pixels: Tensor) -> bool:
        if pixels.numel() == 0:
            return True
        lowest, highest = torch.aminmax(pixels.detach())
        return bool(lowest >= self.margin and highest <= self.fine_box - 1 - self.margin)
