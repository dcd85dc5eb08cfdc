"""Rotations of points by rotation vectors and quaternions."""

from __future__ import annotations

import math

import pytest
import torch
from scipy.spatial.transform import Rotation

from cryosphere.geometry.motions import (
    RigidMotions,
    _rotate_by_cross_products,
    rotate,
    rotation_vector_of_halfway,
)


def test_a_quarter_turn_about_z_takes_x_to_y() -> None:
    turned = rotate(torch.tensor([1.0, 0.0, 0.0]), torch.tensor([0.0, 0.0, math.pi / 2]))
    assert torch.allclose(turned, torch.tensor([0.0, 1.0, 0.0]), atol=1e-6)


@pytest.mark.parametrize("by", [rotate, _rotate_by_cross_products], ids=["on a processor", "elsewhere"])
def test_rotations_are_those_of_scipy(by) -> None:
    vectors = torch.randn(50, 3, dtype=torch.float64)
    points = torch.randn(50, 3, dtype=torch.float64)
    expected = Rotation.from_rotvec(vectors.numpy()).apply(points.numpy())
    assert torch.allclose(by(points, vectors), torch.from_numpy(expected), atol=1e-9)


def test_the_halfway_quaternion_is_normalised() -> None:
    # (1, x, y, z) with |(x, y, z)| = tan 45° is a quarter turn: 90°, not the 127° of the unnormalised quaternion
    vector = rotation_vector_of_halfway(torch.tensor([0.0, 0.0, 1.0]))
    assert vector[2].item() == pytest.approx(math.pi / 2, rel=1e-6)


def test_the_halfway_angle_never_reaches_half_a_turn() -> None:
    assert rotation_vector_of_halfway(torch.tensor([1e6, 0.0, 0.0]))[0].item() < math.pi


@pytest.mark.parametrize("by", [rotate, _rotate_by_cross_products], ids=["on a processor", "elsewhere"])
def test_gradients_are_finite_at_no_rotation(by) -> None:
    vector = torch.zeros(3, requires_grad=True)
    by(torch.tensor([1.0, 2.0, 3.0]), rotation_vector_of_halfway(vector)).sum().backward()
    assert torch.isfinite(vector.grad).all()
    assert vector.grad.abs().sum() > 0


def test_quaternions_are_unit_and_scalar_last() -> None:
    vectors = torch.randn(4, 3, 3, dtype=torch.float64)
    quaternions = RigidMotions(vectors, torch.zeros_like(vectors)).quaternions()
    expected = Rotation.from_rotvec(vectors.reshape(-1, 3).numpy()).as_quat().reshape(4, 3, 4)
    overlap = (quaternions * torch.from_numpy(expected)).sum(-1).abs()  # q and -q are the same rotation
    assert torch.allclose(overlap, torch.ones_like(overlap), atol=1e-9)
