"""How much of each residue the images show, where training learned it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from cryosphere.analysis.motions import batches
from cryosphere.analysis.movement import images_per_batch
from cryosphere.structures.ranges import ResidueRange, residue_ranges

if TYPE_CHECKING:
    from cryosphere.analysis.run import Run
    from cryosphere.structures import Beads

Float = NDArray[np.float64]
ABSENT = 0.3  # below, the report calls a residue absent
WHOLE = 0.8  # above, it is there
_NUMBERS = 2**25  # of occupancies held at once


@dataclass(frozen=True)
class ResidueOccupancy:
    """Occupancy of every residue, relative to what is there most: mean and percentiles over the images, (R,) each."""

    mean: Float
    low: Float  # 5th percentile
    high: Float  # 95th percentile

    @property
    def varies(self) -> bool:
        """Whether it follows the latent."""
        return bool((self.low != self.high).any())

    def absent(self) -> NDArray[np.bool_]:
        """Residues that no image, or hardly one, shows."""
        return self.high < ABSENT

    def switching(self) -> NDArray[np.bool_]:
        """Residues that some images show and others lack."""
        return (self.low < ABSENT) & (self.high > WHOLE)

    def partial(self) -> NDArray[np.bool_]:
        """Residues that are less than whole, and neither absent nor switching."""
        return (self.mean < WHOLE) & ~self.absent() & ~self.switching()

    def table(self, residues: pd.DataFrame) -> pd.DataFrame:
        """One row per residue beside the columns that name it; percentiles where the occupancy follows the latent."""
        found = residues.assign(occupancy=self.mean.round(3))
        return found.assign(percentile_5=self.low.round(3), percentile_95=self.high.round(3)) if self.varies else found


def residue_occupancy(run: Run, *, limit: int = 2000) -> ResidueOccupancy | None:
    """Of images spread evenly through the data set, `limit` at most; None where training did not learn occupancies."""
    if not run.model.learns_occupancy:
        return None
    residues = len(run.segmentation.assignment)
    count = min(limit, len(run), max(1, _NUMBERS // residues))
    latents = run.latents[np.unique(np.linspace(0, len(run) - 1, count).round().astype(np.int64))]
    parts = batches(len(latents), images_per_batch(residues))
    found = np.concatenate([run.model.occupancies(latents[part]) for part in parts])
    low, high = np.percentile(found, (5, 95), axis=0)
    return ResidueOccupancy(found.mean(axis=0, dtype=np.float64), low, high)


def ranges_of(which: NDArray[np.bool_], beads: Beads) -> tuple[ResidueRange, ...]:
    """Ranges of the residues chosen."""
    return residue_ranges(beads, which.astype(np.int64)).get(1, ())
