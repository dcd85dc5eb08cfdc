"""A run against the truth of the simulation it was trained on."""

from __future__ import annotations

import json
import logging
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from cryosphere.errors import InputError
from cryosphere.evaluation import measures
from cryosphere.evaluation.domains import Domain, domains_of
from cryosphere.evaluation.oracle import conformation_posteriors, spread_candidates
from cryosphere.evaluation.overlap import Cover, FoundSegment, assign, boundaries, covers, found_segments
from cryosphere.files import write_text
from cryosphere.particles.stacks import ImageStacks
from cryosphere.progress import SILENT, Progress
from cryosphere.simulation.truth import Truth, load_truth
from cryosphere.training.trained import TrainedModel

log = logging.getLogger(__name__)

ORACLE_CANDIDATES = 100
UNRELATED_POSES = 45.0  # degrees, median difference from the true poses; any refinement that worked is far better
CHUNK = 2000

Figure = Callable[[NDArray[np.floating]], NDArray[np.float64]]
"""From structures (n, residues, 3) to one number each."""


@dataclass(frozen=True)
class Agreement:
    """How well one figure of the structures is predicted, over all images, beside the best that was possible."""

    name: str
    unit: str
    correlation: float
    mean_error: float  # mean absolute difference
    oracle_correlation: float | None  # posterior mean over the true conformations, on a sample
    oracle_images: int
    correlation_on_oracle_images: float | None
    true_range: tuple[float, float]  # 1st and 99th percentile
    predicted_range: tuple[float, float]


@dataclass(frozen=True)
class Evaluation:
    """What `evaluate` found; written as evaluation.json."""

    images: int
    deviation: float  # Å, mean over images of the RMSD to the true structure, as they lie
    aligned_deviation: float  # Å, after superposition
    base_deviation: float  # Å, of the unmoved base structure
    base_aligned_deviation: float
    agreements: list[Agreement]
    segments: list[FoundSegment]
    covers: list[Cover]  # the same, domain by domain
    boundaries: list[tuple[str, int]]  # (chain, residue) after which the chain passes into another segment


def evaluate(
    run: str | Path,
    truth: str | Path,
    *,
    domains: Sequence[str] = (),
    oracle_images: int = 1000,
    device: str = "auto",
    progress: Progress = SILENT,
) -> Evaluation:
    """Compare every image's predicted structure with the true one; write RUN/evaluation.json.

    Args:
        run: The run directory.
        truth: truth.npz of the simulation.
        domains: Groups of residues to measure between, such as "LID=A:122-159"; "CORE=rest" takes what no other names.
            By default those that the simulation moved.
        oracle_images: How many images the oracle looks at; 0 leaves it out.
        device: "auto", "cpu" or "cuda".
        progress: Shown how far everything is.

    Raises:
        InputError: if run and truth do not belong together, or a domain has no residues.
    """
    if oracle_images < 0:
        raise InputError(f"the oracle cannot look at {oracle_images} images; 0 leaves it out")
    model = TrainedModel.load(run, device=device, progress=progress)
    known = load_truth(truth)
    _require_same_data(model, known)
    groups = domains_of(known, domains)
    latents = model.encode(progress=progress).mean
    sample = np.unique(np.linspace(0, len(latents) - 1, min(oracle_images, len(latents))).astype(np.int64))
    oracle = _ask_oracle(known, model, sample, progress) if oracle_images else None
    deviations, predicted = _collect(model, known, latents, _figures(known, groups), progress)
    agreements = []
    for (name, unit, figure), values in zip(_figures(known, groups), predicted, strict=True):
        of_conformation = _in_chunks(figure, known.conformations)
        best = None if oracle is None else oracle.posteriors @ of_conformation[oracle.candidates]
        true = of_conformation[known.conformation_index]
        agreements.append(_agreement(name, unit, values, true, best, sample))
    beads, assignment = model.atomic_model.beads, assign(model.membership())
    result = Evaluation(
        len(latents),
        *deviations,
        agreements,
        found_segments(beads, assignment, groups),
        covers(beads, assignment, groups),
        boundaries(beads, assignment),
    )
    write_text(model.run.root / "evaluation.json", json.dumps(_plain(asdict(result)), indent=2) + "\n")
    return result


@dataclass(frozen=True)
class _Oracle:
    posteriors: NDArray[np.float64]  # (images, candidates)
    candidates: NDArray[np.int64]


def _ask_oracle(truth: Truth, model: TrainedModel, sample: NDArray[np.int64], progress: Progress) -> _Oracle:
    candidates = spread_candidates(truth, ORACLE_CANDIDATES)
    stacks = ImageStacks(model.table)
    return _Oracle(conformation_posteriors(truth, stacks, sample, candidates, model.device, progress), candidates)


