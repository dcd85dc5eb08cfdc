"""The atoms and residues of a structure as arrays: which conformer counts, which residues are polymer, who floats."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Literal

import gemmi
import numpy as np
from numpy.typing import NDArray

from cryosphere.errors import StructureError
from cryosphere.structures import chemistry

Role = Literal["protein", "nucleic", "ligand", "water", "ion"]

_BACKBONE = frozenset({"N", "CA", "C"})
_SUGAR = frozenset({"C1'", "C3'", "C4'"})


@dataclass(frozen=True)
class AtomColumns:
    """The n atoms of a structure in the order of the file."""

    positions: NDArray[np.float64]  # (n, 3), Å
    atomic_numbers: NDArray[np.int64]  # (n,)
    names: NDArray[np.str_]  # (n,)
    site: NDArray[np.int64]  # (n,), into the sites: residues, alternative residues at one position counted once
    counted: NDArray[np.bool_]  # (n,): False for the conformers of lower occupancy


@dataclass(frozen=True)
class Site:
    """One position of a chain: a residue, or several alternative ones that share it."""

    chain: str
    number: int
    insertion: str
    name: str
    role: Role
    label_number: int | None
    is_standard: bool


def tabulate(structure: gemmi.Structure, source: str) -> tuple[AtomColumns, tuple[Site, ...]]:
    """Atoms and sites of the first model; `source` names the file in messages.

    Where alternative locations exist, those atoms count that bear the label of the highest mean occupancy in their
    residue (the first label, where occupancies are equal) or no label. Occupancy has no further meaning: partly
    occupied atoms count whole, as many programs write zero occupancies for atoms that are there.

    Raises StructureError for coordinates that are not finite, larger than 10⁶ Å, or all zero.
    """
    positions: list[list[float]] = []
    numbers: list[int] = []
    names: list[str] = []
    counts: list[int] = []
    counted: list[bool] = []
    sites: list[Site] = []
    for chain_name, group in _groups(structure[0]):
        atoms = [atom for residue in group for atom in residue]
        positions.extend(atom.pos.tolist() for atom in atoms)
        numbers.extend(atom.element.atomic_number for atom in atoms)
        names.extend(atom.name for atom in atoms)
        label = _leading_conformer(atoms)
        chosen = [atom.altloc in ("\0", label) for atom in atoms]
        counted.extend(chosen)
        counts.append(len(atoms))
        leader = max(group, key=lambda residue: sum(atom.altloc in ("\0", label) for atom in residue))
        sites.append(_site(chain_name, leader))
    columns = AtomColumns(
        positions=np.array(positions, dtype=np.float64).reshape(-1, 3),
        atomic_numbers=np.array(numbers, dtype=np.int64),
        names=np.array(names, dtype=np.str_),
        site=np.repeat(np.arange(len(counts)), counts),
        counted=np.array(counted, dtype=np.bool_),
    )
    _check_positions(columns, sites, source)
    return columns, tuple(sites)


def _groups(model: gemmi.Model) -> Iterator[tuple[str, list[gemmi.Residue]]]:
    """Residues in the order of the file; alternative residues at one position (microheterogeneity) come together."""
    for chain in model:
        name = chain.name
        group: list[gemmi.Residue] = []
        for residue in chain:
            if len(residue) == 0:
                continue
            if group and not _are_alternatives(group[-1], residue):
                yield name, group
                group = []
            group.append(residue)
        if group:
            yield name, group


def _are_alternatives(first: gemmi.Residue, second: gemmi.Residue) -> bool:
    if first.seqid != second.seqid or first.segment != second.segment or first.name == second.name:
        return False
    return all(atom.altloc != "\0" for residue in (first, second) for atom in residue)


def _leading_conformer(atoms: list[gemmi.Atom]) -> str:
    occupancies: dict[str, list[float]] = {}
    for atom in atoms:
        altloc = atom.altloc
        if altloc != "\0":
            occupancies.setdefault(altloc, []).append(atom.occ)
    return max(occupancies, key=lambda label: float(np.mean(occupancies[label])), default="\0")


def _site(chain: str, residue: gemmi.Residue) -> Site:
    name = residue.name
    number = residue.seqid.num
    if number is None:
        number = residue.label_seq or 0
    return Site(
        chain=chain,
        number=number,
        insertion=residue.seqid.icode.strip(),
        name=name,
        role=_role(residue),
        label_number=residue.label_seq,
        is_standard=chemistry.is_standard(name),
    )


def _role(residue: gemmi.Residue) -> Role:
    name = residue.name
    if chemistry.is_water(name):
        return "water"
    free = residue.entity_type in (gemmi.EntityType.NonPolymer, gemmi.EntityType.Branched)
    if not free or chemistry.is_force_field_spelling(name):
        atom_names = {atom.name.replace("*", "'") for atom in residue}
        if chemistry.is_amino_acid(name) or atom_names >= _BACKBONE:
            return "protein"
        if chemistry.is_nucleotide(name) or atom_names >= _SUGAR:
            return "nucleic"
    heavy = [atom.element for atom in residue if atom.element.atomic_number != 1]
    if len(heavy) == 1 and chemistry.is_ion(name, heavy[0]):
        return "ion"
    return "ligand"


def _check_positions(columns: AtomColumns, sites: list[Site], source: str) -> None:
    bad = np.flatnonzero(~(np.abs(columns.positions) <= 1e6).all(axis=1))
    if bad.size:
        site = sites[columns.site[bad[0]]]
        where = f"atom {columns.names[bad[0]]} of {site.name} {site.number}{site.insertion} in chain {site.chain!r}"
        raise StructureError(
            f"{source}: {bad.size} of {len(columns.positions)} atoms have no usable coordinates, the first is {where} "
            f"at {columns.positions[bad[0]].tolist()}; expected finite numbers in Å"
        )
    if len(columns.positions) > 1 and not columns.positions.any():
        raise StructureError(
            f"{source}: all {len(columns.positions)} atoms lie at (0, 0, 0); expected coordinates in Å. "
            "The program that wrote the file has lost them: export the model again"
        )
