"""Rigid motions of the segments in terms a person can read: angle, axis, displacement; absolute and relative.

The decoder's absolute motions have a freedom that no image can settle: moving the whole molecule and correcting the
pose give the same picture. Motions relative to one body (the largest) are free of it.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Protocol

import numpy as np
from numpy.typing import NDArray
from scipy.spatial.transform import Rotation

from cryosphere.analysis.bodies import Body

Float = NDArray[np.float64]


class SegmentMotionsLike(Protocol):
    """n images, N segments: x -> rotate about the segment's pivot, then translate."""

    @property
    def quaternions(self) -> NDArray[np.floating]: ...  # (n, N, 4), xyzw
    @property
    def translations(self) -> NDArray[np.floating]: ...  # (n, N, 3) Å
    @property
    def pivots(self) -> NDArray[np.floating]: ...  # (N, 3) Å


@dataclass(frozen=True)
class RigidMotions:
    """For n images and N segments: x -> R (x - centre) + centre + translation.

    `centres` are the segments' own centres, so `translations` is how far each segment's centre is displaced, whatever
    point the decoder turns it about.
    """

    quaternions: Float  # (n, N, 4) xyzw, unit
    translations: Float  # (n, N, 3) Å
    centres: Float  # (N, 3) Å

    def rotated(self, vectors: Float) -> Float:
        """Vectors (n, N, 3) or broadcastable, each turned by its image's and segment's rotation."""
        return _apply(self.quaternions, vectors)

    @property
    def angles(self) -> Float:
        """(n, N) rotation angles in degrees, 0 to 180."""
        return angles_axes(self.quaternions)[0]

    @property
    def displacements(self) -> Float:
        """(n, N): how far the segments' centres are displaced, Å."""
        return np.asarray(np.linalg.norm(self.translations, axis=-1))


def about_centres(motions: SegmentMotionsLike, centres: Float) -> RigidMotions:
    """The same motions written as a rotation about the segments' centres (N, 3) Å, then a translation."""
    quaternions = np.asarray(motions.quaternions, dtype=np.float64)
    arm = np.asarray(centres, dtype=np.float64) - np.asarray(motions.pivots, dtype=np.float64)
    moved = _apply(quaternions, arm) - arm + np.asarray(motions.translations, dtype=np.float64)
    return RigidMotions(quaternions, moved, np.asarray(centres, dtype=np.float64))


def body_motion(motions: RigidMotions, body: Body) -> tuple[Float, Float, Float]:
    """The one rigid motion per image that comes closest to how all residues of a body move (Kabsch 1976).

    Returns quaternions (n, 4), the body's centre (3,) and its displacements (n, 3) in Å. Each segment of the body is
    rigid, so its residues' positions need not be made: their spread about the segment's centre says enough.
    """
    members = list(body.segments)
    centres = motions.centres[members]
    share = body.weights / body.weights.sum()
    places = centres + motions.translations[:, members]
    origin, mean = share @ centres, np.einsum("k,nkc->nc", share, places)
    if len(members) == 1:
        return motions.quaternions[:, members[0]], origin, mean - origin
    count = len(places)
    turns = Rotation.from_quat(motions.quaternions[:, members].reshape(-1, 4)).as_matrix()
    covariance = np.einsum("nkij,kjl->nil", turns.reshape(count, -1, 3, 3), body.spreads)
    covariance += np.einsum("k,nki,kj->nij", body.weights, places - mean[:, None], centres - origin)
    left, _, right = np.linalg.svd(covariance)
    left[:, :, 2] *= np.sign(np.linalg.det(left) * np.linalg.det(right))[:, None]
    return np.asarray(Rotation.from_matrix(left @ right).as_quat()), origin, mean - origin


def relative_to(motions: RigidMotions, body: Body) -> RigidMotions:
    """The motions as seen by someone who sits on the body; those of a body of one segment become the identity.

    Where the body stands for residues that were held fixed, the motions are relative to them already.
    """
    if body.fixed:
        return motions
    quaternions, origin, displacement = body_motion(motions, body)
    inverse = quaternions[:, None, :] * np.array([-1.0, -1.0, -1.0, 1.0])
    destination = motions.centres + motions.translations - origin - displacement[:, None]
    translations = _apply(np.broadcast_to(inverse, motions.quaternions.shape), destination) + origin - motions.centres
    return RigidMotions(_compose(inverse, motions.quaternions), translations, motions.centres)


def change(start: RigidMotions, end: RigidMotions) -> RigidMotions:
    """What leads from the motions `start` to the motions `end` (same n and N), about the centres of the start."""
    inverse = start.quaternions * np.array([-1.0, -1.0, -1.0, 1.0])
    return RigidMotions(_compose(end.quaternions, inverse), end.translations - start.translations, start.centres)


def in_frame_of(positions: NDArray[np.floating], motions: RigidMotions, body: Body) -> NDArray[np.float32]:
    """Structures (n, R, 3) Å, each moved as a whole so that the body lies where the model has it.

    Where the body stands for residues that were held fixed, nothing needs moving.
    """
    if body.fixed:
        return np.asarray(positions, dtype=np.float32)
    quaternions, origin, displacement = body_motion(motions, body)
    inverse = Rotation.from_quat(quaternions).inv().as_matrix()
    shifted = positions - (origin + displacement)[:, None, :]
    return np.asarray(np.einsum("nij,nrj->nri", inverse, shifted) + origin, dtype=np.float32)


def angles_axes(quaternions: Float) -> tuple[Float, Float]:
    """Rotation angles (...) in degrees, 0 to 180, and unit axes (..., 3), of unit quaternions (..., 4) xyzw.

    The axis of no rotation is given as (0, 0, 1).
    """
    facing = np.where(quaternions[..., 3:] < 0, -quaternions, quaternions)
    length = np.linalg.norm(facing[..., :3], axis=-1)
    angles = np.degrees(2.0 * np.arctan2(length, facing[..., 3]))
    turned = length[..., None] > 1e-9
    axes = np.where(turned, facing[..., :3] / np.where(turned, length[..., None], 1.0), np.array([0.0, 0.0, 1.0]))
    return np.asarray(angles), np.asarray(axes)


def batches(count: int, size: int) -> Iterator[slice]:
    """Consecutive slices that cover `count` items, `size` at a time."""
    for start in range(0, count, size):
        yield slice(start, min(start + size, count))


def _apply(quaternions: Float, vectors: Float) -> Float:
    vectors = np.array(np.broadcast_to(vectors, (*quaternions.shape[:-1], 3)))
    turned = Rotation.from_quat(np.array(quaternions).reshape(-1, 4)).apply(vectors.reshape(-1, 3))
    return np.asarray(turned, dtype=np.float64).reshape(vectors.shape)


def _compose(first: Float, second: Float) -> Float:
    """Quaternions of `second` followed by `first`."""
    shape = np.broadcast_shapes(first.shape, second.shape)
    left = Rotation.from_quat(np.array(np.broadcast_to(first, shape)).reshape(-1, 4))
    right = Rotation.from_quat(np.array(np.broadcast_to(second, shape)).reshape(-1, 4))
    return np.asarray((left * right).as_quat(), dtype=np.float64).reshape(shape)
