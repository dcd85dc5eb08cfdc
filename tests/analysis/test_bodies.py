"""Segments that move as one."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.spatial.transform import Rotation

from cryosphere.analysis.bodies import rigid_bodies

GENERATOR = np.random.default_rng(4)
ASSIGNMENT = np.repeat([0, 2, 3, 5], [30, 20, 25, 10])
START = GENERATOR.normal(size=(85, 3)) * 12


def moved(angles):
    """START with each segment turned about one common axis by its own angle in degrees, then all of it carried away."""
    turns = Rotation.from_rotvec(np.radians(np.repeat(angles, [30, 20, 25, 10]))[:, None] * [0.0, 1.0, 0.0])
    carried = Rotation.from_euler("xyz", [40, 50, 60], degrees=True).apply(turns.apply(START))
    return carried + np.array([5.0, -7.0, 20.0])


def test_segments_with_one_common_motion_are_one_body():
    assert rigid_bodies(START, moved([0, 30, 0, 30]), ASSIGNMENT, 0.5) == [(0, 3), (2, 5)]


def test_motion_of_the_whole_molecule_makes_one_body():
    assert rigid_bodies(START, moved([25, 25, 25, 25]), ASSIGNMENT, 1e-3) == [(0, 2, 3, 5)]


def test_every_segment_with_a_motion_of_its_own_stays_alone():
    assert sorted(rigid_bodies(START, moved([0, 30, 60, 90]), ASSIGNMENT, 0.5)) == [(0,), (2,), (3,), (5,)]


def test_a_mirror_image_is_no_rigid_motion():
    assert len(rigid_bodies(START, START * [-1.0, 1.0, 1.0], ASSIGNMENT, 0.5)) == 4


@pytest.mark.parametrize("residues", [1, 2])
def test_segments_of_one_or_two_residues_do_no_harm(residues):
    assignment = np.arange(3).repeat(residues)
    points = GENERATOR.normal(size=(3 * residues, 3)) * 10
    assert rigid_bodies(points, points + 1.0, assignment, 0.1) == [(0, 1, 2)]
