"""Particle images of a known motion: stack, STAR file and truth."""

from __future__ import annotations

import logging
import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from types import FrameType

import numpy as np
from numpy.typing import NDArray

from cryosphere import __version__
from cryosphere.errors import RunError
from cryosphere.particles.star import write_star
from cryosphere.particles.table import ParticleTable
from cryosphere.progress import SILENT, Progress
from cryosphere.settings import write_yaml
from cryosphere.simulation.acquisition import Stream, generator, image_generator, with_pose_errors
from cryosphere.simulation.config import SimulationConfig
from cryosphere.simulation.scene import Camera, Scene, set_scene
from cryosphere.simulation.stack_writer import StackWriter
from cryosphere.simulation.truth import ATOMS, Truth, load_atoms
from cryosphere.simulation.workshop import fingerprint, workshop
from cryosphere.structures.write import write_model

log = logging.getLogger(__name__)

_STACK, _TRUTH, _MODEL, _CONFIG, _STAR = "particles.mrcs", "truth.npz", "model.cif", "simulation.yaml", "particles.star"
_FILES = (_STACK, ATOMS, _TRUTH, _MODEL, _CONFIG, _STAR)  # in the order of appearance: the STAR file says "complete"


@dataclass(frozen=True)
class Simulation:
    """A finished simulation: where its files lie, and what it knows."""

    folder: Path
    truth: Truth
    table: ParticleTable  # as in the STAR file; where pose errors were asked for, the truth has the true poses

    @property
    def particles(self) -> Path:
        """The STAR file, with the poses given away."""
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

    When it is stopped, the images made so far stay in a hidden folder in `outdir`, and the same call goes on from
    there; a call with another configuration starts over.

    Raises:
        InputError: for an unusable model, trajectory or configuration, or an `outdir` that holds a simulation already
            (unless `overwrite`). Nothing is left behind then.
    """
    outdir = Path(outdir)
    existing = [name for name in _FILES if (outdir / name).exists()]
    if existing and not overwrite:
        raise RunError(f"{outdir} already holds {', '.join(existing)}; choose another folder or allow it (--overwrite)")
    mark = fingerprint(config)
    scene = set_scene(config, _STACK, outdir / _STAR, progress)
    table = with_pose_errors(scene.table, config.pose_errors, generator(config.seed, Stream.POSE_ERRORS))
    with workshop(outdir, mark) as folder:
        truth = _make_images(scene, folder, progress)
        truth.save(folder / _TRUTH)
        write_model(folder / _MODEL, scene.conformations.model)
        write_yaml(folder / _CONFIG, config, heading=f"simulated by cryosphere {__version__}")
        write_star(folder / _STAR, table)
        for name in (_STAR, ATOMS):  # of a simulation that is replaced
            (outdir / name).unlink(missing_ok=True)
        if not config.truth_atoms:
            (folder / ATOMS).unlink(missing_ok=True)
        for name in _FILES:
            if (folder / name).exists():
                (folder / name).replace(outdir / name)
    log.info("%s: %d images of %d conformations", outdir, len(table), min(len(table), len(truth.conformations)))
    return Simulation(folder=outdir, truth=truth.with_atoms(load_atoms(outdir)), table=table)


def _make_images(scene: Scene, folder: Path, progress: Progress) -> Truth:
    """Write the stack, or what is missing of it, and return what it shows."""
    config, images = scene.config, scene.config.images
    if config.truth_atoms or images.density == "atoms":
        scene.write_atoms(folder / ATOMS, progress)
    camera = Camera(scene, folder / ATOMS)
    variance = camera.signal_variance()
    noise_sd = float(np.sqrt(variance / images.snr))
    if not (folder / _STACK).exists():  # an earlier attempt may have been stopped after the last image
        _write_stack(scene, camera, folder / _STACK, noise_sd, progress)
    return _truth(scene, variance, noise_sd)


def _write_stack(scene: Scene, camera: Camera, path: Path, noise_sd: float, progress: Progress) -> None:
    images, box = scene.config.images, scene.config.images.box
    sign = np.float32(1.0 if images.contrast == "white" else -1.0)
    writer = StackWriter(path, count=images.count, box=box, pixel_size=images.pixel_size, keep_unfinished=True)
    try:
        with _noticing_signals() as check, writer, progress.track(images.count, "simulating images") as advance:
            if writer.written:
                log.info("%d of %d images are there already; going on from there", writer.written, images.count)
                advance(writer.written)
            for rows in camera.batches(writer.written):
                noise = _noise(rows, box, scene.config.seed)
                writer.write(sign * camera.take(rows) + np.float32(noise_sd) * noise)
                advance(len(rows))
                check()
    except KeyboardInterrupt as interruption:
        if not writer.written:
            raise
        kept = f"{writer.written} of {images.count} images are kept; the same command goes on from there"
        raise KeyboardInterrupt(f"{str(interruption) or 'interrupted'}: {kept}") from interruption


@contextmanager
def _noticing_signals() -> Iterator[Callable[[], None]]:
    """A function that raises KeyboardInterrupt if Ctrl-C or SIGTERM has come; a second one interrupts at once.

    An exception in the midst of a compiled library can get lost; between batches it cannot.
    """
    came: list[int] = []

    def remember(number: int, _frame: FrameType | None) -> None:
        if came:
            raise KeyboardInterrupt
        came.append(number)

    def check() -> None:
        if came:
            name = signal.Signals(came[0]).name
            raise KeyboardInterrupt("interrupted" if name == "SIGINT" else f"ended by {name}")

    if threading.current_thread() is not threading.main_thread():  # where signals cannot be caught
        yield check
        return
    before = {number: signal.signal(number, remember) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield check
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def _truth(scene: Scene, variance: float, noise_sd: float) -> Truth:
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
        density=images.density,
        noise_sd=noise_sd,
        signal_variance=variance,
        snr=images.snr,
        sign=1.0 if images.contrast == "white" else -1.0,
        bead_sigma=images.bead_sigma,
        pixel_size=images.pixel_size,
        box=images.box,
    )


def _noise(rows: NDArray[np.int64], box: int, seed: int) -> NDArray[np.float32]:
    """White noise of unit variance, (m, box, box), the same for an image whatever batch it is in."""
    return np.stack([image_generator(seed, int(row)).standard_normal((box, box), dtype=np.float32) for row in rows])