def _require_same_data(model: TrainedModel, truth: Truth) -> None:
    images, residues = len(model.table), len(model.atomic_model.beads)
    if images != len(truth.conformation_index) or residues != len(truth.amplitudes):
        raise InputError(
            f"{model.run.root} has {images} images of {residues} residues, the truth {len(truth.conformation_index)} "
            f"of {len(truth.amplitudes)}: they do not belong together"
        )
    beads = model.atomic_model.beads
    other = np.flatnonzero((beads.chain != truth.chain) | (beads.number != truth.residue_number))
    if len(other):
        i = int(other[0])
        raise InputError(
            f"{model.run.root} and the truth are of different proteins: residue {i + 1} of the model is "
            f"{beads.chain[i]}:{beads.number[i]} in one, {truth.chain[i]}:{truth.residue_number[i]} in the other"
        )
    traces = np.einsum("nij,nij->n", model.table.rotations, truth.rotations)
    turned = float(np.median(np.degrees(np.arccos(np.clip((traces - 1.0) / 2.0, -1.0, 1.0)))))
    if turned > UNRELATED_POSES:
        raise InputError(
            f"the poses of {model.run.root} differ from the true ones by {turned:.0f} degrees (median): these are "
            "other images, or in another order"
        )


def _figures(truth: Truth, groups: Sequence[Domain]) -> list[tuple[str, str, Figure]]:
    """Distance and turn between every pair of domains."""
    figures: list[tuple[str, str, Figure]] = []
    for i, moving in enumerate(groups):
        for still in groups[i + 1 :]:
            figures.append((f"{moving.name}-{still.name} distance", "Å", _distance(moving, still)))
            figures.append((f"{moving.name}-{still.name} angle", "°", _angle(truth, moving, still)))
    return figures


def _distance(first: Domain, second: Domain) -> Figure:
    return lambda positions: measures.domain_distance(positions, first.mask, second.mask)


def _angle(truth: Truth, moving: Domain, still: Domain) -> Figure:
    def turn(positions: NDArray[np.floating]) -> NDArray[np.float64]:
        return measures.domain_turn(positions, truth.base_positions, moving.mask, still.mask)

    some = truth.conformations[np.linspace(0, len(truth.conformations) - 1, 200).astype(np.int64)]
    reference = turn(some)
    return lambda positions: measures.along_main_axis(turn(positions), reference)


def _collect(
    model: TrainedModel,
    truth: Truth,
    latents: NDArray[np.float32],
    figures: Sequence[tuple[str, str, Figure]],
    progress: Progress,
) -> tuple[tuple[float, float, float, float], list[NDArray[np.float64]]]:
    """Mean deviations, and each figure of every predicted structure, a bounded number of structures at a time."""
    sums = np.zeros(4)
    values: list[list[NDArray[np.float64]]] = [[] for _ in figures]
    with progress.track(len(latents), "comparing structures with the truth") as advance:
        for start in range(0, len(latents), CHUNK):
            piece = slice(start, start + CHUNK)
            predicted, true = model.bead_positions(latents[piece]), truth.positions(piece)
            base = np.ascontiguousarray(np.broadcast_to(truth.base_positions, true.shape))
            for k, (structures, measure) in enumerate(
                (s, m) for s in (predicted, base) for m in (measures.deviation, measures.aligned_deviation)
            ):
                sums[k] += measure(structures, true).sum()
            for collected, (_, _, figure) in zip(values, figures, strict=True):
                collected.append(figure(predicted))
            advance(len(true))
    means = sums / len(latents)
    return (means[0], means[1], means[2], means[3]), [np.concatenate(v) for v in values]


def _in_chunks(figure: Figure, structures: NDArray[np.floating]) -> NDArray[np.float64]:
    return np.concatenate([figure(structures[i : i + CHUNK]) for i in range(0, len(structures), CHUNK)])


def _agreement(
    name: str,
    unit: str,
    predicted: NDArray[np.float64],
    true: NDArray[np.float64],
    oracle: NDArray[np.float64] | None,
    sample: NDArray[np.int64],
) -> Agreement:
    def spread(x: NDArray[np.float64]) -> tuple[float, float]:
        low, high = np.percentile(x, [1, 99])
        return float(low), float(high)

    return Agreement(
        name=name,
        unit=unit,
        correlation=measures.correlation(predicted, true),
        mean_error=float(np.abs(predicted - true).mean()),
        oracle_correlation=None if oracle is None else measures.correlation(oracle, true[sample]),
        oracle_images=0 if oracle is None else len(sample),
        correlation_on_oracle_images=None if oracle is None else measures.correlation(predicted[sample], true[sample]),
        true_range=spread(true),
        predicted_range=spread(predicted),
    )


def _plain(value: Any) -> Any:
    """NaN as null, so that the file is JSON."""
    if isinstance(value, dict):
        return {key: _plain(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(item) for item in value]
    return None if isinstance(value, float) and not np.isfinite(value) else value
