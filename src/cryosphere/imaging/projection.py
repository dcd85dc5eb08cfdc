"""Projection of beads along z: each bead a Gaussian of width sigma, integrated along the line of sight.

Two projectors with the same meaning. `ReferenceProjector` is the literal separable sum over all beads and all pixels.
`SpreadProjector` lays each bead on a few pixels with a narrow kernel (`cryosphere.imaging.spreading`) and widens it to
the Gaussian in Fourier space, as non-uniform FFTs do.

Both take positions in Å from the image's centre, both leave out (clip) what falls beyond the border, and both work on
a finer grid and keep its lowest frequencies where sigma is about the pixel size or below, so that nothing aliases. The
sum over an image's pixels is the beads' total amplitude: equations 1 and 2 of the paper up to a constant.
"""

from __future__ import annotations

import math
from typing import Protocol, runtime_checkable

import numpy as np
import torch
from jaxtyping import Complex, Float
from torch import Tensor

from cryosphere.fourier import from_spectrum, to_spectrum, to_truncated_spectrum
from cryosphere.imaging.canvas import Canvas
from cryosphere.imaging.grid import ImageGrid, next_fast_even
from cryosphere.imaging.kernel import KERNEL_WIDTH
from cryosphere.imaging.spreading import kernel_transform, spread

MINIMUM_SIGMA_PIXELS = 1.3  # of a grid that a bead is sampled on: its transform is then right to 3·10⁻⁴
ALIASING = 1.6e-4  # share of a bead's amplitude; gradients, which weigh high frequencies more, are then right to 10⁻³
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
    """How many times finer than the image a grid that samples beads must be: 1 unless sigma is below 1.3 pixels."""
    return max(1, math.ceil(MINIMUM_SIGMA_PIXELS * grid.pixel_size / sigma - 1e-9))


def spreading_box(grid: ImageGrid, sigma: float) -> int:
    """The smallest box, quick to transform, on which beads can be laid for images of `grid.box` pixels.

    At a frequency k, in cycles per pixel of it, what belongs to 1 - k is mixed in, as the kernel passes the two. Only
    the image's frequencies are kept, and the Gaussian damps them: at most ALIASING of a bead's amplitude may be wrong.
    """
    box = next_fast_even(grid.box)
    while True:
        kept = np.linspace(0, 0.5, 33) * grid.box / box
        damping = np.exp(-2 * np.pi**2 * (sigma / grid.pixel_size * box / grid.box) ** 2 * kept**2)
        if (damping * np.abs(kernel_transform(1 - kept) / kernel_transform(kept))).max() <= ALIASING:
            return box
        box = next_fast_even(box + 1)


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
    the other side. Then beads are laid on a finer and padded grid, widened, and cut: two more transforms. On a CPU each
    call looks which images need that; elsewhere it is always done, since looking would stall the device.
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
        plain = spreading_box(grid, sigma)
        widen = self._widening(plain, plain / grid.box, grid.box).to(device, dtype)
        reach = max(REACH * sigma, KERNEL_WIDTH / 2 * grid.pixel_size)
        self.plain = Canvas(grid, plain, widen * (grid.box / plain), reach)
        self._cut_factor = oversampling(grid, sigma)
        self._cut_box = grid.box * self._cut_factor
        self._margin = math.ceil(REACH * sigma / grid.pixel_size * self._cut_factor + KERNEL_WIDTH / 2)
        self._padded_box = next_fast_even(self._cut_box + 2 * self._margin)
        self._widen_padded = self._widening(self._padded_box, self._cut_factor, self._padded_box).to(device, dtype)

    def _widening(self, box: int, factor: float, kept: int) -> Tensor:
        """Filter that turns the spreading kernel into the bead's Gaussian, with its scale: (kept, kept // 2 + 1).

        For the lowest `kept` frequencies of a grid of `box` pixels, `factor` times finer than the image.
        """
        sigma = self.sigma / self.grid.pixel_size * factor

        def ratio(frequency: np.ndarray) -> np.ndarray:
            gaussian = np.exp(-2 * np.pi**2 * sigma**2 * frequency**2)
            return np.asarray(factor * gaussian / kernel_transform(frequency))

        rows, columns = np.fft.fftfreq(kept, d=box / kept), np.fft.rfftfreq(kept, d=box / kept)
        return torch.as_tensor(ratio(rows)[:, None] * ratio(columns)[None, :])

    def __call__(
        self, xy: Float[Tensor, "n beads 2"], amplitudes: Float[Tensor, " beads"] | Float[Tensor, "#n beads"]
    ) -> Complex[Tensor, "n box half"]:
        """Spectra of the projections; see `Projector`."""
        pixels = xy / self.grid.pixel_size + self.grid.box // 2
        amplitudes = amplitudes.expand(pixels.shape[:-1])
        if xy.device.type != "cpu":
            return self._cut(pixels, amplitudes)
        inside = self._reaches_stay_inside(pixels.detach())
        if inside.all():
            return self._plain(pixels, amplitudes)
        if not inside.any():
            return self._cut(pixels, amplitudes)
        which, others = inside.nonzero()[:, 0], (~inside).nonzero()[:, 0]
        spectra = torch.cat(
            [self._plain(pixels[which], amplitudes[which]), self._cut(pixels[others], amplitudes[others])]
        )
        return spectra[torch.cat([which, others]).argsort()]

    def _plain(self, pixels: Tensor, amplitudes: Tensor) -> Tensor:
        side, box = self.plain.box, self.grid.box
        grids = spread(pixels * (side / box), amplitudes, side)
        return to_truncated_spectrum(grids, box) * (self.plain.widen * (side / box))

    def _cut(self, pixels: Tensor, amplitudes: Tensor) -> Tensor:
        fine = pixels * self._cut_factor + self._margin
        padded = to_spectrum(spread(fine, amplitudes, self._padded_box)) * self._widen_padded
        inside = slice(self._margin, self._margin + self._cut_box)
        return to_truncated_spectrum(from_spectrum(padded, self._padded_box)[..., inside, inside], self.grid.box)

    def _reaches_stay_inside(self, pixels: Tensor) -> Tensor:
        """Of which images (n,) no bead's Gaussian, nor the kernel before it, leaves the box."""
        reach = self.plain.reach / self.grid.pixel_size
        return ((pixels >= reach) & (pixels <= self.grid.box - 1 - reach)).flatten(1).all(dim=1)
