"""Particle images of a known motion: stack, STAR file and truth."""

from __future__ import annotations

import logging
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from cryosphere import __version__
from cryosphere.errors import RunError, StructureError
from cryosphere.imaging.grid import ImageGrid
from cryosphere.particles.star import write_star
from cryosphere.particles.table import ParticleTable
from cryosphere.progress import SILENT, Progress
from cryosphere.settings import write_yaml
from cryosphere.simulation.acquisition import Stream, acquire, generator, image_generator, with_pose_errors
from cryosphere.simulation.composition import Composition, draw_composition
from cryosphere.simulation.config import SimulationConfig
from cryosphere.simulation.conformations import Conformations
from cryosphere.simulation.hinge import hinge_conformations
from cryosphere.simulation.jitter import jittered
from cryosphere.simulation.motion_config import HingeMotion
from cryosphere.simulation.populations import assigned
from cryosphere.simulation.rendering import Renderer
from cryosphere.simulation.stack_writer import StackWriter
from cryosphere.simulation.trajectory import trajectory_conformations
from cryosphere.simulation.truth import Truth
from cryosphere.structures.model import read_model
from cryosphere.structures.placement import check_inside_box
from cryosphere.structures.write import write_model

log = logging.getLogger(__name__)

VARIANCE_SAMPLE = 1000  # images over which the noiseless variance is taken, spread evenly over the set

_STACK, _TRUTH, _MODEL, _CONFIG, _STAR = "particles.mrcs", "truth.npz", "model.cif", "simulation.yaml", "particles.star"
_FILES = (_STACK, _TRUTH, _MODEL, _CONFIG, _STAR)  # in the order in which they appear: the STAR file says "complete"


@dataclass(frozen=True)
class Simulation:
    """A finished simulation: where its files lie, and what it knows."""

    folder: Path
    truth: Truth
    table: ParticleTable

    @property
    def particles(self) -> Path:
        """The STAR file, with the true poses."""
        return self.folder / _STAR

    @property
    def model(self) -> Path:
        """The base structure where the images show it."""
        return self.folder / _MODEL

    @property
    def truth_path(self) -> Path:
        """The archive that `load_truth` reads."""
        return self.folder / _TRUTH


def simulate(
    config: SimulationConfig, outdir: str | Path, *, progress: Progress = SILENT, overwrite: bool = False
) -> Simulation:
    """Image a protein that moves as configured, and write particles, model and truth to `outdir`.

    Images are formed as in equation 2 of the paper and get white noise of equal strength: its variance is that of the
    noiseless CTF-modulated images, over the whole area of up to VARIANCE_SAMPLE of them, divided by `images.snr`. The
    same configuration gives the same images. Memory is bounded whatever the number of images.

    Raises:
        InputError: for an unusable model, trajectory or configuration, or an `outdir` that holds a simulation already
            (unless `overwrite`). Nothing is left behind then, nor after an interruption.
    """
    outdir = Path(outdir)
    existing = [name for name in _FILES if (outdir / name).exists()]
    if existing and not overwrite:
        raise RunError(f"{outdir} already holds {', '.join(existing)}; choose another folder or allow it (--overwrite)")
    scene = _Scene.of(config, outdir / _STAR)
    model = scene.conformations.model
    check_inside_box(model, config.images.box, config.images.pixel_size, source=config.model)
    table = with_pose_errors(scene.table, config.pose_errors, generator(config.seed, Stream.POSE_ERRORS))
    with _workshop(outdir) as workshop:
        truth = _make_images(scene, workshop / _STACK, progress)
        truth.save(workshop / _TRUTH)
        write_model(workshop / _MODEL, model)
        write_yaml(workshop / _CONFIG, config, heading=f"simulated by cryosphere {__version__}")
        write_star(workshop / _STAR, table)
        (outdir / _STAR).unlink(missing_ok=True)
        for name in _FILES:
            (workshop / name).replace(outdir / name)
    log.info("%s: %d images of %d conformations", outdir, len(table), min(len(table), len(truth.conformations)))
    return Simulation(folder=outdir, truth=truth, table=table)


@dataclass(frozen=True)
class _Scene:
    """Everything that is known before the first image is made."""

    config: SimulationConfig
    conformations: Conformations
    composition: Composition
    index: NDArray[np.int64]  # (n,) the conformation each image shows
    table: ParticleTable  # true poses

    @classmethod
    def of(cls, config: SimulationConfig, star: Path) -> _Scene:
        """The scene a configuration describes."""
        images, seed = config.images.count, config.seed
        conformations = _conformations(config)
        return cls(
            config=config,
            conformations=conformations,
            composition=draw_composition(
                conformations.model.beads, config.absent, images, generator(seed, Stream.ABSENT)
            ),
            index=assigned(images, len(conformations), conformations.weights, generator(seed, Stream.ASSIGNMENT)),
            table=acquire(config, _STACK, star),
        )

    @property
    def grid(self) -> ImageGrid:
        return ImageGrid(box=self.config.images.box, pixel_size=self.config.images.pixel_size)

    def renderer(self) -> Renderer:
        """What makes the noiseless images."""
        amplitudes = self.conformations.model.beads.amplitudes
        return Renderer(self.table, amplitudes, self.grid, sigma=self.config.images.bead_sigma, ctf=True)

    def noiseless(self, renderer: Renderer, rows: NDArray[np.int64]) -> NDArray[np.float32]:
        """Images (m, box, box) without noise, protein bright."""
        present = self.composition.present(rows) if len(self.composition.sets) else None
        return renderer.images(rows, self.conformations.positions[self.index[rows]], present)


