"""The latents at which volumes are made: along the main motion, at groups of images, or as given."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from scipy.spatial.distance import cdist

from cryosphere.analysis.motions import batches
from cryosphere.analysis.run import Run
from cryosphere.analysis.structures import read_latents
from cryosphere.analysis.traversal import cluster, traverse
from cryosphere.errors import ConfigError, InputError

MOST = 500  # volumes, all of which are kept in memory
_AT_ONCE = 65_536  # images compared with the latents at once
_LEAST_SPREAD = 0.01  # of the widest direction's: taken for that of directions which a run leaves unused
_ROUNDING = 1e-3  # by which a latent that was written and read again may differ, of the furthest one's distance


@dataclass(frozen=True)
class TargetSettings:
    """Which latents: of a .npy file (n, L), or `points` along the main motion and `clusters` groups of images."""

    z: Path | None = None
    points: int = 6
    clusters: int = 0

    def __post_init__(self) -> None:
        if self.points < 0 or self.clusters < 0 or (self.z is None and self.points + self.clusters == 0):
            raise ConfigError(
                f"points is {self.points} and clusters {self.clusters}: neither can be negative, and one must be above "
                "0, or there are no volumes to make"
            )
        if self.points + self.clusters > MOST:
            raise ConfigError(f"{self.points + self.clusters} volumes were asked for; at most {MOST} are made at once")
        if self.points == 1:
            raise ConfigError("points is 1: a path along the motion has 2 at least (or 0, with --clusters)")


def chosen_targets(run: Run, settings: TargetSettings) -> NDArray[np.float32]:
    """Latents (k, L) in the order of the volumes: the main motion's points first, then the groups, largest first.

    Raises:
        InputError: for a file of other latents than this run's.
    """
    if settings.z is not None:
        given = read_latents(settings.z, run.latent_dim)
        _check_near(given, run.latents, settings.z)
        return given
    latents = run.latents
    parts = []
    if settings.points:
        parts.append(traverse(latents, run.components, 0, points=settings.points).latents)
    if settings.clusters:
        parts.append(cluster(latents, settings.clusters).latents)
    return np.concatenate(parts).astype(np.float32)


def _check_near(given: NDArray[np.float32], latents: NDArray[np.float32], source: Path) -> None:
    """Refuse latents where the run has none: they are another run's, most likely.

    A run uses few of its latent directions; the others it leaves at one value, but for a hundredth. Another run uses
    others. So a latent's distance from the run's mean is told in the run's own standard deviations (Mahalanobis
    1936), and none may lie further out than the furthest of the run's own, or further from all of them than they are
    spread. Where two runs happen to use the same directions, their latents cannot be told apart.

    Raises:
        InputError: with the first such row.
    """
    middle = latents.mean(axis=0, dtype=np.float64)
    variances, directions = np.linalg.eigh(np.atleast_2d(np.cov(latents.T.astype(np.float64), ddof=0)))
    spread = float(np.sqrt(max(variances.sum(), 0.0)))
    least = max(_LEAST_SPREAD**2 * float(variances.max()), 1e-30)
    scaling = directions / np.sqrt(np.maximum(variances, least))
    nearest, furthest = np.full(len(given), np.inf), 0.0
    for part in batches(len(latents), _AT_ONCE):
        some = latents[part].astype(np.float64)
        furthest = max(furthest, float(np.linalg.norm((some - middle) @ scaling, axis=1).max()))
        nearest = np.minimum(nearest, cdist(some, given.astype(np.float64)).min(axis=0))
    out = np.linalg.norm((given - middle) @ scaling, axis=1)
    far = np.flatnonzero((nearest > spread) | (out > furthest * (1 + _ROUNDING) + _ROUNDING))
    if len(far):
        row = int(far[0])
        raise InputError(
            f"{source}: row {row} lies {out[row]:.3g} standard deviations from the mean of this run's "
            f"{len(latents):,} latents, of which the furthest lies {furthest:.3g}, and {nearest[row]:.3g} from the "
            f"nearest of them, which are spread by {spread:.3g} ({len(far)} of {len(given)} rows lie that far out): "
            "no image shows such a conformation. Are these the latents of another run?"
        )
