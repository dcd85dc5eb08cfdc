"""The conformations a simulation shows: a base structure and where its beads are in each of them."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from cryosphere.errors import ConfigError, StructureError
from cryosphere.simulation.atoms import BeadPositions, turned_with_beads
from cryosphere.simulation.motion_config import ResidueRange
from cryosphere.simulation.populations import shared_out
from cryosphere.structures.beads import Beads
from cryosphere.structures.model import AtomicModel

log = logging.getLogger(__name__)

_AT_ONCE = 256  # conformations in double precision


@dataclass(frozen=True)
class Conformations:
    """K conformations of a model with R beads, in the model's frame."""

    model: AtomicModel
    positions: NDArray[np.float32]  # (K, R, 3), Å
    parameter_names: tuple[str, ...]
    parameters: NDArray[np.float64]  # (K, len(parameter_names))
    domain: NDArray[np.int64]  # (R,): 0 what stays, 1, 2, … what moves rigidly, -1 unknown
    turns: NDArray[np.float64] | None = None  # (K, domains, 3, 3): how each domain is turned; None: not at all
    weights: NDArray[np.float64] | None = None  # (K,) how often each is shown, relative to the others; None: equally
    atom_frames: Callable[[], Iterator[NDArray[np.float64]]] | None = None  # atoms (n_atoms, 3) of each source in turn
    source: NDArray[np.int64] | None = None  # (K,), ascending: which of `atom_frames` belongs to each; None: its own

    def __len__(self) -> int:
        return len(self.positions)

    def centred(self) -> Conformations:
        """All of it moved so that the mean of the base structure's beads is the origin."""
        offset = -self.model.beads.positions.mean(axis=0)
        moved = np.empty_like(self.positions)
        for start in range(0, len(moved), _AT_ONCE):
            rows = slice(start, start + _AT_ONCE)
            moved[rows] = self.positions[rows] + offset
        return replace(self, model=self.model.translated(offset), positions=moved)

    def repeated(self, count: int) -> Conformations:
        """`count` conformations, all shown equally often: each of these as many times as its weight says."""
        weights = np.ones(len(self)) if self.weights is None else self.weights
        rows = np.repeat(np.arange(len(self)), shared_out(count, weights))
        return replace(
            self,
            positions=self.positions[rows],
            parameters=self.parameters[rows],
            turns=None if self.turns is None else self.turns[rows],
            weights=None,
            source=rows if self.source is None else self.source[rows],
        )

    def all_atoms(self) -> Iterator[NDArray[np.float64]]:
        """Positions of all the model's atoms, (n_atoms, 3) in Å, in each conformation in turn.

        An atom keeps its place relative to its residue's bead. Of a trajectory that is its place in the frame, else
        its place in the model, turned as the residue's domain is turned.
        """
        if self.atom_frames is None:
            for index, beads in enumerate(self.positions):
                turns = np.eye(3)[None] if self.turns is None else self.turns[index]
                yield turned_with_beads(self.model, beads, turns[np.maximum(self.domain, 0)])
            return
        to_beads = BeadPositions(self.model)
        sources = np.arange(len(self)) if self.source is None else self.source
        frames, current = enumerate(self.atom_frames()), -1
        for beads, wanted in zip(self.positions, sources.tolist(), strict=True):
            while current < wanted:
                current, atoms = next(frames)
            yield atoms + (beads - to_beads(atoms))[self.model.atom_bead]


def select_beads(beads: Beads, ranges: Iterable[ResidueRange]) -> NDArray[np.bool_]:
    """Which beads the residue ranges name, (R,).

    Raises:
        ConfigError: for a chain that is not there, a range without residues, or one that begins before its chain or
            ends after it.
    """
    chosen = np.zeros(len(beads), dtype=np.bool_)
    for part in ranges:
        in_chain = beads.chain == part.chain
        if not in_chain.any():
            raise ConfigError(f"the model has no chain {part.chain!r}; it has {describe_chains(beads)}")
        numbers = beads.number
        lowest, highest = int(numbers[in_chain].min()), int(numbers[in_chain].max())
        first = lowest if part.first is None else part.first
        last = highest if part.last is None else part.last
        inside = in_chain & (numbers >= first) & (numbers <= last)
        if not inside.any():
            raise ConfigError(
                f"no residue of chain {part.chain!r} is numbered {first} to {last}; "
                f"the model has {describe_chains(beads)}"
            )
        if first < lowest or last > highest:
            raise ConfigError(
                f"residues {first} to {last} of chain {part.chain!r} are asked for, but the model has only "
                f"{describe_chains(beads)}; leave `first` or `last` out to go to the chain's end"
            )
        chosen |= inside
    return chosen


def label_domains(beads: Beads, domains: Iterable[Sequence[ResidueRange]]) -> NDArray[np.int64]:
    """The domain of each bead, (R,): 1, 2, … in the order given, 0 for what belongs to none.

    Raises:
        ConfigError: if a domain's residues do not exist or belong to two domains.
    """
    labels = np.zeros(len(beads), dtype=np.int64)
    for number, ranges in enumerate(domains, start=1):
        inside = select_beads(beads, ranges)
        shared = np.flatnonzero(inside & (labels > 0))
        if len(shared):
            first = int(shared[0])
            raise ConfigError(
                f"motion.domains: domain {number} shares residues with domain {labels[first]}: {len(shared)} of them, "
                f"from residue {beads.number[first]} of chain {str(beads.chain[first])!r}"
            )
        labels[inside] = number
    return labels


def polymer(beads: Beads) -> NDArray[np.bool_]:
    """Which beads are residues of a chain and no ligands, (R,); all, where there is no chain."""
    found = np.isin(beads.kind, ("protein", "nucleic", "modified"))
    return found if found.any() else np.ones_like(found)


def match_residues(source: Beads, target: Beads, origin: str) -> NDArray[np.int64]:
    """For each residue of `target` its index in `source`, by chain, residue number and insertion code.

    origin: where the source comes from, for messages.

    Raises:
        StructureError: if a residue of the target is not in the source.
    """
    place = {key: index for index, key in enumerate(_identities(source))}
    missing = [key for key in _identities(target) if key not in place]
    if missing:
        chain, number, insertion = missing[0]
        raise StructureError(
            f"residue {number}{insertion} of chain {chain!r} of the model (and {len(missing) - 1} more) is not in "
            f"{origin}, which has {describe_chains(source)}; the two must have the same residues (for a trajectory, "
            "leave `model` out to start from its own first frame)"
        )
    if len(source) > len(target):
        log.warning("%s: %d residues are not in the model and are not simulated", origin, len(source) - len(target))
    return np.array([place[key] for key in _identities(target)], dtype=np.int64)


def _identities(beads: Beads) -> list[tuple[str, int, str]]:
    return list(zip(beads.chain.tolist(), beads.number.tolist(), beads.insertion.tolist(), strict=True))


def describe_chains(beads: Beads) -> str:
    """The chains of a model with the residue numbers they span, for messages."""
    spans = []
    for chain in dict.fromkeys(beads.chain.tolist()):
        numbers = beads.number[beads.chain == chain]
        spans.append(f"chain {chain!r} {numbers.min()} to {numbers.max()}")
    shown = ", ".join(spans[:8])
    return shown if len(spans) <= 8 else f"{shown} and {len(spans) - 8} more"
