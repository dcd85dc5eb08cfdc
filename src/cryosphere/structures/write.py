"""Atomic models out: mmCIF with every atom and identifier of the input, one model or a trajectory of many."""

from __future__ import annotations

import gzip
import os
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TextIO, cast

import gemmi
import numpy as np
from numpy.typing import ArrayLike, NDArray

from cryosphere.errors import StructureError
from cryosphere.files import replacing
from cryosphere.structures.model import AtomicModel

_MOVING = ("id", "Cartn_x", "Cartn_y", "Cartn_z", "B_iso_or_equiv", "pdbx_PDB_model_num")
_FORMATS = {
    "id": "%d",
    "Cartn_x": "%.3f",
    "Cartn_y": "%.3f",
    "Cartn_z": "%.3f",
    "B_iso_or_equiv": "%.2f",
    "pdbx_PDB_model_num": "%d",
}


class ModelWriter:
    """Writes conformations of one atomic model; the text that all of them share is prepared once.

    Written are all atoms in the order of the input with occupancy, B-factor, alternative locations, insertion codes,
    author and label identifiers, the sequence, secondary structure and covalent links; not the crystal (cell,
    symmetry), which a moved molecule has left, nor anisotropic displacements, which would need turning. Coordinates
    have three decimals.
    """

    def __init__(self, model: AtomicModel, *, remark: str = "") -> None:
        """`remark`: a line for people, written as a comment at the head of every file."""
        self._model = model
        document = model.structure.make_mmcif_document(_output_groups())
        block = document.sole_block()
        block.name = _block_name(model.name)
        loop = block.find_loop("_atom_site.Cartn_x").get_loop()
        assert loop is not None
        tags = [tag.removeprefix("_atom_site.") for tag in loop.tags]
        columns = np.array(loop.values, dtype=np.str_).reshape(-1, len(tags))
        self._b_factors = _numbers(columns[:, tags.index("B_iso_or_equiv")])
        self._rows = _row_formats(columns, tags)
        self._loop_head = "\nloop_\n" + "".join(f"{tag}\n" for tag in loop.tags)
        block.find_mmcif_category("_atom_site.").erase()
        block.set_pair("_entry.id", gemmi.cif.quote(block.name))
        self._header = (f"# {' '.join(remark.split())}\n" if remark else "") + document.as_string()

    def write(
        self, path: str | os.PathLike[str], positions: ArrayLike | None = None, b_factors: ArrayLike | None = None
    ) -> None:
        """One conformation to one mmCIF file; see `write_model`."""
        self.write_all(path, [self._model.positions if positions is None else positions], b_factors)

    def write_all(
        self, path: str | os.PathLike[str], conformations: Iterable[ArrayLike], b_factors: ArrayLike | None = None
    ) -> None:
        """Many conformations to one multi-model mmCIF file; see `write_models`."""
        displacement = self._atom_b_factors(b_factors)
        with _replacing(Path(path)) as file:
            file.write(self._header)
            file.write(self._loop_head)
            count = 0
            for count, conformation in enumerate(conformations, start=1):
                file.write(self._model_rows(self._model.check_positions(conformation), displacement, count))
            if count == 0:
                raise StructureError(f"{path}: there are no conformations to write")
            file.write("#\n")

    def _atom_b_factors(self, per_bead: ArrayLike | None) -> NDArray[np.float64]:
        if per_bead is None:
            return self._b_factors
        values = np.asarray(per_bead, dtype=np.float64)
        if values.shape != (len(self._model.beads),):
            raise StructureError(
                f"B-factors have shape {values.shape}, expected one per bead: ({len(self._model.beads)},)"
            )
        return values[self._model.atom_bead]

    def _model_rows(self, positions: NDArray[np.float64], b_factors: NDArray[np.float64], model_number: int) -> str:
        atoms = len(positions)
        values = np.empty((atoms, len(_MOVING)))
        values[:, 0] = np.arange(1, atoms + 1) + (model_number - 1) * atoms
        values[:, 1:4] = positions.round(3) + 0.0  # no "-0.000"
        values[:, 4] = b_factors
        values[:, 5] = model_number
        return self._rows % tuple(values.ravel().tolist())


