"""The conformations that the oracle weighs: all that are shown, or groups of like ones where they are too many.

Where every image shows a conformation of its own, a hundred of them taken as they are would mislead the oracle: each
comes with its own jitter, and at high signal the one whose jitter happens to resemble the image's wins, wherever it
lies along the motion. A group's mean structure has next to no jitter of its own.
"""

from __future__ import annotations

import logging
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from sklearn.cluster import KMeans

from cryosphere.distribution import ALONE, World
from cryosphere.evaluation.true_atoms import AtomsOfBeads
from cryosphere.simulation.atoms import atom_amplitudes
from cryosphere.simulation.truth import Truth
from cryosphere.structures.model import AtomicModel

log = logging.getLogger(__name__)

SAMPLE = 200  # conformations from which the directions of motion are taken
DIRECTIONS = 10
CHUNK = 1000  # conformations at a time


@dataclass(frozen=True)
class Candidates:
    """C structures that stand for the K true conformations; `exact` where each stands for a single one.

    A candidate's structure and figures are means over the conformations it stands for, each counted as often as images
    show it. Conformations that no image shows have no candidate of their own.
    """

    points: NDArray[np.float32]  # (C, P, 3) Å: beads, or all atoms where the images are made of atoms
    electrons: NDArray[np.float64]  # (P,) of every point
    bead: NDArray[np.int64]  # (P,): the residue it belongs to
    group: NDArray[np.int64]  # (K,): which candidate stands for each conformation
    counts: NDArray[np.int64]  # (K,): images that show each conformation
    exact: bool

    def __len__(self) -> int:
        return len(self.points)

    @property
    def shares(self) -> NDArray[np.float64]:
        """Of the images that each candidate stands for, (C,); they sum to 1."""
        return np.asarray(np.bincount(self.group, weights=self.counts, minlength=len(self)) / self.counts.sum())

    def figure(self, values: NDArray[np.float64]) -> NDArray[np.float64]:
        """Of every candidate, (C,): mean of the conformations' figures (K,)."""
        total = np.bincount(self.group, weights=self.counts * values, minlength=len(self))
        return np.asarray(total / (self.shares * self.counts.sum()))


def find_candidates(truth: Truth, most: int, model: AtomicModel | None = None, world: World = ALONE) -> Candidates:
    """Every conformation that images show, or where these are more than `most`, `most` groups of like ones.

    Groups are k-means clusters along the main directions of motion, which are taken from at most SAMPLE conformations
    by the small matrix of their inner products. `model`: needed where the images are made of atoms. `world`: processes
    that get the same groups.
    """
    counts = np.bincount(truth.conformation_index, minlength=len(truth.conformations))
    shown = np.flatnonzero(counts)
    exact = len(shown) <= most
    labels = np.arange(len(shown)) if exact else world.from_first(_clusters(truth, shown, counts[shown], most))
    group = np.zeros(len(counts), dtype=np.int64)
    group[shown] = labels
    if truth.density == "atoms":
        assert model is not None, "atoms cannot be placed without a model"
        points, electrons, bead = _atoms(truth, model, shown, labels, counts[shown])
    else:
        points = _means(truth.conformations, shown, labels, counts[shown])
        electrons, bead = truth.amplitudes, np.arange(len(truth.amplitudes))
    return Candidates(points, electrons, bead, group, counts, exact)


def _clusters(truth: Truth, shown: NDArray[np.int64], counts: NDArray[np.int64], most: int) -> NDArray[np.int64]:
    """Labels 0, 1, … without gaps, (shown,)."""
    some = _flat(truth, shown[np.linspace(0, len(shown) - 1, min(len(shown), SAMPLE)).astype(np.int64)])
    mean = some.mean(axis=0)
    some -= mean
    variances, weights = np.linalg.eigh(some @ some.T)
    used = variances > 1e-9 * variances[-1]
    directions = weights[:, used][:, -DIRECTIONS:].T @ some
    directions /= np.linalg.norm(directions, axis=1, keepdims=True)
    along = [(_flat(truth, shown[i : i + CHUNK]) - mean) @ directions.T for i in range(0, len(shown), CHUNK)]
    fitted = KMeans(most, n_init=1, random_state=0).fit(np.concatenate(along), sample_weight=counts)
    return np.unique(fitted.labels_, return_inverse=True)[1].astype(np.int64)


def _flat(truth: Truth, rows: NDArray[np.int64]) -> NDArray[np.float64]:
    return truth.conformations[rows].reshape(len(rows), -1).astype(np.float64)


def _atoms(
    truth: Truth,
    model: AtomicModel,
    shown: NDArray[np.int64],
    labels: NDArray[np.int64],
    counts: NDArray[np.int64],
) -> tuple[NDArray[np.float32], NDArray[np.float64], NDArray[np.int64]]:
    """Mean atoms of each group (C, P, 3), their electrons and residues (P,), as the simulation draws them."""
    if truth.atoms is not None and truth.atoms.shape[1] == len(model.positions):
        points = _means(truth.atoms, shown, labels, counts)
    else:
        log.info("the oracle places atoms by the beads around them: the true atoms were not kept")
        following = AtomsOfBeads(model)
        beads = _means(truth.conformations, shown, labels, counts)
        points = np.stack([following.positions(one).astype(np.float32) for one in beads])
    electrons = atom_amplitudes(model)
    seen = np.flatnonzero(electrons)
    return points[:, seen], electrons[seen], model.atom_bead[seen]


def _means(
    conformations: NDArray[np.float32], shown: NDArray[np.int64], labels: NDArray[np.int64], counts: NDArray[np.int64]
) -> NDArray[np.float32]:
    """Mean structure of each group, (C, P, 3)."""
    result = np.zeros((int(labels.max()) + 1, *conformations.shape[1:]), dtype=np.float32)
    for label in range(len(result)):
        members = labels == label
        result[label] = np.average(conformations[shown[members]], axis=0, weights=counts[members])
    return result
