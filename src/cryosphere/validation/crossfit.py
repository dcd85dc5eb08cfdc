"""Motions that are judged by other images than those that told of them.

The common motions are the combinations of principal motions on which images agree best, and noise agrees a little too:
on the very images that chose them even motions that are not there come out one or two standard errors above nothing. So
the images are divided into two folds, and each fold is asked about the motions that the other one has found.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import linear_sum_assignment

from cryosphere.particles.table import ParticleTable
from cryosphere.validation.motions import Common, Side, canonical_axes, paired_places

Float = NDArray[np.float64]
Rows = NDArray[np.int64]

FOLDS = 2
RARE = 0.01  # how often chance may correlate as much as a motion that is taken for more


@dataclass(frozen=True)
class CrossFit:
    """Which of two folds each image is in, and the motions that the images of the other fold tell of.

    fold (n,). axes: for each fold and either model, combinations of its principal motions, (M, k).
    """

    fold: Rows
    axes: tuple[tuple[Float, Float], ...]


def cross_fit(sides: tuple[Side, Side], common: Common, table: ParticleTable, group: Rows, seed: int) -> CrossFit:
    """Find the common motions once more on either fold of the images, in the order of those that all images gave.

    Images of one group (n,) stay together. A fold's motions are put in order, but neither turned nor mixed: that would
    tell them of the images which they are to be judged by.
    """
    drawn = np.random.default_rng([seed, 0xF01D]).permutation(int(group.max()) + 1) % FOLDS
    fold = drawn[group]
    everyone = paired_places(*sides, table)
    found = []
    for mine in range(FOLDS):
        others = paired_places(*sides, table, np.flatnonzero(fold != mine))
        found.append(_in_order(canonical_axes(others), common, everyone))
    return CrossFit(fold, tuple(found))


def _in_order(axes: tuple[Float, Float], common: Common, places: tuple[Float, Float]) -> tuple[Float, Float]:
    """The axes in the order of the common ones, as far as these are more than chance; the others as they come.

    Matched are those along which the images' places correlate most (Kuhn 1955). Matching axes that are chance would
    itself choose those which agree with the noise of the images that are to be asked.
    """
    known = np.flatnonzero(common.p_values <= RARE)
    likeness = np.zeros((len(known), axes[0].shape[1]))
    for values, ours, theirs in zip(places, common.axes, axes, strict=True):
        likeness += np.abs(_correlations(values @ ours[:, known], values @ theirs))
    order = np.empty(axes[0].shape[1], dtype=np.int64)
    order[known] = linear_sum_assignment(likeness, maximize=True)[1]
    others = np.setdiff1d(np.arange(len(order)), known)
    order[others] = np.setdiff1d(np.arange(len(order)), order[known])
    return axes[0][:, order], axes[1][:, order]


def _correlations(first: Float, second: Float) -> Float:
    """Of the columns of one array (n, j) with those of another (n, k), (j, k)."""
    normed = [(x - x.mean(axis=0)) / np.maximum(x.std(axis=0), 1e-12) for x in (first, second)]
    return np.asarray(normed[0].T @ normed[1] / len(first))
