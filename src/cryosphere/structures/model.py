"""The atomic model: every atom of the input file, and the beads through which images see it."""

from __future__ import annotations

import os
from dataclasses import dataclass, replace
from pathlib import Path

import gemmi
import numpy as np
from numpy.typing import ArrayLike, NDArray

from cryosphere.errors import StructureError
from cryosphere.structures.beads import Beads, build_beads
from cryosphere.structures.reading import complete_identifiers, parse_structure
from cryosphere.structures.residues import tabulate


@dataclass(frozen=True)
class AtomicModel:
    """An atomic model with all its atoms (hydrogens, alternative locations, ligands, waters) in the order of the file.

    Coordinates are in Å, (x, y, z), with the origin at the centre of the images' box.
    """

    name: str
    structure: gemmi.Structure  # one model; treat as read-only, `with_positions` gives a copy to change
    positions: NDArray[np.float64]  # (n_atoms, 3)
    atom_bead: NDArray[np.int64]  # (n_atoms,), the bead each atom moves with
    beads: Beads

    def with_positions(self, positions: ArrayLike) -> gemmi.Structure:
        """A copy of the structure with its atoms moved to `positions`, (n_atoms, 3) in Å.

        Everything else stays, but anisotropic displacement tensors are dropped: they would need turning too.
        Raises StructureError when the number of atoms differs or a coordinate is not finite.
        """
        moved = self.check_positions(positions)
        copy = self.structure.clone()
        for site, (x, y, z) in zip(copy[0].all(), moved.tolist(), strict=True):
            site.atom.pos = gemmi.Position(x, y, z)
            site.atom.aniso = gemmi.SMat33f(0, 0, 0, 0, 0, 0)
        return copy

    def translated(self, vector: ArrayLike) -> AtomicModel:
        """The whole model moved by `vector`, (3,) in Å."""
        step = np.asarray(vector, dtype=np.float64).reshape(3)
        positions = self.positions + step
        return replace(
            self,
            structure=self.with_positions(positions),
            positions=positions,
            beads=replace(self.beads, positions=self.beads.positions + step),
        )

    def check_positions(self, positions: ArrayLike) -> NDArray[np.float64]:
        """`positions` as float64, (n_atoms, 3), after making sure that they fit this model and are finite."""
        moved = np.asarray(positions, dtype=np.float64)
        if moved.shape != self.positions.shape:
            raise StructureError(
                f"{self.name}: positions have shape {moved.shape}, the model's atoms need {self.positions.shape}"
            )
        if not np.isfinite(moved).all():
            raise StructureError(f"{self.name}: {int((~np.isfinite(moved)).sum())} coordinates to set are not finite")
        return moved


def read_model(path: str | os.PathLike[str]) -> AtomicModel:
    """An atomic model from a PDB or mmCIF file, plain or gzipped; the content decides which, not the extension.

    Of several models the first is used, with a warning. The log says what became a bead and what rides along.
    Raises StructureError for a file that is missing, damaged, empty, or holds no usable atoms.
    """
    file = Path(path)
    return model_from_structure(parse_structure(file), _stem(file), source=str(file))


def model_from_structure(structure: gemmi.Structure, name: str, *, source: str | None = None) -> AtomicModel:
    """The atomic model of a gemmi structure (its first model), which the result keeps and completes for mmCIF."""
    complete_identifiers(structure)
    atoms, sites = tabulate(structure, source or name)
    if not sites:
        raise StructureError(f"{source or name}: the structure has no atoms")
    beads, atom_bead = build_beads(atoms, sites, source or name)
    return AtomicModel(name=name, structure=structure, positions=atoms.positions, atom_bead=atom_bead, beads=beads)


def _stem(path: Path) -> str:
    name = path.name.removesuffix(".gz")
    return Path(name).stem or name