def write_model(
    path: str | os.PathLike[str],
    model: AtomicModel,
    positions: ArrayLike | None = None,
    b_factors: ArrayLike | None = None,
) -> None:
    """The model with its atoms at `positions`, (n_atoms, 3) in Å (its own if None), as an mmCIF file.

    The file keeps every atom, chain id and residue number in the input's order; reading it gives the same model.
    b_factors: one value per bead, (R,), Å², written for all atoms that move with it in place of the input's B-factors.
    The file appears complete or not at all. A name that ends in .gz is compressed. Raises StructureError when shapes
    do not fit, coordinates are not finite, the name is one of a PDB file, or the file cannot be written.
    """
    ModelWriter(model).write(path, positions, b_factors)


def write_models(
    path: str | os.PathLike[str],
    model: AtomicModel,
    conformations: Iterable[ArrayLike],
    b_factors: ArrayLike | None = None,
) -> None:
    """A trajectory: one mmCIF file with a model per conformation, each (n_atoms, 3) in Å, numbered from 1.

    Conformations are taken one at a time, so that a generator keeps memory small. As `write_model` otherwise.
    """
    ModelWriter(model).write_all(path, conformations, b_factors)


def _output_groups() -> gemmi.MmcifOutputGroups:
    groups = gemmi.MmcifOutputGroups(False)  # noqa: FBT003 (gemmi takes it by position)
    for name in ("entry", "entity", "entity_poly", "entity_poly_seq", "struct_asym", "struct_conf", "struct_sheet"):
        setattr(groups, name, True)
    for name in ("chem_comp", "conn", "atoms", "group_pdb", "auth_all"):
        setattr(groups, name, True)
    return groups


def _block_name(name: str) -> str:
    letters = "".join(letter if letter.isascii() and (letter.isalnum() or letter in "-_.") else "_" for letter in name)
    return letters if letters.strip("_.-") else "model"


def _numbers(column: NDArray[np.str_]) -> NDArray[np.float64]:
    known = ~np.isin(column, (".", "?"))
    values = np.zeros(len(column))
    values[known] = column[known].astype(np.float64)
    return np.nan_to_num(values)


def _row_formats(columns: NDArray[np.str_], tags: list[str]) -> str:
    """One format string for all rows of a model: constant text, and places for what differs between models."""
    parts = [
        [_FORMATS[tag]] * len(columns) if tag in _FORMATS else [_quoted(value).replace("%", "%%") for value in column]
        for tag, column in zip(tags, columns.T.tolist(), strict=True)
    ]
    return "".join(" ".join(row) + "\n" for row in zip(*parts, strict=True))


def _quoted(value: str) -> str:
    """A value as gemmi wrote it, in quotes where it left out necessary ones (a quote as alternative location)."""
    if value[0] not in "'\"_#$;[]" or (len(value) > 1 and value[0] == value[-1] and value[0] in "'\""):
        return value
    return gemmi.cif.quote(value)


@contextmanager
def _replacing(path: Path) -> Iterator[TextIO]:
    """A text file that takes the place of `path` only when all of it has been written."""
    if path.suffix.lower() in (".pdb", ".ent") or path.name.lower().endswith((".pdb.gz", ".ent.gz")):
        raise StructureError(f"{path}: structures are written as mmCIF; give the file a name that ends in .cif")
    packed = path.suffix.lower() == ".gz"
    try:
        with replacing(path) as temporary, gzip.open(temporary, "wt") if packed else temporary.open("w") as file:
            yield cast("TextIO", file)
    except OSError as error:
        raise StructureError(f"{path}: cannot be written ({error.strerror or error})") from error
