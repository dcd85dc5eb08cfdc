"""Hinge motions: who moves, about what, by how much."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.spatial.transform import Rotation

from cryosphere.errors import ConfigError
from cryosphere.settings import validate
from cryosphere.simulation.config import HingeMotion, NormalMixture
from cryosphere.simulation.hinge import draw_angles, hinge_conformations, turned
from cryosphere.simulation.simulate import simulate
from cryosphere.structures.model import read_model

from .conftest import configuration

TAIL = {"residues": [{"chain": "B", "first": 11}], "axis": [0, 0, 2]}
UNIFORM = {"kind": "uniform", "low_degrees": 0, "high_degrees": 60}


def motion(*domains, angles=None):
    values = {"kind": "hinge", "domains": list(domains), "angles": angles or UNIFORM}
    return validate(HingeMotion, values, origin="the test")


def conformations(protein, motion, count=5):
    return hinge_conformations(read_model(protein), motion, count, np.random.default_rng(0))


def test_a_quarter_turn_about_z_takes_x_to_y():
    point = turned(np.array([[1.0, 0, 0]]), np.array([0, 0, 3.0]), np.zeros(3), np.array([np.pi / 2]))
    assert point[0, 0] == pytest.approx([0, 1, 0], abs=1e-12)


def test_the_pivot_stays_where_it_is():
    pivot = np.array([3.0, -2, 7])
    assert turned(pivot[None], np.array([1.0, 2, 3]), pivot, np.array([1.2]))[0, 0] == pytest.approx(pivot)


def test_only_the_named_residues_move_and_they_move_rigidly_by_the_recorded_angle(protein):
    result = conformations(protein, motion(TAIL))
    base = result.model.beads.positions
    moving = (result.model.beads.chain == "B") & (result.model.beads.number >= 11)
    assert np.array_equal(result.domain, moving.astype(int))
    for positions, (angle,) in zip(result.positions, result.parameters, strict=True):
        assert positions[~moving] == pytest.approx(base[~moving], abs=1e-4)  # float32 of tens of Å
        centred = [p[moving] - p[moving].mean(axis=0) for p in (positions.astype(float), base)]
        found, residual = Rotation.align_vectors(*centred)
        assert found.as_rotvec() == pytest.approx([0, 0, angle], abs=1e-5)
        assert residual < 1e-3


def test_the_attachment_is_the_middle_of_the_bond_to_the_rest(protein):
    result = conformations(protein, motion(TAIL))
    beads = result.model.beads
    hinge = [np.flatnonzero((beads.chain == "B") & (beads.number == n))[0] for n in (10, 11)]
    middle = beads.positions[hinge].mean(axis=0)
    radius = np.linalg.norm((result.positions[:, hinge[1]] - middle)[:, :2], axis=1)
    assert radius == pytest.approx(np.linalg.norm((beads.positions[hinge[1]] - middle)[:2]), abs=1e-4)


def test_two_domains_turn_by_the_same_angle_each_about_its_own_axis(protein):
    head = {"residues": [{"chain": "A", "last": 110}], "axis": [0, 0, -1], "pivot": [0, 0, 0]}
    result = conformations(protein, motion(TAIL, head))
    assert set(result.domain) == {0, 1, 2}
    base = result.model.beads.positions
    last, angle = result.positions[-1].astype(float), result.parameters[-1, 0]
    turns = []
    for number in (1, 2):
        part = result.domain == number
        turns.append(Rotation.align_vectors(*(p[part] - p[part].mean(axis=0) for p in (last, base)))[0].as_rotvec()[2])
    assert turns == pytest.approx([angle, -angle], abs=1e-5)


def test_the_papers_mixture_has_its_two_modes():
    # equation 11: half N(-π/3, 0.04), half N(-2π/3, 0.04); 0.04 is a variance, so the spread is 0.2 rad
    mixture = NormalMixture(
        kind="normal_mixture",
        means_degrees=(-60.0, -120.0),
        standard_deviations_degrees=(np.rad2deg(0.2), np.rad2deg(0.2)),
    )
    angles = draw_angles(mixture, 20_000, np.random.default_rng(1))
    upper = angles > -np.pi / 2  # 2.6 standard deviations from either mode: the split errs by under 0.5 %
    assert upper.mean() == pytest.approx(0.5, abs=0.02)
    assert np.median(angles[upper]) == pytest.approx(-np.pi / 3, abs=0.01)
    assert np.median(angles[~upper]) == pytest.approx(-2 * np.pi / 3, abs=0.01)
    assert angles[upper].std() == pytest.approx(0.2, abs=0.01)


def test_weights_decide_how_often_a_mode_is_drawn():
    mixture = NormalMixture(
        kind="normal_mixture", means_degrees=(0.0, 90.0), standard_deviations_degrees=(0.0, 0.0), weights=(3.0, 1.0)
    )
    angles = draw_angles(mixture, 10_000, np.random.default_rng(2))
    assert (angles == 0).mean() == pytest.approx(0.75, abs=0.02)  # 4.6 standard deviations


@pytest.mark.parametrize(
    ("domains", "says"),
    [
        ([{"residues": [{"chain": "C"}], "axis": [0, 0, 1]}], "no chain 'C'"),
        ([{"residues": [{"chain": "B", "first": 300}], "axis": [0, 0, 1]}], "no residue of chain 'B'"),
        ([TAIL, {"residues": [{"chain": "B", "last": 11}], "axis": [0, 0, 1]}], "shares residues"),
        ([{"residues": [{"chain": "B"}], "axis": [0, 0, 1]}], "no attachment"),
    ],
)
def test_domains_that_cannot_be_are_refused(protein, domains, says):
    with pytest.raises(ConfigError, match=says):
        conformations(protein, motion(*domains))


def test_with_scales_of_1_and_minus_1_two_domains_open_oppositely(protein):
    head = {"residues": [{"chain": "A", "last": 110}], "axis": [0, 0, 1], "scale": -1.0}
    result = conformations(protein, motion(TAIL, head))
    base = result.model.beads.positions
    for positions, (angle,) in zip(result.positions.astype(float), result.parameters, strict=True):
        for number, sign in ((1, 1.0), (2, -1.0)):
            part = result.domain == number
            found, _ = Rotation.align_vectors(*(p[part] - p[part].mean(axis=0) for p in (positions, base)))
            assert found.as_rotvec() == pytest.approx([0, 0, sign * angle], abs=1e-5)


def test_discrete_states_are_shown_in_proportion_to_their_weights(protein, tmp_path):
    angles = {"kind": "discrete", "angles_degrees": [0, 30, 90], "weights": [1, 2, 5]}
    values = {"model": protein, "motion": {"kind": "hinge", "domains": [TAIL], "angles": angles}}
    images = {"count": 80, "box": 32, "pixel_size": 2.0}
    truth = simulate(configuration(values | {"images": images}), tmp_path / "plain").truth
    assert len(truth.conformations) == 3
    assert np.rad2deg(truth.parameters[:, 0]) == pytest.approx([0, 30, 90])
    assert np.bincount(truth.conformation_index).tolist() == [10, 20, 50]
    # with jitter every state is drawn anew for many conformations, in the same proportion
    shaken = {"jitter": {"rms": 0.5, "cutoff": 30.0}, "images": images}
    truth = simulate(configuration(values | shaken), tmp_path / "jitter").truth
    assert len(truth.conformations) == 80 == len(np.unique(truth.conformations[:, 0, 0]))
    shown = np.rad2deg(truth.parameters[truth.conformation_index, 0]).round()
    assert [int((shown == angle).sum()) for angle in (0, 30, 90)] == [10, 20, 50]
