"""Conformations from a trajectory: the frames of a DCD or XTC file, or the models of a PDB or mmCIF file."""

from __future__ import annotations

import logging
from collections.abc import Iterable, Iterator
from dataclasses import replace

import gemmi
import numpy as np
from biotite.structure.io.dcd import DCDFile
from biotite.structure.io.xtc import XTCFile
from numpy.typing import NDArray
from scipy.sparse import csr_array

from cryosphere.errors import ConfigError, StructureError
from cryosphere.simulation.conformations import Conformations, describe_chains
from cryosphere.simulation.motion_config import TrajectoryMotion
from cryosphere.structures.beads import Beads
from cryosphere.structures.model import AtomicModel, read_model

log = logging.getLogger(__name__)

Frame = NDArray[np.floating]
_READERS = {".dcd": DCDFile, ".xtc": XTCFile}
_LONGEST_STRETCH = 10.0  # Å by which a bond between residues may grow before the molecule counts as torn apart


def trajectory_conformations(model: AtomicModel | None, motion: TrajectoryMotion) -> Conformations:
    """Each frame of the trajectory as a conformation of the model's beads.

    model: the base structure; None makes the first frame used the base structure.
    Raises ConfigError or StructureError where trajectory, topology and model do not belong together, or where a frame
    is torn apart (as by a periodic box).
    """
    topology, frames = _open(motion)
    move = BeadPositions(topology)
    first_atoms: Frame | None = None
    collected: list[NDArray[np.float32]] = []
    for frame in frames:
        if len(frame) != len(topology.positions):
            raise StructureError(
                f"{motion.trajectory}: frames have {len(frame)} atoms, the topology {motion.topology or ''} has "
                f"{len(topology.positions)}; give the topology that the trajectory was made with"
            )
        first_atoms = frame if first_atoms is None else first_atoms
        collected.append(move(frame).astype(np.float32))
    if first_atoms is None:
        raise ConfigError(f"{motion.trajectory}: no frames between first = {motion.first} and last = {motion.last}")
    positions = np.stack(collected)
    _refuse_torn_frames(motion, positions, topology.beads)
    if model is None:
        model = _moved(topology, first_atoms, move(first_atoms))
    else:
        positions = positions[:, match_residues(topology.beads, model.beads, str(motion.topology or motion.trajectory))]
    frame_numbers = motion.first + motion.step * np.arange(len(positions), dtype=np.float64)
    log.info("%s: %d frames, %d residues", motion.trajectory, *positions.shape[:2])
    return Conformations(
        model=model,
        positions=positions,
        parameter_names=("frame",),
        parameters=frame_numbers[:, None],
        domain=np.full(len(model.beads), -1, dtype=np.int64),
    )


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
        on_atom[model.atom_bead[distance < 1e-6]] = True
        weights = np.where(on_atom[model.atom_bead], (distance < 1e-6).astype(np.float64), np.maximum(electrons, 1e-3))
        totals = np.bincount(model.atom_bead, weights=weights, minlength=len(self._beads))
        weights /= totals[model.atom_bead]
        atoms = np.arange(len(weights))
        shape = (len(self._beads), len(weights))
        self._weights = csr_array((weights, (model.atom_bead, atoms)), shape=shape)

    def __call__(self, atoms: Frame) -> NDArray[np.float64]:
        """Bead positions (R, 3) for atom positions (n_atoms, 3), in Å."""
        return np.asarray(self._beads + self._weights @ (atoms.astype(np.float64) - self._atoms))


def match_residues(source: Beads, target: Beads, origin: str) -> NDArray[np.int64]:
    """For each residue of `target` its index in `source`, by chain, residue number and insertion code.

    Raises:
        StructureError: if a residue of the target is not in the source.
    """
    place = {key: index for index, key in enumerate(_identities(source))}
    missing = [key for key in _identities(target) if key not in place]
    if missing:
        chain, number, insertion = missing[0]
        raise StructureError(
            f"residue {number}{insertion} of chain {chain!r} of the model (and {len(missing) - 1} more) is not in "
            f"{origin}, which has {describe_chains(source)}; leave `model` out to start from the trajectory's own frame"
        )
    if len(source) > len(target):
        log.warning("%s: %d residues are not in the model and are not simulated", origin, len(source) - len(target))
    return np.array([place[key] for key in _identities(target)], dtype=np.int64)


