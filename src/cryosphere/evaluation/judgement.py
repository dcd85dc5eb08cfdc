"""What an evaluation means, in sentences: what was possible, what was reached, what failed."""

from __future__ import annotations

import math

from cryosphere.evaluation.measures import SMALLEST_RANGE
from cryosphere.evaluation.results import Agreement, Evaluation

NEAR = 0.95  # of the oracle's correlation: as good as possible
SHORT = 0.85  # below this share of it, a figure counts as missed
BIASED = 2.0  # times the oracle's mean error: the order of the images is right, the values are not
RANGE = 0.7  # predicted range below this share of the expected one: the motion is too small
CLASHES = 1.0  # per structure, more than in the true structures
TORN = 0.05  # share of structures with broken links
POSE = 0.05  # R² above chance from which the latent knows the pose
SAME_PARTS = 0.8  # adjusted Rand index of bodies and domains
OFFSET = 5  # residues


def ratio(agreement: Agreement) -> float | None:
    """Correlation reached over the correlation possible, on the same images; None where either is unknown."""
    best, there = agreement.oracle_correlation, agreement.correlation_on_oracle_images
    if best is None or there is None or not math.isfinite(best + there) or best <= 0:
        return None
    return there / best


def failures(evaluation: Evaluation) -> list[str]:
    """What went wrong, most serious first; empty where nothing stands out."""
    return [
        *_about_motion(evaluation),
        *_about_order(evaluation),
        *_about_ranges(evaluation),
        *_about_values(evaluation),
        *_about_structures(evaluation),
        *_about_segments(evaluation),
        *_about_latent(evaluation),
    ]


def _about_motion(evaluation: Evaluation) -> list[str]:
    if evaluation.deviation < evaluation.base_deviation:
        return []
    return [
        f"Structures are no nearer to the truth ({evaluation.deviation:.2f} Å) than the base structure that never "
        f"moves ({evaluation.base_deviation:.2f} Å): the run has learned nothing useful, or something wrong."
    ]


def _about_order(evaluation: Evaluation) -> list[str]:
    """Figures that do not vary, or go less well with the truth than was possible."""
    moving = [one for one in evaluation.agreements if _width(one.true_range) > 0]
    still = [one.name for one in moving if not math.isfinite(one.correlation)]
    low = [
        f"{one.name} ({one.correlation_on_oracle_images:.3f} of {one.oracle_correlation:.3f})"
        for one in evaluation.agreements
        if (share := ratio(one)) is not None and share < SHORT
    ]
    found = []
    if still:
        found.append(f"What moves in truth does not move in the predicted structures: {', '.join(still)}.")
    if low:
        found.append(f"Correlations below {100 * SHORT:.0f} % of what was possible: {', '.join(low)}.")
    return found


def _about_ranges(evaluation: Evaluation) -> list[str]:
    """Motions that are too small or too large.

    The mean of a posterior spans less than the truth, by about the oracle's correlation: that much is no failure.
    """
    small, large = [], []
    for one in evaluation.agreements:
        true, predicted = _width(one.true_range), _width(one.predicted_range)
        if not (true > 0 and math.isfinite(one.correlation)):
            continue
        best = one.oracle_correlation
        expected = true * (best if best is not None and 0 < best < 1 else 1.0)
        if predicted < RANGE * expected:
            small.append(f"{one.name} ({100 * predicted / true:.0f} % of the true range)")
        elif predicted * RANGE > true:
            large.append(f"{one.name} ({predicted / true:.1f} times the true range)")
    sentences = (("The motion is too small", small), ("The motion is too large", large))
    return [f"{what}: {', '.join(names)}." for what, names in sentences if names]


def _width(bounds: tuple[float, float]) -> float:
    """Of a range; 0 where it is no more than rounding."""
    low, high = bounds
    return high - low if high - low > SMALLEST_RANGE else 0.0


def _about_values(evaluation: Evaluation) -> list[str]:
    """Figures that correlate well, but are off by far more than noise explains."""
    off = []
    for one in evaluation.agreements:
        share, best = ratio(one), one.oracle_mean_error
        if share is not None and share >= SHORT and best is not None and one.mean_error > BIASED * best:
            off.append(f"{one.name} ({with_unit(one.mean_error, one.unit)}, possible {with_unit(best, one.unit)})")
    if not off:
        return []
    return [f"The images come in the right order, but values are off by more than noise explains: {', '.join(off)}."]


def with_unit(value: float, unit: str) -> str:
    """A value with two decimals and its unit, the degree sign close to it."""
    return f"{value:.2f}{unit}" if unit == "°" else f"{value:.2f}\u00a0{unit}"


def _about_structures(evaluation: Evaluation) -> list[str]:
    found = []
    local, chemistry, fsc = evaluation.lddt, evaluation.stereochemistry, evaluation.fsc
    if local is not None and local.mean < local.base_mean:
        found.append(
            f"Distances between neighbouring residues are kept less well than in the base structure (lDDT "
            f"{local.mean:.3f} against {local.base_mean:.3f}): rigid segments cannot follow what changes inside "
            "domains, or cut where nothing bends."
        )
    if chemistry is not None and chemistry.clashes > chemistry.true_clashes + CLASHES:
        found.append(
            f"{chemistry.clashes:.1f} pairs of residues clash per structure, against {chemistry.true_clashes:.1f} in "
            "the true ones; `loss.clash` in training keeps them apart."
        )
    if chemistry is not None and chemistry.structures_with_broken_links > TORN:
        found.append(
            f"In {100 * chemistry.structures_with_broken_links:.0f} % of the structures a chain is torn; "
            "`loss.continuity` in training holds it together."
        )
    if fsc is not None and fsc.beads.area <= fsc.base_beads.area:
        found.append("As volumes, predicted structures are no nearer to the true ones than the base structure is.")
    return found


def _about_segments(evaluation: Evaluation) -> list[str]:
    parts = evaluation.partition
    if parts is None:
        return []
    found = []
    if parts.adjusted_rand_bodies is not None and parts.adjusted_rand_bodies < SAME_PARTS:
        found.append(
            "The parts that move as one are not the true domains (adjusted Rand index "
            f"{parts.adjusted_rand_bodies:.2f}, 1 is perfect)."
        )
    missed = [one for one in parts.boundaries if one.nearest_body is None or one.nearest_body > OFFSET]
    if missed:
        places = ", ".join(f"{one.chain}:{one.after}".removeprefix(":").strip() for one in missed)
        many = "A true boundary lies" if len(missed) == 1 else f"{len(missed)} true boundaries lie"
        found.append(f"{many} more than {OFFSET} residues from where the chain was found to bend: after {places}.")
    return found


def _about_latent(evaluation: Evaluation) -> list[str]:
    latent = evaluation.latent
    if latent is None:
        return []
    found = []
    if latent.active_dimensions == 0:
        found.append("The latent has collapsed: no dimension of it tells images apart.")
    for r2, chance, what in (
        (latent.pose_r2, latent.pose_r2_by_chance, "pose"),
        (latent.view_r2, latent.view_r2_by_chance, "viewing direction"),
    ):
        if r2 is not None and r2 > max(chance or 0.0, 0.0) + POSE:
            found.append(f"The latent encodes the {what} (R² {r2:.2f}), which it must not.")
    return found
