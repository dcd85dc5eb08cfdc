"""Which segments move as one: more segments than moving parts are the rule, not the exception."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from cryosphere.analysis.segments import FIXED, Segmentation

Float = NDArray[np.float64]


@dataclass(frozen=True)
class Body:
    """k segments taken as one, with what is needed to superpose all their residues; none: the residues held fixed.

    `weights` (k,): residues of each, by membership. `spreads` (k, 3, 3) Å²: sum over the residues of the outer product
    of their offset from the segment's centre with itself.
    """

    segments: tuple[int, ...]
    weights: Float
    spreads: Float

    @classmethod
    def of(cls, segmentation: Segmentation, segments: Sequence[int]) -> Body:
        """The body made of the given segments; only FIXED counts where it is among them."""
        if FIXED in segments:
            return cls((), np.zeros(0), np.zeros((0, 3, 3)))
        members = sorted(segments)
        weights = segmentation.membership[:, members] * (segmentation.membership[:, members] > 1e-3)
        positions = np.asarray(segmentation.beads.positions, dtype=np.float64)
        offsets = positions[:, None, :] - segmentation.centres[members]
        return cls(tuple(members), weights.sum(axis=0), np.einsum("rk,rki,rkj->kij", weights, offsets, offsets))

    @classmethod
    def single(cls, segment: int) -> Body:
        """One segment alone; a negative one: the residues held fixed."""
        segments = (segment,) if segment >= 0 else ()
        return cls(segments, np.ones(len(segments)), np.zeros((len(segments), 3, 3)))

    @property
    def fixed(self) -> bool:
        """Whether it stands for the residues held fixed, which never move."""
        return not self.segments

    def words(self, segmentation: Segmentation) -> str:
        """As it is spoken of as the reference in reports."""
        if self.fixed:
            return "the residues held fixed"
        names = " + ".join(segmentation.names[s] for s in self.segments)
        return f"the largest body ({names})"


def reference_body(segmentation: Segmentation, bodies: Sequence[tuple[int, ...]]) -> Body:
    """What motions are told relative to: residues held fixed where there are any, else the body of most residues."""
    fixed = (segmentation.assignment == FIXED).any()
    return Body.of(segmentation, (FIXED,) if fixed else bodies[0])
