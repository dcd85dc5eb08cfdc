"""Is a run's motion in the data? Two models from independent halves, held against each other and against chance."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from cryosphere.analysis.pca import principal_components
from cryosphere.analysis.segments import Segmentation
from cryosphere.errors import InputError
from cryosphere.particles.stacks import ImageStacks
from cryosphere.particles.table import ParticleTable
from cryosphere.progress import SILENT, Progress
from cryosphere.training.run_directory import no_empty_folders
from cryosphere.training.trained import TrainedModel
from cryosphere.validation.agreement import distance_correlation, residue_agreement, segment_overlap
from cryosphere.validation.gains import gains
from cryosphere.validation.halves import Halves, choose_halves, train_halves
from cryosphere.validation.library import in_one_frame, library
from cryosphere.validation.motions import Common, Side, common_motions, displacement, without_view
from cryosphere.validation.omitted import Omitted, look_for, segment_to_hide, train_without
from cryosphere.validation.reading import Observer
from cryosphere.validation.results import Places, Sets, Validation
from cryosphere.validation.verdict import MOST_MOTIONS, Motion, judge
from cryosphere.validation.writing import PAGE, require_place, write

log = logging.getLogger(__name__)
Float = NDArray[np.float64]

SAME_MOTION = 0.2  # correlation from which a motion is said to go with a component of the run


@dataclass(frozen=True)
class ValidationSettings:
    """epochs: of either half's model; None: the run's. seed: of the halves where they are drawn, and of the null.

    omit_segment: train one more model that lacks the segment which moves most, and look for its density.
    """

    epochs: int | None = None
    seed: int = 0
    omit_segment: bool = False


def validate(
    run: str | Path,
    outdir: str | Path,
    *,
    settings: ValidationSettings | None = None,
    device: str = "auto",
    progress: Progress = SILENT,
) -> Path:
    """Train two models on independent halves of a run's images, compare them, and write verdict and page.

    Writes OUT/half1 and OUT/half2, which are runs like any other and are gone on with if the command was ended, then
    verdict.json, validation.csv, pictures and validation.html, whose path is returned. The processes of a job share
    the training; the first one does the rest.

    Raises:
        RunError: if the run is missing or damaged, or a half in OUT is of another run or model.
        InputError: for too few images, half-sets of very different size, images that cannot be found, or files in OUT
            that are not of a validation of this run and would be replaced.
    """
    settings = settings or ValidationSettings()
    folder = Path(outdir).absolute()
    if settings.epochs is not None and settings.epochs < 1:
        raise InputError(f"--epochs is {settings.epochs}: each half is trained for one epoch at least")
    model = TrainedModel.load(run, device=device, progress=progress)
    world = model.world
    with world.together():
        require_place(folder, model)
    with no_empty_folders(folder):
        with world.together():
            halves = choose_halves(model.table, settings.seed)
            log.info("%s; %d images are put aside for the comparison", halves.how, len(halves.test))
            ImageStacks(model.table)  # which the halves' images are made from, whether or not the run's are kept
        _ = model.loader  # images that have gone are told of before two trainings are spent on them
        trained = train_halves(model, halves, folder, settings.epochs, progress)
        found = None
        with _alone(model, *trained), world.together():
            if world.is_first:
                found = compare(model, trained, halves, settings.seed, progress)
        omitted = _omit(model, trained[0], found, folder, progress) if settings.omit_segment else None
        with world.together():
            if found is not None:
                found = replace(found, omitted=omitted)
                write(found, folder)
                log.info("%s", found.conclusion)
                log.info("page: %s", folder / PAGE)
    return folder / PAGE


@contextmanager
def _alone(*models: TrainedModel) -> Iterator[None]:
    """A block in which each process works by itself."""
    with ExitStack() as stack:
        for one in models:
            stack.enter_context(one.working_alone())
        yield


def _omit(
    run: TrainedModel, half: TrainedModel, found: Validation | None, folder: Path, progress: Progress
) -> Omitted | None:
    """What comes back of the segment that moves most, hidden from a model of half 1's images; None where none moves.

    found: None on all processes but the first.
    """
    world = run.world
    segmentation = Segmentation(run.atomic_model.beads, run.membership())
    chosen = None if found is None or not len(found.moves) else segment_to_hide(segmentation, found.moves[0])
    segment = int(world.from_first(np.array([-1 if chosen is None else chosen]))[0])
    if segment < 0:
        if world.is_first:
            log.info("no segment of a size to be looked for moves: none is hidden")
        return None
    lacking = train_without(half, segmentation.assignment == segment, folder, progress)
    with _alone(half, lacking), world.together():
        return look_for(segmentation, segment, half, lacking, progress) if world.is_first else None


def compare(
    run: TrainedModel,
    trained: tuple[TrainedModel, TrainedModel],
    halves: Halves,
    seed: int = 0,
    progress: Progress = SILENT,
) -> Validation:
    """Hold two halves' models against each other on the images that neither has seen."""
    table = run.table[halves.test]
    first, second = in_one_frame(*(library(one, progress) for one in trained))
    observers = tuple(
        Observer(one.network, structures, run.loader, halves.test)
        for one, structures in zip(trained, (first, second), strict=True)
    )
    sides = tuple(Side.of(one.library, one.read(progress)) for one in observers)
    pair, both = (sides[0], sides[1]), (observers[0], observers[1])
    common = common_motions(*pair, table, seed)
    count = min(MOST_MOTIONS, len(common.correlations))
    found = gains(pair, both, common, table, (count, seed, progress))
    moves = _moves(pair, common, count)
    motions = judge(common, found, (moves[0], moves[1]), run.atomic_model.beads)
    epochs = trained[0].config.training.epochs
    return Validation(
        sets=Sets(
            run=run.run.root.resolve().name,
            images=len(run.table),
            trained_on=(len(halves.first), len(halves.second)),
            compared=len(halves.test),
            how=halves.how,
            epochs=epochs or 0,
        ),
        motions=_beside_components(motions, pair, common, run, halves.test) if count else motions,
        gains=found,
        residues=residue_agreement(*pair),
        overlap=segment_overlap(trained[0].membership(), trained[1].membership()),
        distance_correlation=distance_correlation(*pair, run.membership()),
        amplitudes=(tuple(sides[0].modes.amplitudes.tolist()), tuple(sides[1].modes.amplitudes.tolist())),
        null=common.null,
        places=_places(pair, common, table, [one.amplitude for one in motions][:count]),
        moves=np.linalg.norm(moves.mean(axis=0), axis=-1),
        beads=run.atomic_model.beads,
    )


