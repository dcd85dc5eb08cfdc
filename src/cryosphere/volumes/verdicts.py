"""Which stretches of a model the density supports, which it does not, and where it does not say."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final, Literal

import numpy as np
from numpy.typing import NDArray

from cryosphere.structures.beads import Beads
from cryosphere.structures.ranges import ResidueRange, residue_ranges
from cryosphere.volumes.support import HALF_WINDOW, Support

Verdict = Literal["supported", "weak", "absent"]
VERDICTS: Final[tuple[Verdict, ...]] = ("supported", "weak", "absent")

HALF = 0.5  # between there and not there
SURE = 2.0  # standard errors from it
SHORTEST = 5  # residues: shorter stretches are not told from what surrounds them at the resolution of these maps
MIXED = 0.2  # of a segment's residues: from here on it is not called by what the rest of them are


@dataclass(frozen=True)
class SegmentVerdict:
    """What of a segment is in the density: mean support of its residues, how many of each verdict, and its own."""

    name: str
    ranges: tuple[ResidueRange, ...]
    support: float
    error: float
    counts: tuple[int, int, int]  # supported, weak, absent
    verdict: Verdict


def verdicts_of_residues(support: Support, bonded: NDArray[np.int64]) -> NDArray[np.str_]:
    """The verdict on each residue, (R,).

    Chains are cut where the windowed amplitude crosses 0.5, which is where a step from 1 to 0 stands, and then at the
    largest step of the amplitude itself within the window. A stretch is supported, or absent, if for most of its
    residues the windowed amplitude is two standard errors above, or below, 0.5; else it is weak. To be absent it needs
    five residues, unless it is a ligand.
    """
    windowed = support.along(bonded)
    follows = np.zeros(len(windowed.amplitude), dtype=bool)
    follows[bonded[:, 1]] = True
    there = _cut_at_steps(windowed.amplitude >= HALF, support.amplitude, follows)
    cut = ~follows
    cut[1:] |= there[1:] != there[:-1]
    stretch = np.cumsum(cut) - 1
    beyond = np.where(there, windowed.amplitude - HALF, HALF - windowed.amplitude)
    long = np.bincount(stretch) >= SHORTEST
    alone = ~follows & np.append(~follows[1:], [True])  # a ligand, or another residue that is bonded to none
    enough = long | (np.bincount(stretch, alone) > 0) | (np.bincount(stretch, there) > 0)
    known = enough & (np.bincount(stretch, beyond > SURE * windowed.error) > 0.5 * np.bincount(stretch))
    told = np.where(there, "supported", "absent")
    return np.asarray(np.where(known[stretch], told, "weak"))


def _cut_at_steps(
    there: NDArray[np.bool_], amplitude: NDArray[np.float64], follows: NDArray[np.bool_]
) -> NDArray[np.bool_]:
    """Where residues are there, (R,), with each change moved to the largest step of its kind within the window.

    follows: whether a residue is bonded to the one before it. Two changes that meet in one place vanish.
    """
    piece = np.cumsum(~follows) - 1
    changes = np.flatnonzero(follows & np.append([False], there[1:] != there[:-1]))
    near = changes[:, None] + np.arange(-HALF_WINDOW, HALF_WINDOW + 1)
    near = np.clip(near, 1, len(there) - 1)
    steps = (amplitude[near] - amplitude[near - 1]) * np.where(there[changes], 1.0, -1.0)[:, None]
    possible = follows[near] & (piece[near] == piece[changes][:, None])
    moved = near[np.arange(len(changes)), np.argmax(np.where(possible, steps, -np.inf), axis=1)]
    turns = np.cumsum(np.bincount(moved, minlength=len(there)))
    first = np.flatnonzero(~follows)[piece]  # residue of its chain
    return np.asarray(there[first] ^ ((turns - turns[first]) % 2 == 1))


def stretches(beads: Beads, verdicts: NDArray[np.str_], wanted: Verdict) -> tuple[ResidueRange, ...]:
    """The stretches of residues that have a verdict, in the order of the model."""
    return residue_ranges(beads, (verdicts == wanted).astype(np.int64)).get(1, ())


def verdicts_of_segments(
    support: Support, verdicts: NDArray[np.str_], assignment: NDArray[np.int64], names: Sequence[str], beads: Beads
) -> list[SegmentVerdict]:
    """The verdict on each segment that has residues; `assignment` (R,) from 0, negative for residues held fixed.

    A segment of which four fifths have one verdict has that one; any other is weak, as only a part of it is there.
    """
    found = []
    ranges = residue_ranges(beads, assignment)
    for segment in np.unique(assignment).tolist():
        rows = assignment == segment
        counts = tuple(int((verdicts[rows] == one).sum()) for one in VERDICTS)
        most = int(np.argmax(counts))
        verdict = VERDICTS[most] if counts[most] >= (1 - MIXED) * rows.sum() else "weak"
        name = names[segment] if segment >= 0 else "held fixed"
        mean, error = float(support.amplitude[rows].mean()), float(support.error[rows].mean())
        found.append(SegmentVerdict(name, ranges[segment], mean, error, counts, verdict))  # type: ignore[arg-type]
    return found
