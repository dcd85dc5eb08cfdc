"""Residues of a model in the short form that people read: stretches of a chain, by the author's residue numbers."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from cryosphere.structures.beads import Beads

POLYMER_KINDS = ("protein", "nucleic", "modified")


@dataclass(frozen=True)
class ResidueRange:
    """Consecutive residues of one chain that belong together; `first` and `last` are author residue numbers."""

    chain: str
    first: str  # residue number with insertion code, e.g. "52" or "52A"
    last: str
    residues: int
    ligand: str = ""  # name of the residue where the range is a single ligand

    def __str__(self) -> str:
        chain = self.chain or "-"
        if self.ligand:
            return f"{chain}:{self.first}({self.ligand})"
        return f"{chain}:{self.first}" if self.first == self.last else f"{chain}:{self.first}..{self.last}"

    @property
    def words(self) -> str:
        """For sentences: "A:3-17", "3-17" where the chain has no name, "A:-2 to 5", "A:900 (HEM)"."""
        between = " to " if "-" in self.first + self.last else "-"
        span = self.first if self.first == self.last else f"{self.first}{between}{self.last}"
        ligand = f" ({self.ligand})" if self.ligand else ""
        return f"{self.chain}:{span}{ligand}" if self.chain else f"{span}{ligand}"


def residue_ranges(beads: Beads, labels: NDArray[np.int64]) -> dict[int, tuple[ResidueRange, ...]]:
    """For each label, the stretches of residues that carry it, in the order of the model.

    labels: one per bead, (R,). A stretch ends with its chain; every ligand is one of its own, wherever it stands.
    """
    found: dict[int, list[ResidueRange]] = {}
    if len(labels) == 0:
        return {}
    polymer, chain = np.isin(beads.kind, POLYMER_KINDS), np.asarray(beads.chain)
    breaks = (labels[1:] != labels[:-1]) | (chain[1:] != chain[:-1]) | ~polymer[1:] | ~polymer[:-1]
    starts = np.concatenate([[0], np.flatnonzero(breaks) + 1])
    stops = np.append(starts[1:], len(labels))
    for start, stop in zip(starts.tolist(), stops.tolist(), strict=True):
        ligand = "" if polymer[start] else str(beads.name[start])
        first, last = _label(beads, start), _label(beads, stop - 1)
        one = ResidueRange(str(chain[start]), first, last, stop - start, ligand)
        found.setdefault(int(labels[start]), []).append(one)
    return {label: tuple(ranges) for label, ranges in found.items()}


def _label(beads: Beads, residue: int) -> str:
    return f"{int(beads.number[residue])}{str(beads.insertion[residue]).strip()}"
