"""Poses of other programs, translated to ours and back.

Our pose is a rotation matrix A: a point r of the molecule is seen at (A r)_xy, and the projection runs along z.
A is the matrix RELION calls A; see docs/conventions.md. Everything here is NumPy in float64.
"""

from __future__ import annotations

import warnings

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.spatial.transform import Rotation


def rotations_from_relion(rot: ArrayLike, tilt: ArrayLike, psi: ArrayLike) -> NDArray[np.float64]:
    """Rotation matrices of RELION's Euler angles.

    Parameters are rlnAngleRot, rlnAngleTilt and rlnAnglePsi, each (n,), in degrees.
    Returns (n, 3, 3): A, such that the particle's point r is seen at (A r)_xy.

    >>> rotations_from_relion([0.0], [0.0], [90.0])[0].round(6) @ [1.0, 0.0, 0.0]
    array([ 0., -1.,  0.])
    """
    angles = np.stack(np.broadcast_arrays(np.atleast_1d(rot), np.atleast_1d(tilt), np.atleast_1d(psi)), axis=-1)
    intrinsic = Rotation.from_euler("ZYZ", angles.astype(np.float64), degrees=True)
    return np.ascontiguousarray(intrinsic.as_matrix().swapaxes(-1, -2))


def relion_from_rotations(rotations: ArrayLike) -> NDArray[np.float64]:
    """RELION's (rot, tilt, psi) in degrees, (n, 3), of rotation matrices A, (n, 3, 3)."""
    matrices = np.asarray(rotations, dtype=np.float64).swapaxes(-1, -2)
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="Gimbal lock")  # at tilt 0 any of the equivalent angles will do
        return np.asarray(Rotation.from_matrix(matrices).as_euler("ZYZ", degrees=True))


def rotations_from_cryosparc(pose: ArrayLike) -> NDArray[np.float64]:
    """Rotation matrices A, (n, 3, 3), of cryoSPARC's alignments3D/pose, (n, 3): rotation vectors in radians."""
    matrices = Rotation.from_rotvec(np.atleast_2d(np.asarray(pose, dtype=np.float64))).as_matrix()
    return np.ascontiguousarray(matrices.swapaxes(-1, -2))


def cryosparc_from_rotations(rotations: ArrayLike) -> NDArray[np.float64]:
    """cryoSPARC's rotation vectors in radians, (n, 3), of rotation matrices A, (n, 3, 3)."""
    return np.asarray(Rotation.from_matrix(np.asarray(rotations).swapaxes(-1, -2)).as_rotvec())


def random_rotations(count: int, generator: np.random.Generator) -> NDArray[np.float64]:
    """`count` rotation matrices, (count, 3, 3), uniform on SO(3)."""
    return np.asarray(Rotation.random(count, random_state=generator).as_matrix())
