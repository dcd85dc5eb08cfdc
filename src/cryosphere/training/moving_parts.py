"""Which learned segments move as one part of the molecule, as the images tell it (moving_parts.json of a run)."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from cryosphere.errors import RunError
from cryosphere.files import write_text

ENOUGH = 0.9  # of what motion explains: the fewest parts that keep as much are the answer
RESIDUES = 80  # of a segment to begin with: many small pieces of one body that turns far each lose their own way
LEAST, MOST = 10, 30  # segments to begin with


@dataclass(frozen=True)
class Merge:
    """Two parts become one: what the images lose by it.

    `first` and `second`: segments (from 0) of the two. `parts`: how many are left then. `misfit`: RMS distance in Å,
    over residues and images, that one motion of both leads astray. `loss` ± `error`: nats per image, and its standard
    error. `kept`: share of what motion explains that is left then; by chance slightly more than 1 or less than 0.
    """

    first: tuple[int, ...]
    second: tuple[int, ...]
    parts: int
    misfit: float
    loss: float
    error: float
    kept: float


@dataclass(frozen=True)
class MovingParts:
    """The parts of a molecule that move against each other, found by merging segments.

    `parts`: segments (from 0) of each, the part of most residues first. `segments`: how many there are to begin with.
    `gain` ± `error`: nats per image by which the images are explained better than if the molecule moved as one rigid
    body. `kept`: share of that which these parts keep. `images`: looked at. `merges`: from all segments down to one.
    """

    parts: tuple[tuple[int, ...], ...]
    segments: int
    images: int
    gain: float
    error: float
    kept: float
    merges: tuple[Merge, ...]

    def save(self, path: Path) -> None:
        """Write a JSON file."""
        write_text(path, json.dumps(asdict(self), indent=2) + "\n")

    @classmethod
    def load(cls, path: Path) -> MovingParts:
        """Read it back.

        Raises:
            RunError: if the file is damaged.
        """
        try:
            values = json.loads(path.read_text(encoding="utf-8"))
            merges = tuple(_merge(merge) for merge in values.pop("merges"))
            return cls(parts=tuple(map(tuple, values.pop("parts"))), merges=merges, **values)
        except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
            raise RunError(f"{path} is damaged: {error}") from None

    def words(self) -> str:
        """In one sentence, for the log."""
        count, of = len(self.parts), f"(of {self.segments} segment{'s' if self.segments != 1 else ''})"
        if count == 1:
            return f"1 moving part {of}: the images do not tell it from one rigid body"
        names = "; ".join(" + ".join(f"S{segment + 1}" for segment in part) for part in self.parts)
        return (
            f"{count} moving parts {of}: {names}. They keep {100 * min(self.kept, 1.0):.0f} % of the "
            f"{self.gain:.3g} nats by which motion explains each of {self.images} images"
        )


def fewest(merges: Sequence[Merge], segments: Sequence[int]) -> tuple[list[tuple[int, ...]], float]:
    """The fewest parts that keep ENOUGH of what motion explains, and the share that they keep.

    `segments` are those to begin with, `merges` lead from them to one part.
    """
    last = max((k for k, merge in enumerate(merges) if merge.kept >= ENOUGH), default=-1)
    parts: list[tuple[int, ...]] = [(segment,) for segment in segments]
    for merge in merges[: last + 1]:
        parts = [part for part in parts if part not in (merge.first, merge.second)]
        parts.append(tuple(sorted(merge.first + merge.second)))
    return parts, merges[last].kept if last >= 0 else 1.0


def _merge(values: dict[str, Any]) -> Merge:
    return Merge(first=tuple(values.pop("first")), second=tuple(values.pop("second")), **values)


def start_count(residues: int) -> int:
    """Segments to begin with, for a model of so many residues: one for 80, but 10 to 30.

    >>> [start_count(residues) for residues in (5, 214, 1006, 50_000)]
    [5, 10, 13, 30]
    """
    return min(max(round(residues / RESIDUES), LEAST), MOST, residues)
