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


AXIS = np.array([0.0, 0.6, 0.8])


def about_axis(degrees):
    return np.deg2rad(np.atleast_1d(degrees))[:, None] * AXIS


def angles(degrees, reference=None, simulated=None):
    """As `figures` takes them: axis and centre from the reference turns."""
    reference = about_axis(degrees if reference is None else reference)
    axis = measures.main_axis(reference, None if simulated is None else np.deg2rad(simulated))
    return measures.along_axis(about_axis(degrees), axis, measures.mean_angle(reference @ axis))


def test_angles_count_along_the_main_axis_in_the_direction_of_most():
    assert angles([10.0, 30.0, -5.0]) == pytest.approx([10.0, 30.0, -5.0], abs=1e-9)
    assert angles([-10.0, -30.0, 5.0]) == pytest.approx([10.0, 30.0, -5.0], abs=1e-9)


@pytest.mark.parametrize("side", [1.0, -1.0])
def test_angles_have_the_sign_that_the_simulation_gave_them(side):
    truth = np.array([-60.0, -120.0, -90.0, -20.0])
    assert angles(side * truth, simulated=truth) == pytest.approx(truth, abs=1e-9)


def test_motion_to_both_sides_alike_has_the_sign_of_the_axis_and_of_the_truth_where_it_is_known():
    both = np.linspace(-50.0, 50.0, 21)
    assert angles(both) == pytest.approx(both, abs=1e-9)  # the largest entry of the axis is positive
    assert angles(-both) == pytest.approx(-both, abs=1e-9)
    assert angles(both, simulated=-both) == pytest.approx(-both, abs=1e-9)


def test_a_turn_beyond_half_a_circle_is_told_from_the_side_where_the_others_are():
    reference = [140.0, 160.0, 175.0, 185.0]  # as rotation vectors, 185 degrees are -175
    found = angles([150.0, 190.0, 170.0], reference=[140.0, 160.0, 175.0], simulated=[140.0, 160.0, 175.0])
    assert found == pytest.approx([150.0, 190.0, 170.0], abs=1e-9)
    wrapped = Rotation.from_rotvec(about_axis(reference)).as_rotvec()
    axis = measures.main_axis(wrapped)
    assert abs(axis @ AXIS) == pytest.approx(1.0)
    found = measures.along_axis(wrapped, axis, measures.mean_angle(wrapped @ axis))
    assert np.abs(found) == pytest.approx(reference, abs=1e-9)
    assert len(set(np.sign(found))) == 1


def test_a_turn_across_the_axis_is_no_turn_about_it_however_far_the_others_have_turned():
    across = np.deg2rad([[5.0, 0.0, 0.0], [0.0, 4.0, -3.0]])
    assert measures.along_axis(across, AXIS, np.deg2rad(120.0)) == pytest.approx([0.0, 0.0], abs=1e-9)


def test_the_turn_about_the_axis_is_what_is_left_when_the_axis_is_brought_back():
    """Twist about the axis first, then tip the axis over the shortest way: the twist is found again."""
    tip = Rotation.from_rotvec(np.deg2rad(35.0) * np.array([1.0, 0.0, 0.0]))
    turns = (tip * Rotation.from_rotvec(about_axis([20.0, -70.0]))).as_rotvec()
    assert measures.along_axis(turns, AXIS) == pytest.approx([20.0, -70.0], abs=1e-9)


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
