"""Two models of the same molecule that have no image in common, and images that neither of them has seen."""

from __future__ import annotations

import logging
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from cryosphere.errors import InputError, RunError
from cryosphere.particles.read import read_particles
from cryosphere.particles.star import write_star
from cryosphere.particles.table import ParticleTable
from cryosphere.presentation.page import counted
from cryosphere.progress import SILENT, Progress
from cryosphere.structures.model import AtomicModel, read_model
from cryosphere.training.config import Config
from cryosphere.training.run_directory import RunDirectory
from cryosphere.training.trained import TrainedModel
from cryosphere.validation.going_on import train_or_go_on

log = logging.getLogger(__name__)
Rows = NDArray[np.int64]

FEWEST = 200  # images of which two models can be made and compared
MOST_UNEQUAL = 0.5  # size of the smaller half-set over that of the larger
MOST_TESTED = 2000  # images that both models are compared on: more would not make the verdict firmer
NAMES = ("half1", "half2")
ROUNDED = 1e-3  # elements of a rotation matrix, and Å of a shift, that a particle file's digits may leave out


@dataclass(frozen=True)
class Halves:
    """Rows of a run's images: those of either half that a model is trained on, and those kept for the comparison."""

    first: Rows
    second: Rows
    test: Rows
    how: str  # the half-sets were found, in words

    @property
    def both(self) -> tuple[Rows, Rows]:
        """The rows of the first and of the second half."""
        return self.first, self.second


