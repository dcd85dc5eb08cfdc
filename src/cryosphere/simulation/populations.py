"""How states are shared out: which are drawn how often, and which image shows which of them."""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike, NDArray


def shared_out(total: int, weights: ArrayLike) -> NDArray[np.int64]:
    """`total` things divided in proportion to the weights, as nearly as whole numbers can: counts (k,).

    The largest remainders are rounded up; of equal ones the first.
    """
    parts = np.asarray(weights, dtype=np.float64)
    exact = parts / parts.sum() * total
    counts: NDArray[np.int64] = np.floor(exact + 1e-9).astype(np.int64)
    left = total - int(counts.sum())
    counts[np.argsort(-(exact - counts), kind="stable")[:left]] += 1
    return counts


def drawn_mixture(
    means: ArrayLike,
    standard_deviations: ArrayLike,
    weights: ArrayLike | None,
    count: int,
    generator: np.random.Generator,
) -> NDArray[np.float64]:
    """`count` values of a mixture of normal distributions; equal weights where none are given."""
    means, spreads = np.asarray(means, dtype=np.float64), np.asarray(standard_deviations, dtype=np.float64)
    parts = np.ones(len(means)) if weights is None else np.asarray(weights, dtype=np.float64)
    component = generator.choice(len(means), size=count, p=parts / parts.sum())
    return np.asarray(means[component] + spreads[component] * generator.standard_normal(count))


def assigned(images: int, states: int, weights: ArrayLike | None, generator: np.random.Generator) -> NDArray[np.int64]:
    """Which of `states` each image shows, (images,), in random order.

    Without weights each equally often, give or take one; with them in proportion, as nearly as whole numbers can.
    """
    if weights is None:
        index = np.arange(images, dtype=np.int64) % states
    else:
        index = np.repeat(np.arange(states, dtype=np.int64), shared_out(images, weights))
    return generator.permutation(index)
