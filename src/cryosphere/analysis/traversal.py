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
_SAMPLE = 20_000  # images that a path is laid through
_ACROSS = 0.35  # width of the kernel across the path, of the spread of the images across it


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
    on a curve or in several groups. `path="data"` (default) climbs, at each step, to where images are densest across
    the component (mean shift, Comaniciu & Meer 2002), starting from the step before: it bends with the data and,
    where they fork, follows one branch instead of the empty middle. Unlike a chain of single nearest images it is
    smooth, so the frames play as one motion. Where images are few it averages over the nearest ones.

    latents (n, L); returns a Traversal of `points` latents.
    """
    rows = np.unique(np.linspace(0, len(latents) - 1, min(_SAMPLE, len(latents))).round().astype(np.int64))
    low, high = np.percentile(components.project(latents)[:, component], PERCENTILES)
    targets = np.linspace(low, high, points)
    coordinates = np.zeros((points, components.count))
    if path == "data" and high > low:
        scores = components.project(latents[rows])
        coordinates = _ridge(scores, component, targets, float(high - low) / max(points - 1, 1))
    coordinates[:, component] = targets
    return Traversal(component, components.reconstruct(coordinates), coordinates)


def _ridge(scores: Float, component: int, targets: Float, step: float) -> Float:
    """Densest places (points, K) across one component at its values `targets`, walking outwards from the middle."""
    along = scores[:, component]
    across = np.delete(scores, component, axis=1)
    width = _ACROSS * float(np.sqrt(across.var(axis=0).sum())) or 1.0
    found = np.zeros((len(targets), scores.shape[1]))
    middle = int(np.argmin(np.abs(targets - np.median(along))))
    kernels = [_along_weights(along, target, step) for target in targets]
    average = kernels[middle] @ across
    nearest = np.argmin(((across - average) ** 2).sum(axis=1) / width**2 + ((along - targets[middle]) / step) ** 2)
    for walk in (range(middle, len(targets)), range(middle, -1, -1)):
        place = across[nearest]
        for index in walk:
            place, weights = _climb(across, kernels[index], place, width)
            found[index] = _at(scores, along, weights, float(targets[index]))
    return found


def _along_weights(along: Float, target: float, width: float) -> Float:
    """Gaussian weights (n,) of the images by their distance from `target`, wide enough to hold a few images."""
    distance = np.abs(along - target)
    reach = max(width, float(np.partition(distance, min(len(along), 10) - 1)[min(len(along), 10) - 1]))
    weights = np.exp(-0.5 * (distance / reach) ** 2)
    return np.asarray(weights / weights.sum())


def _climb(across: Float, kernel: Float, place: Float, width: float) -> tuple[Float, Float]:
    """Mean shift from `place` to the nearest summit of the density of the images; the place and the images' weights."""
    weights = kernel
    for _ in range(50):
        distance = ((across - place) ** 2).sum(axis=1)
        weights = kernel * np.exp(-0.5 * (distance - distance.min()) / width**2)
        weights /= weights.sum()
        before, place = place, weights @ across
        if np.abs(place - before).max(initial=0.0) < 1e-3 * width:
            break
    return place, weights


def _at(scores: Float, along: Float, weights: Float, target: float) -> Float:
    """Scores that the weighted images would have at `target`: a linear fit, so that ends are not pulled inwards."""
    centre = weights @ along
    mean, offset = weights @ scores, along - centre
    variance = float(weights @ offset**2)
    slope = (weights * offset) @ scores / variance if variance > 1e-12 else np.zeros_like(mean)
    reach = 2 * np.sqrt(variance)
    return np.asarray(mean + slope * np.clip(target - centre, -reach, reach))


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
