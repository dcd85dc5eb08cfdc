"""An evaluation in plain words."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence

from cryosphere.evaluation.calibration import Calibration
from cryosphere.evaluation.fsc import FscSummary
from cryosphere.evaluation.latents import LatentQuality
from cryosphere.evaluation.lddt import LocalAgreement
from cryosphere.evaluation.measures import SMALLEST_RANGE
from cryosphere.evaluation.overlap import Cover, FoundSegment
from cryosphere.evaluation.partition import BoundaryOffset, Partition
from cryosphere.evaluation.results import Agreement, Evaluation
from cryosphere.evaluation.stereochemistry import CLASH_DISTANCE, LINK_TOLERANCE, Stereochemistry

CANDIDATES_LIMIT = 0.99  # below this, the oracle may be held back by its candidates
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
            *([] if evaluation.partition is None else _partition(evaluation.partition)),
            *([] if evaluation.lddt is None else [_lddt(evaluation.lddt)]),
            *([] if evaluation.stereochemistry is None else [_stereochemistry(evaluation.stereochemistry)]),
            *([] if evaluation.fsc is None else _volumes(evaluation.fsc)),
            *([] if evaluation.latent is None else [_latent(evaluation.latent)]),
            *([] if evaluation.calibration is None else _calibration(evaluation.calibration)),
        ]
    )


def _calibration(found: Calibration) -> Iterator[str]:
    yield f"Truth within the 68 % and 95 % intervals, in {found.images} images (of the latents' spread alone):"
    for one in found.coverages:
        (low, high), (latent_low, latent_high) = one.inside, one.latent_inside
        yield (
            f"  {one.name}: {100 * low:.0f} % and {100 * high:.0f} % ({100 * latent_low:.0f} % and "
            f"{100 * latent_high:.0f} %); standard deviation {one.sd:.2f} {one.unit}, error {one.error:.2f} {one.unit}."
        )


def _partition(found: Partition) -> Iterator[str]:
    bodies = "; ".join(" + ".join("fixed" if s == 0 else str(s) for s in body) for body in found.bodies)
    many = _counted(len(found.bodies), "body that moves", "bodies that move")
    text = f"{found.segments_used} of {found.segments_allowed} segments hold residues, in {many} as one to within "
    text += f"{found.body_tolerance:.1f} Å: {bodies}."
    if found.adjusted_rand is not None and found.adjusted_rand_bodies is not None:
        text += (
            f" Agreement with the domains (adjusted Rand index, 1 is perfect): {found.adjusted_rand:.2f} by segment, "
            f"{found.adjusted_rand_bodies:.2f} by body."
        )
    yield text
    if found.boundaries:
        yield (
            "True boundaries, and residues to the nearest one between bodies: "
            + ", ".join(map(_offset, found.boundaries))
            + "."
        )
    for domain in found.domains:
        yield (
            f"{domain.domain} departs from a rigid body by {domain.misfit:.2f} Å (RMS; true structures "
            f"{domain.true_misfit:.2f} Å)."
        )


def _offset(offset: BoundaryOffset) -> str:
    place = f"{offset.chain}:{offset.after}" if offset.chain.strip() else str(offset.after)
    return f"{place} ({'none in this chain' if offset.nearest_body is None else offset.nearest_body})"


def _lddt(found: LocalAgreement) -> str:
    return (
        f"Neighbouring residues keep their true distances (lDDT): {found.mean:.3f}; base structure "
        f"{found.base_mean:.3f} ({found.images} images)."
    )


def _stereochemistry(found: Stereochemistry) -> str:
    return (
        f"Clashes (residues under {CLASH_DISTANCE:.0f} Å): {found.clashes:.1f} per structure, true structures "
        f"{found.true_clashes:.1f}, base structure {found.base_clashes}. Chain links broken by more than "
        f"{LINK_TOLERANCE:.0f} Å: {found.broken_links:.1f} per structure, true structures "
        f"{found.true_broken_links:.1f}."
    )


def _volumes(found: FscSummary) -> Iterator[str]:
    kinds = (("beads", found.beads, found.base_beads), ("all atoms", found.atoms, found.base_atoms))
    for name, predicted, base in kinds:
        if predicted is not None and base is not None:
            yield (
                f"Volumes of {name} agree with the true ones (FSC 0.5) to {predicted.at_half:.1f} Å, base structure "
                f"{base.at_half:.1f} Å; area under the curve {predicted.area:.3f}, base structure {base.area:.3f}, at "
                f"most {found.highest_area:.3f} ({found.images} images)."
            )


def _latent(found: LatentQuality) -> str:
    text = f"Latent space: {found.active_dimensions} of {found.dimensions} dimensions in use, "
    text += f"effective dimension {found.effective_dimension:.1f}"
    if found.neighbours_kept is not None and found.neighbours_by_chance is not None:
        text += f"; {found.neighbours_kept:.1%} of the {found.neighbours} nearest are nearest in truth too"
        text += f" (by chance {found.neighbours_by_chance:.1%})"
    if found.pose_r2 is not None and found.pose_r2_by_chance is not None:
        text += f"; it predicts the pose with R² {_plain_zero(found.pose_r2)}"
        text += f" (by chance {_plain_zero(found.pose_r2_by_chance)}; it should not)"
    return text + "."


def _plain_zero(value: float) -> str:
    return f"{round(value, 3) + 0.0:.3f}"


def _counted(count: int, one: str, several: str) -> str:
    return f"{count} {one if count == 1 else several}"


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
        if agreement.oracle_sd is not None and not math.isnan(agreement.oracle_sd):
            text += f" ± {agreement.oracle_sd:.{3 if agreement.oracle_sd >= 1e-3 else 4}f}"
        if agreement.oracle_ceiling is not None and agreement.oracle_ceiling < CANDIDATES_LIMIT:
            text += f" (but no more than {agreement.oracle_ceiling:.3f} with so few candidates)"
    if agreement.axis_error is not None:
        text += f"; axis off by {agreement.axis_error:.1f}°"
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
