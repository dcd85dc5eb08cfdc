"""What a motion is worth for frequencies that it was not read off, in nats per image, with standard errors."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from cryosphere.particles.table import ParticleTable
from cryosphere.progress import Progress
from cryosphere.validation.composition import Fading, Shapes, fading_weights, gain_over_fading
from cryosphere.validation.crossfit import CrossFit, cross_fit
from cryosphere.validation.library import superposed
from cryosphere.validation.motions import Common, Side, displacement, without_view
from cryosphere.validation.neighbours import NEAREST, exchanged, groups
from cryosphere.validation.reading import Observer, foretell, foretell_fixed

Float = NDArray[np.float64]

PARTNERS = 2  # other images whose place each is given in turn


@dataclass(frozen=True)
class Gain:
    """A mean over images, nats each, with its standard error."""

    nats: float
    error: float

    @property
    def errors(self) -> float:
        """How many standard errors above zero."""
        return self.nats / self.error if self.error > 0 else 0.0


NONE = Gain(0.0, 0.0)


@dataclass(frozen=True)
class MotionGains:
    """What explains an image less well than its own place along a motion does, and by how much."""

    over_held: Gain  # the motion stands where the view alone would put it
    over_exchanged: Gain  # it stands where another image has it, seen from the same side
    over_composition: Gain  # it stands at one place for all, and its residues are brighter or fainter in this image
    of_fading: Gain  # of that alternative over the same with one brightness for all images


@dataclass(frozen=True)
class Gains:
    """What images' own structures are worth: all motions together, and each common one."""

    over_base: Gain  # against the unmoved base structure
    over_mean: Gain  # against one structure for all images, the mean of all
    over_exchanged: Gain  # against those of other images seen from the same side (shuffled latents)
    motions: tuple[MotionGains, ...]


def gains(
    sides: tuple[Side, Side],
    observers: tuple[Observer, Observer],
    common: Common,
    table: ParticleTable,
    options: tuple[int, int, Progress],
) -> Gains:
    """Foretell each half of the frequencies from the other, with both models, and take the mean.

    A sum over both halves of the frequencies, so in nats per image. Motions are those that the other fold of the images
    tells of. options: motions to look at, seed, progress.
    """
    count, seed, progress = options
    group = groups(table, NEAREST)
    generator = np.random.default_rng([seed, 0x6A1])
    partners = [exchanged(group, generator) for _ in range(PARTNERS)]
    fitted = cross_fit(sides, common, table, group, seed) if count else None
    total = np.zeros((3 + 4 * count, len(table)))
    for number, (side, observer) in enumerate(zip(sides, observers, strict=True)):
        for which in (0, 1):
            scores = side.scores(which)
            own = without_view(scores, table)
            moved = [] if fitted is None else [_along(side, own, fitted, (number, k)) for k in range(count)]
            total += _differences(_Asked(side, observer, which, progress), (scores, own), moved, partners)
    total /= len(sides)
    found = [_mean(values, group) for values in total]
    each = tuple(MotionGains(*found[3 + 4 * k : 7 + 4 * k]) for k in range(count))
    return Gains(found[0], found[1], found[2], each)


@dataclass(frozen=True)
class _Asked:
    """A model, the images that it is held against, and the set of frequencies from which the other is foretold."""

    side: Side
    observer: Observer
    which: int
    progress: Progress


@dataclass(frozen=True)
class _Along:
    """One motion as the other fold of the images tells of it: places (n,) along it, less what the view says.

    step (n, M): how places along the principal motions change with a unit along it. fading (folds, R): how much
    residues belong to what moves, as either fold (n,) is told. rests (3, n): its ends and its middle, where it might
    stand still.
    """

    places: Float
    step: Float
    fading: Float
    fold: NDArray[np.int64]
    rests: Float


def _along(side: Side, own: Float, fitted: CrossFit, what: tuple[int, int]) -> _Along:
    """what: the number of the model, and of the motion."""
    number, k = what
    axes = [pair[number][:, k] for pair in fitted.axes]
    steps = np.stack([_step(side, axis) for axis in axes])
    fading = fading_weights(np.stack([np.linalg.norm(displacement(side, axis), axis=-1) for axis in axes]))
    rests = [np.array([one.min(), 0.0, one.max()]) for one in (side.modes.places @ axis for axis in axes)]
    places = np.einsum("nm,nm->n", own, np.stack(axes)[fitted.fold])
    return _Along(places, steps[fitted.fold], fading, fitted.fold, np.stack(rests)[fitted.fold].T)


def _differences(
    asked: _Asked, read: tuple[Float, Float], motions: list[_Along], partners: list[NDArray[np.int64]]
) -> Float:
    """For one model and direction: own log-probability less that of each alternative, (3 + 4 k, n).

    read: where the images lie along the principal motions, and the same less what the view says, (n, M).
    """
    (scores, own), observer, which = read, asked.observer, asked.which
    places = [scores, np.zeros_like(scores)]
    places += [scores + own[other] - own for other in partners]
    helds = [scores - one.places[:, None] * one.step for one in motions]
    for one, held in zip(motions, helds, strict=True):
        places.append(held)
        places += [held + one.places[other][:, None] * one.step for other in partners]
    directions = asked.side.modes.directions
    fits = foretell(observer, places, directions, which, asked.progress)
    base = foretell_fixed(observer, observer.model.positions.cpu().numpy(), which)
    width = len(partners)
    result = [fits[0] - base, fits[0] - fits[1], fits[0] - fits[2 : 2 + width].mean(axis=0)]
    for k, (one, held) in enumerate(zip(motions, helds, strict=True)):
        begin = (2 + width) + k * (1 + width)
        moved = Shapes(asked.side.library.mean, scores)
        fading = Fading(directions, moved, _at_rest(asked, one, held), one.fading, one.fold)
        exchanged_fits = fits[begin + 1 : begin + 1 + width].mean(axis=0)
        result += [fits[0] - fits[begin], fits[0] - exchanged_fits]
        result += gain_over_fading(observer, fading, which, asked.progress)
    return np.stack(result)


def _at_rest(asked: _Asked, along: _Along, held: Float) -> tuple[Shapes, ...]:
    """Structures in which a motion stands still somewhere: between its ends, or as the base structure has it."""
    mean, base = asked.side.library.mean, asked.observer.model.positions.double().cpu().numpy()
    base = superposed(base[None], mean)[0]
    between = (Shapes(mean, held + place[:, None] * along.step) for place in along.rests)
    return (*between, Shapes(base, held), Shapes(base, np.zeros_like(held)))


def _step(side: Side, axis: Float) -> Float:
    """How the places along the principal motions (M,) change with a unit along an axis, as over the model's images."""
    places = side.modes.places @ axis
    weights = side.library.shares * places
    return np.asarray((weights @ side.modes.places) / max(float(weights @ places), 1e-30))


def _mean(values: Float, group: NDArray[np.int64]) -> Gain:
    """Mean over images, with its standard error from groups of images, among which places were exchanged."""
    sizes = np.bincount(group)
    sums = np.bincount(group, weights=values - values.mean())
    many = len(sizes)
    error = float(np.sqrt((sums**2).sum() * many / max(many - 1, 1)) / len(values))
    return Gain(float(values.mean()), error)
