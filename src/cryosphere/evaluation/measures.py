"""Figures of a structure that can be compared between prediction and truth: distances, angles, deviations."""

from __future__ import annotations

import numpy as np
import roma
import torch
from numpy.typing import NDArray

Float = NDArray[np.float64]
Mask = NDArray[np.bool_]

SMALLEST_RANGE = 1e-3  # Å or degrees; what varies less is rounding of float32 coordinates, not motion
CLEAR_SIDE = 0.1  # correlation, or net share, from which the turns say which side is positive


def domain_distance(positions: NDArray[np.floating], first: Mask, second: Mask) -> Float:
    """Distance in Å between the centres of two groups of residues, (n,), for structures (n, residues, 3)."""
    gap = positions[:, first].mean(axis=1, dtype=np.float64) - positions[:, second].mean(axis=1, dtype=np.float64)
    return np.asarray(np.linalg.norm(gap, axis=-1))


def domain_turn(positions: NDArray[np.floating], base: NDArray[np.floating], moving: Mask, still: Mask) -> Float:
    """Rotation vectors, radians, (n, 3), by which a domain has turned against another since the base structure.

    Both domains are superposed on themselves in the base structure; axes are in the base structure's frame.
    """
    target = torch.as_tensor(positions, dtype=torch.float64)
    origin = torch.as_tensor(base, dtype=torch.float64).expand_as(target)
    turns = [roma.rigid_points_registration(origin[:, m], target[:, m])[0] for m in (moving, still)]
    relative = turns[1].mT @ turns[0]
    return np.asarray(roma.rotmat_to_rotvec(relative).numpy())


def main_axis(reference: Float, simulated: Float | None = None) -> Float:
    """Unit vector about which a domain turns, (3,): the first principal direction of rotation vectors (m, 3).

    Positive angles go with larger simulated angles (m,) where those are known; otherwise to the side to which most of
    the rotation vectors point, and where they point to both sides alike, so that the axis' largest entry is positive.
    """
    axis = np.linalg.svd(reference, full_matrices=False)[2][0]
    along = reference @ axis
    with_angle = 0.0
    if simulated is not None and varies(np.degrees(simulated)) and varies(np.degrees(along)):
        with_angle = float(np.corrcoef(along, simulated)[0, 1])
    lean = along.sum() / max(float(np.abs(along).sum()), 1e-12)
    for evidence in (with_angle, lean):
        if abs(evidence) > CLEAR_SIDE:
            return np.asarray(axis * np.sign(evidence))
    return np.asarray(axis * np.sign(axis[np.abs(axis).argmax()]))


def mean_angle(angles: Float) -> float:
    """Circular mean of angles in radians: those near +π and -π lie next to each other."""
    return float(np.angle(np.exp(1j * angles).mean()))


def along_axis(turns: Float, axis: Float, centre: float = 0.0) -> Float:
    """Signed angles in degrees, (n,), by which rotation vectors (n, 3), in radians, turn about a unit axis (3,).

    What a rotation does about the axis is its twist; the rest, a rotation about an axis across it, does not count
    (swing-twist decomposition). Of angles that differ by full turns, the one nearest to `centre` (radians) is told.
    """
    half = np.linalg.norm(turns, axis=-1) / 2
    twist = 2 * np.arctan2((turns @ axis) * np.sinc(half / np.pi) / 2, np.cos(half))  # sinc(x) = sin(πx) / πx
    return np.asarray(np.degrees(twist - 2 * np.pi * np.round((twist - centre) / (2 * np.pi))))


def deviation(positions: NDArray[np.floating], others: NDArray[np.floating]) -> Float:
    """Root mean square distance in Å between corresponding residues, as they lie, (n,)."""
    gap = np.asarray(positions, dtype=np.float64) - others
    return np.asarray(np.sqrt(np.square(gap).sum(-1).mean(-1)))


def aligned_deviation(positions: NDArray[np.floating], others: NDArray[np.floating]) -> Float:
    """Root mean square distance in Å after the best superposition of each pair of structures, (n,)."""
    moving, target = (torch.as_tensor(x, dtype=torch.float64) for x in (positions, others))
    turn, shift = roma.rigid_points_registration(moving, target)
    moved = moving @ turn.mT + shift[:, None]
    return np.asarray((moved - target).square().sum(-1).mean(-1).sqrt().numpy())


def varies(values: NDArray[np.floating]) -> bool:
    """Whether values, in Å or degrees, differ by more than rounding."""
    return len(values) > 1 and bool(np.ptp(values) >= SMALLEST_RANGE)


def correlation(first: NDArray[np.floating], second: NDArray[np.floating]) -> float:
    """Pearson's correlation; NaN where either does not vary by SMALLEST_RANGE."""
    if not (varies(first) and varies(second)):
        return float("nan")
    return float(np.corrcoef(first, second)[0, 1])
