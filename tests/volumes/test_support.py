"""Amplitudes of residues against maps whose content is known."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from scipy import sparse
from scipy.ndimage import map_coordinates
from tests.volumes.protein import CHAIN, SIGMA, conformations, density_map, folded

from cryosphere.imaging.grid import ImageGrid
from cryosphere.volumes import support
from cryosphere.volumes.expected import Residues, SeenMap, Shells, spectrum_of
from cryosphere.volumes.findings import Findings, compare_with_density
from cryosphere.volumes.support import MOST_PAIRS, Equations, Support, reach_of, window_means
from cryosphere.volumes.verdicts import verdicts_of_residues

GRID = ImageGrid(36, 3.0)
LAST = np.arange(2 * CHAIN - 20, 2 * CHAIN)  # residues 41-60 of chain B
NOISE = 1.0  # of a map against its own spread over the whole box


def found_in(beads, present, noise=NOISE, places=None, grid=GRID, seed=0) -> Findings:
    """What is found where only some residues are in the map, and the model has all, at `places`."""
    electrons = beads.amplitudes * present
    state = density_map(beads.positions, electrons, grid, noise, seed)
    structures = conformations(beads, beads.positions if places is None else places)
    return compare_with_density(structures, [state], 500.0)


def without(rows) -> np.ndarray:
    present = np.ones(2 * CHAIN)
    present[rows] = 0.0
    return present


def test_shells_sum_to_the_whole_spectrum_by_parseval():
    shells = Shells(ImageGrid(17, 2.0))
    assert shells.index.shape == (17, 17, 9)
    assert shells.coefficients[0] == 1
    assert shells.coefficients[1] == 18  # 6 at distance 1, 12 at √2; those at √3 are nearer to 2
    volume = shells.filtered(spectrum_of(np.random.default_rng(0).normal(size=(17, 17, 17))), np.ones(shells.count))
    power = shells.sum(np.abs(spectrum_of(volume)) ** 2)
    assert power.sum() == pytest.approx(np.square(volume, dtype=np.float64).sum(), rel=1e-5)


@pytest.mark.parametrize("box", [36, 37])
def test_the_true_amplitudes_solve_the_equations_of_a_map_that_holds_nothing_else(box):
    """Whatever amplitudes they are told as a change of: the left side is of distances, the right of volumes."""
    beads, grid = folded(), ImageGrid(box, 2.5)
    residues = Residues(beads.positions, beads.amplitudes, SIGMA)
    truth = np.random.default_rng(0).uniform(0, 1, 2 * CHAIN)
    seen = SeenMap(density_map(beads.positions, beads.amplitudes, grid, NOISE), residues, Shells(grid))
    seen.spectrum = spectrum_of(seen.shells.filtered(spectrum_of(residues.density(grid, truth)), seen.gain))
    gain = seen.gain
    for told, tolerance in ((truth, 1e-4), (np.ones(2 * CHAIN), 0.3)):
        seen.compare(told)
        seen.gain = gain
        equations = Equations.of(seen, reach_of(beads.positions, 8.0))
        left = equations.information @ truth
        assert np.abs(equations.right - left).max() < tolerance * np.abs(left).mean()


def test_amplitudes_are_found_again_in_a_map_without_noise():
    beads = folded()
    truth = np.where(np.arange(2 * CHAIN) // 15 % 3 == 1, 0.4, 1.0)
    found = found_in(beads, truth, noise=0.01)
    assert np.abs(found.joint.amplitude - truth).mean() < 0.05


def test_all_residues_are_supported_where_all_are_in_the_map():
    for seed in range(3):
        found = found_in(folded(seed), np.ones(2 * CHAIN), seed=seed)
        assert (found.verdicts == "supported").all()


@pytest.mark.parametrize("seed", range(3))
def test_residues_that_are_not_in_the_map_are_absent_and_no_others(seed):
    found = found_in(folded(seed), without(LAST), seed=seed)
    absent = found.rows("absent")
    assert set(LAST[2:]) <= set(absent) <= set(range(LAST[0] - 2, LAST[-1] + 1))  # its end to two residues
    assert found.joint.amplitude[LAST].mean() < 0.15


def test_residues_hidden_in_the_density_of_others_do_not_pass_for_seen():
    beads = folded()
    places = beads.positions.copy()
    places[LAST] = places[15:35] + np.random.default_rng(0).normal(scale=2.0, size=(20, 3))  # within chain A
    found = found_in(beads, without(LAST), places=places)
    density = map_coordinates(found.states[0].map, (places / GRID.pixel_size + GRID.box // 2)[:, ::-1].T, order=3)
    assert density[LAST].mean() > 0.5 * density[:CHAIN].mean()  # the density at their places would let them pass
    assert np.mean(found.verdicts[LAST] == "absent") > 0.9
    assert (found.verdicts[: LAST[0] - 1] == "supported").mean() > 0.95


def test_a_part_that_moves_among_the_images_of_a_map_is_blurred_but_not_absent():
    beads = folded()
    moved = np.repeat(beads.positions[None], 5, axis=0)
    moved[:, CHAIN:] += np.linspace(-9, 9, 5)[:, None, None] * np.array([0.0, 1.0, 0.0])  # Å, chain B
    several = [density_map(places, beads.amplitudes, GRID, NOISE, seed) for seed, places in enumerate(moved)]
    halves = [np.mean([getattr(one, half) for one in several], axis=0) for half in ("half1", "half2")]
    state = replace(several[2], half1=halves[0], half2=halves[1], map=0.5 * (halves[0] + halves[1]))
    known = compare_with_density(replace(conformations(beads), spread=[moved]), [state], 500.0)
    assert (known.verdicts == "supported").all()
    assert known.along.error[CHAIN:].mean() > known.along.error[:CHAIN].mean()  # it is told less of
    unknown = compare_with_density(conformations(beads), [state], 500.0)
    assert (unknown.verdicts[CHAIN:] != "supported").mean() > 0.5  # taken for one conformation, it would be missed


def test_a_map_of_noise_supports_nothing():
    beads = folded()
    state = density_map(beads.positions, beads.amplitudes, GRID, 1.0)
    generator = np.random.default_rng(5)
    halves = [generator.normal(size=state.map.shape).astype(np.float32) for _ in range(2)]
    noise = replace(state, half1=halves[0], half2=halves[1], map=0.5 * (halves[0] + halves[1]))
    found = compare_with_density(conformations(beads), [noise], 500.0)
    assert not (found.verdicts == "supported").any()


def test_errors_found_piece_by_piece_are_hardly_smaller_than_those_of_all_at_once(monkeypatch):
    """Also where the map says nothing, and a residue's error is that of its whole chain."""
    beads = folded()
    count, bonded = len(beads.positions), beads.bonded
    distances = np.linalg.norm(beads.positions[:, None] - beads.positions, axis=-1)
    for told in (0.0, 1e-2, 10.0, 1e4):
        information = sparse.csr_matrix(told * np.exp(-((distances / 6) ** 2)))
        equations = Equations(information, np.zeros(count))
        chain = equations.solve(bonded, np.ones(count))[1]
        monkeypatch.setattr(support, "_CHUNK", 10_000)
        whole = equations.errors(chain, beads.positions)
        monkeypatch.setattr(support, "_CHUNK", 25)
        pieces = equations.errors(chain, beads.positions)
        assert (pieces > 0.75 * whole).all(), told


