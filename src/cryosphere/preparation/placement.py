"""Where the model belongs in the map: kept if it stands right, else searched for, and judged by the images."""

from __future__ import annotations

import logging
import math
from dataclasses import dataclass, replace
from typing import Literal

import numpy as np
from numpy.typing import NDArray
from scipy.spatial.transform import Rotation

from cryosphere.doctor.comparing import Examiner
from cryosphere.doctor.readings import Reading
from cryosphere.doctor.sample import Sample
from cryosphere.maps.density_map import DensityMap
from cryosphere.maps.fitting.agreement import Agreement
from cryosphere.maps.fitting.placing import fit_model
from cryosphere.maps.fitting.results import CLEARLY_BETTER, Fit, FitSettings, Solution
from cryosphere.progress import Progress
from cryosphere.structures.model import AtomicModel

log = logging.getLogger(__name__)

CERTAIN = 4.0  # standard errors by which images must prefer one placement to another
_LIKELY = 2.0  # standard errors by which they must agree with what the map says of the hand
_MATTERS = 0.02  # of their correlation, likewise
_STAYS = 2.0  # times the resolution, RMS: a model that is moved farther did not stand right

Kind = Literal["as it stood", "as it stood, refined", "found by search", "runner-up", "other hand"]


@dataclass(frozen=True)
class Candidate:
    """The model somewhere: how well map and images agree with it.

    model: in the frame of the poses; of the other hand it is a mirror image, good for comparison only.
    in_map: correlation with the map within the model's mask; None where the model lies outside it.
    in_images: (n,), correlation of each image of a sample with its projection, protein taken as bright.
    """

    kind: Kind
    model: AtomicModel
    in_map: float | None
    in_images: NDArray[np.float64]

    @property
    def image_correlation(self) -> float:
        """Mean over the images; negative where the protein is dark."""
        return float(self.in_images.mean())

    @property
    def image_error(self) -> float:
        """Standard error of that mean."""
        return _error(self.in_images)


@dataclass(frozen=True)
class Placement:
    """The placement that was chosen, those it was chosen from, and what the map's mirror image says."""

    chosen: Candidate
    before: Candidate
    others: tuple[Candidate, ...]  # of the right hand, the best in the map first
    other_hand: Candidate | None
    resolution: float  # Å, at which model and map were compared
    resolution_reason: str
    turned_degrees: float
    moved: float  # Å, of the model's centre
    rms: float  # Å, of all atoms
    frame: str  # how the coordinates of the file were understood

    @property
    def hand(self) -> Literal["right", "wrong", "unclear"]:
        """Whether map and images are of the model's hand.

        Wrong where the map's mirror image fits clearly better and the images say so too, or where the images prefer
        the mirror image beyond doubt and the map does not speak against it.
        """
        other = self.other_hand
        if other is None or other.in_map is None or self.chosen.in_map is None:
            return "unclear"
        by_map, by_images = other.in_map - self.chosen.in_map, preference(other, self.chosen)
        if (by_map > CLEARLY_BETTER and by_images > _LIKELY) or (by_images > CERTAIN and by_map > 0):
            return "wrong"
        if by_images < -CERTAIN or (by_map < -CLEARLY_BETTER and by_images < _LIKELY):
            return "right"
        return "unclear"


def preference(first: Candidate, second: Candidate) -> float:
    """By how many standard errors the images agree better with the first; 0 where it is too little to matter."""
    sign = 1.0 if first.image_correlation + second.image_correlation >= 0 else -1.0
    gain = sign * (first.in_images - second.in_images)
    larger = max(abs(first.image_correlation), abs(second.image_correlation))
    if abs(float(gain.mean())) <= _MATTERS * larger:
        return 0.0
    error = _error(gain)
    return float(gain.mean()) / error if error > 0 else math.copysign(math.inf, float(gain.mean()))


def _error(values: NDArray[np.float64]) -> float:
    return float(values.std(ddof=1)) / math.sqrt(len(values)) if len(values) > 1 else math.inf


