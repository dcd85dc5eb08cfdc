"""Whether a trajectory belongs to its topology, and its molecules are in one piece."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from cryosphere.errors import StructureError
from cryosphere.simulation.motion_config import TrajectoryMotion
from cryosphere.structures.beads import Beads
from cryosphere.structures.model import AtomicModel

Array = NDArray[np.float64]

_LONGEST_STRETCH = 10.0  # Å by which a bond between residues may grow before the molecule counts as torn apart
_MISPLACED = 5.0  # Å by which an atom's distance from its residue's bead may differ from the topology's
_MANY = 0.25  # of the atoms or bonds: more than a torn box or a damaged frame would misplace
_JUMP = 0.5  # of the molecule's extent: no chain goes that far from one frame to the next


def require_fitting_topology(motion: TrajectoryMotion, source: Path, topology: AtomicModel, atoms: Array) -> None:
    """Refuse a first frame whose atoms do not lie about their residues' beads as in the topology.

    atoms (n_atoms, 3) Å. Rigid motion of a residue changes none of these distances; another order of atoms does. Where
    residues are one atom each, the bonds between them are looked at.
    """
    anchors = np.zeros(len(topology.beads), dtype=np.int64)
    away = np.linalg.norm(topology.positions - topology.beads.positions[topology.atom_bead], axis=1)
    order = np.lexsort((away, topology.atom_bead))
    beads, first = np.unique(topology.atom_bead[order], return_index=True)
    anchors[beads] = order[first]
    anchor = anchors[topology.atom_bead]
    others = np.flatnonzero(anchor != np.arange(len(anchor)))
    first_bead, second_bead = topology.beads.bonded.reshape(-1, 2).T
    pairs = np.concatenate(
        [np.stack([others, anchor[others]], axis=1), np.stack([anchors[first_bead], anchors[second_bead]], axis=1)]
    )
    if not len(pairs):
        return
    there, here = (np.linalg.norm(x[pairs[:, 0]] - x[pairs[:, 1]], axis=1) for x in (topology.positions, atoms))
    wrong = np.abs(here - there) > _MISPLACED
    if wrong.mean() > _MANY:
        raise StructureError(
            f"{motion.trajectory}: in the first frame, {100 * wrong.mean():.0f} % of neighbouring atoms lie more than "
            f"{_MISPLACED:g} Å nearer or farther than in the topology {source}: the atoms are others, or in another "
            "order; give the topology that the trajectory was made with"
        )


def refuse_torn_chains(motion: TrajectoryMotion, positions: NDArray[np.float32], beads: Beads) -> None:
    """Refuse frames in which bonded residues lie far apart; positions (K, R, 3) Å."""
    if not len(beads.bonded):
        return
    first, second = beads.bonded.T
    usual = np.linalg.norm(beads.positions[first] - beads.positions[second], axis=1)
    for index, frame in enumerate(positions):
        stretch = np.linalg.norm(frame[first] - frame[second], axis=1) - usual
        if stretch.max() > _LONGEST_STRETCH:
            worst = int(stretch.argmax())
            chain, one, other = str(beads.chain[first[worst]]), beads.number[first[worst]], beads.number[second[worst]]
            raise StructureError(
                f"{motion.trajectory}: in frame {motion.first + index * motion.step} the bonded residues {one} and "
                f"{other} of chain {chain!r} are {stretch[worst] + usual[worst]:.0f} Å apart: the molecule is torn "
                "apart, as by a periodic box that the file does not tell; make it whole with the program that wrote it"
            )


def refuse_torn_complexes(motion: TrajectoryMotion, positions: NDArray[np.float32], beads: Beads) -> None:
    """Refuse chains that jump against each other; positions (K, R, 3) Å of a file without a box.

    From the topology to the first frame, and from frame to frame.
    """
    chains = list(dict.fromkeys(beads.chain.tolist()))
    known = np.concatenate([beads.positions[None], positions])
    centres = np.stack([known[:, beads.chain == chain].mean(axis=1) for chain in chains], axis=1)  # (1 + K, chains, 3)
    apart = np.linalg.norm(centres - centres[:, :1], axis=2)
    jumps = np.abs(np.diff(apart, axis=0))
    limit = _JUMP * float(np.ptp(beads.positions, axis=0).max())
    if not jumps.size or jumps.max() <= limit:
        return
    frame, chain = np.unravel_index(int(jumps.argmax()), jumps.shape)
    before = f"frame {motion.first + (int(frame) - 1) * motion.step} to the next one used"
    raise StructureError(
        f"{motion.trajectory}: from {before if frame else 'the topology to the first frame'}, chain "
        f"{chains[int(chain)]!r} jumps by {jumps.max():.0f} Å against chain {chains[0]!r}: the molecules are torn "
        "apart, as by a periodic box that the file does not tell; make them whole with the program that wrote it"
        + ("" if frame else ", or give that frame as the topology if they do lie so")
    )
