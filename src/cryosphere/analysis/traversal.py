"""Paths through latent space that stay where images are, and representative latents of groups of images."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray
from scipy.spatial import cKDTree
from sklearn.cluster import MiniBatchKMeans

from cryosphere.analysis.pca import PrincipalComponents

Float = NDArray[np.float64]
Path = Literal["data", "line"]
PERCENTILES = (5.0, 95.0)


@dataclass(frozen=True)
class Traversal:
    """Points in latent space from the 5th to the 95th percentile of one principal component."""

    component: int  # counted from 0
    latents: Float  # (points, L)
    coordinates: Float  # (points, K): the same points along the principal components

    @property
    def name(self) -> str:
        return f"pc{self.component + 1}"


def traverse(
    latents: NDArray[np.floating],
    components: PrincipalComponents,
    component: int,
    *,
    points: int = 10,
    path: Path = "data",
) -> Traversal:
    """Walk along one principal component, evenly from its 5th to its 95th percentile.

    `path="line"` keeps all other components at their mean: a straight line, which may leave the data where they lie
    on a curve. `path="data"` (default) sets the other components to their local average among the images around each
    point (local linear regression, Gaussian kernel with a standard deviation of one step): it bends with the data,
    and where images are few it averages over the nearest ones. Unlike a chain of single nearest images it is smooth,
    so the frames play as one motion.

    latents (n, L); returns a Traversal of `points` latents.
    """
    scores = components.project(latents)
    along = scores[:, component]
    low, high = np.percentile(along, PERCENTILES)
    targets = np.linspace(low, high, points)
    coordinates = np.zeros((points, components.count))
    if path == "data" and high > low:
        width = float(high - low) / max(points - 1, 1)
        for index, target in enumerate(targets):
            coordinates[index] = _local_average(scores, along, target, width)
    coordinates[:, component] = targets
    return Traversal(component, components.reconstruct(coordinates), coordinates)


def _local_average(scores: Float, along: Float, target: float, width: float) -> Float:
    """Scores that the images near `target` would have at it: a weighted linear fit, so that the average is not pulled
    inwards at the ends. The kernel widens until it holds a few images.
    """
    distance = np.abs(along - target)
    few = min(len(along), 10) - 1
    reach = max(width, float(np.partition(distance, few)[few]))
    weights = np.exp(-0.5 * (distance / reach) ** 2)
    weights /= weights.sum()
    mean, offset = weights @ scores, along - weights @ along
    variance = float(weights @ offset**2)
    slope = (weights * offset) @ scores / variance if variance > 1e-12 * reach**2 else np.zeros_like(mean)
    return np.asarray(mean + slope * (target - weights @ along))


@dataclass(frozen=True)
class Clusters:
    """Groups of images with similar latents, largest first."""

    labels: NDArray[np.int64]  # (n,): cluster of each image
    sizes: NDArray[np.int64]  # (clusters,)
    rows: NDArray[np.int64]  # (clusters,): the image nearest to each cluster's centre
    latents: Float  # (clusters, L): that image's latent


def cluster(latents: NDArray[np.floating], count: int, seed: int = 0) -> Clusters:
    """k-means groups of the latents (n, L), each represented by the image nearest to its centre.

    At most `count` clusters; fewer where there are fewer different latents.
    """
    values = np.asarray(latents, dtype=np.float64)
    count = min(count, len(np.unique(values[:10_000].round(6), axis=0)))
    fitted = MiniBatchKMeans(count, random_state=seed, n_init=3, batch_size=4096).fit(values)
    labels = np.asarray(fitted.labels_, dtype=np.int64)
    sizes = np.bincount(labels, minlength=count)
    order = np.argsort(-sizes, kind="stable")[: int(np.sum(sizes > 0))]
    rank = np.empty(count, dtype=np.int64)
    rank[np.argsort(-sizes, kind="stable")] = np.arange(count)
    rows = np.asarray(cKDTree(values).query(fitted.cluster_centers_[order])[1], dtype=np.int64)
    return Clusters(rank[labels], sizes[order].astype(np.int64), rows, values[rows])
