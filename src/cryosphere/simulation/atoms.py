"""All atoms of a conformation: each moves with its residue's bead."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from scipy.sparse import csr_array

from cryosphere.structures.model import AtomicModel
from cryosphere.structures.residues import tabulate

Array = NDArray[np.float64]

_ON_ATOM = 1e-6  # Å


class BeadPositions:
    """Where the beads of a model are when its atoms are elsewhere.

    A bead on an atom (Cα, C1') goes with that atom; any other goes with its residue's centre of electrons.
    """

    def __init__(self, model: AtomicModel) -> None:
        self._atoms = model.positions
        self._beads = model.beads.positions
        electrons = np.array([site.atom.element.atomic_number for site in model.structure[0].all()], dtype=np.float64)
        distance = np.linalg.norm(model.positions - self._beads[model.atom_bead], axis=1)
        on_atom = np.zeros(len(self._beads), dtype=np.bool_)
        on_atom[model.atom_bead[distance < _ON_ATOM]] = True
        weights = np.where(
            on_atom[model.atom_bead], (distance < _ON_ATOM).astype(np.float64), np.maximum(electrons, 1e-3)
        )
        totals = np.bincount(model.atom_bead, weights=weights, minlength=len(self._beads))
        weights /= totals[model.atom_bead]
        atoms = np.arange(len(weights))
        shape = (len(self._beads), len(weights))
        self._weights = csr_array((weights, (model.atom_bead, atoms)), shape=shape)

    def __call__(self, atoms: NDArray[np.floating]) -> Array:
        """Bead positions (R, 3) for atom positions (n_atoms, 3), in Å."""
        return np.asarray(self._beads + self._weights @ (atoms.astype(np.float64) - self._atoms))


def turned_with_beads(model: AtomicModel, beads: NDArray[np.floating], turns: Array) -> Array:
    """Atoms (n_atoms, 3) of a model whose beads lie at (R, 3), each residue turned about its bead by (R, 3, 3)."""
    arms = model.positions - model.beads.positions[model.atom_bead]
    return np.asarray(beads[model.atom_bead] + np.einsum("aij,aj->ai", turns[model.atom_bead], arms))


def atom_amplitudes(model: AtomicModel) -> Array:
    """Electrons of every atom, (n_atoms,), such that those of a residue sum up to its bead's amplitude.

    An atom counts with its atomic number; hydrogens that the file lacks are shared out among their residue's atoms.
    Waters, lone ions and conformers of lower occupancy count nothing, as in the beads.
    """
    columns, sites = tabulate(model.structure, model.name)
    rides = np.array([site.role in ("water", "ion") for site in sites])
    if rides.all():
        rides[:] = False
    counts = columns.counted & ~rides[columns.site]
    electrons = np.where(counts, columns.atomic_numbers, 0).astype(np.float64)
    totals = np.bincount(model.atom_bead, weights=electrons, minlength=len(model.beads))
    return electrons * (model.beads.amplitudes / np.maximum(totals, 1e-9))[model.atom_bead]
