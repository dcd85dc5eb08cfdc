"""Thermal motion of an elastic network: small random displacements along a protein's softest internal modes.

The anisotropic network model joins every pair of beads closer than a cutoff by a spring of one strength (Atilgan et al.
2001, doi:10.1016/S0006-3495(01)76033-X). The eigenvectors of its Hessian with small eigenvalues are the soft modes; in
thermal equilibrium the amplitude of each is Gaussian with a variance inversely proportional to its eigenvalue.
"""

from __future__ import annotations

import logging
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray
from scipy.sparse import coo_array, csc_array, eye_array
from scipy.sparse.linalg import LinearOperator, eigsh, splu
from scipy.spatial import cKDTree

from cryosphere.errors import ConfigError
from cryosphere.progress import SILENT, Progress
from cryosphere.simulation.conformations import Conformations
from cryosphere.simulation.motion_config import JitterSettings

log = logging.getLogger(__name__)

Array = NDArray[np.float64]

MOST_BEADS = 5000
_MANY_BEADS = 2500
_RIGID = 6  # motions of the whole that stretch nothing
_SHIFT = 1e-4  # makes the Hessian invertible; small beside the softest internal modes (about 0.1 of a spring)
_ZERO = 1e-7  # of a spring's strength: an eigenvalue below it belongs to a motion that stretches nothing
_AT_ONCE = 256  # conformations


@dataclass(frozen=True)
class ElasticModes:
    """The M softest internal modes of R beads."""

    eigenvalues: Array  # (M,), in units of the springs' strength, ascending
    shapes: Array  # (M, R, 3), orthonormal


def jittered(
    conformations: Conformations,
    settings: JitterSettings,
    generator: np.random.Generator,
    progress: Progress = SILENT,
) -> Conformations:
    """Every conformation displaced at random along the soft modes of the base structure.

    Displacements have a root mean square of `settings.rms` over residues and draws. Where a domain is turned, its
    displacements are turned with it; what then remains of a motion of the whole is taken out.

    Raises:
        ConfigError: if the model is too large, or the springs leave part of it loose.
    """
    modes = elastic_modes(conformations.model.beads.positions, settings)
    residues = len(conformations.domain)
    variances = residues * settings.rms**2 / modes.eigenvalues / (1.0 / modes.eigenvalues).sum()
    positions = np.empty_like(conformations.positions)
    with progress.track(len(positions), "jitter") as advance:
        for start in range(0, len(positions), _AT_ONCE):
            rows = slice(start, min(start + _AT_ONCE, len(positions)))
            amplitudes = generator.standard_normal((rows.stop - start, len(variances))) * np.sqrt(variances)
            moves = np.tensordot(amplitudes, modes.shapes, axes=1)
            still = conformations.positions[rows].astype(np.float64)
            if conformations.turns is not None:
                moves = np.einsum("krij,krj->kri", conformations.turns[rows][:, conformations.domain], moves)
                moves = without_rigid_motion(moves, still)
            positions[rows] = still + moves
            advance(len(still))
    log.info(
        "jitter: %d modes of %d beads, %.2g Å root mean square; the softest moves by %.2g Å",
        *(len(variances), residues, settings.rms, np.sqrt(variances[0] / residues)),
    )
    return replace(conformations, positions=positions)


def elastic_modes(positions: Array, settings: JitterSettings) -> ElasticModes:
    """The softest internal modes of beads (R, 3) joined by equal springs; motions of the whole are left out.

    Raises:
        ConfigError: for more than MOST_BEADS beads, for fewer modes than asked for, or where a part of the network can
            move without stretching a spring.
    """
    count = len(positions)
    if count > MOST_BEADS:
        raise ConfigError(
            f"jitter: the model has {count} residues; the modes of its elastic network are found for at most "
            f"{MOST_BEADS}. Leave `jitter` out, or simulate a part of the model"
        )
    internal = 3 * count - _RIGID
    if settings.modes > internal - 1:
        raise ConfigError(f"jitter.modes: {settings.modes} asked for, but {count} residues have only {internal}")
    hessian = network_hessian(positions, settings.cutoff)
    if count > _MANY_BEADS:
        log.info("jitter: finding the soft modes of %d residues; this takes some ten seconds", count)
    inverse = _inverse(csc_array(hessian + _SHIFT * eye_array(3 * count)))
    start = np.random.default_rng(0).standard_normal(3 * count)
    values, vectors = eigsh(hessian, k=settings.modes + _RIGID, sigma=-_SHIFT, OPinv=inverse, v0=start)
    order = np.argsort(values)
    values, vectors = values[order][_RIGID:], vectors[:, order][:, _RIGID:]
    if values[0] < _ZERO:
        loose = int(np.square(vectors[:, 0]).reshape(-1, 3).sum(axis=1).argmax())
        raise ConfigError(
            f"jitter.cutoff: with springs up to {settings.cutoff:g} Å a part of the model hangs loose (residue "
            f"{loose + 1} of {count} moves and stretches none); raise the cutoff"
        )
    shapes = without_rigid_motion(vectors.T.reshape(-1, count, 3), np.broadcast_to(positions, (1, count, 3)))
    return ElasticModes(values, shapes / np.sqrt(np.square(shapes).sum(axis=(1, 2), keepdims=True)))


def _inverse(matrix: csc_array) -> LinearOperator:
    """What solves a symmetric system again and again: a factorisation in an order that suits contacts in space."""
    factors = splu(matrix, permc_spec="MMD_AT_PLUS_A", diag_pivot_thresh=0.0, options={"SymmetricMode": True})
    return LinearOperator(matrix.shape, matvec=factors.solve, dtype=np.float64)


def network_hessian(positions: Array, cutoff: float) -> csc_array:
    """Second derivatives (3R, 3R) of the energy ½ Σ (d - d₀)² over all pairs of beads (R, 3) closer than `cutoff` Å."""
    first, second = cKDTree(positions).query_pairs(cutoff, output_type="ndarray").T
    along = positions[second] - positions[first]
    along /= np.linalg.norm(along, axis=1, keepdims=True)
    block = along[:, :, None] * along[:, None, :]
    rows = np.concatenate([first, second, first, second])
    columns = np.concatenate([second, first, first, second])
    values = np.concatenate([-block, -block, block, block])
    axis = np.arange(3)
    shape = values.shape
    indices = (
        np.broadcast_to(3 * rows[:, None, None] + axis[:, None], shape).ravel(),
        np.broadcast_to(3 * columns[:, None, None] + axis, shape).ravel(),
    )
    size = 3 * len(positions)
    return csc_array(coo_array((values.ravel(), indices), shape=(size, size)))


def without_rigid_motion(moves: Array, positions: Array) -> Array:
    """Displacements (k, R, 3) without their part that shifts or turns the beads at (k, R, 3) as a whole.

    Small displacements: least squares, so that the sums of `moves` and of position × move vanish.
    """
    moves = moves - moves.mean(axis=1, keepdims=True)
    arms = positions - positions.mean(axis=1, keepdims=True)
    torque = np.cross(arms, moves).sum(axis=1)
    square = np.square(arms).sum(axis=(1, 2))
    inertia = square[:, None, None] * np.eye(3) - np.einsum("kri,krj->kij", arms, arms)
    turn = np.linalg.solve(inertia, torque[..., None])[..., 0]
    return np.asarray(moves - np.cross(turn[:, None, :], arms))
