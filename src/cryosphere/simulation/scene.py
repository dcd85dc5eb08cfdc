"""What a simulation's images show, known before the first one is made."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from cryosphere.errors import StructureError
from cryosphere.imaging.grid import ImageGrid
from cryosphere.particles.table import ParticleTable
from cryosphere.progress import SILENT, Progress
from cryosphere.simulation.acquisition import Stream, acquire, generator
from cryosphere.simulation.atoms import atom_amplitudes
from cryosphere.simulation.composition import Composition, draw_composition
from cryosphere.simulation.config import SimulationConfig
from cryosphere.simulation.conformations import Conformations
from cryosphere.simulation.hinge import hinge_conformations
from cryosphere.simulation.interpolation import interpolated_conformations
from cryosphere.simulation.jitter import jittered
from cryosphere.simulation.motion_config import HingeMotion, InterpolationMotion, TrajectoryMotion
from cryosphere.simulation.populations import assigned
from cryosphere.simulation.rendering import Renderer
from cryosphere.simulation.trajectory import trajectory_conformations
from cryosphere.structures.model import AtomicModel, read_model
from cryosphere.structures.placement import check_inside_box

log = logging.getLogger(__name__)

VARIANCE_SAMPLE = 1000  # images over which the noiseless variance is taken, spread evenly over the set


@dataclass(frozen=True)
class Scene:
    """The conformations, which image shows which of them with which residues, and the true poses."""

    config: SimulationConfig
    conformations: Conformations
    composition: Composition
    index: NDArray[np.int64]  # (n,) the conformation each image shows
    table: ParticleTable

    @property
    def grid(self) -> ImageGrid:
        return ImageGrid(box=self.config.images.box, pixel_size=self.config.images.pixel_size)

    def write_atoms(self, path: Path, progress: Progress) -> None:
        """Save all atoms of every conformation, (K, n_atoms, 3) in Å, as a NumPy file of 32-bit floats."""
        count, atoms = len(self.conformations), len(self.conformations.model.positions)
        file = np.lib.format.open_memmap(path, mode="w+", dtype=np.float32, shape=(count, atoms, 3))
        with progress.track(count, "placing atoms") as advance:
            for row, positions in enumerate(self.conformations.all_atoms()):
                file[row] = positions
                advance(1)
        file.flush()


def set_scene(config: SimulationConfig, stack: str, star: Path, progress: Progress = SILENT) -> Scene:
    """The scene a configuration describes; `stack` and `star` name the files to come.

    Raises:
        InputError: for models, trajectories and residues that are not as the configuration says, or outside the box.
    """
    images, seed = config.images, config.seed
    conformations = _conformations(config, progress)
    model = conformations.model
    composition = draw_composition(model.beads, config.absent, images.count, generator(seed, Stream.ABSENT))
    check_inside_box(model, images.box, images.pixel_size, source=config.model)
    _warn_of_the_cut(conformations.positions, images.box * images.pixel_size / 2)
    return Scene(
        config=config,
        conformations=conformations,
        composition=composition,
        index=assigned(images.count, len(conformations), conformations.weights, generator(seed, Stream.ASSIGNMENT)),
        table=acquire(config, stack, star),
    )


def _warn_of_the_cut(positions: NDArray[np.float32], half_box: float) -> None:
    """Say if conformations (K, R, 3) reach farther from the box centre, in Å, than images show from every side."""
    reach = np.array([np.sqrt(np.square(one).sum(axis=1).max()) for one in positions])
    beyond = int((reach > half_box).sum())
    if beyond:
        log.warning(
            "%d of %d conformations reach up to %.0f Å from the box centre, and images show %.0f Å: some views cut "
            "parts of the molecule off. A larger box, or larger pixels, would show everything",
            *(beyond, len(positions), float(reach.max()), half_box),
        )


def _conformations(config: SimulationConfig, progress: Progress) -> Conformations:
    seed, motion, images = config.seed, config.motion, config.images.count
    model = None if config.model is None else read_model(config.model)
    if isinstance(motion, TrajectoryMotion):
        conformations = trajectory_conformations(model, motion)
        _tell_of_unseen(len(conformations), images, "are shown, the first")
    else:
        conformations = _drawn(model, motion, images, generator(seed, Stream.CONFORMATIONS))
        if config.jitter is not None:
            conformations = conformations.repeated(min(motion.conformations, images))
    if config.jitter is not None:
        conformations = jittered(conformations, config.jitter, generator(seed, Stream.JITTER), progress)
    return conformations.centred() if config.placement == "centred" else conformations


def _drawn(
    model: AtomicModel | None, motion: HingeMotion | InterpolationMotion, images: int, random: np.random.Generator
) -> Conformations:
    """As many conformations as asked for, or as there are images."""
    count = min(motion.conformations, images)
    if isinstance(motion, InterpolationMotion):
        conformations = interpolated_conformations(motion, count, random)
    else:
        assert model is not None, "the configuration has seen to it"
        conformations = hinge_conformations(model, motion, count, random)
    if len(conformations) == count:
        _tell_of_unseen(motion.conformations, images, "are drawn: one for each image")
    return conformations


def _tell_of_unseen(conformations: int, images: int, what: str) -> None:
    if conformations > images:
        log.info("there are only %d images for %d conformations: only %d %s", images, conformations, images, what)


class Camera:
    """Takes the noiseless images of a scene, of its beads or of all its atoms.

    atoms: file of `Scene.write_atoms`, needed where the configuration asks for atoms.
    """

    def __init__(self, scene: Scene, atoms: Path | None) -> None:
        images, model = scene.config.images, scene.conformations.model
        self._scene = scene
        self._atoms: NDArray[np.float32] | None = None
        amplitudes, self._bead = model.beads.amplitudes, np.arange(len(model.beads))
        if images.density == "atoms":
            assert atoms is not None
            self._atoms = np.load(atoms, mmap_mode="r", allow_pickle=False)
            amplitudes = atom_amplitudes(model)
            self._seen = np.flatnonzero(amplitudes)
            amplitudes, self._bead = amplitudes[self._seen], model.atom_bead[self._seen]
        self._renderer = Renderer(scene.table, amplitudes, scene.grid, sigma=images.bead_sigma, ctf=True)

    def batches(self, first: int) -> Iterator[NDArray[np.int64]]:
        """The images from `first` on, in pieces that fit into memory."""
        return self._renderer.batches(np.arange(first, len(self._scene.index)))

    def take(self, rows: NDArray[np.int64]) -> NDArray[np.float32]:
        """Images (m, box, box) without noise, protein bright."""
        shown = self._scene.index[rows]
        if self._atoms is None:
            positions = self._scene.conformations.positions[shown]
        else:
            positions = np.stack([self._atoms[k][self._seen] for k in shown])
        composition = self._scene.composition
        present = composition.present(rows)[:, self._bead] if len(composition.sets) else None
        return self._renderer.images(rows, positions, present)

    def signal_variance(self) -> float:
        """Variance of the noiseless pixels over whole images, from VARIANCE_SAMPLE images (all of a smaller set).

        Raises:
            StructureError: if the images are empty.
        """
        count = len(self._scene.index)
        sample = np.unique(np.linspace(0, count - 1, min(count, VARIANCE_SAMPLE)).round().astype(np.int64))
        total = total_of_squares = 0.0
        pixels = 0
        for rows in self._renderer.batches(sample):
            noiseless = self.take(rows)
            total += float(noiseless.sum(dtype=np.float64))
            total_of_squares += float(np.square(noiseless, dtype=np.float64).sum())
            pixels += noiseless.size
        variance = total_of_squares / pixels - (total / pixels) ** 2
        if not variance > 0:
            raise StructureError(
                "the model leaves no trace in the images: it lies outside the box; use `placement: centred` or a "
                "larger box"
            )
        return variance
