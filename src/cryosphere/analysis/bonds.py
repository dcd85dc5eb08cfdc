"""How far the chain is stretched where segments meet: structures are made without any chemistry."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from cryosphere.analysis.traversal import Traversal

if TYPE_CHECKING:
    from cryosphere.training.trained import TrainedModel

_PROTEIN = ("protein", "modified")


@dataclass(frozen=True)
class BondLengths:
    """Distances in Å of Cα atoms that follow each other in a chain: shortest and longest."""

    base: tuple[float, float]  # in the input model
    ends: tuple[float, float]  # at the ends of all traversals
    longest_between: tuple[int, int]  # the two residues, as rows of the model


def bond_lengths(model: TrainedModel, traversals: Sequence[Traversal]) -> BondLengths | None:
    """The extremes over both ends of every traversal; None for a model without bonded protein residues."""
    beads = model.atomic_model.beads
    bonded = np.asarray(beads.bonded, dtype=np.int64).reshape(-1, 2)
    bonded = bonded[np.isin(np.asarray(beads.kind)[bonded], _PROTEIN).all(axis=1)]
    if len(bonded) == 0 or not traversals:
        return None
    ends = np.concatenate([traversal.latents[[0, -1]] for traversal in traversals]).astype(np.float32)
    moved = _lengths(np.asarray(model.bead_positions(ends), dtype=np.float64), bonded)
    base = _lengths(np.asarray(beads.positions, dtype=np.float64), bonded)
    first, second = map(int, bonded[int(moved.max(axis=0).argmax())])
    return BondLengths(
        (float(base.min()), float(base.max())), (float(moved.min()), float(moved.max())), (first, second)
    )


def _lengths(positions: NDArray[np.float64], bonded: NDArray[np.int64]) -> NDArray[np.float64]:
    """Lengths (..., P) of the bonds (P, 2) in structures (..., R, 3)."""
    return np.asarray(np.linalg.norm(positions[..., bonded[:, 1], :] - positions[..., bonded[:, 0], :], axis=-1))
