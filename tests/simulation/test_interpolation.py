"""Interpolation: the ends are the given structures, and bodies stay rigid on the way."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.spatial.transform import Rotation

from cryosphere.errors import ConfigError, StructureError
from cryosphere.settings import validate
from cryosphere.simulation.body_search import find_bodies
from cryosphere.simulation.hinge import turned
from cryosphere.simulation.interpolation import draw_states, interpolated_conformations
from cryosphere.simulation.motion_config import InterpolationMotion, NormalMixtureStates, UniformStates
from cryosphere.simulation.protein import two_domain_protein
from cryosphere.simulation.superposition import Screw, superposition
from cryosphere.structures.model import read_model

FIVE = {"kind": "discrete", "values": [0, 0.25, 0.5, 0.75, 1]}
TAIL = {"residues": [{"chain": "B", "first": 11}]}


def interpolated(start, end, **values):
    motion = validate(
        InterpolationMotion, {"kind": "interpolation", "start": start, "end": end, "states": FIVE} | values, origin="."
    )
    return interpolated_conformations(motion, 5, np.random.default_rng(0))


def moved_pdb(source, target, motions):
    """The file with the atoms of some residues, {(chain, first): function of positions}, elsewhere."""
    lines = []
    for line in source.read_text().splitlines(keepends=True):
        moves = [m for (c, n), m in motions.items() if line[:4] == "ATOM" and line[21] == c and int(line[22:26]) >= n]
        if moves:
            x, y, z = moves[0](np.array([float(line[30:38]), float(line[38:46]), float(line[46:54])]))
            lines.append(f"{line[:30]}{x:8.3f}{y:8.3f}{z:8.3f}{line[54:]}")
        else:
            lines.append(line)
    target.write_text("".join(lines))
    return target


@pytest.fixture
def quarter_turned(protein, tmp_path):
    """The tail of chain B turned by 90° about z through (20, 4), and lifted by 4 Å."""

    def move(r):
        x, y, z = r - [20, 4, 0]
        return np.array([20 - y, 4 + x, z + 4])

    return moved_pdb(protein, tmp_path / "end.pdb", {("B", 11): move})


def test_the_ends_are_the_given_structures(shared_data):
    folder = shared_data / "trajectories" / "adk"
    found = interpolated(folder / "adk_closed.pdb", folder / "adk_open.pdb", superpose=False)
    for row, name in ((0, "adk_closed.pdb"), (-1, "adk_open.pdb")):
        expected = read_model(folder / name).beads.positions
        assert found.positions[row] == pytest.approx(expected, abs=1e-4)  # float32 of tens of Å


def test_half_way_through_a_screw_is_half_its_turn_and_half_its_shift(protein, quarter_turned):
    found = interpolated(protein, quarter_turned, domains=[TAIL])
    beads = found.model.beads
    moving = (beads.chain == "B") & (beads.number >= 11)
    assert np.array_equal(found.domain, moving.astype(int))
    start = beads.positions[moving] - np.array([20, 4, 0])
    expected = Rotation.from_euler("z", 45, degrees=True).apply(start) + np.array([20, 4, 2])
    assert found.positions[2][moving] == pytest.approx(expected, abs=2e-3)  # the file has three decimals
    assert found.positions[2][~moving] == pytest.approx(beads.positions[~moving], abs=1e-3)


def test_automatic_domains_of_adenylate_kinase_are_its_lid_and_its_nmp_domain(shared_data):
    # the domains stated with the data: LID 122–159, NMP 30–59, CORE the rest
    folder = shared_data / "trajectories" / "adk"
    found = interpolated(folder / "adk_closed.pdb", folder / "adk_open.pdb")
    number = found.model.beads.number
    lid, nmp = (found.domain[number == middle][0] for middle in (140, 45))
    assert {0, lid, nmp} == set(found.domain) == {0, 1, 2}
    for label, first, last in ((lid, 122, 159), (nmp, 30, 59)):
        inside = number[found.domain == label]
        assert set(range(first, last + 1)) <= set(inside)
        assert len(inside) <= last - first + 1 + 15


def test_automatic_domains_of_a_hinge_meet_at_the_hinge():
    protein = two_domain_protein(seed=1)
    beads = protein.model.beads
    (_, boundary), _ = protein.domains
    moving = beads.number > boundary
    end = beads.positions.copy()
    end[moving] = turned(beads.positions[moving], np.array(protein.axis), np.array(protein.pivot), np.array([0.5]))[0]
    labels = find_bodies(beads, beads.positions, end)
    # near the hinge residues move by less than the 2 Å that a body tolerates, so they may go with either
    assert np.abs(np.flatnonzero(labels != moving) - boundary).max(initial=0) <= 6
    assert set(labels) == {0, 1}


def test_a_rigid_protein_is_one_body(protein):
    beads = read_model(protein).beads
    assert set(find_bodies(beads, beads.positions, beads.positions[:, [1, 2, 0]])) == {0}


def test_bonds_keep_their_length_on_the_way(shared_data):
    folder = shared_data / "trajectories" / "adk"
    found = interpolated(folder / "adk_closed.pdb", folder / "adk_open.pdb")
    first, second = found.model.beads.bonded.T
    lengths = np.linalg.norm(found.positions[:, first] - found.positions[:, second], axis=-1)
    assert lengths.max() < 4.3 and lengths.min() > 2.7  # Å; Cα–Cα is 3.8, 2.9 in cis


def test_an_end_that_lies_elsewhere_is_laid_on_the_start(protein, quarter_turned, tmp_path):
    turn = Rotation.from_euler("x", 70, degrees=True)
    elsewhere = moved_pdb(
        quarter_turned, tmp_path / "far.pdb", {(c, 0): lambda r: turn.apply(r) + np.array([9, -5, 2]) for c in "AB"}
    )
    near, far = (interpolated(protein, end, domains=[TAIL]) for end in (quarter_turned, elsewhere))
    assert far.positions == pytest.approx(near.positions, abs=5e-3)  # three decimals in the files
    left = interpolated(protein, elsewhere, domains=[TAIL], superpose=False)
    assert np.abs(left.positions[-1] - read_model(elsewhere).beads.positions).max() < 1e-4
    by_tail = interpolated(protein, elsewhere, domains=[TAIL], superpose=TAIL["residues"])
    tail = by_tail.domain == 1
    assert by_tail.positions[-1][tail] == pytest.approx(by_tail.positions[0][tail], abs=5e-3)


@settings(max_examples=50, deadline=None)
@given(st.integers(0, 2**32 - 1), st.floats(0, 3.1))
def test_a_whole_screw_is_the_motion_it_was_made_of(seed, angle):
    random = np.random.default_rng(seed)
    axis = random.standard_normal(3)
    rotation = Rotation.from_rotvec(angle * axis / np.linalg.norm(axis)).as_matrix()
    translation = random.uniform(-30, 30, 3)
    turns, shifts = Screw.of(rotation, translation).at(np.array([0.0, 1.0]))
    points = random.uniform(-50, 50, (4, 3))
    assert points @ turns[0].T + shifts[0] == pytest.approx(points, abs=1e-6)
    # below 1e-6 rad the turn is left out: 1e-6 × 87 Å
    assert points @ turns[1].T + shifts[1] == pytest.approx(points @ rotation.T + translation, abs=2e-4)


def test_superposition_agrees_with_scipy():
    random = np.random.default_rng(0)
    target = random.standard_normal((12, 3))
    moving = Rotation.random(random_state=1).apply(target) + 0.1 * random.standard_normal((12, 3)) + [4, 0, 1]
    turn, shift = superposition(moving, target)
    expected, _ = Rotation.align_vectors(target - target.mean(axis=0), moving - moving.mean(axis=0))
    assert turn == pytest.approx(expected.as_matrix(), abs=1e-9)
    assert (moving @ turn.T + shift).mean(axis=0) == pytest.approx(target.mean(axis=0))


def test_states_are_drawn_within_the_way():
    uniform = draw_states(UniformStates(kind="uniform", low=0.2, high=0.6), 4000, np.random.default_rng(0))
    assert 0.2 <= uniform.min() < 0.21 and 0.59 < uniform.max() <= 0.6
    mixture = NormalMixtureStates(kind="normal_mixture", means=(0.0, 0.8), standard_deviations=(0.1, 0.0))
    drawn = draw_states(mixture, 20_000, np.random.default_rng(1))
    assert drawn.min() >= 0 and (drawn == 0.8).mean() == pytest.approx(0.5, abs=0.02)
    # the upper half of a normal distribution has the mean σ √(2/π)
    assert drawn[drawn < 0.7].mean() == pytest.approx(0.1 * np.sqrt(2 / np.pi), rel=0.03)


def test_structures_that_do_not_fit_together_are_refused(protein, quarter_turned, tmp_path):
    lines = quarter_turned.read_text().splitlines(keepends=True)
    short = tmp_path / "short.pdb"
    short.write_text("".join(lines[:15] + lines[20:]))
    with pytest.raises(StructureError, match=r"residue 116 of chain 'A'.*4 more.*short\.pdb"):
        interpolated(protein, short)
    with pytest.raises(ConfigError, match="shares residues"):
        interpolated(protein, quarter_turned, domains=[TAIL, {"residues": [{"chain": "B", "last": 12}]}])
    with pytest.raises(ConfigError, match="only chain 'A' 101 to 120, chain 'B' 1 to 20"):
        interpolated(protein, quarter_turned, domains=[{"residues": [{"chain": "B", "first": 11, "last": 30}]}])
    with pytest.raises(ConfigError, match="it takes three"):
        interpolated(protein, quarter_turned, superpose=[{"chain": "A", "last": 102}])
