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
from cryosphere.simulation.acquisition import Stream, acquire, assign_conformations, generator, image_generator
from cryosphere.simulation.config import HingeMotion, SimulationConfig
from cryosphere.simulation.conformations import Conformations
from cryosphere.simulation.hinge import hinge_conformations
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
    conformations = _conformations(config)
    check_inside_box(conformations.model, config.images.box, config.images.pixel_size, source=config.model)
    table = acquire(config, _STACK, outdir / _STAR)
    with _workshop(outdir) as workshop:
        truth = _make_images(config, conformations, table, workshop / _STACK, progress)
        truth.save(workshop / _TRUTH)
        write_model(workshop / _MODEL, conformations.model)
        write_yaml(workshop / _CONFIG, config, heading=f"simulated by cryosphere {__version__}")
        write_star(workshop / _STAR, table)
        (outdir / _STAR).unlink(missing_ok=True)
        for name in _FILES:
            (workshop / name).replace(outdir / name)
    log.info("%s: %d images of %d conformations", outdir, len(table), min(len(table), len(truth.conformations)))
    return Simulation(folder=outdir, truth=truth, table=table)


def _conformations(config: SimulationConfig) -> Conformations:
    model = None if config.model is None else read_model(config.model)
    if isinstance(config.motion, HingeMotion):
        assert model is not None, "the configuration has seen to it"
        count = min(config.motion.conformations, config.images.count)
        _tell_of_unseen(config.motion.conformations, config.images.count, "are drawn: one for each image")
        conformations = hinge_conformations(model, config.motion, count, generator(config.seed, Stream.CONFORMATIONS))
    else:
        conformations = trajectory_conformations(model, config.motion)
        _tell_of_unseen(len(conformations), config.images.count, "are shown, the first")
    return conformations.centred() if config.placement == "centred" else conformations


def _tell_of_unseen(conformations: int, images: int, what: str) -> None:
    if conformations > images:
        log.info("there are only %d images for %d conformations: only %d %s", images, conformations, images, what)


def _make_images(
    config: SimulationConfig, conformations: Conformations, table: ParticleTable, path: Path, progress: Progress
) -> Truth:
    """Write the stack and return what it shows."""
    images = config.images
    grid = ImageGrid(box=images.box, pixel_size=images.pixel_size)
    beads = conformations.model.beads
    index = assign_conformations(len(table), len(conformations), config.seed)
    renderer = Renderer(table, beads.amplitudes, grid, sigma=images.bead_sigma, ctf=True)
    variance = _signal_variance(renderer, conformations, index)
    noise_sd = float(np.sqrt(variance / images.snr))
    sign = 1.0 if images.contrast == "white" else -1.0
    writer = StackWriter(path, count=len(table), box=grid.box, pixel_size=grid.pixel_size)
    with writer, progress.track(len(table), "simulating images") as advance:
        for rows in renderer.batches():
            noiseless = renderer.images(rows, conformations.positions[index[rows]])
            writer.write(np.float32(sign) * noiseless + np.float32(noise_sd) * _noise(rows, grid.box, config.seed))
            advance(len(rows))
    return Truth(
        conformations=conformations.positions,
        conformation_index=index,
        parameter_names=np.array(conformations.parameter_names),
        parameters=conformations.parameters,
        rotations=table.rotations,
        shifts=table.shifts,
        chain=beads.chain,
        residue_number=beads.number,
        insertion=beads.insertion,
        residue_name=beads.name,
        amplitudes=beads.amplitudes,
        domain=conformations.domain,
        base_positions=beads.positions,
        noise_sd=noise_sd,
        signal_variance=variance,
        snr=images.snr,
        sign=sign,
        bead_sigma=images.bead_sigma,
        pixel_size=grid.pixel_size,
        box=grid.box,
    )


def _signal_variance(renderer: Renderer, conformations: Conformations, index: NDArray[np.int64]) -> float:
    """Variance of the noiseless pixels over whole images, from VARIANCE_SAMPLE images (all of a smaller set)."""
    sample = np.unique(np.linspace(0, len(index) - 1, min(len(index), VARIANCE_SAMPLE)).round().astype(np.int64))
    total = total_of_squares = 0.0
    pixels = 0
    for rows in renderer.batches(sample):
        noiseless = renderer.images(rows, conformations.positions[index[rows]])
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
