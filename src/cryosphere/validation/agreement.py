"""Whether two models give the same images the same structures, and cut the chain in the same places."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import linear_sum_assignment
from sklearn.metrics import adjusted_rand_score

from cryosphere.evaluation.overlap import assign
from cryosphere.validation.motions import Side

Float = NDArray[np.float64]

MOST_CENTRES = 30  # segments whose distances are compared: the largest


@dataclass(frozen=True)
class ResidueAgreement:
    """How the residues' displacements from their mean, in the same images, agree between two models, (R,) each."""

    same_data: Float  # correlation, both models shown all frequencies: they share the noise too
    split_data: Float  # one model shown one half of the frequencies, the other the other: they share the signal alone
    spread: tuple[Float, Float]  # Å, RMS displacement with either model, shown all frequencies


@dataclass(frozen=True)
class SegmentOverlap:
    """Segments of two models, matched one to one so that they share as many residues as they can."""

    share: float  # of the residues that lie in matched segments
    adjusted_rand: float  # 1: the same cut, 0: chance
    used: tuple[int, int]  # segments that hold residues, of either model


def residue_agreement(first: Side, second: Side) -> ResidueAgreement:
    """Compare displacements residue by residue; from the K × K matrix of what images have in common.

    Correlation of vectors: mean product of the displacements over the root of the product of their mean squares.
    """
    readings = first.reading, second.reading
    both = _covariance(first, second, readings[0].of_both, readings[1].of_both)
    spread = tuple(_covariance(s, s, r.of_both, r.of_both) for s, r in zip((first, second), readings, strict=True))
    crossed, powers = np.zeros_like(both), [np.zeros_like(both), np.zeros_like(both)]
    for which in (0, 1):
        mine, other = readings[0].split[which], readings[1].split[1 - which]
        crossed += _covariance(first, second, mine, other)
        powers[0] += _covariance(first, first, mine, mine)
        powers[1] += _covariance(second, second, other, other)
    return ResidueAgreement(
        _ratio(both, spread[0], spread[1]),
        _ratio(crossed, powers[0], powers[1]),
        (np.sqrt(np.maximum(spread[0], 0.0)), np.sqrt(np.maximum(spread[1], 0.0))),
    )


def _covariance(first: Side, second: Side, ours: Float, theirs: Float) -> Float:
    """Mean over images of the product of two models' displacements of each residue, (R,) Å²."""
    shared = (ours - ours.mean(axis=0)).T @ (theirs - theirs.mean(axis=0)) / len(ours)
    left, right = (side.library.structures - side.library.mean for side in (first, second))
    return np.asarray(np.einsum("kri,kri->r", left, np.tensordot(shared, right, axes=1)))


def _ratio(product: Float, first: Float, second: Float) -> Float:
    power = np.sqrt(np.maximum(first * second, 0.0))
    return np.asarray(np.where(power > 1e-8, product / np.maximum(power, 1e-8), 0.0))


def distance_correlation(first: Side, second: Side, membership: Float) -> float:
    """How distances between the segments' centres agree, in the same images: correlation over pairs and images.

    Each pair's distance counts by how far it varies; 0 where none does. membership (R, N): the run's segments.
    """
    assignment = assign(membership)
    sizes = np.bincount(assignment[assignment >= 0], minlength=membership.shape[1])
    chosen = [s for s in np.argsort(-sizes)[:MOST_CENTRES] if sizes[s]]
    if len(chosen) < 2:
        return 0.0
    weights = np.stack([(assignment == s) / sizes[s] for s in chosen])
    upper = np.triu_indices(len(chosen), 1)
    offsets = []
    for side in (first, second):
        centres = np.einsum("sr,kri->ksi", weights, side.library.structures)
        placed = np.tensordot(side.reading.of_both, centres, axes=1)
        distances = np.linalg.norm(placed[:, upper[0]] - placed[:, upper[1]], axis=-1)
        offsets.append(distances - distances.mean(axis=0))
    power = np.sqrt((offsets[0] ** 2).sum() * (offsets[1] ** 2).sum())
    return float((offsets[0] * offsets[1]).sum() / power) if power > 1e-8 else 0.0


def segment_overlap(first: Float, second: Float) -> SegmentOverlap:
    """Match the segments of two memberships (R, N) (Kuhn 1955, Hungarian method), and count what they share."""
    labels = [assign(membership) + 1 for membership in (first, second)]
    shared = np.zeros([int(one.max()) + 1 for one in labels], dtype=np.int64)
    np.add.at(shared, tuple(labels), 1)
    matched = shared[linear_sum_assignment(shared, maximize=True)].sum()
    used = len(np.unique(labels[0])), len(np.unique(labels[1]))
    return SegmentOverlap(float(matched / len(labels[0])), float(adjusted_rand_score(*labels)), used)
