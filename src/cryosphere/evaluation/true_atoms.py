"""Where the atoms are in a true conformation of which only the residues' beads are known."""

from __future__ import annotations

import numpy as np
import roma
import torch
from numpy.typing import NDArray
from scipy.spatial import cKDTree

from cryosphere.structures.beads import Beads
from cryosphere.structures.model import AtomicModel
from cryosphere.structures.ranges import POLYMER_KINDS

REACH = 4  # residues to either side along the chain whose motion tells how a residue turns
_TOO_FEW = 4  # neighbours along the chain: then the nearest in space are asked


class AtomsOfBeads:
    """Atoms that follow the beads of a model: each moves rigidly with its residue.

    A residue moves with its bead and turns as its surroundings do: by the best superposition of the beads up to four
    residues away along the chain (for ligands and short chains, of the nearest beads in space). Exact inside
    anything that moves rigidly. Where residues bend, side chains keep their conformation; the truth of a trajectory
    that was reduced to beads holds no more.
    """

    def __init__(self, model: AtomicModel) -> None:
        beads = model.beads
        self._base = torch.as_tensor(beads.positions, dtype=torch.float64)
        self._bead = torch.as_tensor(model.atom_bead)
        self._neighbours = torch.as_tensor(_neighbours(beads))
        self._weights = (self._neighbours >= 0).double()
        self._neighbours = self._neighbours.clamp_min(0)
        self._offsets = torch.as_tensor(model.positions, dtype=torch.float64) - self._base[self._bead]

    def positions(self, beads: NDArray[np.floating]) -> NDArray[np.float64]:
        """Atom positions (atoms, 3) Å for bead positions (R, 3) Å."""
        moved = torch.as_tensor(np.asarray(beads), dtype=torch.float64)
        turns = roma.rigid_points_registration(
            self._base[self._neighbours], moved[self._neighbours], weights=self._weights
        )[0]
        turned = torch.matmul(turns[self._bead], self._offsets[..., None])[..., 0]
        return np.asarray((moved[self._bead] + turned).numpy())


def _neighbours(beads: Beads) -> NDArray[np.int64]:
    """Beads whose motion counts for each bead, (R, 2 · REACH + 1), filled up with -1."""
    count = len(beads)
    window = np.arange(count)[:, None] + np.arange(-REACH, REACH + 1)
    inside = np.clip(window, 0, count - 1)
    polymer = np.isin(beads.kind, POLYMER_KINDS)
    valid = (window == inside) & (beads.chain[inside] == beads.chain[:, None]) & polymer[inside] & polymer[:, None]
    found = np.where(valid, window, -1)
    lonely = np.flatnonzero(valid.sum(axis=1) < _TOO_FEW)
    if len(lonely):
        nearest = cKDTree(beads.positions).query(beads.positions[lonely], k=min(found.shape[1], count))[1]
        found[lonely] = -1
        found[lonely, : nearest.reshape(len(lonely), -1).shape[1]] = nearest.reshape(len(lonely), -1)
    return found
