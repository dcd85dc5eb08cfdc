"""What is concluded of each motion, and from which figures."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from cryosphere.structures.beads import Beads
from cryosphere.structures.ranges import residue_ranges
from cryosphere.validation.gains import NONE, Gain, Gains, MotionGains
from cryosphere.validation.motions import Common

Float = NDArray[np.float64]
Verdict = Literal["reproduced", "weak", "not supported"]

MOST_MOTIONS = 4  # that are judged
CLEAR, DOUBTFUL = 5.0, 2.5  # standard errors of a gain; for the correlation, deviations of the null
SURE = 2.0  # standard errors of a gain over what would be no motion at all
MOSTLY = 0.5  # of what rest wins by: as much must be due to fading, for a part to be said to come and go
RARE = 0.01  # how often chance may correlate as much, for a motion that is at least weak
ALIKE, RELATED = 0.7, 0.4  # cosine between the two models' displacements of all residues
MOVES = 0.5  # of the largest displacement: residues that move so far name the motion
_UNITS = {CLEAR: "5 needed", SURE: "2 standard errors needed", ALIKE: "0.7 needed"}
_NAMED = 3  # stretches of residues in a motion's name


@dataclass(frozen=True)
class Motion:
    """One motion that two models were asked about, the verdict, and the figures behind it."""

    name: str
    verdict: Verdict
    reasons: tuple[str, ...]  # in words: what speaks for it or against it
    residues: tuple[str, ...]  # that move at least half as far as the one that moves most
    correlation: float  # between the models' places of the same images, from different frequencies
    null_99: float  # the same where images were exchanged with others seen from the same side: 99 of 100 are below
    above_null: float  # standard deviations of the null
    p_value: float
    direction_cosine: float  # between the models' displacements of all residues
    amplitude: tuple[float, float]  # Å, RMS over images and residues, with either model
    largest_amplitude: tuple[float, float]  # Å, RMS over images, of the residue that moves most
    gain_over_held: Gain  # nats per image, against the motion standing still
    gain_over_exchanged: Gain  # nats per image, against another image's place, seen from the same side
    gain_over_composition: Gain  # nats per image, against the motion standing still while its residues come and go
    component: str | None = None  # principal component of the run that it goes with best
    component_correlation: float = 0.0

    def as_dict(self) -> dict[str, Any]:
        """For JSON."""
        return asdict(self)


def judge(common: Common, found: Gains, moves: tuple[Float, Float], beads: Beads) -> tuple[Motion, ...]:
    """A verdict for each of the first common motions; one that says so where the models have no motion at all.

    moves: how the residues move with either model, (k, R, 3) Å each.
    """
    if not len(common.correlations):
        why = "at least one of the models gives all images the same structure"
        return (_motion("motion 1", common, None, (np.zeros((1, 3)), np.zeros((1, 3))), ("not supported", (why,), ())),)
    motions = []
    for k, gains in enumerate(found.motions):
        pair = (moves[0][k], moves[1][k])
        stretches = _stretches(pair, beads)
        names = " ".join(stretches[:_NAMED]) + (" …" if len(stretches) > _NAMED else "")
        verdict, reasons = _verdict(common, k, gains, (_cosine(*pair), found.over_base))
        motions.append(_motion(f"motion {k + 1} ({names})", common, (k, gains), pair, (verdict, reasons, stretches)))
    return tuple(motions)


def _motion(
    name: str,
    common: Common,
    which: tuple[int, MotionGains] | None,
    moves: tuple[Float, Float],
    said: tuple[Verdict, tuple[str, ...], tuple[str, ...]],
) -> Motion:
    k, gains = which if which is not None else (0, MotionGains(NONE, NONE, NONE, NONE))
    known = which is not None
    squares = [(one**2).sum(axis=-1) for one in moves]
    return Motion(
        name=name,
        verdict=said[0],
        reasons=said[1],
        residues=said[2],
        correlation=float(common.correlations[k]) if known else 0.0,
        null_99=float(np.quantile(common.null, 0.99)) if known else 0.0,
        above_null=float(common.distances[k]) if known else 0.0,
        p_value=float(common.p_values[k]) if known else 1.0,
        direction_cosine=_cosine(*moves),
        amplitude=(float(np.sqrt(squares[0].mean())), float(np.sqrt(squares[1].mean()))),
        largest_amplitude=(float(np.sqrt(squares[0].max())), float(np.sqrt(squares[1].max()))),
        gain_over_held=gains.over_held,
        gain_over_exchanged=gains.over_exchanged,
        gain_over_composition=gains.over_composition,
    )


def _verdict(common: Common, k: int, gains: MotionGains, of_all: tuple[float, Gain]) -> tuple[Verdict, tuple[str, ...]]:
    """Reproduced where every test is passed clearly; weak where images at least know the motion from chance."""
    cosine, over_base = of_all
    above, p_value = float(common.distances[k]), float(common.p_values[k])
    exchanged, held, composition = gains.over_exchanged, gains.over_held, gains.over_composition
    tests = (
        (above, CLEAR, f"agreement of the models about where images lie along it: {above:.1f} deviations above chance"),
        (
            exchanged.errors,
            CLEAR,
            f"gain of an image's own place over another image's: {words(exchanged)}, {exchanged.errors:.1f} errors",
        ),
        (held.errors, SURE, f"gain over standing still: {words(held)}"),
        (composition.errors, SURE, f"gain over residues that stand still but come and go: {words(composition)}"),
        (over_base.errors, SURE, f"gain of all motions together over the base structure: {words(over_base)}"),
        (cosine, ALIKE, f"likeness of the residues' displacements in both models: cosine {cosine:.2f}"),
    )
    reasons = tuple(
        f"{'passed' if value >= limit else 'not passed'}: {text} ({_UNITS[limit]})" for value, limit, text in tests
    )
    if all(value >= limit for value, limit, _ in tests):
        return "reproduced", reasons
    if composition.errors <= -SURE:
        fades = gains.of_fading.errors >= SURE and gains.of_fading.nats > -MOSTLY * composition.nats
        better = "a part that comes and goes" if fades else "one place for all images"
        return "not supported", (f"{better} explains the images better", *reasons)
    if p_value <= RARE and exchanged.errors >= DOUBTFUL and held.errors > 0 and cosine >= RELATED:
        return "weak", reasons
    return "not supported", reasons


def words(gain: Gain) -> str:
    """A gain as it is written."""
    return f"{gain.nats:+.3f} ± {gain.error:.3f} nats per image"


def _cosine(first: Float, second: Float) -> float:
    power = float(np.sqrt((first**2).sum() * (second**2).sum()))
    return float((first * second).sum() / power) if power > 0 else 0.0


def _stretches(moves: tuple[Float, Float], beads: Beads) -> tuple[str, ...]:
    """The residues that move furthest, as stretches of the chains, the longest first."""
    length = np.linalg.norm(moves[0] + moves[1], axis=-1)
    far = (length >= MOVES * length.max()).astype(np.int64)
    found = sorted(residue_ranges(beads, far).get(1, ()), key=lambda one: -one.residues)
    return tuple(one.words for one in found)
