"""Segments of a placed model moved as rigid bodies into the map, held together by springs."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from scipy.spatial import cKDTree
from torch import Tensor

from cryosphere.errors import ConfigError
from cryosphere.geometry.motions import RigidMotions
from cryosphere.maps.fitting.landscape import Landscape
from cryosphere.model.deformation import choose_deform, segment_centres
from cryosphere.model.segmentation import Part, Segmentation
from cryosphere.structures.beads import Beads
from cryosphere.structures.model import AtomicModel

_NEAR = 10.0  # Å between beads that a spring holds
_STIFFNESS = 0.5  # of a spring stretched by 1 Å, mean over all, beside the overlap, which a perfect fit makes 1
STEPS = 150
_FIRST_STEP, _LAST_STEP = 0.3, 0.01  # Å that a segment moves at once
_TEMPERATURE = 20.0  # of the segmentation, as training starts


@dataclass(frozen=True)
class Placed:
    """A model somewhere: its atoms (n_atoms, 3) and beads (R, 3), Å."""

    atoms: NDArray[np.float64]
    beads: NDArray[np.float64]


def move_segments(
    model: AtomicModel, placed: Placed, landscape: Landscape, segments: int, report: Callable[[int], None]
) -> Placed:
    """A placed model after its segments have climbed the map, each as a rigid body.

    The chain is cut as training starts: evenly, into as many segments as asked for. Each turns about its centre and
    moves; springs between beads within 10 Å of each other keep neighbours together. The overlap is that of the
    refinement, over its value at the start. `report` is called with 1 after each of `STEPS` steps.

    Raises:
        ConfigError: for more segments than residues.
    """
    if not 0 < segments <= len(model.beads):
        raise ConfigError(f"{segments} segments are asked for; the model has {len(model.beads)} residues")
    atoms, beads = (torch.from_numpy(points).float() for points in (placed.atoms, placed.beads))
    along = torch.from_numpy(_along_chain(model.beads))
    cut = Segmentation(along, [Part(int(along.min()), int(along.max()), segments)], temperature=_TEMPERATURE)
    membership = cut(draw=False).detach()
    of_atom = membership[torch.from_numpy(model.atom_bead)]
    centres = segment_centres(beads, membership)
    radius = float((beads - membership @ centres).square().sum(1).mean().sqrt().clamp_min(1.0))
    deform, springs = choose_deform(_TEMPERATURE), _Springs(beads)
    scale = float(landscape.height(atoms).mean().abs().clamp_min(1e-9))
    moves = torch.zeros(2, 1, segments, 3, requires_grad=True)
    optimizer = torch.optim.Adam([moves], lr=_FIRST_STEP)
    shrink = torch.optim.lr_scheduler.ExponentialLR(optimizer, (_LAST_STEP / _FIRST_STEP) ** (1 / STEPS))
    for _ in range(STEPS):
        motions = RigidMotions(moves[0] / radius, moves[1])
        overlap = landscape.height(deform(atoms, of_atom, motions, centres)[0]).mean() / scale
        strain = springs.strain(deform(beads, membership, motions, centres)[0])
        optimizer.zero_grad()
        (_STIFFNESS * strain - overlap).backward()  # type: ignore[no-untyped-call]
        optimizer.step()
        shrink.step()
        report(1)
    with torch.no_grad():
        motions = RigidMotions(moves[0] / radius, moves[1])
        moved = [
            deform(points, rows, motions, centres)[0].double().numpy()
            for points, rows in ((atoms, of_atom), (beads, membership))
        ]
    return Placed(moved[0], moved[1])


class _Springs:
    """An elastic network between beads that are near each other at the start."""

    def __init__(self, places: Tensor) -> None:
        pairs = cKDTree(places.numpy()).query_pairs(_NEAR, output_type="ndarray")
        self._pairs = torch.from_numpy(pairs.astype(np.int64))
        self._lengths = self._of(places)

    def _of(self, places: Tensor) -> Tensor:
        first, second = self._pairs.unbind(1)
        return (places[first] - places[second]).square().sum(-1).clamp_min(1e-6).sqrt()

    def strain(self, places: Tensor) -> Tensor:
        """Mean square change of length, Å²; 0 where nothing is near anything."""
        if len(self._pairs) == 0:
            return places.new_zeros(())
        return (self._of(places) - self._lengths).square().mean()


def bond_lengths(beads: Beads, places: NDArray[np.float64]) -> tuple[float, float]:
    """Shortest and longest distance in Å of bonded beads; (0, 0) where none are bonded."""
    if len(beads.bonded) == 0:
        return 0.0, 0.0
    lengths = np.linalg.norm(places[beads.bonded[:, 0]] - places[beads.bonded[:, 1]], axis=1)
    return float(lengths.min()), float(lengths.max())


def _along_chain(beads: Beads) -> NDArray[np.int64]:
    """Where each bead stands along the chain: its index, and of a ligand that of the residue nearest to it."""
    index = np.arange(len(beads))
    ligand = beads.kind == "ligand"
    if ligand.any() and not ligand.all():
        polymer = index[~ligand]
        index[ligand] = polymer[cKDTree(beads.positions[polymer]).query(beads.positions[ligand])[1]]
    return index
