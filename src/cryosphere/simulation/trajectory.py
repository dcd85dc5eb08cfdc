"""Conformations from a trajectory: whole molecules, laid on the base structure, one conformation per frame."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from scipy.spatial.transform import Rotation

from cryosphere.errors import ConfigError, StructureError
from cryosphere.simulation.atoms import BeadPositions
from cryosphere.simulation.conformations import Conformations, match_residues, polymer, select_beads
from cryosphere.simulation.motion_config import TrajectoryMotion
from cryosphere.simulation.periodic import Unwrapper
from cryosphere.simulation.superposition import superposition
from cryosphere.simulation.trajectory_checks import (
    refuse_torn_chains,
    refuse_torn_complexes,
    require_fitting_topology,
)
from cryosphere.simulation.trajectory_files import TrajectoryFile
from cryosphere.structures.beads import Beads
from cryosphere.structures.model import AtomicModel

log = logging.getLogger(__name__)

Array = NDArray[np.float64]

_AT_ONCE = 256  # frames
_MOVED = 1.0  # Å; making whole moves atoms by whole boxes or not at all


def trajectory_conformations(model: AtomicModel | None, motion: TrajectoryMotion) -> Conformations:
    """Each frame of the trajectory as a conformation of the model's beads.

    model: the base structure; None makes the first frame used the base structure.
    Molecules torn across a periodic box are made whole where the box is known, and the frames are superposed on the
    base structure where asked for; the log says both.

    Raises ConfigError or StructureError where trajectory, topology, model and weights do not belong together, or where
    a frame is torn apart and its box not known.
    """
    file = TrajectoryFile(motion)
    whole = _WholeFrames(file)
    to_beads = BeadPositions(file.topology)
    collected: list[NDArray[np.float32]] = []
    first_atoms: Array | None = None
    for atoms in whole:
        if first_atoms is None:
            first_atoms = atoms
            require_fitting_topology(motion, file.source, file.topology, atoms)
        collected.append(to_beads(atoms).astype(np.float32))
    if first_atoms is None:
        raise ConfigError(f"{motion.trajectory}: no frames between first = {motion.first} and last = {motion.last}")
    positions = np.stack(collected)
    whole.report(motion.trajectory)
    refuse_torn_chains(motion, positions, file.topology.beads)
    if not whole.boxed:
        refuse_torn_complexes(motion, positions, file.topology.beads)
    base = _moved(file.topology, first_atoms, to_beads(first_atoms)) if model is None else model
    rows = match_residues(file.topology.beads, base.beads, str(file.source))
    positions = positions[:, rows]
    turns, shifts = _superposing(motion, base.beads, positions)
    for row, (turn, shift) in enumerate(zip(turns, shifts, strict=True)):
        positions[row] = positions[row] @ turn.T + shift
    log.info("%s: %d frames, %d residues", motion.trajectory, *positions.shape[:2])

    def atom_frames() -> Iterator[Array]:
        chosen = _matching_atoms(file.topology, base, str(file.source))
        for atoms, turn, shift in zip(_WholeFrames(file), turns, shifts, strict=True):
            yield np.asarray((atoms @ turn.T + shift)[chosen])

    return Conformations(
        model=base,
        positions=positions,
        parameter_names=("frame",),
        parameters=(motion.first + motion.step * np.arange(len(positions), dtype=np.float64))[:, None],
        domain=np.full(len(base.beads), -1, dtype=np.int64),
        weights=_weights(motion, len(positions)),
        atom_frames=atom_frames,
    )


class _WholeFrames:
    """Atoms of every frame, molecules torn across a known periodic box made whole."""

    def __init__(self, file: TrajectoryFile) -> None:
        self._file = file
        self._unwrap: Unwrapper | None = None
        self.frames = self.mended = 0
        self.boxed = True  # in every frame so far

    def __iter__(self) -> Iterator[Array]:
        for frame in self._file.frames():
            self.frames += 1
            atoms = frame.atoms
            self.boxed &= frame.cell is not None
            if frame.cell is not None:
                self._unwrap = self._unwrap or Unwrapper(self._file.topology, frame.cell)
                atoms = self._unwrap(frame.atoms, frame.cell)
                self.mended += bool(np.abs(atoms - frame.atoms).max() > _MOVED)
            yield atoms

    def report(self, path: Path) -> None:
        """Say how many frames were torn."""
        if self.mended:
            log.warning(
                "%s: in %d of %d frames the molecule was torn across the periodic box; it was made whole along its "
                "bonds, and unbonded pieces were put where the topology has them",
                *(path, self.mended, self.frames),
            )


def _superposing(motion: TrajectoryMotion, base: Beads, positions: NDArray[np.float32]) -> tuple[Array, Array]:
    """Rotations (K, 3, 3) and translations (K, 3) that lay the frames, (K, R, 3), on the base structure."""
    count = len(positions)
    if motion.superpose is False:
        return np.tile(np.eye(3), (count, 1, 1)), np.zeros((count, 3))
    by = polymer(base) if motion.superpose is True else select_beads(base, motion.superpose)
    if by.sum() < 3:
        raise ConfigError(f"motion.superpose: {int(by.sum())} residues cannot fix a superposition; it takes three")
    moving, target = positions[:, by], base.positions[by]
    found = [superposition(piece, target) for piece in np.split(moving, range(_AT_ONCE, count, _AT_ONCE))]
    turns, shifts = (np.concatenate(parts) for parts in zip(*found, strict=True))
    angles = np.rad2deg(Rotation.from_matrix(turns).magnitude())
    drifts = np.linalg.norm(moving.mean(axis=1) - target.mean(axis=0), axis=1)
    log.info(
        "%s: the frames lie turned by up to %.1f degrees and shifted by up to %.1f Å from the base structure; they are "
        "superposed on it by %d residues (superpose: false leaves them where they are)",
        *(motion.trajectory, angles.max(), drifts.max(), by.sum()),
    )
    return turns, shifts


def _weights(motion: TrajectoryMotion, frames: int) -> Array | None:
    """How often each frame is shown, relative to the others."""
    if motion.weights is None:
        return None
    origin = "motion.weights"
    if isinstance(motion.weights, Path):
        origin = str(motion.weights)
        try:
            text = motion.weights.read_text(encoding="utf-8").split()
            values = np.array([float(word) for word in text])
        except (OSError, ValueError) as error:
            raise ConfigError(f"motion.weights: cannot read numbers from {origin}: {error}") from None
    else:
        values = np.array(motion.weights, dtype=np.float64)
    if len(values) != frames:
        raise ConfigError(f"{origin}: {len(values)} weights for the {frames} frames used; give one for each")
    if not (np.isfinite(values).all() and (values >= 0).all() and values.any()):
        raise ConfigError(f"{origin}: weights must be numbers of 0 or more, and not all 0")
    return values


def _moved(model: AtomicModel, atoms: Array, bead_positions: Array) -> AtomicModel:
    """The model with its atoms and beads elsewhere."""
    beads = replace(model.beads, positions=bead_positions)
    return replace(model, structure=model.with_positions(atoms), positions=atoms, beads=beads)


def _matching_atoms(source: AtomicModel, target: AtomicModel, origin: str) -> NDArray[np.int64]:
    """For each atom of `target` its index in `source`, by chain, residue, name and conformer."""
    if len(source.positions) == len(target.positions) and _names(source) == _names(target):
        return np.arange(len(target.positions))
    place = {name: index for index, name in enumerate(_names(source))}
    missing = [name for name in _names(target) if name not in place]
    if missing:
        chain, residue, atom, _ = missing[0]
        raise StructureError(
            f"atom {atom} of residue {residue} in chain {chain!r} of the model (and {len(missing) - 1} more) is not in "
            f"{origin}, so the true atoms are not known; leave `model` out, or simulate beads (images.density: beads, "
            "truth_atoms: false)"
        )
    return np.array([place[name] for name in _names(target)], dtype=np.int64)


def _names(model: AtomicModel) -> list[tuple[str, str, str, str]]:
    return [
        (site.chain.name, str(site.residue.seqid), site.atom.name, site.atom.altloc)
        for site in model.structure[0].all()
    ]
