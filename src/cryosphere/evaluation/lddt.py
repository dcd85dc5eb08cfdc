"""Local distance difference test: whether residues that are neighbours in truth keep their distances.

It needs no superposition, so it tells a domain that is right in itself but in the wrong place (most distances kept)
from one that is torn or bent.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.spatial import cKDTree

INCLUSION_RADIUS = 15.0  # Å, in the true structure
TOLERANCES = (0.5, 1.0, 2.0, 4.0)  # Å


@dataclass(frozen=True)
class LocalAgreement:
    """Cα-lDDT of predicted structures, and of the base structure, against the true ones; 0 to 1, 1 is perfect."""

    images: int  # sample, spread evenly over the data set
    mean: float
    median: float
    base_mean: float
    base_median: float


def lddt(predictions: Sequence[NDArray[np.floating]], true: NDArray[np.floating]) -> NDArray[np.float64]:
    """Share of the true neighbour distances that structures keep, 0 to 1 (Mariani et al. 2013, on beads).

    predictions: P sets of structures (n, R, 3), or (1, R, 3) for the same in every row, to hold against the same true
    ones (n, R, 3), Å. Returns (P, n). All pairs of different residues closer than INCLUSION_RADIUS in the true
    structure count equally; the share of them whose distance is off by no more than a tolerance is averaged over
    TOLERANCES. NaN where no two residues are that close. The original counts pairs of atoms of different residues;
    here a residue is one bead. One structure at a time: memory grows with its pairs, some 30 for every residue.
    """
    predictions = [np.broadcast_to(np.asarray(x, dtype=np.float64), true.shape) for x in predictions]
    result = np.full((len(predictions), len(true)), np.nan)
    for i, target in enumerate(np.asarray(true, dtype=np.float64)):
        pairs = cKDTree(target).query_pairs(INCLUSION_RADIUS, output_type="ndarray")
        lengths = _lengths(target, pairs)
        for k, structures in enumerate(predictions):
            error = np.abs(_lengths(structures[i], pairs) - lengths)
            if len(error):
                result[k, i] = np.mean([np.count_nonzero(error <= limit) for limit in TOLERANCES]) / len(error)
    return result


def _lengths(structure: NDArray[np.float64], pairs: NDArray[np.int64]) -> NDArray[np.float64]:
    gap = np.take(structure, pairs[:, 0], axis=0) - np.take(structure, pairs[:, 1], axis=0)
    return np.asarray(np.sqrt(np.einsum("pi,pi->p", gap, gap)))


def local_agreement(found: NDArray[np.float64], base: NDArray[np.float64]) -> LocalAgreement:
    """The scores of a sample of structures, and of the base structure against the same true ones, in brief."""
    return LocalAgreement(
        len(found), float(found.mean()), float(np.median(found)), float(base.mean()), float(np.median(base))
    )