def test_residues_are_weighed_against_others_within_reach_and_themselves(monkeypatch):
    """Piece by piece or at once, as a function of the distance alone."""
    places, electrons = folded().positions, np.random.default_rng(0).uniform(1, 2, 2 * CHAIN)
    radii = np.linspace(0.0, 20.0, 2048)
    kernel = np.exp(-((radii / 6) ** 2))
    monkeypatch.setattr(support, "_ROWS_AT_ONCE", 50)
    found = support._information(places, electrons, radii, kernel).toarray()
    distances = np.linalg.norm(places[:, None] - places, axis=-1)
    expected = np.where(distances <= 20.0, electrons[:, None] * electrons * np.exp(-((distances / 6) ** 2)), 0.0)
    assert np.allclose(found, expected, atol=1e-5)
    assert np.array_equal(found, found.T)


def test_the_reach_is_as_wide_as_the_map_is_blurred_unless_too_many_pairs_are_within_it(caplog):
    places = np.stack(np.meshgrid(*[5.0 * np.arange(10)] * 3), axis=-1).reshape(-1, 3)
    assert reach_of(places, 6.0) == 28.0
    assert reach_of(places, 20.0) == 50.0
    assert not caplog.records
    with caplog.at_level("INFO"):
        shorter = reach_of(places, 20.0, most=20_000)
    distances = np.linalg.norm(places[:, None] - places, axis=-1)
    pairs = [int(((distances <= reach).sum() - 1000) / 2) for reach in (shorter, shorter + 2.6)]
    assert pairs[0] <= 20_000 < pairs[1]
    assert "more than 20,000 pairs of 1,000 residues" in caplog.text
    assert MOST_PAIRS >= 1_000_000


