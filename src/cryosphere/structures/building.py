"""A full protein chain around a given trace of its Cα atoms: peptide planes, then side chains, in ideal geometry.

Bond lengths and angles are those of Engh & Huber (1991), Acta Cryst. A47, 392.
"""

from __future__ import annotations

import itertools
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.spatial.distance import cdist

Array = NDArray[np.float64]

_PLANE_ANGLES = 60  # orientations of a peptide plane that are tried
_TETRAHEDRAL = 111.0  # degrees, N-Cα-C


@dataclass(frozen=True)
class BuiltResidue:
    """One residue: its name, atom names, and their positions (n, 3) in Å."""

    name: str
    atoms: tuple[str, ...]
    positions: Array


@dataclass(frozen=True)
class _PlacedBy:
    """An atom by its distance (Å), angle and dihedral (degrees) to three atoms that are there already."""

    name: str
    after: tuple[str, str, str]  # dihedral, angle and bond partner
    length: float
    angle: float
    dihedral: float
    turn: int | None = None  # which of the rotamer's dihedrals is added, if any


_FIRST = ("N", "CA", "CB")
_SIDE_CHAINS: dict[str, tuple[_PlacedBy, ...]] = {
    "GLY": (),
    "ALA": (),
    "SER": (_PlacedBy("OG", _FIRST, 1.417, 111.1, 0.0, turn=0),),
    "VAL": (
        _PlacedBy("CG1", _FIRST, 1.521, 110.5, 0.0, turn=0),
        _PlacedBy("CG2", _FIRST, 1.521, 110.5, 122.9, turn=0),
    ),
    "LEU": (
        _PlacedBy("CG", _FIRST, 1.530, 116.3, 0.0, turn=0),
        _PlacedBy("CD1", ("CA", "CB", "CG"), 1.521, 110.7, 175.0, turn=1),
        _PlacedBy("CD2", ("CA", "CB", "CG"), 1.521, 110.7, -62.0, turn=1),
    ),
    "ASP": (
        _PlacedBy("CG", _FIRST, 1.516, 112.6, 0.0, turn=0),
        _PlacedBy("OD1", ("CA", "CB", "CG"), 1.249, 118.4, -15.0, turn=1),
        _PlacedBy("OD2", ("CA", "CB", "CG"), 1.249, 118.4, 165.0, turn=1),
    ),
    "GLU": (
        _PlacedBy("CG", _FIRST, 1.520, 114.1, 0.0, turn=0),
        _PlacedBy("CD", ("CA", "CB", "CG"), 1.516, 112.6, 180.0, turn=1),
        _PlacedBy("OE1", ("CB", "CG", "CD"), 1.249, 118.4, 0.0),
        _PlacedBy("OE2", ("CB", "CG", "CD"), 1.249, 118.4, 180.0),
    ),
    "LYS": (
        _PlacedBy("CG", _FIRST, 1.520, 114.1, 0.0, turn=0),
        _PlacedBy("CD", ("CA", "CB", "CG"), 1.520, 111.3, 180.0, turn=1),
        _PlacedBy("CE", ("CB", "CG", "CD"), 1.520, 111.3, 180.0),
        _PlacedBy("NZ", ("CG", "CD", "CE"), 1.489, 111.9, 180.0),
    ),
}
SIDE_CHAIN_NAMES = tuple(_SIDE_CHAINS)
_ROTAMERS = tuple(itertools.product((-65.0, 180.0, 62.0), (0.0, 120.0, -120.0)))  # degrees
_ROUNDS = 3  # in which every side chain chooses its rotamer anew
_CONTACT = 3.7  # Å, below which atoms of different residues are too close
_BASINS = ((-63.0, -43.0, 15.0, 0.0), (-110.0, 130.0, 40.0, 1.0), (-75.0, 145.0, 30.0, 1.0), (58.0, 40.0, 20.0, 4.0))


def place_atom(first: Array, second: Array, third: Array, length: float, angles: tuple[float, float | Array]) -> Array:
    """Where an atom lies that is bonded to `third`, (..., 3).

    length: Å; angles: (angle second-third-atom, dihedral first-second-third-atom) in degrees. Several dihedrals,
    (k,), give as many places, (k, 3).
    """
    angle, dihedrals = np.deg2rad(angles[0]), np.deg2rad(angles[1])[..., None]
    along = _unit(third - second)
    across = _unit(np.cross(second - first, along))
    up = np.cross(across, along)
    step = -np.cos(angle) * along + np.sin(angle) * (np.cos(dihedrals) * up + np.sin(dihedrals) * across)
    return np.asarray(third + length * step)


