"""How far the structures that a run gives its images are from those at chosen latents, in Å."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from scipy.spatial.distance import cdist
from scipy.spatial.transform import Rotation

from cryosphere.analysis.motions import batches
from cryosphere.analysis.run import Run

Float = NDArray[np.float64]

_NUMBERS_AT_ONCE = 4_000_000  # of an array of images' motions
_NOTHING = 1e-12  # of the largest variance: directions in which no structure differs


def structure_distances(run: Run, targets: NDArray[np.floating]) -> NDArray[np.float32]:
    """Root mean square displacement of the residues between each image's structure and those at the targets, in Å.

    This is the distance that weighs images for a kernel volume. A latent space has no length of its own: the network
    may stretch it anywhere. What two latents differ by is what their structures differ by, and only that blurs a map.

    targets (k, L); returns (images, k), in the order of the run's images.

    A residue moves by its segments' rigid motions, a linear function of their matrices and offsets; so the mean over
    residues of squared displacements is a quadratic form of the difference between two images' matrices and offsets.
    It is set up once from all residues, and no image's residues are ever placed. Residues between two segments move by
    the average of both motions here, which is off by less than a tenth of an Å for any turn that a residue can share.
    """
    metric = _metric(run)
    wanted = _places(run, np.asarray(targets, dtype=np.float32), metric)
    latents = run.latents
    found = np.empty((len(latents), len(wanted)), dtype=np.float32)
    size = max(1, _NUMBERS_AT_ONCE // max(metric.size // metric.shape[-1], 1))
    for part in batches(len(latents), size):
        found[part] = cdist(_places(run, latents[part], metric), wanted)
    return found


def _metric(run: Run) -> Float:
    """(4 N, r): takes a row of N segments' matrices and offsets to r numbers whose squared differences add up to Å²."""
    membership = run.segments
    positions = np.asarray(run.model.atomic_model.beads.positions, dtype=np.float64)
    centre = positions.mean(axis=0)  # near the residues: digits are not lost to far origins
    points = np.concatenate([positions - centre, np.ones((len(positions), 1))], axis=1)
    form = np.zeros((membership.shape[1], 4) * 2)
    used = np.flatnonzero(membership.sum(axis=0) > 1e-9)
    for one in used:
        weighted = membership[:, one, None] * points
        for other in used:
            form[one, :, other] = weighted.T @ (membership[:, other, None] * points)
    size = 4 * membership.shape[1]
    variances, directions = np.linalg.eigh(form.reshape(size, size) / len(positions))
    kept = variances > _NOTHING * max(float(variances.max()), 1e-300)
    return np.asarray(directions[:, kept] * np.sqrt(variances[kept]))


def _places(run: Run, latents: NDArray[np.float32], metric: Float) -> Float:
    """Where structures stand in the space in which their distance is the root mean square displacement, (n, 3 r)."""
    motions = run.model.motions(latents)
    count, segments = motions.quaternions.shape[:2]
    turns = Rotation.from_quat(motions.quaternions.reshape(-1, 4)).as_matrix().reshape(count, segments, 3, 3)
    centre = np.asarray(run.model.atomic_model.beads.positions, dtype=np.float64).mean(axis=0)
    arms = centre - np.asarray(motions.pivots, dtype=np.float64)
    offsets = np.einsum("nsxy,sy->nsx", turns, arms) - arms + np.asarray(motions.translations, dtype=np.float64)
    rows = np.concatenate([turns, offsets[..., None]], axis=-1).transpose(0, 2, 1, 3).reshape(count * 3, 4 * segments)
    return np.asarray((rows @ metric).reshape(count, -1))
