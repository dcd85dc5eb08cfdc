"""Every image's predicted structure beside the true one."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from cryosphere.evaluation import measures
from cryosphere.evaluation.figures import Figure, at_once
from cryosphere.evaluation.lddt import lddt
from cryosphere.evaluation.results import Deviations
from cryosphere.evaluation.stereochemistry import Defects
from cryosphere.progress import SILENT, Progress
from cryosphere.simulation.truth import Truth
from cryosphere.training.trained import TrainedModel

Float = NDArray[np.float64]

TOLD_AFTER = 20  # structures: progress is told


@dataclass(frozen=True)
class Comparison:
    """Of n images: RMSD from the true structure in Å, (n,) each, and F figures of the predicted structures, (F, n)."""

    deviation: Float
    aligned_deviation: Float
    base_deviation: Float
    base_aligned_deviation: Float
    figures: Float

    def medians(self) -> Deviations:
        """Over the images."""
        every = (self.deviation, self.aligned_deviation, self.base_deviation, self.base_aligned_deviation)
        return Deviations(*(float(np.median(values)) for values in every))


def compare(
    model: TrainedModel,
    truth: Truth,
    latents: NDArray[np.float32],
    figures: Sequence[Figure],
    progress: Progress = SILENT,
) -> Comparison:
    """Compare all images, a bounded number of structures at a time; latents (n, L).

    The processes of a job share the images.
    """
    base = truth.base_positions
    unmoved = [
        Figure("", "Å", lambda x: measures.deviation(base[None], x)),
        Figure("", "Å", lambda x: measures.aligned_deviation(np.broadcast_to(base, x.shape).copy(), x)),
    ]
    of_base = [figure.in_chunks(truth.conformations)[truth.conformation_index] for figure in unmoved]
    own, step = model.world.piece(len(latents)), at_once(len(base))
    pieces = [np.zeros((2 + len(figures), 0))]
    with progress.track(own.stop - own.start, "comparing structures with the truth") as advance:
        for start in range(own.start, own.stop, step):
            piece = slice(start, min(start + step, own.stop))
            predicted, true = model.bead_positions(latents[piece]), truth.positions(piece)
            gaps = [measure(predicted, true) for measure in (measures.deviation, measures.aligned_deviation)]
            pieces.append(np.stack([*gaps, *(figure.of(predicted) for figure in figures)]))
            advance(len(true))
    values = model.world.gather(np.concatenate(pieces, axis=1).T).T
    return Comparison(values[0], values[1], of_base[0], of_base[1], values[2:])


@dataclass(frozen=True)
class Sample:
    """Structures of s images, spread evenly over the data set, for what takes longer; positions (s, R, 3) Å."""

    rows: NDArray[np.int64]
    predicted: NDArray[np.float32]
    true: NDArray[np.float32]
    lddt: Float
    base_lddt: Float
    defects: Defects
    true_defects: Defects


def take_sample(
    model: TrainedModel, truth: Truth, latents: NDArray[np.float32], count: int, progress: Progress = SILENT
) -> Sample:
    """Local agreement, clashes and broken links of `count` images (or all, if there are fewer)."""
    rows = evenly(len(latents), count)
    predicted, true = model.bead_positions(latents[rows]), truth.positions(rows)
    base, bonded = truth.base_positions, model.atomic_model.beads.bonded
    scores, found, in_truth = [], [], []
    with progress.track(len(rows), "looking at neighbours, clashes and links") as advance:
        for start in range(0, len(rows), TOLD_AFTER):
            piece = slice(start, start + TOLD_AFTER)
            scores.append(lddt([predicted[piece], base[None]], true[piece]))
            found.append(Defects.of(predicted[piece], base, bonded))
            in_truth.append(Defects.of(true[piece], base, bonded))
            advance(len(true[piece]))
    defects, true_defects = Defects.joined(found), Defects.joined(in_truth)
    found_lddt, base_lddt = np.concatenate(scores, axis=1)
    return Sample(rows, predicted, true, found_lddt, base_lddt, defects, true_defects)


def evenly(total: int, count: int) -> NDArray[np.int64]:
    """At most `count` rows of `total`, from the first to the last."""
    return np.unique(np.linspace(0, total - 1, min(total, count)).astype(np.int64))
