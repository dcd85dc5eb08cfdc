"""Figures of a structure that the images should settle: distances and angles between domains."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial

import numpy as np
from numpy.typing import NDArray

from cryosphere.evaluation import measures
from cryosphere.evaluation.domains import Domain
from cryosphere.simulation.truth import Truth

NUMBERS_AT_ONCE = 2**22  # coordinates: bounds memory
REFERENCE = 200  # conformations from which the main axis of a turn is taken


@dataclass(frozen=True)
class Figure:
    """A number that every structure has: `of` takes structures (n, R, 3) Å and gives (n,)."""

    name: str
    unit: str  # "Å" or "°"
    of: Callable[[NDArray[np.floating]], NDArray[np.float64]]
    turn: Callable[[NDArray[np.floating]], NDArray[np.float64]] | None = None  # rotation vectors (n, 3) of an angle

    def in_chunks(self, structures: NDArray[np.floating]) -> NDArray[np.float64]:
        """The same, a bounded number of structures at a time."""
        step = at_once(structures.shape[1])
        pieces = [self.of(structures[i : i + step]) for i in range(0, len(structures), step)]
        return np.concatenate(pieces) if pieces else np.zeros(0)


def at_once(residues: int) -> int:
    """How many structures of that many residues are looked at together."""
    return int(np.clip(NUMBERS_AT_ONCE // (3 * max(residues, 1)), 1, 1000))


def figures_of(truth: Truth, groups: Sequence[Domain]) -> list[Figure]:
    """Distance and turn between every pair of domains."""
    figures = []
    for i, moving in enumerate(groups):
        for still in groups[i + 1 :]:
            figures.append(Figure(f"{moving.name}-{still.name} distance", "Å", _distance(moving, still)))
            turn = partial(_turn, truth.base_positions, moving, still)
            figures.append(Figure(f"{moving.name}-{still.name} angle", "°", _angle(truth, turn), turn))
    return figures


def _distance(first: Domain, second: Domain) -> Callable[[NDArray[np.floating]], NDArray[np.float64]]:
    return lambda positions: measures.domain_distance(positions, first.mask, second.mask)


def _turn(
    base: NDArray[np.floating], moving: Domain, still: Domain, positions: NDArray[np.floating]
) -> NDArray[np.float64]:
    return measures.domain_turn(positions, base, moving.mask, still.mask)


def _angle(
    truth: Truth, turn: Callable[[NDArray[np.floating]], NDArray[np.float64]]
) -> Callable[[NDArray[np.floating]], NDArray[np.float64]]:
    count = len(truth.conformations)
    rows = np.unique(np.linspace(0, count - 1, min(count, REFERENCE)).astype(np.int64))
    reference = turn(truth.conformations[rows])
    axis = measures.main_axis(reference, _simulated_angle(truth, rows))
    centre = measures.mean_angle(reference @ axis)
    return lambda positions: measures.along_axis(turn(positions), axis, centre)


def _simulated_angle(truth: Truth, rows: NDArray[np.int64]) -> NDArray[np.float64] | None:
    """The angle that the simulation turned the conformations by, where it says so."""
    names = [str(name) for name in truth.parameter_names]
    return truth.parameters[rows, names.index("angle")] if "angle" in names else None
