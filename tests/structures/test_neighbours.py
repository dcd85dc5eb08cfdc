"""Close pairs, compared with SciPy's k-d tree."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.spatial import cKDTree

from cryosphere.structures import neighbours
from cryosphere.structures.neighbours import close_pairs


def _by_tree(positions: np.ndarray, cutoff: float) -> list[tuple[int, int, int]]:
    return sorted(
        (image, int(first), int(second))
        for image, points in enumerate(positions)
        for first, second in cKDTree(points).query_pairs(cutoff, output_type="ndarray")
    )


def _found(positions: np.ndarray, cutoff: float) -> list[tuple[int, int, int]]:
    pairs = close_pairs(torch.from_numpy(positions), cutoff)
    return list(zip(pairs.image.tolist(), pairs.first.tolist(), pairs.second.tolist(), strict=True))


@given(
    images=st.integers(1, 4),
    beads=st.integers(1, 60),
    spread=st.floats(0.5, 100.0),
    cutoff=st.floats(0.5, 15.0),
    seed=st.integers(0, 2**32 - 1),
)
@settings(max_examples=60, deadline=None)
def test_pairs_are_those_that_scipys_tree_finds_in_the_same_sorted_order(images, beads, spread, cutoff, seed):
    positions = np.random.default_rng(seed).normal(scale=spread, size=(images, beads, 3))
    assert _found(positions, cutoff) == _by_tree(positions, cutoff)


def test_points_on_a_lattice_as_wide_as_the_cutoff_are_no_neighbours_but_nearly_so_they_are():
    lattice = np.stack(np.meshgrid(*3 * [np.arange(5.0)], indexing="ij"), axis=-1).reshape(1, -1, 3) * 4.0 - 8.0
    assert _found(lattice, 4.0) == []  # closer than the cutoff, not as close
    assert len(_found(lattice, 4.0001)) == 3 * 4 * 5 * 5  # edges of a 5 x 5 x 5 lattice


def test_all_points_at_one_place_are_all_pairs():
    assert len(_found(np.zeros((2, 40, 3)), 1.0)) == 2 * 40 * 39 // 2


def test_many_candidates_are_examined_in_parts_with_the_same_result(monkeypatch):
    positions = np.random.default_rng(0).normal(size=(3, 50, 3))
    whole = _found(positions, 2.0)
    monkeypatch.setattr(neighbours, "_CANDIDATES_AT_ONCE", 7)
    assert _found(positions, 2.0) == whole == _by_tree(positions, 2.0)


@pytest.mark.parametrize("shape", [(1, 1, 3), (3, 1, 3), (0, 5, 3), (2, 0, 3)])
def test_without_two_points_in_a_structure_there_is_no_pair(shape):
    assert _found(np.zeros(shape), 5.0) == []


def test_far_points_make_no_pairs():
    assert _found(np.arange(30.0).reshape(1, 10, 3) * 100.0, 5.0) == []


def test_beads_that_coincide_only_modulo_the_cell_grid_are_no_pair():
    period = 1024 * 5.0 * 1.001
    assert _found(np.array([[[0.0, 0.0, 0.0], [period, 0.0, 0.0]]]), 5.0) == []


def test_a_bead_without_finite_coordinates_has_no_neighbours():
    positions = np.zeros((1, 3, 3))
    positions[0, 1] = np.nan
    assert _found(positions, 1.0) == [(0, 0, 2)]


def test_distant_outliers_do_not_disturb_the_others():
    positions = np.array([[[0.0, 0.0, 0.0], [1.0, 0.0, 0.0], [1e30, 0.0, 0.0], [-1e30, 1e30, 0.0]]])
    assert _found(positions, 2.0) == [(0, 0, 1)]


@pytest.mark.parametrize("cutoff", [0.0, -1.0, float("nan")])
def test_a_cutoff_that_is_not_positive_is_refused(cutoff):
    with pytest.raises(ValueError, match="positive"):
        close_pairs(torch.zeros(1, 2, 3), cutoff)
