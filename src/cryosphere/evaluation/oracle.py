"""How good can it get: the posterior mean of a figure given the true conformations, poses, CTF and noise level.

No method that sees one image at a time can beat it on average: it is told everything except which conformation is
in the image.
"""

from __future__ import annotations

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from cryosphere.fourier import parseval_weights, to_spectrum
from cryosphere.imaging.ctf import CtfParameters, contrast_transfer
from cryosphere.imaging.formation import seen_from
from cryosphere.imaging.grid import ImageGrid
from cryosphere.imaging.projection import SpreadProjector
from cryosphere.particles.stacks import ImageStacks
from cryosphere.progress import SILENT, Progress
from cryosphere.simulation.truth import Truth


@torch.no_grad()
def conformation_posteriors(
    truth: Truth,
    stacks: ImageStacks,
    rows: NDArray[np.int64],
    candidates: NDArray[np.int64],
    progress: Progress = SILENT,
) -> NDArray[np.float64]:
    """Probability of each candidate conformation for each image, (rows, candidates).

    Every candidate counts as often as images of the data set show it (or the candidate nearest to what they show),
    and the noise is white with the simulation's standard deviation.
    """
    grid = ImageGrid(truth.box, truth.pixel_size)
    projector = SpreadProjector(grid, truth.bead_sigma)
    amplitudes = torch.as_tensor(truth.amplitudes, dtype=torch.float32)
    structures = torch.as_tensor(truth.conformations[candidates], dtype=torch.float32)
    prior = torch.as_tensor(np.log(_prior(truth, candidates)))
    weights = parseval_weights(truth.box)
    result = []
    with progress.track(len(rows), "oracle: weighing the true conformations") as advance:
        for row in rows:
            spectra = to_spectrum(torch.from_numpy(truth.sign * stacks.read(np.array([row]))).float())
            transfer = contrast_transfer(CtfParameters.from_table(stacks.table[np.array([row])]), grid)
            rotation = torch.as_tensor(truth.rotations[row], dtype=torch.float32).expand(len(candidates), 3, 3)
            xy = seen_from(structures, rotation) - torch.as_tensor(truth.shifts[row], dtype=torch.float32)
            predicted = projector(xy, amplitudes) * transfer
            likelihood = _log_likelihood(predicted, spectra, weights, truth.noise_sd)
            result.append(torch.softmax(likelihood + prior, dim=0).numpy())
            advance(1)
    return np.stack(result)


def _log_likelihood(predicted: Tensor, observed: Tensor, weights: Tensor, noise_sd: float) -> Tensor:
    """Of the observed image (1, …) under each predicted one (k, …), up to a constant, (k,) float64."""
    difference = predicted - observed
    squares = (weights * (difference.real.square() + difference.imag.square())).sum((-2, -1), dtype=torch.float64)
    return -squares / (2 * noise_sd**2)


def _prior(truth: Truth, candidates: NDArray[np.int64]) -> NDArray[np.float64]:
    """Share of the data set that each candidate stands for."""
    flat = truth.conformations.reshape(len(truth.conformations), -1).astype(np.float64)
    chosen = flat[candidates]
    squares = np.square(flat).sum(1)[:, None] + np.square(chosen).sum(1) - 2 * flat @ chosen.T
    nearest = squares.argmin(axis=1)
    counts = np.bincount(truth.conformation_index, minlength=len(flat))
    shares = np.bincount(nearest, weights=counts, minlength=len(candidates))
    return np.asarray((shares + 1e-9) / shares.sum())


def spread_candidates(truth: Truth, count: int) -> NDArray[np.int64]:
    """At most `count` conformations that cover the range: all, or evenly along their main direction of motion."""
    total = len(truth.conformations)
    if total <= count:
        return np.arange(total)
    flat = truth.conformations.reshape(total, -1).astype(np.float64)
    centred = flat - flat.mean(0)
    main = centred @ np.linalg.svd(centred, full_matrices=False)[2][0]
    return np.sort(np.argsort(main)[np.linspace(0, total - 1, count).round().astype(np.int64)])