def _moved(model: AtomicModel, atoms: Frame, bead_positions: NDArray[np.float64]) -> AtomicModel:
    """The model with its atoms and beads elsewhere."""
    positions = atoms.astype(np.float64)
    beads = replace(model.beads, positions=bead_positions)
    return replace(model, structure=model.with_positions(positions), positions=positions, beads=beads)


def _identities(beads: Beads) -> list[tuple[str, int, str]]:
    return list(zip(beads.chain.tolist(), beads.number.tolist(), beads.insertion.tolist(), strict=True))


def _open(motion: TrajectoryMotion) -> tuple[AtomicModel, Iterable[Frame]]:
    """The model that names the trajectory's atoms, and the frames chosen."""
    path = motion.trajectory
    if not path.is_file():
        raise ConfigError(f"motion.trajectory: there is no file {path}")
    if path.suffix.lower() in _READERS:
        if motion.topology is None:
            raise ConfigError(f"{path} holds only coordinates: give motion.topology, a PDB or mmCIF file of its atoms")
        return read_model(motion.topology), _binary_frames(motion)
    if motion.topology is not None:
        raise ConfigError(f"{path}: motion.topology is for DCD and XTC trajectories; leave it out here")
    topology = read_model(path)
    return topology, _model_frames(motion, topology)


def _binary_frames(motion: TrajectoryMotion) -> Iterator[Frame]:
    reader = _READERS[motion.trajectory.suffix.lower()]
    try:
        for coordinates, _, _ in reader.read_iter(
            str(motion.trajectory), start=motion.first or None, stop=motion.last, step=motion.step
        ):
            yield _finite(motion, coordinates)
    except (OSError, ValueError, IndexError) as error:
        raise StructureError(f"{motion.trajectory}: cannot be read as a trajectory: {error}") from error


def _model_frames(motion: TrajectoryMotion, topology: AtomicModel) -> Iterator[Frame]:
    structure = gemmi.read_structure(str(motion.trajectory), merge_chain_parts=False)
    for number in range(len(structure))[motion.first : motion.last : motion.step]:
        frame = np.array([site.atom.pos.tolist() for site in structure[number].all()])
        if number == 0 and (frame.shape != topology.positions.shape or not np.allclose(frame, topology.positions)):
            raise StructureError(f"{motion.trajectory}: the atoms of a chain do not lie together; sort them by chain")
        if len(frame) != len(topology.positions):
            raise StructureError(
                f"{motion.trajectory}: model {number + 1} has {len(frame)} atoms, "
                f"the first has {len(topology.positions)}"
            )
        yield _finite(motion, frame)


def _finite(motion: TrajectoryMotion, frame: Frame) -> Frame:
    if not np.isfinite(frame).all():
        raise StructureError(f"{motion.trajectory}: a frame has coordinates that are not finite; is the file damaged?")
    return frame


def _refuse_torn_frames(motion: TrajectoryMotion, positions: NDArray[np.float32], beads: Beads) -> None:
    if not len(beads.bonded):
        return
    first, second = beads.bonded.T
    usual = np.linalg.norm(beads.positions[first] - beads.positions[second], axis=1)
    for index, frame in enumerate(positions):
        stretch = np.linalg.norm(frame[first] - frame[second], axis=1) - usual
        if stretch.max() > _LONGEST_STRETCH:
            worst = int(stretch.argmax())
            raise StructureError(
                f"{motion.trajectory}: in frame {motion.first + index * motion.step} the bonded residues "
                f"{beads.number[first[worst]]} and {beads.number[second[worst]]} of chain "
                f"{beads.chain[first[worst]]!r} are {stretch[worst] + usual[worst]:.0f} Å apart: the molecule is torn "
                "apart, as by a periodic box; make it whole with the program that wrote it"
            )
