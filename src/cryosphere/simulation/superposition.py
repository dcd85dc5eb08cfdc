"""Rigid superpositions of structures, and the screw motion that leads from one place to another."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import roma
import torch
from numpy.typing import NDArray
from scipy.spatial.transform import Rotation

Array = NDArray[np.float64]

_FEWEST = 3  # points that determine a rotation
_NO_TURN = 1e-6  # radians: below it the motion is a translation


def superposition(moving: NDArray[np.floating], target: Array, weights: Array | None = None) -> tuple[Array, Array]:
    """Rotations (k, 3, 3) and translations (k, 3) that bring points (k, m, 3) closest to (m, 3): R x + t.

    weights: (k, m), of the points' squared distances. Fewer than three points are only shifted.
    """
    if moving.shape[-2] < _FEWEST:
        turns = np.broadcast_to(np.eye(3), (*moving.shape[:-2], 3, 3))
        return np.array(turns), np.asarray((target - moving).mean(axis=-2))
    points = torch.as_tensor(np.ascontiguousarray(moving, dtype=np.float64))
    goal = torch.as_tensor(np.ascontiguousarray(target, dtype=np.float64)).expand_as(points)
    shares = None if weights is None else torch.as_tensor(weights)
    turn, shift = roma.rigid_points_registration(points, goal, weights=shares)
    return turn.numpy(), shift.numpy()


@dataclass(frozen=True)
class Screw:
    """A rigid motion as a turn about an axis through a point and a shift along that axis (Chasles' theorem)."""

    turn: Array  # (3,) rotation vector, radians
    centre: Array  # (3,) a point on the axis, Å; the origin for a mere shift
    shift: Array  # (3,) Å

    @classmethod
    def of(cls, rotation: Array, translation: Array) -> Screw:
        """The screw of x → R x + t, (3, 3) and (3,)."""
        turn = Rotation.from_matrix(rotation).as_rotvec()
        angle = float(np.linalg.norm(turn))
        if angle < _NO_TURN:
            return cls(np.zeros(3), np.zeros(3), np.asarray(translation, dtype=np.float64))
        axis = turn / angle
        along = (translation @ axis) * axis
        across = translation - along
        return cls(turn, 0.5 * (across + np.cross(axis, across) / np.tan(angle / 2)), along)

    def at(self, fractions: Array) -> tuple[Array, Array]:
        """The motion's first part: rotations (k, 3, 3) and translations (k, 3) after these fractions (k,) of it."""
        turns = Rotation.from_rotvec(fractions[:, None] * self.turn).as_matrix()
        return turns, self.centre - turns @ self.centre + fractions[:, None] * self.shift
