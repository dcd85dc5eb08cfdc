"""The images that the doctor looks at: a sample of the rows, cropped to the detail at which poses show."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Complex, Float
from numpy.typing import NDArray
from torch import Tensor

from cryosphere import fourier
from cryosphere.imaging.grid import ImageGrid
from cryosphere.particles.preprocess import PreprocessSettings, preprocess_batch
from cryosphere.particles.stacks import ImageStacks
from cryosphere.particles.table import ParticleTable
from cryosphere.progress import SILENT, Progress
from cryosphere.workers import one_by_one

DETAIL = 6.0  # Å: finer detail costs time and says nothing more about poses and sizes
_SOFT_EDGE = 0.1
_IMAGES_AT_ONCE = 64
_LOWEST_SHELL = 1  # the mean grey value says nothing


@dataclass(frozen=True)
class Sample:
    """n images of a stack, taken as white, and what their rows say."""

    rows: NDArray[np.int64]  # (n,), of the whole table
    table: ParticleTable  # whole
    spectra: Complex[Tensor, "n box half"]  # not moved by their shifts; divided by the noise of each shell
    noise: Float[Tensor, "box half"]  # amplitude by which they were divided
    weights: Float[Tensor, "box half"]  # of each frequency in a product of two spectra
    grid: ImageGrid
    background_mean: NDArray[np.float64]  # (n,), grey values as they are in the stack
    background_deviation: NDArray[np.float64]  # (n,)
    deviation: NDArray[np.float64]  # (n,), of the whole image

    def __len__(self) -> int:
        return len(self.rows)

    def first(self, count: int) -> Sample:
        """Some of them, spread over all."""
        if count >= len(self):
            return self
        kept = np.unique(np.linspace(0, len(self) - 1, count).astype(np.int64))
        return Sample(
            self.rows[kept], self.table, self.spectra[torch.from_numpy(kept)], self.noise, self.weights, self.grid,
            self.background_mean[kept], self.background_deviation[kept], self.deviation[kept],
        )  # fmt: skip


def chosen_rows(count: int, wanted: int, seed: int) -> NDArray[np.int64]:
    """Rows of a sample, ascending: all, or as many as wanted at random (a seed from 0)."""
    if count <= wanted:
        return np.arange(count)
    return np.sort(np.random.default_rng(seed).choice(count, wanted, replace=False))


def take_sample(
    table: ParticleTable, stacks: ImageStacks, rows: NDArray[np.int64], radius: float, progress: Progress = SILENT
) -> Sample:
    """Read the images of the given rows.

    radius: Å from the centre, beyond which images show background only.
    """
    whole = ImageGrid(stacks.box, table.pixel_size)
    grid = whole.cropped_to(DETAIL)
    settings = PreprocessSettings(grid.box, "white", radius, _SOFT_EDGE)
    background = _background(stacks.box, radius / table.pixel_size)
    pieces = [rows[start : start + _IMAGES_AT_ONCE] for start in range(0, len(rows), _IMAGES_AT_ONCE)]

    def prepared(some: NDArray[np.int64]) -> tuple[Tensor, Tensor]:
        images = torch.from_numpy(stacks.read(some))
        unmoved = torch.zeros(len(some), 2)
        return preprocess_batch(images, unmoved, table.pixel_size, settings), _grey_values(images, background)

    found = []
    with progress.track(len(rows), "reading images") as advance:
        for piece, result in zip(pieces, one_by_one(prepared, pieces), strict=True):
            found.append(result)
            advance(len(piece))
    spectra = torch.cat([result[0] for result in found])
    grey = torch.cat([result[1] for result in found]).double().numpy()
    weights = compared(grid)
    noise = _noise(spectra, grid.box)
    return Sample(rows, table, spectra / noise, noise, weights, grid, grey[:, 0], grey[:, 1], grey[:, 2])


def compared(grid: ImageGrid) -> Float[Tensor, "box half"]:
    """Which frequencies are compared, each as often as it stands in a whole spectrum: none on Nyquist lines."""
    weights = fourier.parseval_weights(grid.box) * fourier.up_to(grid.box, grid.pixel_size, 2 * grid.pixel_size)
    weights[0, 0] = 0.0
    return weights


def shells(box: int) -> tuple[Tensor, int]:
    """The shell, in whole cycles per box, of each point of a half-spectrum; and their number up to Nyquist."""
    rows, columns = fourier.integer_frequencies(box)
    radius = (rows.double() ** 2 + columns.double() ** 2).sqrt().round().long()
    return radius, box // 2


def _noise(spectra: Tensor, box: int) -> Tensor:
    """Root mean square amplitude of all images in each shell, laid out as a half-spectrum: nearly all is noise."""
    radius, count = shells(box)
    index = radius.clamp_max(count).flatten()
    power = torch.view_as_real(spectra).square().sum(-1).mean(0).flatten().double()
    multiplicity = fourier.parseval_weights(box).flatten().double()
    sums = torch.zeros(count + 1, dtype=torch.float64).index_add_(0, index, power * multiplicity)
    sizes = torch.zeros(count + 1, dtype=torch.float64).index_add_(0, index, multiplicity)
    means = (sums / sizes).sqrt()
    floor = 1e-3 * means[_LOWEST_SHELL:].max()  # shells that nothing was left in do not count
    return means.clamp_min(float(floor)).float()[index].view(box, -1)


def _background(box: int, radius: float) -> Tensor:
    radius = min(radius, 0.9 * (box // 2))
    return fourier.pixel_radii(box) > radius


def _grey_values(images: Tensor, background: Tensor) -> Tensor:
    """Mean and standard deviation in the background, and standard deviation of all, of each image: (n, 3)."""
    outside = images[:, background]
    return torch.stack([outside.mean(1), outside.std(1), images.flatten(1).std(1)], dim=1)