def peptide_plane() -> dict[str, tuple[float, float]]:
    """A trans peptide in its plane: x from Cα towards the next Cα, y on the side of the oxygen; Å."""
    towards_carbon = np.array([1.0, 0.0])
    carbon = 1.525 * towards_carbon
    nitrogen = carbon + 1.329 * _direction(180.0 - 117.2)
    following = nitrogen + 1.458 * _direction(180.0 - 117.2 - (180.0 - 121.7))
    oxygen = carbon + 1.231 * _direction(180.0 + 120.1)
    x = following / np.linalg.norm(following)
    y = np.array([x[1], -x[0]])
    places = {"C": carbon, "O": oxygen, "N": nitrogen, "CA": following}
    return {name: (float(place @ x), float(place @ y)) for name, place in places.items()}


CALPHA_DISTANCE = 3.813  # Å, across the trans peptide of `peptide_plane`


def build_chain(trace: Array, names: list[str]) -> list[BuiltResidue]:
    """All heavy atoms of a chain whose Cα atoms follow `trace`, (n, 3) in Å, 3.8 Å apart.

    names: residue names, each one of SIDE_CHAIN_NAMES. Every peptide is a rigid plane between two Cα atoms that can
    only turn about the line joining them; of all turns of all planes, dynamic programming finds those with the best
    N-Cα-C angles and backbone dihedrals (Ramachandran basins). Side chains take, in turn, the rotamer with the most
    room.
    """
    chain = _backbone(trace)
    for name, atoms in zip(names, chain, strict=True):
        if name != "GLY":
            atoms["CB"] = place_atom(atoms["C"], atoms["N"], atoms["CA"], 1.530, (110.4, -122.6))
    chain = _roomy_side_chains(names, chain)
    orders = [sorted(atoms, key=lambda key: key == "OXT") for atoms in chain]  # the terminal oxygen comes last
    return [
        BuiltResidue(name, tuple(order), np.array([atoms[key] for key in order]))
        for name, order, atoms in zip(names, orders, chain, strict=True)
    ]


def _roomy_side_chains(names: list[str], chain: list[dict[str, Array]]) -> list[dict[str, Array]]:
    """The chain with side chains, each in the rotamer that overlaps least with other residues."""
    options = [_rotamers(name, atoms) for name, atoms in zip(names, chain, strict=True)]
    places = [np.concatenate((list(atoms.values()), tails[0])) for atoms, tails in zip(chain, options, strict=True)]
    owner = np.repeat(np.arange(len(places)), [len(part) for part in places])
    everything = np.concatenate(places)
    slots = [np.flatnonzero(owner == i)[len(atoms) :] for i, atoms in enumerate(chain)]
    for _ in range(_ROUNDS):
        for i, (tails, slot) in enumerate(zip(options, slots, strict=True)):
            if len(slot):
                distances = cdist(tails.reshape(-1, 3), everything[owner != i]).reshape(*tails.shape[:2], -1)
                overlaps = np.square(np.clip(_CONTACT - distances, 0.0, None)).sum(axis=(1, 2))
                everything[slot] = tails[overlaps.argmin()]
    return [
        atoms | dict(zip((atom.name for atom in _SIDE_CHAINS[name]), everything[slot], strict=True))
        for name, atoms, slot in zip(names, chain, slots, strict=True)
    ]


def _rotamers(name: str, placed: dict[str, Array]) -> Array:
    """Side chain atoms beyond Cβ in every rotamer: (rotamers, atoms, 3)."""
    atoms = dict(placed)
    rotamers = np.array(_ROTAMERS)
    for atom in _SIDE_CHAINS[name]:
        first, second, third = (atoms[partner] for partner in atom.after)
        turn = atom.dihedral + (np.zeros(len(rotamers)) if atom.turn is None else rotamers[:, atom.turn])
        atoms[atom.name] = place_atom(first, second, third, atom.length, (atom.angle, turn))
    tails = [atoms[atom.name] for atom in _SIDE_CHAINS[name]]
    return np.stack(tails, axis=1) if tails else np.empty((len(rotamers), 0, 3))