def _conformations(config: SimulationConfig) -> Conformations:
    model = None if config.model is None else read_model(config.model)
    images, seed, motion = config.images.count, config.seed, config.motion
    if isinstance(motion, HingeMotion):
        assert model is not None, "the configuration has seen to it"
        _tell_of_unseen(motion.conformations, images, "are drawn: one for each image")
        count = min(motion.conformations, images)
        conformations = hinge_conformations(model, motion, count, generator(seed, Stream.CONFORMATIONS))
        if config.jitter is not None and len(conformations) < count:
            conformations = conformations.repeated(count)
    else:
        conformations = trajectory_conformations(model, motion)
        _tell_of_unseen(len(conformations), images, "are shown, the first")
    if config.jitter is not None:
        conformations = jittered(conformations, config.jitter, generator(seed, Stream.JITTER))
    return conformations.centred() if config.placement == "centred" else conformations


def _tell_of_unseen(conformations: int, images: int, what: str) -> None:
    if conformations > images:
        log.info("there are only %d images for %d conformations: only %d %s", images, conformations, images, what)


def _make_images(scene: _Scene, path: Path, progress: Progress) -> Truth:
    """Write the stack and return what it shows."""
    images, grid = scene.config.images, scene.grid
    renderer = scene.renderer()
    variance = _signal_variance(scene, renderer)
    noise_sd = float(np.sqrt(variance / images.snr))
    sign = 1.0 if images.contrast == "white" else -1.0
    writer = StackWriter(path, count=images.count, box=grid.box, pixel_size=grid.pixel_size)
    with writer, progress.track(images.count, "simulating images") as advance:
        for rows in renderer.batches():
            noise = _noise(rows, grid.box, scene.config.seed)
            writer.write(np.float32(sign) * scene.noiseless(renderer, rows) + np.float32(noise_sd) * noise)
            advance(len(rows))
    return _truth(scene, variance, noise_sd)


def _truth(scene: _Scene, variance: float, noise_sd: float) -> Truth:
    images, conformations = scene.config.images, scene.conformations
    beads = conformations.model.beads
    return Truth(
        conformations=conformations.positions,
        conformation_index=scene.index,
        parameter_names=np.array(conformations.parameter_names),
        parameters=conformations.parameters,
        rotations=scene.table.rotations,
        shifts=scene.table.shifts,
        chain=beads.chain,
        residue_number=beads.number,
        insertion=beads.insertion,
        residue_name=beads.name,
        amplitudes=beads.amplitudes,
        domain=conformations.domain,
        base_positions=beads.positions,
        absent_sets=scene.composition.sets,
        presence=scene.composition.presence,
        noise_sd=noise_sd,
        signal_variance=variance,
        snr=images.snr,
        sign=1.0 if images.contrast == "white" else -1.0,
        bead_sigma=images.bead_sigma,
        pixel_size=images.pixel_size,
        box=images.box,
    )


def _signal_variance(scene: _Scene, renderer: Renderer) -> float:
    """Variance of the noiseless pixels over whole images, from VARIANCE_SAMPLE images (all of a smaller set)."""
    count = len(scene.index)
    sample = np.unique(np.linspace(0, count - 1, min(count, VARIANCE_SAMPLE)).round().astype(np.int64))
    total = total_of_squares = 0.0
    pixels = 0
    for rows in renderer.batches(sample):
        noiseless = scene.noiseless(renderer, rows)
        total += float(noiseless.sum(dtype=np.float64))
        total_of_squares += float(np.square(noiseless, dtype=np.float64).sum())
        pixels += noiseless.size
    variance = total_of_squares / pixels - (total / pixels) ** 2
    if not variance > 0:
        raise StructureError(
            "the model leaves no trace in the images: it lies outside the box; use `placement: centred` or a larger box"
        )
    return variance


def _noise(rows: NDArray[np.int64], box: int, seed: int) -> NDArray[np.float32]:
    """White noise of unit variance, (m, box, box), the same for an image whatever batch it is in."""
    return np.stack([image_generator(seed, int(row)).standard_normal((box, box), dtype=np.float32) for row in rows])


@contextmanager
def _workshop(outdir: Path) -> Iterator[Path]:
    """A hidden folder in `outdir` to build in; it goes, whatever happens, and so does an `outdir` left empty."""
    made = not outdir.exists()
    try:
        outdir.mkdir(parents=True, exist_ok=True)
        for killed in outdir.glob(".simulation-*.part"):  # what a run that was killed could not clear away
            shutil.rmtree(killed, ignore_errors=True)
        folder = Path(tempfile.mkdtemp(prefix=".simulation-", suffix=".part", dir=outdir))
    except OSError as error:
        raise RunError(f"cannot write to {outdir}: {error.strerror or error}") from error
    finished = False
    try:
        yield folder
        finished = True
    finally:
        shutil.rmtree(folder, ignore_errors=True)
        if made and not finished and not any(outdir.iterdir()):
            outdir.rmdir()
