"""Images seen from nearly the same side, which are all that may be exchanged for one another.

Where the model's shape is wrong, what bends it best to an image depends on the side from which the image shows it: a
conformation that follows the view is no motion, though it foretells and reproduces. So what the view says is taken
off, and images are exchanged only with those that show the molecule from the same side.
"""

from __future__ import annotations

from itertools import combinations_with_replacement

import numpy as np
from numpy.typing import NDArray

from cryosphere.particles.table import ParticleTable

Float = NDArray[np.float64]
Rows = NDArray[np.int64]

SHUFFLED = 8  # images at most that are exchanged among each other for what chance gives
NEAREST = 4  # images at most, the fewer the nearer, of which one is given another's place
_PER_TERM = 12  # images for each number that is fitted to what depends on the view
_DEGREES = (6, 4, 2, 0)  # of the polynomials of the viewing direction, the highest that there are images for


def groups(table: ParticleTable, most: int) -> Rows:
    """The number of each image's group (n,): images seen from the same side, or from just behind it.

    Two views along one axis from opposite ends are mirror images of each other: they say the same. The set is halved
    again and again where it is widest, until a group has no more than `most` images.
    """
    directions = table.rotations[:, 2, :]
    places = np.einsum("ni,nj->nij", directions, directions)[:, [0, 1, 2, 0, 0, 1], [0, 1, 2, 1, 2, 2]]
    places = places * np.array([1.0, 1.0, 1.0, 2**0.5, 2**0.5, 2**0.5])
    label = np.zeros(len(places), dtype=np.int64)
    waiting, number = [np.arange(len(places))], 0
    while waiting:
        rows = waiting.pop()
        if len(rows) <= most:
            label[rows], number = number, number + 1
            continue
        widest = int(np.ptp(places[rows], axis=0).argmax())
        order = rows[np.argsort(places[rows, widest], kind="stable")]
        waiting += [order[: len(order) // 2], order[len(order) // 2 :]]
    return label


def exchanged(group: Rows, generator: np.random.Generator) -> Rows:
    """A permutation (n,) of the images that gives each the place of another one of its group, all at random."""
    order = np.lexsort((generator.random(len(group)), group))
    ranked = group[order]
    begins = np.flatnonzero(np.r_[True, ranked[1:] != ranked[:-1]])
    following = np.arange(1, len(order) + 1)
    following[np.r_[begins[1:], len(order)] - 1] = begins  # the last of each group is followed by the first
    result = np.empty(len(order), dtype=np.int64)
    result[order] = order[following]
    return result


def from_view(values: Float, table: ParticleTable) -> Float:
    """The part of values (n, q) that depends smoothly on viewing direction and defocus, by least squares."""
    terms = _terms(table)
    return np.asarray(terms @ np.linalg.lstsq(terms, values, rcond=1e-8)[0])


def _terms(table: ParticleTable) -> Float:
    """Functions of viewing direction, the same at opposite ends, and of defocus, (n, terms)."""
    directions = table.rotations[:, 2, :]
    degree = next((d for d in _DEGREES if _PER_TERM * (d + 1) * (d + 2) // 2 <= len(directions)), 0)
    terms = [directions[:, list(axes)].prod(axis=1) for axes in combinations_with_replacement(range(3), degree)]
    defocus = 0.5 * (table.defocus_u + table.defocus_v)
    spread = float(defocus.std())
    if spread > 1.0:
        centred = (defocus - defocus.mean()) / spread
        terms += [centred, centred**2]
    return np.stack(terms, axis=1) if terms else np.ones((len(directions), 1))
