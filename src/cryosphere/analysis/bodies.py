"""Which segments move as one: more segments than moving parts are the rule, not the exception."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import combinations

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


def rigid_bodies(start: Float, end: Float, assignment: NDArray[np.int64], tolerance: float) -> list[tuple[int, ...]]:
    """Groups of segments that hardly move against each other between two structures; the largest group first.

    start, end (R, 3) Å, or several pairs of structures (P, R, 3), in all of which they must not; assignment (R,):
    segment of each residue, negative ones are taken for a segment too.
    Groups are joined pairwise, the best fit first, as long as one rigid motion carries all residues of the group from
    start to end with an RMS error below `tolerance` Å.
    """
    start, end = start.reshape(-1, len(assignment), 3), end.reshape(-1, len(assignment), 3)
    groups: list[tuple[int, ...]] = [(int(segment),) for segment in np.unique(assignment)]
    errors: dict[tuple[tuple[int, ...], tuple[int, ...]], float] = {}
    while len(groups) > 1:
        for pair in combinations(groups, 2):
            if pair not in errors:
                errors[pair] = _misfit(start, end, np.isin(assignment, pair[0] + pair[1]))
        best = min(combinations(groups, 2), key=lambda pair: errors[pair])
        if errors[best] > tolerance:
            break
        joined = tuple(sorted(best[0] + best[1]))
        groups = sorted([group for group in groups if group not in best] + [joined])
    return sorted(groups, key=lambda group: -int(np.isin(assignment, group).sum()))


def _misfit(start: Float, end: Float, rows: NDArray[np.bool_]) -> float:
    """RMS distance in Å that the best rigid superposition of the rows leaves (Kabsch 1976), in the worst of the pairs.

    start, end (P, R, 3).
    """
    a = start[:, rows] - start[:, rows].mean(axis=1, keepdims=True)
    b = end[:, rows] - end[:, rows].mean(axis=1, keepdims=True)
    left, singular, right = np.linalg.svd(np.swapaxes(a, 1, 2) @ b)
    singular[:, -1] *= np.sign(np.linalg.det(left) * np.linalg.det(right))
    squared = (a**2).sum(axis=(1, 2)) + (b**2).sum(axis=(1, 2)) - 2 * singular.sum(axis=1)
    return float(np.sqrt(max(squared.max(), 0.0) / a.shape[1]))
