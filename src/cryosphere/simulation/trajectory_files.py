"""Frames of trajectory files: DCD and XTC with a topology, PDB and mmCIF files of several models."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import gemmi
import numpy as np
from biotite.structure.io.dcd import DCDFile
from biotite.structure.io.xtc import XTCFile
from numpy.typing import NDArray

from cryosphere.errors import ConfigError, StructureError
from cryosphere.simulation.motion_config import TrajectoryMotion
from cryosphere.simulation.periodic import usable_cell
from cryosphere.structures.model import AtomicModel, read_model

_READERS = {".dcd": DCDFile, ".xtc": XTCFile}


@dataclass(frozen=True)
class Frame:
    """Atoms of one moment."""

    atoms: NDArray[np.float64]  # (n_atoms, 3), Å
    cell: NDArray[np.float64] | None  # (3, 3) vectors of the periodic box as rows, Å; None where the file has none


class TrajectoryFile:
    """A trajectory, its frames as often as wanted and one at a time, and the model that names its atoms."""

    def __init__(self, motion: TrajectoryMotion) -> None:
        path = motion.trajectory
        if not path.is_file():
            raise ConfigError(f"motion.trajectory: there is no file {path}")
        self._motion = motion
        self._binary = path.suffix.lower() in _READERS
        if self._binary and motion.topology is None:
            raise ConfigError(f"{path} holds only coordinates: give motion.topology, a PDB or mmCIF file of its atoms")
        if not self._binary and motion.topology is not None:
            raise ConfigError(f"{path}: motion.topology is for DCD and XTC trajectories; leave it out here")
        self.source: Path = motion.topology or path
        self.topology: AtomicModel = read_model(self.source)

    def frames(self) -> Iterator[Frame]:
        """The frames chosen.

        Raises:
            StructureError: for a damaged file, numbers that are not finite, or atoms that do not match the
                topology.
        """
        expected = len(self.topology.positions)
        for frame in self._binary_frames() if self._binary else self._models():
            if len(frame.atoms) != expected:
                raise StructureError(
                    f"{self._motion.trajectory}: frames have {len(frame.atoms)} atoms, the topology {self.source} has "
                    f"{expected}; give the topology that the trajectory was made with"
                )
            if not np.isfinite(frame.atoms).all():
                raise StructureError(
                    f"{self._motion.trajectory}: a frame has coordinates that are not finite; is the file damaged?"
                )
            yield frame

    def _binary_frames(self) -> Iterator[Frame]:
        motion = self._motion
        reader = _READERS[motion.trajectory.suffix.lower()]
        try:
            for coordinates, cell, _ in reader.read_iter(
                str(motion.trajectory), start=motion.first or None, stop=motion.last, step=motion.step
            ):
                yield Frame(coordinates.astype(np.float64), usable_cell(cell))
        except (OSError, ValueError, IndexError) as error:
            raise StructureError(f"{motion.trajectory}: cannot be read as a trajectory: {error}") from error

    def _models(self) -> Iterator[Frame]:
        motion, topology = self._motion, self.topology
        structure = gemmi.read_structure(str(motion.trajectory), merge_chain_parts=False)
        cell = usable_cell(np.array(structure.cell.orth.mat.tolist()).T)
        for number in range(len(structure))[motion.first : motion.last : motion.step]:
            atoms = np.array([site.atom.pos.tolist() for site in structure[number].all()])
            if number == 0 and (atoms.shape != topology.positions.shape or not np.allclose(atoms, topology.positions)):
                raise StructureError(
                    f"{motion.trajectory}: the atoms of a chain do not lie together; sort them by chain"
                )
            if len(atoms) != len(topology.positions):
                raise StructureError(
                    f"{motion.trajectory}: model {number + 1} has {len(atoms)} atoms, the first has "
                    f"{len(topology.positions)}"
                )
            yield Frame(atoms, cell)
