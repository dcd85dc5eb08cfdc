"""Principal components of the latents, in an order and with signs that do not depend on chance."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Float = NDArray[np.float64]
MOST_FOLLOWED = 3  # components that get a traversal
SHARE_TO_FOLLOW = 0.01  # of the variance, for components after the first


@dataclass(frozen=True)
class PrincipalComponents:
    """Directions in latent space along which the images differ most.

    `directions` (K, L): orthonormal rows, largest variance first; in each the entry of largest magnitude is positive.
    `variances` (K,): variance of the latents along them. `mean` (L,).
    """

    mean: Float
    directions: Float
    variances: Float

    @property
    def count(self) -> int:
        return len(self.variances)

    @property
    def explained(self) -> Float:
        """(K,): share of the total variance; zeros where all latents are equal."""
        total = self.variances.sum()
        return self.variances / total if total > 0 else np.zeros_like(self.variances)

    @property
    def followed(self) -> int:
        """How many are worth a traversal: the first, and up to two more that hold at least 1 % of the variance."""
        return int(np.clip(np.sum(self.explained >= SHARE_TO_FOLLOW), 1, MOST_FOLLOWED))

    def project(self, latents: NDArray[np.floating]) -> Float:
        """Coordinates (n, K) of latents (n, L) along the components."""
        return np.asarray((np.asarray(latents, dtype=np.float64) - self.mean) @ self.directions.T)

    def reconstruct(self, coordinates: NDArray[np.floating]) -> Float:
        """Latents (n, L) of coordinates (n, K) along all components."""
        return np.asarray(np.asarray(coordinates, dtype=np.float64) @ self.directions + self.mean)


def principal_components(latents: NDArray[np.floating]) -> PrincipalComponents:
    """All L principal components of the latents (n, L), n >= 1.

    They come from the L × L covariance matrix, so one or two images, or more dimensions than images, need no special
    case: directions without variance come last.
    """
    values = np.asarray(latents, dtype=np.float64)
    mean = values.mean(axis=0)
    centred = values - mean
    covariance = centred.T @ centred / max(len(values) - 1, 1)
    variances, vectors = np.linalg.eigh(covariance)
    order = np.argsort(variances)[::-1]
    directions = vectors[:, order].T
    largest = np.argmax(np.abs(directions).round(9), axis=1)
    signs = np.where(directions[np.arange(len(directions)), largest] < 0, -1.0, 1.0)
    return PrincipalComponents(mean, directions * signs[:, None], np.clip(variances[order], 0.0, None))
