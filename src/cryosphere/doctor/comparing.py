"""How well the images agree with the model's projections, under one reading of the files or another."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field, replace
from functools import cached_property, lru_cache

import numpy as np
import torch
from jaxtyping import Complex, Float
from numpy.typing import NDArray
from torch import Tensor

from cryosphere import fourier
from cryosphere.doctor.readings import Reading
from cryosphere.doctor.sample import Sample
from cryosphere.imaging.ctf import CtfParameters, contrast_transfer
from cryosphere.imaging.formation import seen_from
from cryosphere.imaging.grid import ImageGrid
from cryosphere.imaging.projection import SpreadProjector
from cryosphere.model.losses import spectral_correlation
from cryosphere.structures.beads import Beads
from cryosphere.workers import one_by_one

SIGMA = 2.0  # Å, of a bead
_IMAGES_AT_ONCE = 64

Pieces = Callable[[slice], Tensor]


@dataclass(frozen=True)
class Examiner:
    """Makes projections of a model for a sample of images, and compares."""

    sample: Sample
    beads: Beads
    _known: dict[Reading, NDArray[np.float64]] = field(default_factory=dict, init=False, repr=False, compare=False)

    @cached_property
    def positions(self) -> Float[Tensor, "beads 3"]:
        """Å from the box centre."""
        return torch.as_tensor(self.beads.positions, dtype=torch.float32)

    @cached_property
    def amplitudes(self) -> Float[Tensor, " beads"]:
        """Electrons."""
        return torch.as_tensor(self.beads.amplitudes, dtype=torch.float32)

    def on(self, count: int) -> Examiner:
        """The same for so many of the images, spread over all."""
        return replace(self, sample=self.sample.first(count))

    def finer_than(self, detail: float) -> Examiner:
        """The same, comparing only detail finer than so many Å."""
        grid = self.sample.grid
        finer = fourier.radial_frequencies(grid.box, grid.pixel_size) > 1 / detail
        return replace(self, sample=replace(self.sample, weights=self.sample.weights * finer))

    def correlations(self, reading: Reading) -> NDArray[np.float64]:
        """Of each image, taken as white, with its projection, (n,): negative where the protein is dark."""
        if reading in self._known:
            return self._known[reading]
        view = View.of(self, reading)

        def one(some: slice) -> Tensor:
            return spectral_correlation(view.predicted(some), self.sample.spectra[some], self.sample.weights)

        self._known[reading] = self._over_images(one).double().numpy()
        return self._known[reading]

    def predicted(self, reading: Reading) -> Complex[Tensor, "n box half"]:
        """Projections of all images' rows, divided by the noise as the images are."""
        return self._over_images(View.of(self, reading).predicted)

    def _over_images(self, function: Pieces) -> Tensor:
        count = len(self.sample)
        pieces = [slice(start, min(start + _IMAGES_AT_ONCE, count)) for start in range(0, count, _IMAGES_AT_ONCE)]
        return torch.cat(list(one_by_one(function, pieces)))


@lru_cache(maxsize=64)
def _projector(grid: ImageGrid) -> SpreadProjector:
    """A projector is made for many readings; making it takes as long as using it on a hundred small images."""
    return SpreadProjector(grid, SIGMA)


@dataclass(frozen=True)
class View:
    """What a reading makes of the rows of a sample: poses, shifts, optics, and a projector for its pixels."""

    positions: Float[Tensor, "beads 3"]
    amplitudes: Float[Tensor, " beads"]
    rotations: Float[Tensor, "n 3 3"]
    shifts: Float[Tensor, "n 2"]  # Å
    ctf: CtfParameters
    ctf_grid: ImageGrid
    projector: SpreadProjector
    noise: Float[Tensor, "box half"]
    phases_flipped: bool

    @classmethod
    def of(cls, examiner: Examiner, reading: Reading) -> View:
        """The view of an examiner's sample under a reading."""
        sample = examiner.sample
        rows = reading.row_of_image(sample.rows, len(sample.table))
        table = sample.table[rows]
        rotations = torch.as_tensor(table.rotations, dtype=torch.float32)
        if reading.transposed:
            rotations = rotations.mT.contiguous()
        positions = examiner.positions + torch.tensor(reading.offset)
        if reading.mirror is not None:
            positions = positions * torch.tensor(reading.mirror)
        ctf = CtfParameters.from_table(table)
        for group, voltage in reading.voltages:
            ours = torch.from_numpy(table.optics_index == group)
            ctf = replace(ctf, voltage_kv=torch.where(ours, voltage, ctf.voltage_kv))
        grid = ImageGrid(sample.grid.box, sample.grid.pixel_size / reading.scale)
        shifts = torch.as_tensor(table.shifts, dtype=torch.float32) * (reading.shift_factor / reading.scale)
        return cls(
            positions, examiner.amplitudes, rotations, shifts, ctf, grid if reading.scale_ctf else sample.grid,
            _projector(grid), sample.noise, reading.phases_flipped,
        )  # fmt: skip

    def predicted(self, some: slice) -> Complex[Tensor, "m box half"]:
        """Projections for some of the images, divided by the noise."""
        xy = seen_from(self.positions, self.rotations[some]) - self.shifts[some, None, :]
        spectra = self.projector(xy, self.amplitudes)
        transfer = contrast_transfer(self.ctf[some], self.ctf_grid)
        return spectra * ((transfer.abs() if self.phases_flipped else transfer) / self.noise)
