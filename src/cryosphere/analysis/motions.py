"""Rigid motions of the segments in terms a person can read: angle, axis, displacement; absolute and relative.

The decoder's absolute motions have a freedom that no image can settle: moving the whole molecule and correcting the
pose give the same picture. Motions relative to one segment (the largest) are free of it.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Protocol

import numpy as np
from numpy.typing import NDArray
from scipy.spatial.transform import Rotation

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


def relative_to(motions: RigidMotions, reference: int) -> RigidMotions:
    """The motions as seen by someone who sits on the segment `reference`: its own become the identity.

    A negative `reference` stands for residues that were held fixed: the motions are relative to them already.
    """
    if reference < 0:
        return motions
    base = motions.quaternions[:, reference : reference + 1]
    inverse = base * np.array([-1.0, -1.0, -1.0, 1.0])
    origin = motions.centres[reference]
    destination = motions.centres + motions.translations - origin - motions.translations[:, reference : reference + 1]
    translations = _apply(np.broadcast_to(inverse, motions.quaternions.shape), destination) + origin - motions.centres
    return RigidMotions(_compose(inverse, motions.quaternions), translations, motions.centres)


def change(start: RigidMotions, end: RigidMotions) -> RigidMotions:
    """What leads from the motions `start` to the motions `end` (same n and N), about the centres of the start."""
    inverse = start.quaternions * np.array([-1.0, -1.0, -1.0, 1.0])
    return RigidMotions(_compose(end.quaternions, inverse), end.translations - start.translations, start.centres)


def in_frame_of(positions: NDArray[np.floating], motions: RigidMotions, reference: int) -> NDArray[np.float32]:
    """Structures (n, R, 3) Å, each moved as a whole so that its segment `reference` lies where the model has it.

    A negative `reference` stands for residues that were held fixed: nothing needs moving.
    """
    if reference < 0:
        return np.asarray(positions, dtype=np.float32)
    inverse = Rotation.from_quat(motions.quaternions[:, reference]).inv().as_matrix()
    centre = motions.centres[reference]
    shifted = positions - (centre + motions.translations[:, reference])[:, None, :]
    return np.asarray(np.einsum("nij,nrj->nri", inverse, shifted) + centre, dtype=np.float32)


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
