"""Motions that two models have in common: where one puts an image along its own, the other does too.

Canonical correlation analysis (Hotelling 1936, Biometrika 28, 321) of where the images lie along the principal motions
of either model. One model reads an image off one set of frequencies, the other off the other set: noise that leads one
of them astray tells the other nothing.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from cryosphere.particles.table import ParticleTable
from cryosphere.validation.library import Library
from cryosphere.validation.neighbours import SHUFFLED, exchanged, from_view, groups
from cryosphere.validation.reading import Reading

Float = NDArray[np.float64]

MOST_MODES = 6  # principal motions of each model
SMALLEST = 0.05  # Å, RMS over residues and images: what moves less is no motion
SHARE = 0.005  # of the largest principal motion's variance, likewise
SHUFFLES = 1000
_FLOOR = 1e-3  # of the largest variance: directions in which images' places vary less are taken for equal


@dataclass(frozen=True)
class Modes:
    """Principal motions of one model's structures, (M, R, 3) Å, and where its K structures lie along them (K, M).

    Each motion has unit variance over the model's images, so its length is its amplitude.
    """

    directions: Float
    places: Float

    @property
    def amplitudes(self) -> Float:
        """(M,) Å: displacement of the residues, root mean square over residues and images."""
        return np.asarray(np.sqrt((self.directions**2).sum(axis=-1).mean(axis=-1)))


def modes_of(library: Library) -> Modes:
    """The principal motions of the structures of a library, the largest first; those too small to matter are left out.

    They come from the K × K matrix of the structures' products, however many residues there are.
    """
    residues = library.structures.shape[1]
    offsets = np.sqrt(library.shares)[:, None] * (library.structures - library.mean).reshape(len(library.shares), -1)
    variances, vectors = np.linalg.eigh(offsets @ offsets.T)
    order = np.argsort(variances)[::-1][:MOST_MODES]
    largest = max(float(variances[order[0]]), 0.0)
    order = order[variances[order] > max(SMALLEST**2 * residues, SHARE * largest)]
    directions = (vectors[:, order].T @ offsets).reshape(len(order), residues, 3)
    return Modes(directions, vectors[:, order] / np.sqrt(np.maximum(library.shares, 1e-12))[:, None])


@dataclass(frozen=True)
class Side:
    """One model's structures, their principal motions, and how images were read with them."""

    library: Library
    modes: Modes
    reading: Reading

    @classmethod
    def of(cls, library: Library, reading: Reading) -> Side:
        """With the principal motions found."""
        return cls(library, modes_of(library), reading)

    def scores(self, which: int) -> Float:
        """Where the images lie along the principal motions, (n, M), read off one set of frequencies."""
        return np.asarray(self.reading.split[which] @ self.modes.places)


@dataclass(frozen=True)
class Common:
    """Canonical motions of two models, the best reproduced first; k of them.

    axes: for each model, the combinations of its principal motions, (M, k). correlations (k,): between what the two
    models say of the same images, each from frequencies that the other was not shown. null (SHUFFLES,): the largest
    such correlation when images were exchanged with others seen from the same side.
    """

    axes: tuple[Float, Float]
    correlations: Float
    null: Float

    @property
    def p_values(self) -> Float:
        """(k,): how often chance alone correlates as much."""
        exceeding = (self.null[None] >= self.correlations[:, None]).sum(axis=1)
        return np.asarray((1 + exceeding) / (1 + len(self.null)))

    @property
    def distances(self) -> Float:
        """(k,): how far above chance, in standard deviations of the null distribution."""
        spread = max(float(self.null.std()), 1e-12) if len(self.null) else 1.0
        return np.asarray((self.correlations - (self.null.mean() if len(self.null) else 0.0)) / spread)


