"""What a motion is worth for frequencies that it was not read off, in nats per image, with standard errors."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from cryosphere.particles.table import ParticleTable
from cryosphere.progress import Progress
from cryosphere.validation.motions import Common, Side, without_view
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

    A sum over both halves of the frequencies, so in nats per image. options: motions to look at, seed, progress.
    """
    count, seed, progress = options
    group = groups(table, NEAREST)
    generator = np.random.default_rng([seed, 0x6A1])
    partners = [exchanged(group, generator) for _ in range(PARTNERS)]
    total = np.zeros((3 + 2 * count, len(table)))
    for number, (side, observer) in enumerate(zip(sides, observers, strict=True)):
        axes = common.axes[number][:, :count]
        for which in (0, 1):
            total += _differences(side, observer, (axes, partners, which), table, progress)
    total /= len(sides)
    found = [_mean(values, group) for values in total]
    each = tuple(MotionGains(found[3 + 2 * k], found[4 + 2 * k]) for k in range(count))
    return Gains(found[0], found[1], found[2], each)


def _differences(
    side: Side,
    observer: Observer,
    what: tuple[Float, list[NDArray[np.int64]], int],
    table: ParticleTable,
    progress: Progress,
) -> Float:
    """For one model and direction: own log-probability less that of each alternative, (3 + 2 k, n)."""
    axes, partners, which = what
    scores = side.scores(which)
    own = without_view(scores, table)
    places = [scores, np.zeros_like(scores)]
    places += [scores + own[other] - own for other in partners]
    for k in range(axes.shape[1]):
        along = own @ axes[:, k]
        step = _step(side, axes[:, k])
        places.append(scores - along[:, None] * step)
        places += [scores + (along[other] - along)[:, None] * step for other in partners]
    fits = foretell(observer, places, side.modes.directions, which, progress)
    base = foretell_fixed(observer, observer.model.positions.cpu().numpy(), which)
    width = len(partners)
    result = [fits[0] - base, fits[0] - fits[1], fits[0] - fits[2 : 2 + width].mean(axis=0)]
    for begin in range(2 + width, len(fits), 1 + width):
        result += [fits[0] - fits[begin], fits[0] - fits[begin + 1 : begin + 1 + width].mean(axis=0)]
    return np.stack(result)


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
