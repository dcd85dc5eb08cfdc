"""Rigid motions of segments, as tensors: rotation vectors about pivots, then translations.

A rotation vector points along the axis; its length is the angle in radians (right-handed). It has no seam at zero
angle, so gradients are smooth there, and scaling it scales the angle: what a partial weight of a segment means.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import roma
import torch
from jaxtyping import Float
from torch import Tensor


@dataclass(frozen=True)
class RigidMotions:
    """One rigid motion per image and segment: turn about the segment's pivot, then translate."""

    rotations: Tensor  # (n, segments, 3) rotation vectors, radians
    translations: Tensor  # (n, segments, 3) Å

    def __getitem__(self, rows: Any) -> RigidMotions:
        return RigidMotions(self.rotations[rows], self.translations[rows])

    def quaternions(self) -> Float[Tensor, "n segments 4"]:
        """The rotations as unit quaternions in the order x, y, z, w."""
        return torch.as_tensor(roma.rotvec_to_unitquat(self.rotations))


def rotation_vector_of_halfway(vector: Float[Tensor, "*batch 3"]) -> Float[Tensor, "*batch 3"]:
    """Rotation vector of the quaternion (1, x, y, z), normalised: the angle is 2·atan|(x, y, z)|, below π.

    Without the normalisation the applied angle would be wrong (127° for 90°).
    """
    length = vector.square().sum(-1, keepdim=True).clamp_min(1e-12).sqrt()
    return vector * (2 * torch.atan(length) / length)


def rotate(points: Float[Tensor, "*#batch 3"], rotation_vectors: Float[Tensor, "*#batch 3"]) -> Float[Tensor, "*out 3"]:
    """Turn points about the origin by rotation vectors (Rodrigues' formula, smooth at angle zero)."""
    angle = rotation_vectors.square().sum(-1, keepdim=True).clamp_min(1e-20).sqrt()
    once = torch.linalg.cross(rotation_vectors, points)
    twice = torch.linalg.cross(rotation_vectors, once)
    sine = torch.sinc(angle / torch.pi)  # sin(a) / a
    cosine = 0.5 * torch.sinc(angle / (2 * torch.pi)).square()  # (1 - cos(a)) / a²
    turned: Tensor = points + sine * once + cosine * twice
    return turned
