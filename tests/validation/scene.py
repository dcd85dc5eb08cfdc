"""Two models' readings of images, made up: where each image lies along a motion is known."""

from __future__ import annotations

import numpy as np

from cryosphere.validation.library import Library
from cryosphere.validation.motions import Side
from cryosphere.validation.reading import Reading, softmax

RESIDUES = 40


def hinge_library(structures: int = 33, *, seed: int = 0, second: float = 0.0) -> Library:
    """Residues 30 to 39 move along x by up to ± 6 Å; a second motion, of `second` Å, moves residues 0 to 9 along y."""
    generator = np.random.default_rng(seed)
    base = 10 * np.random.default_rng(42).normal(size=(RESIDUES, 3))
    places = np.linspace(-1, 1, structures)
    others = generator.permutation(places)
    moved = np.repeat(base[None], structures, axis=0)
    moved[:, 30:, 0] += 6 * places[:, None]
    moved[:, :10, 1] += second * others[:, None]
    return Library(moved, np.full(structures, 1 / structures))


def side(library: Library, truth: np.ndarray, noise: tuple[np.ndarray, np.ndarray]) -> Side:
    """Images whose residue 35 lies at `truth` (n,) Å from its mean, read with errors (n,) Å of either half of data.

    Readings are what Bayes' rule gives with Gaussian errors of their standard deviation.
    """
    offsets = library.structures[:, 35, 0] - library.mean[35, 0]

    def weights(seen: np.ndarray, sd: float) -> np.ndarray:
        return softmax(-((seen[:, None] - offsets) ** 2) / (2 * sd**2) + np.log(library.shares))

    spreads = [max(float(one.std()), 0.3) for one in noise]
    each = [weights(truth + one, sd) for one, sd in zip(noise, spreads, strict=True)]
    both = weights(truth + 0.5 * (noise[0] + noise[1]), spreads[0] / 2**0.5)
    return Side.of(library, Reading(each[0], each[1], both))
