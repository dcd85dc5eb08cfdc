"""The learned segments as tables: which residues of the input model move together."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from cryosphere.structures.ranges import POLYMER_KINDS, ResidueRange, residue_ranges

if TYPE_CHECKING:
    from cryosphere.structures import Beads

__all__ = ["FIXED", "POLYMER_KINDS", "ResidueRange", "Segmentation"]

FIRM = 0.99  # membership from which a residue counts as moving with one segment alone
FIXED = -1  # stands for the residues that belong to no segment and do not move


@dataclass(frozen=True)
class Segmentation:
    """The posterior-mean segmentation of the residues.

    `membership` (R, N): how much each of the R residues belongs to each of the N segments; rows sum to 1, or to 0 for
    residues that were held fixed and belong to no segment (FIXED).
    Segments keep the order of the model; segment m (from 0) is called "S<m+1>" everywhere in files and pictures.
    """

    beads: Beads
    membership: NDArray[np.float64]

    @property
    def count(self) -> int:
        """N, with the empty segments."""
        return int(self.membership.shape[1])

    @cached_property
    def names(self) -> tuple[str, ...]:
        return tuple(f"S{index + 1}" for index in range(self.count))

    @cached_property
    def assignment(self) -> NDArray[np.int64]:
        """(R,): the segment that each residue belongs to most; FIXED where it belongs to none."""
        most = np.argmax(self.membership, axis=1)
        return np.asarray(np.where(self.membership.sum(axis=1) > 0.5, most, FIXED), dtype=np.int64)

    @cached_property
    def weights(self) -> NDArray[np.float64]:
        """(N,): sum of the memberships, in residues."""
        return np.asarray(self.membership.sum(axis=0), dtype=np.float64)

    @cached_property
    def residues(self) -> NDArray[np.int64]:
        """(N,): number of residues that belong to each segment most."""
        belonging = self.assignment[self.assignment != FIXED]
        return np.bincount(belonging, minlength=self.count).astype(np.int64)

    @cached_property
    def used(self) -> NDArray[np.int64]:
        """Indices of the segments to which at least one residue belongs most."""
        return np.flatnonzero(self.residues).astype(np.int64)

    @cached_property
    def firm(self) -> NDArray[np.int64]:
        """(N,): number of residues that belong to each segment as good as alone, by a membership of 0.99 or more."""
        return np.asarray((self.membership >= FIRM).sum(axis=0), dtype=np.int64)

    @cached_property
    def centres(self) -> NDArray[np.float64]:
        """(N, 3) Å: centre of each segment in the input model; that of the whole model where a segment is empty."""
        weights = self.membership * (self.membership > 1e-3)
        total = weights.sum(axis=0)[:, None]
        positions = np.asarray(self.beads.positions, dtype=np.float64)
        filled = total > 1e-2
        mean = np.broadcast_to(positions.mean(axis=0), (self.count, 3))
        return np.where(filled, weights.T @ positions / np.where(filled, total, 1.0), mean)

    @cached_property
    def ranges(self) -> tuple[tuple[ResidueRange, ...], ...]:
        """For each segment, the residue ranges it is made of, in the order of the model."""
        found = residue_ranges(self.beads, self.assignment)
        return tuple(found.get(segment, ()) for segment in range(self.count))

    def table(self, reference: Sequence[int] = ()) -> pd.DataFrame:
        """One row per segment: name, residues, weight, used, residue ranges, centre in Å of the input model.

        `reference`: segments that motions are told relative to.
        """
        return pd.DataFrame(
            {
                "segment": np.arange(1, self.count + 1),
                "name": self.names,
                "residues": self.residues,
                "firm": self.firm,
                "weight": self.weights.round(3),
                "used": self.residues > 0,
                "reference": np.isin(np.arange(self.count), list(reference)),
                "ranges": [" ".join(map(str, ranges)) for ranges in self.ranges],
                "centre_x": self.centres[:, 0].round(3),
                "centre_y": self.centres[:, 1].round(3),
                "centre_z": self.centres[:, 2].round(3),
            }
        )

    def residue_table(self) -> pd.DataFrame:
        """One row per residue: chain, author residue number, insertion code, name, kind, segment, its membership.

        Segment 0 stands for residues that were held fixed.
        """
        rows = np.arange(len(self.assignment))
        return pd.DataFrame(
            {
                "chain": np.asarray(self.beads.chain).astype(str),
                "residue": np.asarray(self.beads.number),
                "insertion": np.char.strip(np.asarray(self.beads.insertion).astype(str)),
                "name": np.asarray(self.beads.name).astype(str),
                "kind": np.asarray(self.beads.kind).astype(str),
                "segment": self.assignment + 1,
                "membership": np.where(self.assignment == FIXED, 0.0, self.membership[rows, self.assignment]).round(4),
            }
        )
