"""Whether latent space is in order: neighbours are neighbours, poses stay out, and no dimension is idle unnoticed."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from sklearn.linear_model import RidgeCV
from sklearn.model_selection import KFold, cross_val_predict
from sklearn.neighbors import KNeighborsRegressor
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from cryosphere.simulation.truth import Truth

Float = NDArray[np.float64]

MOST_IMAGES = 2000  # that neighbourhoods and poses are judged by, spread evenly over the data set
NEIGHBOURS = 0.02  # of them: how many neighbours an image is asked for
FOLDS = 5
SHUFFLES = 5
ACTIVE = 0.01  # nats of divergence, mean over images, from which a dimension is in use; unused ones have some 10⁻⁴, and
# where noise is strong an image holds no more than 0.1 in all
FEWEST = 20  # images; with fewer, neighbourhoods and regressions say nothing
_TIE = 1e-3  # Å; true conformations that differ by less are the same


@dataclass(frozen=True)
class LatentQuality:
    """Order of the latent space; shares and R² are of a sample of images."""

    images: int  # sample, spread evenly over the data set
    neighbours: int  # asked for
    neighbours_kept: float | None  # share of latent neighbours that are among the nearest in true conformation
    neighbours_by_chance: float | None  # what a latent without meaning would have
    pose_r2: float | None  # share of the pose's variance that the latent predicts, cross-validated; it must not
    pose_r2_by_chance: float | None  # the same with latents shuffled among the images, highest of SHUFFLES
    view_r2: float | None  # the same for the viewing direction alone
    view_r2_by_chance: float | None
    dimensions: int  # of latent space
    effective_dimension: float  # participation ratio of the covariance of the posterior means
    active_dimensions: int
    divergence: list[float]  # nats from the prior, of each dimension, mean over images


def latent_quality(mean: NDArray[np.floating], sd: NDArray[np.floating], truth: Truth) -> LatentQuality:
    """Judge posteriors of given means and standard deviations, (n, L) each, in the order of the truth's images."""
    count = len(mean)
    rows = np.unique(np.linspace(0, count - 1, min(count, MOST_IMAGES)).round().astype(np.int64))
    latent = np.asarray(mean[rows], dtype=np.float64)
    neighbours = max(1, round(NEIGHBOURS * len(rows)))
    nothing: tuple[float | None, float | None] = (None, None)
    kept, poses, views = nothing, nothing, nothing
    if len(rows) >= FEWEST:
        kept = neighbours_kept(_true_distances(truth, rows), _distances(latent), neighbours)
        rotations = truth.rotations[rows]
        poses, views = predictability(latent, rotations.reshape(-1, 9)), predictability(latent, rotations[:, 2])
    divergence = divergences(np.asarray(mean, dtype=np.float64), np.asarray(sd, dtype=np.float64))
    return LatentQuality(
        len(rows),
        neighbours,
        *kept,
        *poses,
        *views,
        dimensions=mean.shape[1],
        effective_dimension=effective_dimension(mean),
        active_dimensions=int((divergence > ACTIVE).sum()),
        divergence=divergence.tolist(),
    )


def neighbours_kept(true: Float, latent: Float, neighbours: int) -> tuple[float, float]:
    """Share of every image's nearest in latent space that are among its nearest in truth, and the same by chance.

    true, latent (m, m): distances between images. An image counts as among the nearest in truth if it is no farther
    than the `neighbours`-th nearest: where many images show one conformation, all of them are.
    """
    count = len(true)
    itself = np.eye(count, dtype=np.bool_)
    farthest = np.partition(np.where(itself, np.inf, true), neighbours - 1, axis=1)[:, neighbours - 1]
    near = (true <= farthest[:, None] + _TIE) & ~itself
    chosen = np.argpartition(np.where(itself, np.inf, latent), neighbours - 1, axis=1)[:, :neighbours]
    return float(np.take_along_axis(near, chosen, axis=1).mean()), float(near.sum() / (count * (count - 1)))


def predictability(latent: Float, target: Float) -> tuple[float, float]:
    """R² with which latents (m, L) predict targets (m, T), and the highest with latents shuffled SHUFFLES times.

    Cross-validated in FOLDS parts, by ridge regression or by the mean over nearest neighbours, whichever is better:
    together they see what depends on the latent in proportion, and what depends on it in any smooth way. R² is of all
    targets together: 1 - sum of squared errors / sum of squares about the mean. It is below 0 where the regression
    does worse than the mean, as it does by chance.
    """
    generator = np.random.default_rng(0)
    shuffled = [generator.permutation(len(latent)) for _ in range(SHUFFLES)]
    return _best_r2(latent, target), max(_best_r2(latent[order], target) for order in shuffled)


def _best_r2(latent: Float, target: Float) -> float:
    folds = KFold(FOLDS, shuffle=True, random_state=0)
    spread = np.square(target - target.mean(axis=0)).sum()
    nearest = KNeighborsRegressor(max(1, min(30, len(latent) // 10)))
    errors = []
    for regression in (RidgeCV(np.logspace(-3, 4, 8)), nearest):
        found = cross_val_predict(make_pipeline(StandardScaler(), regression), latent, target, cv=folds)
        errors.append(float(np.square(target - found).sum()))
    return float(1 - min(errors) / spread)


def effective_dimension(mean: NDArray[np.floating]) -> float:
    """Participation ratio (Σλ)² / Σλ² of the eigenvalues λ of the means' covariance: 1 to L, NaN if nothing varies."""
    values = np.asarray(mean, dtype=np.float64)
    covariance = np.cov(values, rowvar=False, bias=True).reshape(values.shape[1], -1)
    squares = float(np.square(covariance).sum())
    return float(np.trace(covariance) ** 2 / squares) if squares > 0 else float("nan")


def divergences(mean: Float, sd: Float) -> Float:
    """KL divergence of each latent dimension from the standard normal prior in nats, mean over images, (L,)."""
    return np.asarray((0.5 * (mean**2 + sd**2 - 1) - np.log(sd)).mean(axis=0))


def _distances(points: Float) -> Float:
    squares = np.square(points).sum(axis=1)
    return np.asarray(np.sqrt(np.maximum(squares[:, None] + squares - 2 * points @ points.T, 0.0)))


def _true_distances(truth: Truth, rows: NDArray[np.int64]) -> Float:
    """RMSD in Å between the true structures of images, as they lie, (m, m)."""
    shown, which = np.unique(truth.conformation_index[rows], return_inverse=True)
    flat = truth.conformations[shown].reshape(len(shown), -1).astype(np.float64)
    apart = _distances(flat - flat.mean(axis=0)) / np.sqrt(truth.conformations.shape[1])
    return np.asarray(apart[np.ix_(which, which)])
