"""Clashes are between residues that are not bonded; broken links between those that are."""

from __future__ import annotations

import numpy as np
import pytest

from cryosphere.evaluation.stereochemistry import broken_links, clashes

CHAIN = np.array([[3.8 * k, 0.0, 0.0] for k in range(6)])
BONDED = np.array([[k, k + 1] for k in range(5)])


def test_neighbours_along_the_chain_do_not_clash():
    assert clashes(CHAIN[None], BONDED).tolist() == [0]


def test_the_same_residues_clash_where_they_are_not_bonded():
    """Every two that follow each other are 3.8 Å apart, and one pair is no bond: a gap in the chain."""
    assert clashes(CHAIN[None], np.delete(BONDED, 2, axis=0)).tolist() == [1]


def test_residues_under_4_angstrom_clash_and_others_do_not():
    folded = np.stack([CHAIN, CHAIN, CHAIN])
    folded[1, 5] = CHAIN[2] + [0.0, 3.9, 0.0]
    folded[2, 5] = CHAIN[2] + [0.0, 4.1, 0.0]
    assert clashes(folded, BONDED).tolist() == [0, 1, 0]


def test_clashes_are_those_of_all_pairs():
    cloud = np.random.default_rng(0).normal(scale=9.0, size=(7, 80, 3))
    bonded = np.array([[k, k + 1] for k in range(79)])
    distance = np.linalg.norm(cloud[:, :, None] - cloud[:, None], axis=-1)
    apart = np.abs(np.arange(80)[:, None] - np.arange(80)) > 1
    expected = ((distance < 4.0) & apart).sum(axis=(1, 2)) // 2
    assert expected.min() > 0
    assert clashes(cloud, bonded).tolist() == expected.tolist()


def test_a_model_without_bonds_can_only_clash():
    nothing = np.zeros((0, 2), dtype=np.int64)
    assert clashes(CHAIN[None], nothing).tolist() == [5]
    assert broken_links(CHAIN[None], CHAIN, nothing).tolist() == [0]


@pytest.mark.parametrize(("stretch", "broken"), [(0.9, 0), (1.1, 1), (-0.9, 0), (-1.1, 1)])
def test_a_link_is_broken_where_it_is_longer_or_shorter_by_more_than_1_angstrom(stretch, broken):
    torn = CHAIN.copy()
    torn[3:, 0] += stretch
    assert broken_links(torn[None], CHAIN, BONDED).tolist() == [broken]


def test_no_structures_have_no_defects():
    assert clashes(np.zeros((0, 6, 3)), BONDED).tolist() == []
    assert broken_links(np.zeros((0, 6, 3)), CHAIN, BONDED).tolist() == []
