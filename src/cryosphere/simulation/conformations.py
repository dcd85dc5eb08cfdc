"""The conformations a simulation shows: a base structure and where its beads are in each of them."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from cryosphere.errors import ConfigError
from cryosphere.simulation.config import ResidueRange
from cryosphere.structures.beads import Beads
from cryosphere.structures.model import AtomicModel


@dataclass(frozen=True)
class Conformations:
    """K conformations of a model with R beads, in the model's frame."""

    model: AtomicModel
    positions: NDArray[np.float32]  # (K, R, 3), Å
    parameter_names: tuple[str, ...]
    parameters: NDArray[np.float64]  # (K, len(parameter_names))
    domain: NDArray[np.int64]  # (R,): 0 what stays, 1, 2, … what moves rigidly, -1 unknown

    def __len__(self) -> int:
        return len(self.positions)

    def centred(self) -> Conformations:
        """All of it moved so that the mean of the base structure's beads is the origin."""
        offset = -self.model.beads.positions.mean(axis=0)
        moved = (self.positions + offset).astype(np.float32)
        return replace(self, model=self.model.translated(offset), positions=moved)


def select_beads(beads: Beads, ranges: Iterable[ResidueRange]) -> NDArray[np.bool_]:
    """Which beads the residue ranges name, (R,).

    Raises:
        ConfigError: for a chain that is not there, or a range without residues.
    """
    chosen = np.zeros(len(beads), dtype=np.bool_)
    for part in ranges:
        in_chain = beads.chain == part.chain
        if not in_chain.any():
            raise ConfigError(f"the model has no chain {part.chain!r}; it has {describe_chains(beads)}")
        numbers = beads.number
        first = part.first if part.first is not None else int(numbers[in_chain].min())
        last = part.last if part.last is not None else int(numbers[in_chain].max())
        inside = in_chain & (numbers >= first) & (numbers <= last)
        if not inside.any():
            raise ConfigError(
                f"no residue of chain {part.chain!r} is numbered {first} to {last}; "
                f"the model has {describe_chains(beads)}"
            )
        chosen |= inside
    return chosen


def describe_chains(beads: Beads) -> str:
    """The chains of a model with the residue numbers they span, for messages."""
    spans = []
    for chain in dict.fromkeys(beads.chain.tolist()):
        numbers = beads.number[beads.chain == chain]
        spans.append(f"chain {chain!r} {numbers.min()} to {numbers.max()}")
    shown = ", ".join(spans[:8])
    return shown if len(spans) <= 8 else f"{shown} and {len(spans) - 8} more"