def test_a_shorter_reach_hardly_changes_the_support_in_a_blurred_map(monkeypatch):
    beads, grid = folded(), ImageGrid(30, 5.0)
    electrons = beads.amplitudes * without(LAST)
    state = density_map(beads.positions, electrons, grid, NOISE, damping=1500.0)
    assert state.resolution.angstrom > 15.0
    wide = compare_with_density(conformations(beads), [state], 500.0)
    monkeypatch.setattr(support, "reach_of", lambda places, resolution: 20.0)
    short = compare_with_density(conformations(beads), [state], 500.0)
    assert np.abs(wide.along.amplitude - short.along.amplitude).max() < 2 * wide.along.error.mean()
    assert (wide.verdicts != short.verdicts).mean() < 0.05


def test_a_verdict_needs_most_of_a_stretch():
    bonded = np.array([[k, k + 1] for k in range(99)])
    amplitude = np.full(100, 0.52)
    amplitude[40:60] = 0.9
    assert set(verdicts_of_residues(Support(amplitude, np.full(100, 0.1)), bonded)) == {"weak"}


def test_errors_are_as_large_as_amplitudes_scatter_from_noise_to_noise():
    beads = folded()
    several = [found_in(beads, without(LAST), seed=seed).joint for seed in range(8)]
    scatter = np.std([one.along(beads.bonded).amplitude for one in several], axis=0, ddof=1).mean()
    said = np.mean([one.along(beads.bonded).error for one in several])
    assert 0.8 * scatter < said < 4 * scatter  # they also hold what the structures' errors might do


def test_states_together_are_surer_than_each_alone():
    beads = folded()
    states = [density_map(beads.positions, beads.amplitudes, GRID, 2 * NOISE, seed) for seed in range(4)]
    found = compare_with_density(conformations(beads, *[beads.positions] * 4), states, 2000.0)
    alone = np.mean([np.abs(one.along(beads.bonded).amplitude - 1).mean() for one in found.each])
    assert np.abs(found.along.amplitude - 1).mean() < 0.8 * alone


def test_places_wrong_by_less_than_the_resolution_stay_supported():
    beads = folded()
    shifts = np.random.default_rng(0).normal(scale=1.0, size=(2 * CHAIN, 3))  # 1.7 Å RMS
    found = found_in(beads, np.ones(2 * CHAIN), places=beads.positions + shifts)
    assert (found.verdicts == "supported").mean() > 0.95
    assert not (found.verdicts == "absent").any()


def test_a_mean_over_a_window_crosses_a_half_where_the_step_stands():
    bonded = np.array([[k, k + 1] for k in range(39) if k != 29])
    values = np.r_[np.ones(18), np.zeros(12), np.ones(10)]
    means = window_means(values, bonded)
    assert (means[:18] >= 0.5).all()
    assert (means[18:30] < 0.5).all()
    assert (means[30:] == 1).all()  # another chain does not share
    np.testing.assert_allclose(window_means(values, np.zeros((0, 2), dtype=np.int64)), values)


def test_stretches_shorter_than_five_residues_are_not_called_absent_but_a_ligand_may_be():
    bonded = np.array([[k, k + 1] for k in range(39)])  # 0-39 a chain; 40 and 41 stand alone
    amplitude = np.ones(42)
    amplitude[35:40], amplitude[40] = -0.3, -0.2
    verdicts = verdicts_of_residues(Support(amplitude, np.full(42, 0.02)), bonded)
    assert (verdicts[:34] == "supported").all()
    assert list(verdicts[34:42]) == ["supported"] + ["absent"] * 6 + ["supported"]
    amplitude[35:38] = 1.0  # two residues at the end
    verdicts = verdicts_of_residues(Support(amplitude, np.full(42, 0.02)), bonded)
    assert set(verdicts[:40]) == {"supported", "weak"}


def test_what_is_not_sure_is_weak():
    bonded = np.array([[k, k + 1] for k in range(29)])
    amplitude = np.r_[np.ones(15), np.zeros(15)]
    assert set(verdicts_of_residues(Support(amplitude, np.full(30, 0.3)), bonded)) == {"weak"}
    told = verdicts_of_residues(Support(amplitude, np.full(30, 0.2)), bonded)
    assert list(told) == ["supported"] * 15 + ["absent"] * 15


def test_solutions_do_not_depend_on_residues_that_no_map_reaches():
    information = sparse.csr_matrix(np.diag([100.0, 100.0, 0.0]))
    equations = Equations(information, np.array([100.0, 50.0, 0.0]))
    amplitudes, chain = equations.solve(np.zeros((0, 2), dtype=np.int64), np.ones(3))
    np.testing.assert_allclose(amplitudes, [1.0, (50 + 1 / 3) / (100 + 1 / 3), 1.0], rtol=1e-5)  # the last as before
    np.testing.assert_allclose(chain.diagonal(), [1 / 3, 1 / 3, 1 / 3])
    errors = equations.errors(chain, np.zeros((3, 3)))
    np.testing.assert_allclose(errors, [(100 + 1 / 3) ** -0.5, (100 + 1 / 3) ** -0.5, 3**0.5])