def _moves(sides: tuple[Side, Side], common: Common, count: int) -> Float:
    """How the residues move along the first common motions with either model, (2, count, R, 3) Å."""
    residues = sides[0].library.structures.shape[1]
    found = np.zeros((2, count, residues, 3))
    for number, side in enumerate(sides):
        for k in range(count):
            found[number, k] = displacement(side, common.axes[number][:, k])
    return found


def _places(
    sides: tuple[Side, Side], common: Common, table: ParticleTable, amplitudes: list[tuple[float, float]]
) -> Places:
    """Where the images lie along the common motions, in Å: each model shown the half of the data that the other is not.

    An axis turns scores into places of unit variance over the images; among the model's own images the motion has the
    variance that its structures say.
    """
    found = []
    for number, side in enumerate(sides):
        axes = common.axes[number][:, : len(amplitudes)]
        scores = without_view(side.scores(number), table) @ axes
        spread = np.sqrt(side.library.shares @ (side.modes.places @ axes) ** 2)
        found.append(scores / np.maximum(spread, 1e-12) * np.array([one[number] for one in amplitudes]))
    return Places(found[0], found[1])


def _beside_components(
    motions: tuple[Motion, ...], sides: tuple[Side, Side], common: Common, run: TrainedModel, test: NDArray[np.int64]
) -> tuple[Motion, ...]:
    """The same, each with the principal component of the run's latents that it goes with, if it does.

    The components are those of the images that are compared: of a large run, all would take long to encode.
    """
    latents = run.encode(test).mean
    components = principal_components(latents)
    along = components.project(latents)[:, : components.followed]
    readings = [side.reading.of_both @ side.modes.places @ common.axes[n] for n, side in enumerate(sides)]
    places = 0.5 * (readings[0] + readings[1])

    def beside(motion: Motion, place: Float) -> Motion:
        values = [abs(_correlation(place, one)) for one in along.T]
        best = int(np.argmax(values))
        if values[best] < SAME_MOTION:
            return motion
        return replace(motion, component=f"pc{best + 1}", component_correlation=values[best])

    return tuple(beside(motion, places[:, k]) for k, motion in enumerate(motions))


def _correlation(first: Float, second: Float) -> float:
    spread = float(first.std() * second.std())
    return float(((first - first.mean()) * (second - second.mean())).mean() / spread) if spread > 1e-12 else 0.0
