"""Which groups of points move as one rigid body between structures."""

from __future__ import annotations

from itertools import combinations

import numpy as np
from numpy.typing import NDArray

Float = NDArray[np.float64]


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
