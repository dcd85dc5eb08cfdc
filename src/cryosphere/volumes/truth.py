"""Volumes of simulated images against the density that was simulated: what benchmarks and tests ask."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray

from cryosphere.analysis.run import Run
from cryosphere.imaging.grid import ImageGrid
from cryosphere.maps.density import bead_volumes
from cryosphere.maps.fsc import shell_correlations, volume_spectra
from cryosphere.maps.resolution import Resolution, resolution_at
from cryosphere.simulation.truth import Truth
from cryosphere.volumes.distances import structure_distances

Volume = NDArray[np.float32]

NEAREST = 200  # images whose true conformations say what is true at a latent
_MOVING = 0.25  # of the residues, those that are furthest from their mean place
_REACH = 6.0  # Å, standard deviation of the mask around them
_CORE = 0.2  # of the mask's highest density: from there on it is 1


@dataclass(frozen=True)
class Agreement:
    """How like a map is to the true density of a conformation.

    mean: of the Fourier shell correlation over all shells from 1; at_half: where it falls below 0.5; moving: the mean
    within a mask around the quarter of the residues that are furthest from where they are on average.
    """

    mean: float
    at_half: Resolution
    moving: float


def agreement_with_truth(
    run: Run, truth: Truth, z: NDArray[np.float32], maps: Sequence[Volume], grid: ImageGrid
) -> list[Agreement]:
    """For each latent: how like the map that was made at it is to what is true there.

    True is, of the NEAREST images, the conformation in their middle. maps: [z, y, x] each, all on the grid.
    """
    counts = np.bincount(truth.conformation_index, minlength=len(truth.conformations))
    middle = np.average(truth.conformations.astype(np.float64), axis=0, weights=counts)
    found = []
    for volume, column in zip(maps, structure_distances(run, z).T, strict=True):
        image = true_image(truth, column)
        mask = _around_moving(truth, image, middle, grid)
        found.append(_agreement(volume, true_volume(truth, image, grid), mask, grid))
    return found


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
    return _density(truth, image, np.ones(len(truth.amplitudes), dtype=bool), grid, truth.bead_sigma)


def truth_correlation(volume: Volume, true: Volume) -> NDArray[np.float64]:
    """Fourier shell correlation of a map with the true density, shell by shell, from 0."""
    found, expected = (volume_spectra(torch.from_numpy(v).double()[None]) for v in (volume, true))
    return np.asarray(shell_correlations(found, expected)[0].numpy())


def _density(truth: Truth, image: int, residues: NDArray[np.bool_], grid: ImageGrid, sigma: float) -> Volume:
    row = np.array([image])
    amplitudes = truth.amplitudes * residues * (truth.present(row)[0] if len(truth.absent_sets) else 1.0)
    positions = torch.from_numpy(truth.positions(row)).double()
    return np.asarray(bead_volumes(positions, torch.from_numpy(amplitudes), grid, sigma)[0].float().numpy())


def _around_moving(truth: Truth, image: int, middle: NDArray[np.float64], grid: ImageGrid) -> Volume:
    moved = np.linalg.norm(truth.positions(np.array([image]))[0] - middle, axis=-1)
    around = _density(truth, image, moved >= np.quantile(moved, 1 - _MOVING), grid, _REACH)
    return np.asarray(np.clip(around / (_CORE * around.max()), 0.0, 1.0))


def _agreement(volume: Volume, true: Volume, mask: Volume, grid: ImageGrid) -> Agreement:
    whole, moving = truth_correlation(volume, true), truth_correlation(volume * mask, true * mask)
    frequencies = np.arange(len(whole)) / grid.length
    return Agreement(float(whole[1:].mean()), resolution_at(whole, frequencies, 0.5), float(moving[1:].mean()))