def _backbone(trace: Array) -> list[dict[str, Array]]:
    plane = peptide_plane()
    carbon, oxygen, nitrogen = (_turned_places(trace, plane[name]) for name in ("C", "O", "N"))
    turns = _best_turns(trace, carbon, nitrogen)
    chain: list[dict[str, Array]] = [{"N": np.zeros(3), "CA": place} for place in trace]
    for i, turn in enumerate(turns):
        chain[i] |= {"C": carbon[i, turn], "O": oxygen[i, turn]}
        chain[i + 1]["N"] = nitrogen[i, turn]
    start, end = chain[0], chain[-1]
    start["N"] = place_atom(chain[1]["N"], start["C"], start["CA"], 1.458, (_TETRAHEDRAL, -47.0))
    end["C"] = place_atom(chain[-2]["C"], end["N"], end["CA"], 1.525, (_TETRAHEDRAL, -63.0))
    end["O"] = place_atom(end["N"], end["CA"], end["C"], 1.249, (118.0, 137.0))
    end["OXT"] = place_atom(end["N"], end["CA"], end["C"], 1.249, (118.0, -43.0))
    return [{key: atoms[key] for key in ("N", "CA", "C", "O", "OXT") if key in atoms} for atoms in chain]


def _turned_places(trace: Array, place: tuple[float, float]) -> Array:
    """A plane's atom between each two Cα atoms, for every orientation: (n - 1, orientations, 3)."""
    along = _unit(trace[1:] - trace[:-1])
    least = np.eye(3)[np.abs(along).argmin(axis=1)]
    side = _unit(np.cross(along, least))
    other = np.cross(along, side)
    turns = np.arange(_PLANE_ANGLES) * 2.0 * np.pi / _PLANE_ANGLES
    normal = np.cos(turns)[:, None] * side[:, None] + np.sin(turns)[:, None] * other[:, None]
    return np.asarray(trace[:-1, None] + place[0] * along[:, None] + place[1] * normal)


def _best_turns(trace: Array, carbon: Array, nitrogen: Array) -> list[int]:
    total = np.zeros(_PLANE_ANGLES)
    choices = []
    for i in range(1, len(trace) - 1):
        cost = _strain(trace[i], (carbon[i - 1], nitrogen[i - 1]), (carbon[i], nitrogen[i]))
        combined = total[:, None] + cost
        choices.append(combined.argmin(axis=0))
        total = combined.min(axis=0)
    turns = [int(total.argmin())]
    for choice in reversed(choices):
        turns.append(int(choice[turns[-1]]))
    return turns[::-1]


def _strain(calpha: Array, before: tuple[Array, Array], after: tuple[Array, Array]) -> Array:
    """How badly a residue's geometry fits, for every turn of the plane before it and of the one after it: (k, k)."""
    carbon_before, nitrogen = (part[:, None] for part in before)
    carbon, nitrogen_after = (part[None] for part in after)
    cosine = (_unit(nitrogen - calpha) * _unit(carbon - calpha)).sum(axis=-1)
    bend = (np.rad2deg(np.arccos(np.clip(cosine, -1.0, 1.0))) - _TETRAHEDRAL) / 2.5
    phi = dihedral(carbon_before, nitrogen, calpha, carbon)
    psi = dihedral(nitrogen, calpha, carbon, nitrogen_after)
    basins = [
        (((phi - a + 180.0) % 360.0 - 180.0) ** 2 + ((psi - b + 180.0) % 360.0 - 180.0) ** 2) / width**2 + penalty
        for a, b, width, penalty in _BASINS
    ]
    return np.asarray(bend**2 + np.minimum(np.minimum.reduce(basins), 30.0))


def dihedral(first: Array, second: Array, third: Array, fourth: Array) -> Array:
    """Dihedral angles in degrees, (-180, 180], of four points, (..., 3) each; shapes broadcast."""
    axis = _unit(third - second)
    before, after = first - second, fourth - third
    before = before - (before * axis).sum(axis=-1, keepdims=True) * axis
    after = after - (after * axis).sum(axis=-1, keepdims=True) * axis
    return np.asarray(
        np.rad2deg(np.arctan2((np.cross(axis, before) * after).sum(axis=-1), (before * after).sum(axis=-1)))
    )


def _unit(vectors: Array) -> Array:
    return np.asarray(vectors / np.linalg.norm(vectors, axis=-1, keepdims=True))


def _direction(degrees: float) -> Array:
    return np.array([np.cos(np.deg2rad(degrees)), np.sin(np.deg2rad(degrees))])
