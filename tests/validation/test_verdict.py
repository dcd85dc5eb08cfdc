"""Which figures make a motion reproduced, weak, or not supported."""

from __future__ import annotations

import numpy as np
import pytest

from cryosphere.simulation.protein import two_domain_protein
from cryosphere.validation.gains import NONE, Gain, Gains, MotionGains
from cryosphere.validation.motions import Common
from cryosphere.validation.verdict import judge

BEADS = two_domain_protein(0, (60, 40)).model.beads


def judged(
    *,
    correlation=0.5,
    exchanged=(1.0, 0.05),
    held=(0.6, 0.05),
    composition=(0.5, 0.05),
    fading=(0.0, 0.05),
    over_base=(3.0, 0.1),
    twist=0.0,
):
    """A motion of the last 40 residues with these figures; `twist`: radians between the two models' displacements."""
    null = np.abs(np.random.default_rng(0).normal(0.05, 0.02, 1000))
    moves = np.zeros((1, 100, 3))
    moves[0, 60:, 0] = 4.0
    other = np.zeros_like(moves)
    other[0, 60:, 0], other[0, 60:, 1] = 4.0 * np.cos(twist), 4.0 * np.sin(twist)
    common = Common((np.ones((1, 1)), np.ones((1, 1))), np.array([correlation]), null)
    of_motion = MotionGains(*(Gain(*one) for one in (held, exchanged, composition, fading)))
    gains = Gains(Gain(*over_base), NONE, NONE, (of_motion,))
    return judge(common, gains, (moves, other), BEADS)[0]


def test_a_motion_that_passes_every_test_is_reproduced_and_named_by_its_residues():
    motion = judged()
    assert motion.verdict == "reproduced"
    assert all(reason.startswith("passed") for reason in motion.reasons)
    assert motion.residues == ("61-100",) or "61-100" in motion.residues[0]
    assert motion.largest_amplitude == (4.0, 4.0)
    assert motion.amplitude[0] == pytest.approx(4.0 * 0.4**0.5)


@pytest.mark.parametrize(
    "figures",
    [
        {"correlation": 0.06},  # the models agree, as chance does
        {"exchanged": (0.0, 0.05)},  # another image's place is as good
        {"exchanged": (-1.0, 0.05)},
        {"held": (-0.1, 0.05)},  # standing still is better
        {"twist": np.pi / 2},  # the models move the residues in different directions
        {"twist": np.pi},
    ],
)
def test_one_failed_test_is_enough_for_no_support(figures):
    motion = judged(**figures)
    assert motion.verdict == "not supported"
    assert any(reason.startswith("not passed") for reason in motion.reasons)


@pytest.mark.parametrize(
    "figures",
    [
        {"correlation": 0.13},
        {"exchanged": (0.15, 0.05)},
        {"held": (0.05, 0.05)},
        {"composition": (0.05, 0.05)},
        {"composition": (-0.05, 0.05)},
        {"over_base": (0.1, 0.1)},
        {"twist": 1.0},
    ],
)
def test_a_test_that_is_passed_but_not_clearly_makes_a_motion_weak(figures):
    assert judged(**figures).verdict == "weak"


def test_where_a_part_that_comes_and_goes_is_the_better_explanation_the_motion_is_not_supported_and_that_is_said():
    motion = judged(composition=(-0.2, 0.05), fading=(0.3, 0.05))
    assert motion.verdict == "not supported"
    assert motion.reasons[0] == "a part that comes and goes explains the images better"


def test_nothing_is_told_to_come_and_go_where_rest_is_the_better_explanation_by_itself():
    motion = judged(composition=(-0.2, 0.05))
    assert motion.verdict == "not supported"
    assert motion.reasons[0] == "one place for all images explains the images better"


def test_a_gain_without_its_error_is_no_evidence():
    assert judged(exchanged=(1.0, 0.0)).verdict == "not supported"


def test_models_without_motion_are_given_a_verdict_too():
    none = Common((np.zeros((0, 0)), np.zeros((0, 0))), np.zeros(0), np.zeros(0))
    found = judge(none, Gains(NONE, NONE, NONE, ()), (np.zeros((0, 100, 3)), np.zeros((0, 100, 3))), BEADS)
    assert [one.verdict for one in found] == ["not supported"]
    assert found[0].reasons
