"""Figures of structures: turns are relative, deviations are of the best superposition."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.spatial.transform import Rotation

from cryosphere.evaluation import measures


@pytest.fixture
def base():
    return np.random.default_rng(0).normal(scale=10.0, size=(30, 3))


MOVING, STILL = np.arange(30) < 12, np.arange(30) >= 12
TURN = Rotation.from_rotvec(np.deg2rad(25.0) * np.array([0.6, 0.0, 0.8]))


FAR = np.array([1.0, -20.0, 7.0])


def opened(base):
    result = base.copy()
    result[MOVING] = TURN.apply(base[MOVING] - 3.0) + 5.0
    return result


def test_the_turn_of_a_domain_is_its_rotation_vector(base):
    found = measures.domain_turn(opened(base)[None], base, MOVING, STILL)
    assert found[0] == pytest.approx(TURN.as_rotvec(), abs=1e-9)


def test_a_rotation_of_the_whole_molecule_is_no_turn_of_a_domain(base):
    whole = Rotation.random(random_state=1)
    found = measures.domain_turn((whole.apply(opened(base)) + FAR)[None], base, MOVING, STILL)
    assert found[0] == pytest.approx(TURN.as_rotvec(), abs=1e-9)


def test_the_other_domain_turns_the_other_way(base):
    found = measures.domain_turn(opened(base)[None], base, STILL, MOVING)
    assert found[0] == pytest.approx(-TURN.as_rotvec(), abs=1e-9)


def test_angles_count_along_the_main_axis_in_the_direction_of_most():
    axis = np.array([0.0, 0.6, 0.8])
    turns = np.deg2rad([[10.0], [30.0], [-5.0]]) * axis
    assert measures.along_main_axis(turns, turns) == pytest.approx([10.0, 30.0, -5.0], abs=1e-9)


def test_rigidly_moved_copies_do_not_deviate_once_superposed(base):
    turns = Rotation.random(5, random_state=2)
    copies = np.stack([turn.apply(base) + FAR for turn in turns])
    others = np.broadcast_to(base, copies.shape).copy()
    assert measures.aligned_deviation(copies, others) == pytest.approx(np.zeros(5), abs=1e-6)
    assert measures.deviation(base[None] + [3.0, 4.0, 0.0], base[None]) == pytest.approx([5.0])


def test_a_mirror_image_is_no_superposition(base):
    assert measures.aligned_deviation((base * [-1, 1, 1])[None], base[None])[0] > 5.0


def test_distances_are_between_centres(base):
    gap = base[MOVING].mean(0) - base[STILL].mean(0)
    assert measures.domain_distance(base[None], MOVING, STILL) == pytest.approx([np.sqrt(gap @ gap)])


@pytest.mark.parametrize("constant", [np.full(9, 3.0), np.zeros(9)])
def test_what_does_not_vary_has_no_correlation(constant):
    assert np.isnan(measures.correlation(constant, np.arange(9.0)))
    assert np.isnan(measures.correlation(np.arange(9.0), constant))


def test_correlation_is_pearsons():
    assert measures.correlation(np.array([1.0, 2.0, 4.0]), np.array([-2.0, -4.0, -8.0])) == pytest.approx(-1.0)
    assert measures.correlation(np.array([0.0, 1.0, 2.0]), np.array([1.0, 0.0, 1.0])) == pytest.approx(0.0)