def choose_halves(table: ParticleTable, seed: int) -> Halves:
    """Split a run's images into two halves, after some of both were put aside for the comparison.

    The halves are those of rlnRandomSubset, which the refinement of the poses kept apart too; where the file names
    none, or not for all images, they are drawn; rows that name the same image stay together. A tenth of the images is
    put aside (of small sets up to a quarter, never more than MOST_TESTED): neither model sees them, so nothing either
    has learned by heart can help there.

    Raises:
        InputError: for too few images, or half-sets of very different size.
    """
    count = len(table)
    if count < FEWEST:
        raise InputError(
            f"{table.source}: {count} images are too few to train two models and compare them; {FEWEST} is the least"
        )
    half, how = _half_of_each(table, seed)
    image, first_row = _images_of(table)
    order = np.random.default_rng([seed, 0x7E57]).permutation(len(first_row))
    aside = order[: min(MOST_TESTED, max(count // 10, min(400, count // 4)), len(order) // 4)]
    test = np.sort(first_row[aside])
    trained = np.flatnonzero(~np.isin(image, aside))
    return Halves(trained[half[trained] == 0], trained[half[trained] == 1], test, how)


def _images_of(table: ParticleTable) -> tuple[Rows, Rows]:
    """The number of each row's image (n,): several rows may name one; and the first row of each image."""
    places = np.stack([table.stack_index, table.image_index])
    _, first_row, image = np.unique(places, axis=1, return_index=True, return_inverse=True)
    return image.reshape(-1), first_row


def _half_of_each(table: ParticleTable, seed: int) -> tuple[Rows, str]:
    """0 or 1 for every image, and how that was found, in words."""
    sizes = [int((table.half_set == k).sum()) for k in (1, 2)]
    if sum(sizes) == len(table):
        if min(sizes) < MOST_UNEQUAL * max(sizes):
            raise InputError(
                f"{table.source}: rlnRandomSubset puts {sizes[0]:,} images into half 1 and {sizes[1]:,} into half 2. "
                "Models of so different amounts of data cannot be held against each other: make equal halves, or leave "
                "the column out, and they are drawn"
            )
        if len(np.unique(np.stack([_images_of(table)[0], table.half_set]), axis=1).T) > len(_images_of(table)[1]):
            raise InputError(
                f"{table.source}: rlnRandomSubset puts rows of one image into different halves, which then share its "
                "noise. Give all rows of an image the same half, or leave the column out"
            )
        return table.half_set - 1, f"half-sets: {sizes[0]:,} and {sizes[1]:,} images, as rlnRandomSubset says"
    image, first_row = _images_of(table)
    drawn = (np.random.default_rng([seed, 0x4A1F]).permutation(len(first_row)) % 2)[image]
    reason = f"drawn with seed {seed}, for the particle file names none (rlnRandomSubset)"
    if sum(sizes):
        reason = f"drawn with seed {seed}, for rlnRandomSubset names only {sum(sizes):,} of {len(table):,} images"
    both = f"{int((drawn == 0).sum()):,} and {int(drawn.sum()):,} images"
    return drawn.astype(np.int64), f"half-sets: {both}, {reason}"


def train_halves(
    run: TrainedModel, halves: Halves, outdir: Path, epochs: int | None, progress: Progress = SILENT
) -> tuple[TrainedModel, TrainedModel]:
    """Train a model on each half from scratch, with the run's settings and other random numbers; in OUT/half1, half2.

    What was trained before is gone on with, or taken as it is where it is finished. epochs: instead of the run's.

    Raises:
        InputError: if something else than this run's halves lies there.
        KeyboardInterrupt: if training was told to stop; it can be gone on with.
    """
    world = run.world
    folders = [outdir / name for name in NAMES]
    with world.together():
        configs = [_config(run, particles_of(folder), n, epochs) for n, folder in enumerate(folders, start=1)]
        for folder, rows, config in zip(folders, halves.both, configs, strict=True):
            _require_ours(run, rows, folder, config)
    with _particle_files(run, halves, folders):
        found = []
        for folder, rows, config in zip(folders, halves.both, configs, strict=True):
            log.info("%s: a model of %s images", folder, f"{len(rows):,}")
            found.append(train_or_go_on(config, folder, progress))
    return found[0], found[1]


def particles_of(folder: Path) -> Path:
    """The particle file of the half whose run lies in a folder."""
    return folder.with_name(f"{folder.name}.star")


def _config(run: TrainedModel, particles: Path, number: int, epochs: int | None) -> Config:
    """The run's settings for its first or second half; epochs: instead of the run's."""
    config = run.config
    training = config.training.model_copy(
        update={
            "seed": (config.training.seed + number) % 2**63,
            "epochs": epochs or config.training.epochs,
            "device": run.device.type,
        }
    )
    files = config.particles.model_copy(update={"files": (particles.absolute(),), "datadir": None, "check": "off"})
    model = run.run.model_path.absolute()
    return config.model_copy(update={"particles": files, "model": model, "training": training})


def _require_ours(run: TrainedModel, rows: Rows, folder: Path, config: Config) -> None:
    """Refuse what lies where a half shall be trained, unless it is that half; nothing is changed."""
    path, half = particles_of(folder), RunDirectory(folder)
    if not half.is_occupied():
        half.require_place()
    else:
        half.require()
        _require_same_residues(run.atomic_model, folder, run.run.root)
        if particles_of(folder).absolute() not in half.read_config().particles.files:
            raise RunError(
                f"{folder} is a run on other particles than {path}, not half of a validation in this place: choose "
                "another --outdir"
            )
        _require_same_epochs(half, config)
    if not path.exists():
        return
    before, now = _particles_in_the_way(path), run.table[rows]
    if not _same_images(before, now):
        raise InputError(
            f"{path} holds other images than this half of {run.run.root} ({len(before):,}, now {len(now):,}): it is of "
            "another run, another seed, or older poses. Choose another --outdir"
        )


def _particles_in_the_way(path: Path) -> ParticleTable:
    try:
        return read_particles(path)
    except InputError as problem:
        raise InputError(
            f"{path} is in the way: the images of a half are to be listed there, and what is there is no such list "
            f"({problem}). Move it away, or choose another --outdir"
        ) from problem


def _require_same_epochs(half: RunDirectory, config: Config) -> None:
    begun, now = half.read_config().training.epochs, config.training.epochs
    if begun != now:
        raise InputError(
            f"{half.root} was begun for {counted(begun or 0, 'epoch')}, and is asked for {now} now: a training cannot "
            f"be made longer or shorter. Give --epochs {begun} to go on with it, or choose another --outdir"
        )


def _same_images(first: ParticleTable, second: ParticleTable) -> bool:
    """Whether both name the same images with the same poses, but for the rounding of a particle file."""
    if len(first) != len(second) or not np.array_equal(first.image_index, second.image_index):
        return False
    known = {name: number for number, name in enumerate(first.stacks)}
    stacks = np.array([known.get(name, -1) for name in second.stacks])
    if not np.array_equal(first.stack_index, stacks[second.stack_index]):
        return False
    turned = np.abs(first.rotations - second.rotations).max()
    return bool(turned < ROUNDED and np.abs(first.shifts - second.shifts).max() < ROUNDED)


@contextmanager
def _particle_files(run: TrainedModel, halves: Halves, folders: Sequence[Path]) -> Iterator[None]:
    """A block in which the halves' particle files are there; those whose training did not begin go again after it."""
    made = []
    with run.world.together():
        if run.world.is_first:
            for folder, rows in zip(folders, halves.both, strict=True):
                if not particles_of(folder).exists():
                    particles_of(folder).parent.mkdir(parents=True, exist_ok=True)
                    write_star(particles_of(folder), run.table[rows])
                    made.append(folder)
    try:
        yield
    except BaseException:
        for folder in made:
            if not RunDirectory(folder).is_occupied():
                particles_of(folder).unlink(missing_ok=True)
        raise


def _require_same_residues(model: AtomicModel, folder: Path, run: Path) -> None:
    half = RunDirectory(folder)
    half.require()
    ours, theirs = model.beads, read_model(half.model_path).beads
    if ours.fingerprint != theirs.fingerprint:
        raise RunError(
            f"{folder} was trained with a model of other residues ({len(theirs):,}) than that of {run} "
            f"({len(ours):,}): choose another --outdir"
        )
