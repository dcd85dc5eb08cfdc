"""An evaluation in plain words."""

from __future__ import annotations

import math
from collections.abc import Sequence

from cryosphere.evaluation.measures import SMALLEST_RANGE
from cryosphere.evaluation.overlap import Cover, FoundSegment
from cryosphere.evaluation.results import Agreement, Evaluation

MOST_RANGES = 6  # listed; of more, the first ones


def describe(evaluation: Evaluation) -> str:
    """A few lines that say how well the structures agree with the truth, and which segments were found."""
    return "\n".join(
        [
            f"{evaluation.images} images: predicted structures deviate from the true ones by "
            f"{evaluation.deviation:.2f} Å ({evaluation.aligned_deviation:.2f} Å after superposition); the unmoved "
            f"base structure by {evaluation.base_deviation:.2f} Å ({evaluation.base_aligned_deviation:.2f} Å).",
            *(_agreement(agreement) for agreement in evaluation.agreements),
            "Segments found:",
            *(_segment(segment) for segment in evaluation.segments),
            *(_cover(cover) for cover in evaluation.covers),
        ]
    )


def _segment(segment: FoundSegment) -> str:
    domains = ", ".join(f"{count} of {name}" for name, count in segment.domains.items() if count)
    where = _listed(segment.ranges)
    return f"  {segment.segment:>2}: {_residues(segment.residues)}, {where} ({domains or 'of no domain'})"


def _cover(cover: Cover) -> str:
    domain = f"{cover.name} ({_listed(cover.ranges)}; {_residues(cover.residues)})"
    if not cover.segments:
        return f"{domain} is covered by no segment."
    held = "all of it" if cover.held == cover.residues else f"{cover.held} of its residues"
    others = cover.segment_residues - cover.held
    return f"{domain}: {held} in {_numbered(cover.segments)} ({_listed(cover.segment_ranges)}), " + (
        f"which also {_has(cover.segments)} {_residues(others, 'other ')}." if others else "and nothing else."
    )


def _agreement(agreement: Agreement) -> str:
    unit = agreement.unit if agreement.unit == "°" else f" {agreement.unit}"
    text = (
        f"{agreement.name}: {_correlation(agreement)} mean error "
        f"{agreement.mean_error:.2f}{unit} (true range {_range(agreement.true_range)}{unit}, predicted "
        f"{_range(agreement.predicted_range)}{unit})"
    )
    best, there = agreement.oracle_correlation, agreement.correlation_on_oracle_images
    if best is not None and there is not None and not math.isnan(best + there):
        text += f"; on {agreement.oracle_images} images {there:.3f}, where the best possible is {best:.3f}"
    return text + "."


def _correlation(agreement: Agreement) -> str:
    if not math.isnan(agreement.correlation):
        return f"correlation of predicted with true {agreement.correlation:.3f},"
    low, high = agreement.true_range
    where = "in the truth" if high - low < SMALLEST_RANGE else "in the predictions"
    return f"does not vary {where}, so there is no correlation;"


def _range(values: tuple[float, float]) -> str:
    low, high = (round(value, 1) + 0.0 for value in values)  # no minus before a zero
    return f"{low:.1f} to {high:.1f}"


def _residues(count: int, which: str = "") -> str:
    return f"1 {which}residue" if count == 1 else f"{count} {which}residues"


def _has(segments: Sequence[int]) -> str:
    return "has" if len(segments) == 1 else "have"


def _numbered(segments: Sequence[int]) -> str:
    if len(segments) == 1:
        return f"segment {segments[0]}"
    return f"segments {', '.join(map(str, segments[:-1]))} and {segments[-1]}"


def _listed(ranges: Sequence[str]) -> str:
    more = len(ranges) - MOST_RANGES
    return ", ".join(ranges[:MOST_RANGES]) + (f" and {more} more" if more > 0 else "")
