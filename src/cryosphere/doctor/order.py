"""Whether the images belong to their rows: does a row's own image fit its pose better than other rows' images do?"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from cryosphere.doctor.comparing import Examiner
from cryosphere.doctor.readings import Reading

SURE = 4.0  # standard errors
SHOWN = 8.0  # standard errors of the correlation with other rows, beyond which images show something like the model
LITTLE = 0.25  # of what right poses would bring: less is no sign of them
FEW = 5  # pairs of strangers that are no accident
STRONG = 6.0  # standard deviations of noise: among a few million pairs none comes so far by chance


@dataclass(frozen=True)
class Belonging:
    """How images fit the rows they stand in, and other rows."""

    own: float  # mean correlation of images with the projections of their own rows
    own_error: float  # of `own - others`, standard error
    others: float  # with those of other rows
    others_error: float
    likeness: float  # mean correlation of projections of different rows with each other, without noise
    strangers: int  # pairs of an image and another's row that fit far better than by chance
    pairs: int
    example: tuple[int, int] | None  # rows (from 0): an image, and the row that it fits best, if that is not its own

    @property
    def says_nothing(self) -> bool:
        """Whether images show the protein, but their own rows explain them no better than others' rows do."""
        if self.strangers >= FEW and self.gain < SURE * self.own_error:
            return True
        shown = self.others > SHOWN * self.others_error and self.gain < self.others
        return shown and self.gain + SURE * self.own_error < LITTLE * self.possible

    @property
    def possible(self) -> float:
        """What right poses would bring beyond other rows, by how well images fit these.

        If an image has correlation c with its own projection, it has c times the likeness of two projections with
        another's: so the others' fit says what its own should be. Where images show more than the model, such as the
        other subunits, it may say too much.
        """
        return self.others * (1 / self.likeness - 1) if self.likeness > 0 else 0.0

    @property
    def gain(self) -> float:
        """What an image's own row explains beyond other rows."""
        return self.own - self.others

    @property
    def share(self) -> float | None:
        """The gain, of what would be possible; None if that cannot be told."""
        return self.gain / self.possible if self.possible > 0 else None


def belonging(examiner: Examiner, reading: Reading, sign: float) -> Belonging:
    """Compare every image of the sample with every row of it; `sign` is -1 where protein is dark."""
    images, projections = (
        _vectors(spectra, examiner) for spectra in (examiner.sample.spectra, examiner.predicted(reading))
    )
    table = sign * (images @ projections.T)
    count = len(table)
    own = table.diagonal().clone()
    others = (table.sum(1) - own) / max(count - 1, 1)
    gain = own - others
    like = projections @ projections.T
    likeness = float((like.sum() - like.diagonal().sum()) / max(count * (count - 1), 1))
    strangers, example = _strangers(table)
    return Belonging(
        own=float(own.mean()),
        own_error=_error(gain),
        others=float(others.mean()),
        others_error=_error(others),
        likeness=likeness,
        strangers=strangers,
        pairs=count * (count - 1),
        example=None
        if example is None
        else (int(examiner.sample.rows[example[0]]), int(examiner.sample.rows[example[1]])),
    )


def _vectors(spectra: Tensor, examiner: Examiner) -> Tensor:
    """Spectra as vectors of length 1 whose products are correlations."""
    weighted = torch.view_as_real(spectra * examiner.sample.weights.sqrt()).flatten(1)
    vectors: Tensor = weighted / weighted.norm(dim=1, keepdim=True).clamp_min(1e-20)
    return vectors


def _strangers(table: Tensor) -> tuple[int, tuple[int, int] | None]:
    """How many images fit another's row far better than by chance, more than fit one far worse; and the clearest."""
    rest = table - table.mean(0) - table.mean(1, keepdim=True) + table.mean()
    rest.fill_diagonal_(0.0)
    noise = 1.4826 * rest.abs().median(dim=1, keepdim=True).values.clamp_min(1e-12)
    score = rest / noise
    found = int((score > STRONG).sum()) - int((score < -STRONG).sum())
    if found <= 0:
        return 0, None
    image, row = divmod(int(score.argmax()), len(table))
    return found, (image, row)


def _error(values: Tensor | NDArray[np.float64]) -> float:
    return float(values.std()) / max(len(values), 1) ** 0.5 if len(values) > 1 else float("inf")
