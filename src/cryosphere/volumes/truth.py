"""Volumes of simulated images against the density that was simulated: what benchmarks and tests ask."""

from __future__ import annotations

import numpy as np
import torch
from numpy.typing import NDArray

from cryosphere.imaging.grid import ImageGrid
from cryosphere.maps.density import bead_volumes
from cryosphere.maps.fsc import shell_correlations, volume_spectra
from cryosphere.simulation.truth import Truth

Volume = NDArray[np.float32]

NEAREST = 200  # images whose true conformations say what is true at a latent


def true_image(truth: Truth, distances: NDArray[np.floating], nearest: int = NEAREST) -> int:
    """The image that shows what is true at a latent: of those nearest, the one in the middle of their conformations.

    distances: (n,) of the images from the latent, in any unit.
    """
    near = np.argsort(distances, kind="stable")[:nearest]
    conformations = truth.positions(near).reshape(len(near), -1).astype(np.float64)
    squares = np.square(conformations).sum(axis=1)
    apart = squares[:, None] + squares - 2 * conformations @ conformations.T
    return int(near[apart.mean(axis=1).argmin()])


def true_volume(truth: Truth, image: int, grid: ImageGrid) -> Volume:
    """Density of the beads that an image was simulated of, without those that it lacks."""
    row = np.array([image])
    amplitudes = truth.amplitudes * (truth.present(row)[0] if len(truth.absent_sets) else 1.0)
    positions = torch.from_numpy(truth.positions(row)).double()
    return np.asarray(bead_volumes(positions, torch.from_numpy(amplitudes), grid, truth.bead_sigma)[0].float().numpy())


def truth_correlation(volume: Volume, true: Volume) -> NDArray[np.float64]:
    """Fourier shell correlation of a map with the true density, shell by shell, from 0."""
    found, expected = (volume_spectra(torch.from_numpy(v).double()[None]) for v in (volume, true))
    return np.asarray(shell_correlations(found, expected)[0].numpy())