def place_model(
    model: AtomicModel, density_map: DensityMap, shift: NDArray[np.float64], sample: Sample, progress: Progress
) -> Placement:
    """Place a model in a map whose origin is that of the poses, and see what the images say of it.

    shift: (3,) Å, takes coordinates that overlay the map's file into that frame. The model's file is read both ways,
    as overlaying the map and as centred already, and stands where it agrees better.

    The whole map and its mirror image are searched. The model stays where it stood, refined, unless another placement
    agrees clearly better with the map, or as well with the map and clearly better with the images.

    Raises:
        InputError: for a map or a model that cannot be used; see `fit_model`.
    """
    found = fit_model(model.translated(shift), density_map, FitSettings(), progress)
    start, before, frame = _as_it_stands(model, shift, found, density_map)

    def judged(kind: Kind, placed: AtomicModel, in_map: float | None) -> Candidate:
        examiner = Examiner(sample, placed.beads)
        return Candidate(kind, placed, in_map, examiner.correlations(Reading()))

    overlaying = model.translated(shift)
    others = [judged("found by search", moved(overlaying, found.best), found.best.correlation)]
    others += [judged("runner-up", moved(overlaying, one), one.correlation) for one in found.runners_up]
    if before is not None:
        local = fit_model(start, density_map, FitSettings("where it stands"), progress)
        near = moved(start, local.best)
        if _motion(start, near)[2] < _STAYS * local.resolution:
            others.insert(0, judged("as it stood, refined", near, local.best.correlation))
    other_hand = None
    if found.mirrored_best is not None:
        image = _mirrored(moved(overlaying, found.mirrored_best), density_map)
        other_hand = judged("other hand", image, found.mirrored_best.correlation)
    chosen = choose(others)
    turned, step, rms = _motion(start, chosen.model)
    return Placement(
        chosen, judged("as it stood", start, before), tuple(one for one in others if one is not chosen), other_hand,
        found.resolution, found.resolution_reason, turned, step, rms, frame,
    )  # fmt: skip


def choose(candidates: list[Candidate]) -> Candidate:
    """The placement to train with, of those that agree with the map about as well as the best.

    It is the first of them, unless the images prefer another one for certain.
    """
    best = max(_in_map(one) for one in candidates)
    contenders = [one for one in candidates if _in_map(one) >= best - CLEARLY_BETTER]
    chosen = contenders[0]
    for one in contenders[1:]:
        if preference(one, chosen) > CERTAIN:
            chosen = one
    return chosen


def _in_map(candidate: Candidate) -> float:
    return -1.0 if candidate.in_map is None else candidate.in_map


def _as_it_stands(
    model: AtomicModel, shift: NDArray[np.float64], found: Fit, density_map: DensityMap
) -> tuple[AtomicModel, float | None, str]:
    """The model in the poses' frame by its own coordinates, its correlation there, and how they were understood."""
    centred = "its coordinates are taken as relative to the centre of the box"
    if not np.any(shift):
        return model, found.before, centred
    as_centred = Agreement(model, density_map, found.resolution).of(model.positions)
    if (-1.0 if as_centred is None else as_centred) > (-1.0 if found.before is None else found.before):
        return model, as_centred, centred
    return (
        model.translated(shift),
        found.before,
        "its coordinates are taken as those of the map's file (ORIGIN, nstart)",
    )


def moved(model: AtomicModel, solution: Solution) -> AtomicModel:
    """A model where a solution places it."""
    return _with_all(model, solution.rotation.T, solution.translation)


def _mirrored(model: AtomicModel, density_map: DensityMap) -> AtomicModel:
    """The mirror image of a model that was placed in the mirrored map: where the map as it is shows it."""
    # the map is mirrored by reversing its planes: the first stands where the last stood
    planes = 2 * density_map.origin[2] + (density_map.shape[2] - 1) * density_map.pixel_size
    return _with_all(model, np.diag([1.0, 1.0, -1.0]), np.array([0.0, 0.0, planes]))


def _with_all(model: AtomicModel, factor: NDArray[np.float64], step: NDArray[np.float64]) -> AtomicModel:
    positions = model.positions @ factor + step
    beads = replace(model.beads, positions=model.beads.positions @ factor + step)
    return replace(model, structure=model.with_positions(positions), positions=positions, beads=beads)


def _motion(start: AtomicModel, end: AtomicModel) -> tuple[float, float, float]:
    """By how many degrees a model has turned, how many Å its centre has moved, and its atoms by RMS."""
    first, last = start.positions, end.positions
    centres = first.mean(axis=0), last.mean(axis=0)
    turn, _ = Rotation.align_vectors(last - centres[1], first - centres[0])
    angle = math.degrees(float(turn.magnitude()))
    distance = float(np.linalg.norm(centres[1] - centres[0]))
    return angle, distance, float(np.sqrt(np.square(last - first).sum(axis=1).mean()))