def common_motions(first: Side, second: Side, table: ParticleTable, seed: int) -> Common:
    """Find the motions that two models share, with a null from images exchanged among those seen from the same side."""
    widths = [len(side.modes.directions) for side in (first, second)]
    if min(widths) == 0:
        return Common((np.zeros((widths[0], 0)), np.zeros((widths[1], 0))), np.zeros(0), np.zeros(0))
    sides = paired_places(first, second, table)
    whitened, whitening = _whitened(sides)
    axes, correlations = _canonical(whitened, whitening)
    null = by_chance(whitened, groups(table, SHUFFLED), np.random.default_rng([seed, 0xCCA]))
    return Common(axes, correlations, null)


def paired_places(
    first: Side, second: Side, table: ParticleTable, rows: NDArray[np.int64] | None = None
) -> tuple[Float, Float]:
    """Where both models put the images along their principal motions, less what the view says, (2m, M) each.

    Of the first model read off set 1, then off set 2; of the other read off set 2, then off set 1: so noise is in no
    pair twice. rows: of the images that are asked, instead of all.
    """
    some = slice(None) if rows is None else rows
    images = table if rows is None else table[rows]
    ours, theirs = ([without_view(side.scores(which)[some], images) for which in (0, 1)] for side in (first, second))
    return np.concatenate([ours[0], ours[1]]), np.concatenate([theirs[1], theirs[0]])


def canonical_axes(sides: tuple[Float, Float]) -> tuple[Float, Float]:
    """Combinations of either model's principal motions, (M, k) each, whose places correlate most, the best first."""
    return _canonical(*_whitened(sides))[0]


def _whitened(sides: tuple[Float, Float]) -> tuple[tuple[Float, Float], tuple[Float, Float]]:
    """Uncorrelated places of unit variance, and the matrices that made them so."""
    first, second = (_whitening(values) for values in sides)
    return (sides[0] @ first, sides[1] @ second), (first, second)


def _canonical(whitened: tuple[Float, Float], whitening: tuple[Float, Float]) -> tuple[tuple[Float, Float], Float]:
    """The canonical axes and their correlations (k,)."""
    left, right = whitened
    turns, correlations, turns_back = np.linalg.svd(left.T @ right / len(left), full_matrices=False)
    return (whitening[0] @ turns, whitening[1] @ turns_back.T), np.minimum(correlations, 1.0)


def by_chance(
    sides: tuple[Float, Float], group: NDArray[np.int64], generator: np.random.Generator, times: int = SHUFFLES
) -> Float:
    """The largest correlation (times,) where one set of an image's frequencies is paired with another image's.

    sides: of both models, (2n, M): the first one's n images read off set 1, then off set 2; the other's off set 2, then
    off set 1. Both models' readings of set 2 are exchanged alike, as noise that is in both of them is in both still.
    """
    left, right = sides
    count, null = len(group), np.empty(times)
    for number in range(times):
        order = exchanged(group, generator)
        crossed = left[:count].T @ right[order] + left[count + order].T @ right[count:]
        null[number] = np.linalg.norm(crossed / len(left), 2)
    return null


def without_view(scores: Float, table: ParticleTable) -> Float:
    """What of the images' places (n, M) does not follow from the side that they show."""
    return np.asarray(scores - from_view(scores, table))


def _whitening(values: Float) -> Float:
    """A matrix that makes values (n, M) uncorrelated, with unit variance; directions of hardly any become small."""
    variances, vectors = np.linalg.eigh(values.T @ values / len(values))
    return np.asarray(vectors / np.sqrt(np.maximum(variances, _FLOOR * max(float(variances.max()), 1e-30))))


def displacement(side: Side, axis: Float) -> Float:
    """How the residues move (R, 3) Å where an image's place changes by one standard deviation among the model's images.

    axis (M,): the motion, as a combination of the principal ones.
    """
    places = side.modes.places @ axis
    weights = side.library.shares * places
    length = np.sqrt(max(float(weights @ places), 1e-30))
    return np.asarray(np.einsum("k,kri->ri", weights, side.library.structures - side.library.mean) / length)
