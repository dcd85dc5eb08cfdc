"""Molecules torn across the border of a periodic box, made whole again."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from cryosphere.structures.beads import Beads
from cryosphere.structures.model import AtomicModel

Array = NDArray[np.float64]

_PROTEIN_STEP, _NUCLEIC_STEP = 4.6, 9.0  # Å, the farthest that neighbours along a chain lie apart (Cα, C1')
_TORN = 15.0  # Å, farther than any bonded neighbours
_SMALLEST_CELL = 20.0  # Å between opposite faces: a smaller cell is no box of a simulation but a filler in the file


class Unwrapper:
    """Brings the atoms of a frame to the periodic images in which the molecule is in one piece.

    First each residue's atoms are gathered about one of them, then residues are put beside those they are bonded to,
    along each chain. Pieces that no bond joins (chains, ligands) go to the image nearest to where the topology has
    them, seen from the first piece.
    """

    def __init__(self, topology: AtomicModel, cell: Array) -> None:
        """`cell`: of the first frame, in which the topology may be torn itself."""
        beads = topology.beads
        self._bead = topology.atom_bead
        distance = np.linalg.norm(topology.positions - beads.positions[self._bead], axis=1)
        order = np.lexsort((distance, self._bead))
        _, first = np.unique(self._bead[order], return_index=True)
        self._anchor = order[first]  # per bead, the atom next to it
        anchors = topology.positions[self._anchor]
        self._bonded = _linked(beads, anchors, cell)
        self._piece = np.cumsum(~self._bonded) - 1
        self._first_of_piece = np.flatnonzero(~self._bonded)
        self._centres = self._mean_of_pieces(anchors + self._images_along_chains(anchors, cell) @ cell)

    def __call__(self, atoms: Array, cell: Array) -> Array:
        """Atom positions (n_atoms, 3) made whole; cell: the box's three vectors as rows, Å."""
        inverse = np.linalg.inv(cell)
        anchors = atoms[self._anchor]
        gathered = atoms - np.rint((atoms - anchors[self._bead]) @ inverse) @ cell
        images = self._images_along_chains(anchors, cell)
        centres = self._mean_of_pieces(anchors + images @ cell)
        away = (centres - centres[0]) - (self._centres - self._centres[0])
        images -= np.rint(away @ inverse)[self._piece]
        return np.asarray(gathered + images[self._bead] @ cell)

    def _images_along_chains(self, anchors: Array, cell: Array) -> Array:
        """By how many boxes each residue is to be moved, (R, 3), to lie beside the one it is bonded to."""
        steps = np.zeros_like(anchors)
        steps[1:] = -np.rint(np.diff(anchors, axis=0) @ np.linalg.inv(cell))
        steps[~self._bonded] = 0.0
        summed = np.cumsum(steps, axis=0)
        return np.asarray(summed - summed[self._first_of_piece][self._piece])

    def _mean_of_pieces(self, positions: Array) -> Array:
        counts = np.bincount(self._piece)
        sums = np.stack([np.bincount(self._piece, weights=axis) for axis in positions.T], axis=1)
        return np.asarray(sums / counts[:, None])


def _linked(beads: Beads, anchors: Array, cell: Array) -> NDArray[np.bool_]:
    """Which residues are bonded to the one before, (R,), also where the box tears the topology between the two."""
    linked = np.zeros(len(beads), dtype=np.bool_)
    linked[beads.bonded[:, 1]] = True
    gap = np.diff(anchors, axis=0)
    near = np.linalg.norm(gap - np.rint(gap @ np.linalg.inv(cell)) @ cell, axis=1)
    kinds, nucleic = beads.kind, beads.kind == "nucleic"
    follows = (beads.chain[1:] == beads.chain[:-1]) & np.isin(np.diff(beads.number), (0, 1))
    follows &= (kinds[1:] != "ligand") & (kinds[:-1] != "ligand")
    torn = follows & (near < np.where(nucleic[1:], _NUCLEIC_STEP, _PROTEIN_STEP))
    linked[1:] |= torn & (np.linalg.norm(gap, axis=1) > _TORN)
    return linked


def usable_cell(cell: NDArray[np.floating] | None) -> Array | None:
    """The box's vectors (3, 3) as rows in Å, or None where there is no box that could tear a molecule."""
    if cell is None:
        return None
    vectors = np.asarray(cell, dtype=np.float64)
    if not np.isfinite(vectors).all():
        return None
    volume = abs(float(np.linalg.det(vectors)))
    faces = np.linalg.norm(np.cross(np.roll(vectors, -1, axis=0), np.roll(vectors, -2, axis=0)), axis=1)
    if volume <= 0 or (volume / faces).min() < _SMALLEST_CELL:
        return None
    return vectors
