"""From particle images to Fourier slices: cropped, centred, on one scale, multiplied by their transfer function."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Complex, Float
from numpy.typing import NDArray
from torch import Tensor

from cryosphere import fourier
from cryosphere.imaging.ctf import CtfParameters, contrast_transfer
from cryosphere.imaging.grid import ImageGrid
from cryosphere.maps.insertion import PADDING
from cryosphere.particles.preprocess import LARGEST_BACKGROUND_RADIUS, normalise_background
from cryosphere.particles.stacks import ImageStacks

SAMPLE = 256  # images that are looked at before the scale of all is decided
QUIET = 0.3  # spread of the background over that of whole images, below which images have no noise to speak of
_PIXELS_AT_ONCE = 1 << 20  # 4 MB of image; larger batches fall out of the processor's cache


@dataclass(frozen=True)
class ImageScale:
    """How grey values of all images are brought together.

    kind: "noise", each image's background to mean 0 and standard deviation 1; "kept", as they are but for an offset.
    offset: what is subtracted from every image where values are kept.
    background_radius: Å; what lies further from the particle's centre is background.
    spread: of the background over that of whole images, median over a sample: what the choice rests on.
    """

    kind: str
    offset: float
    background_radius: float
    spread: float

    def note(self) -> str:
        """The choice and its reason, in words."""
        seen = f"background beyond {self.background_radius:.0f} Å has {self.spread:.2f} of the whole images' spread"
        if self.kind == "noise":
            return f"scale: each image by its background's mean and standard deviation ({seen})"
        return f"scale: images keep their grey values, since there is hardly any noise to normalise by ({seen})"


@dataclass(frozen=True)
class SliceMaker:
    """Makes slices of the images of a stack.

    grid: of the images after cropping; its box is the map's.
    padded: how many times the side of an image is enlarged with zeros before it is transformed, 1 or 2. With 2 the
        slice has a frequency near each voxel that it passes, where with 1 it has one for four voxels, which then get
        it with weights from 0 to 1. A mean of independent values with a triangle's weights has the noise of 3/4 of
        them, along each of two axes: in one voxel, padding is worth 16/9 times the images. Neighbouring voxels make up
        for some of that: measured, signal over noise of half-maps is 1.2 to 2 times as high, the more the fewer images.
    """

    stacks: ImageStacks
    ctf: CtfParameters
    grid: ImageGrid
    scale: ImageScale
    padded: int = PADDING

    def batches(self, rows: NDArray[np.int64]) -> Iterator[NDArray[np.int64]]:
        """The rows in the order in which their images lie on disk, some at a time."""
        table = self.stacks.table
        ordered = rows[np.lexsort((table.image_index[rows], table.stack_index[rows]))]
        size = max(1, _PIXELS_AT_ONCE // max(self.stacks.box, self.padded * self.grid.box) ** 2)
        for start in range(0, len(ordered), size):
            yield ordered[start : start + size]

    def slices(
        self, rows: NDArray[np.int64], device: torch.device | str = "cpu"
    ) -> tuple[Complex[Tensor, "n side half"], Float[Tensor, "n side half"]]:
        """Spectra times CTF, and CTF², of the images of these rows, with phases about each particle's centre.

        Spectra are sums over pixels (not orthonormal), so that a map of them has the images' grey values as its sums
        along lines of sight.
        """
        box, side = self.grid.box, self.padded * self.grid.box
        images = torch.from_numpy(self.stacks.read(rows)).to(device)
        shifts = torch.as_tensor(self.stacks.table.shifts[rows], dtype=torch.float32, device=device)
        spectra = fourier.crop(fourier.to_spectrum(images), self.stacks.box, box)
        shifts = shifts / self.grid.pixel_size
        if self.scale.kind == "noise" or self.padded > 1:
            centred = fourier.from_spectrum(fourier.shift(spectra, box, shifts), box)
            spectra, shifts = self._transformed(centred), torch.zeros_like(shifts)
        elif self.scale.offset:
            spectra[:, 0, 0] -= self.scale.offset * box
        spectra = fourier.shift(spectra, side, shifts - box // 2) * side
        transfer = contrast_transfer(self.ctf[torch.from_numpy(rows)].to(device), self._transform_grid)
        return spectra * transfer, transfer.square()

    def _transformed(self, images: Tensor) -> Tensor:
        """Spectra of centred images, on one scale and padded."""
        if self.scale.kind == "noise":
            images = normalise_background(images, self.scale.background_radius / self.grid.pixel_size)
        else:
            images = images - self.scale.offset
        margin = (self.padded - 1) * self.grid.box
        return fourier.to_spectrum(torch.nn.functional.pad(images, (0, margin, 0, margin)))

    @property
    def _transform_grid(self) -> ImageGrid:
        return ImageGrid(self.padded * self.grid.box, self.grid.pixel_size)


def find_scale(stacks: ImageStacks, rows: NDArray[np.int64], background_radius: float) -> ImageScale:
    """Look at a sample of the rows: images with noise are normalised by it, others keep their grey values.

    Without noise the background of an image holds what defocus has spread of the particle: to normalise by that would
    weigh images by their defocus.
    """
    pixel_size = stacks.table.pixel_size
    sample = rows[np.unique(np.linspace(0, len(rows) - 1, min(len(rows), SAMPLE)).astype(np.int64))]
    radius = min(background_radius / pixel_size, LARGEST_BACKGROUND_RADIUS * (stacks.box // 2))
    outside = fourier.pixel_radii(stacks.box) > radius
    spreads, means = [], []
    size = max(1, _PIXELS_AT_ONCE // stacks.box**2)
    for start in range(0, len(sample), size):
        images = torch.from_numpy(stacks.read(sample[start : start + size]))
        background = images[:, outside]
        means.append(background.mean(1))
        spreads.append(background.std(1) / (images - means[-1][:, None, None]).square().mean((1, 2)).sqrt())
    spread = float(torch.cat(spreads).median())
    offset = float(torch.cat(means).mean())
    return ImageScale("noise" if spread > QUIET else "kept", offset, background_radius, spread)
