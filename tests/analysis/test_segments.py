"""Tables of segments."""

from __future__ import annotations

from types import SimpleNamespace

import numpy as np
import pytest

from cryosphere.analysis.bodies import reference_body
from cryosphere.analysis.chimerax import segment_commands
from cryosphere.analysis.segments import FIXED, Segmentation


def beads(number, chain=None, insertion=None, kind=None, name=None):
    count = len(number)
    return SimpleNamespace(
        positions=np.arange(count)[:, None] * np.array([1.0, 2.0, 0.0]),
        number=np.array(number),
        chain=np.array(chain or ["A"] * count),
        insertion=np.array(insertion or [""] * count),
        kind=np.array(kind or ["protein"] * count),
        name=np.array(name or ["ALA"] * count),
    )


def membership(assignment, count):
    return np.eye(count)[assignment]


def test_ranges_use_the_author_numbers_and_stop_at_chain_ends():
    found = Segmentation(beads([3, 4, 5, 3, 4], list("AAABB")), membership([0, 0, 1, 1, 0], 2))
    assert [list(map(str, r)) for r in found.ranges] == [["A:3..4", "B:4"], ["A:5", "B:3"]]


def test_negative_numbers_and_insertion_codes_stay_readable():
    found = Segmentation(beads([-2, -1, 52, 52], insertion=["", "", "", "A"]), membership([0, 0, 0, 0], 1))
    assert list(map(str, found.ranges[0])) == ["A:-2..52A"]


def test_ligands_are_listed_by_name_apart_from_the_chain():
    kinds = ["protein", "protein", "ligand", "ligand"]
    found = Segmentation(beads([1, 2, 900, 901], kind=kinds, name=["ALA", "GLY", "HEM", "ATP"]), membership([0] * 4, 1))
    assert list(map(str, found.ranges[0])) == ["A:1..2", "A:900(HEM)", "A:901(ATP)"]


def test_the_centre_of_a_segment_is_the_mean_of_its_residues():
    found = Segmentation(beads([1, 2, 3, 4]), membership([0, 0, 1, 1], 3))
    assert found.centres[0] == pytest.approx([0.5, 1.0, 0.0])
    assert found.centres[1] == pytest.approx([2.5, 5.0, 0.0])
    assert found.centres[2] == pytest.approx([1.5, 3.0, 0.0])  # empty: the whole model's


def test_empty_segments_are_listed_as_unused():
    table = Segmentation(beads([1, 2, 3]), membership([2, 2, 0], 4)).table(reference=[2])
    assert table["used"].tolist() == [True, False, True, False]
    assert table["residues"].tolist() == [1, 0, 2, 0]
    assert table["reference"].tolist() == [False, False, True, False]
    assert table["name"].tolist() == ["S1", "S2", "S3", "S4"]


def test_residues_held_fixed_belong_to_no_segment_and_become_the_reference():
    weights = membership([0, 0, 1, 1], 2)
    weights[:2] = 0.0
    found = Segmentation(beads([1, 2, 3, 4]), weights)
    assert found.assignment.tolist() == [FIXED, FIXED, 1, 1]
    body = reference_body(found, [(1,), (FIXED,)])
    assert body.fixed
    assert body.words(found) == "the residues held fixed"
    assert found.residues.tolist() == [0, 2]
    assert found.residue_table()["segment"].tolist() == [0, 0, 2, 2]
    assert found.residue_table()["membership"].tolist() == [0.0, 0.0, 1.0, 1.0]
    assert list(map(str, found.ranges[1])) == ["A:3..4"]


def test_residues_that_are_shared_are_not_counted_as_firm():
    weights = np.array([[1.0, 0.0], [0.99, 0.01], [0.6, 0.4], [0.0, 1.0]])
    table = Segmentation(beads([1, 2, 3, 4]), weights).table()
    assert table["residues"].tolist() == [3, 1]
    assert table["firm"].tolist() == [2, 1]


def test_chains_without_a_name_are_coloured_before_those_with_one():
    found = Segmentation(beads([1, 2, 1, 2], ["A", "A", "", ""]), membership([0, 1, 1, 1], 2))
    colours = [line for line in segment_commands(found, "pc1.cif").splitlines() if line.startswith("color ")]
    assert colours[1:] == ["color :1-2 #e69f00", "color /A:1 #0072b2", "color /A:2 #e69f00"]


def test_negative_residue_numbers_are_addressed_by_comparison():
    found = Segmentation(beads([-2, -1, 1, 2]), membership([0, 0, 0, 1], 2))
    lines = segment_commands(found, "pc1.cif").splitlines()
    assert "color /A & ::number>=-2 & ::number<=1 #0072b2" in lines
    assert "color /A:2 #e69f00" in lines
