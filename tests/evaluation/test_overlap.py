"""Segments beside domains, in ranges of residues and in words."""

from __future__ import annotations

import numpy as np
import pytest

from cryosphere.evaluation.domains import Domain
from cryosphere.evaluation.overlap import assign, boundaries, covers, found_segments
from cryosphere.evaluation.results import Agreement, Evaluation
from cryosphere.evaluation.wording import describe
from cryosphere.structures.beads import Beads
from cryosphere.structures.ranges import residue_ranges


def beads(number, chain="A", kind="protein"):
    count = len(number)
    kinds = [kind] * count if isinstance(kind, str) else kind
    return Beads(
        positions=np.zeros((count, 3)),
        amplitudes=np.ones(count),
        chain=np.array([chain] * count if len(chain) <= 1 else list(chain)),
        number=np.array(number),
        insertion=np.full(count, ""),
        name=np.array(["HEM" if kind == "ligand" else "ALA" for kind in kinds]),
        kind=np.array(kinds),
        bonded=np.zeros((0, 2), dtype=np.int64),
    )


def stretches(*pieces):
    """Labels from (label, residues) pairs."""
    return np.concatenate([np.full(count, label) for label, count in pieces])


KINASE = beads(np.arange(1, 215), chain="")  # adenylate kinase's numbering: LID 122-159
NUMBER = KINASE.number
LID = Domain("LID", (NUMBER >= 122) & (NUMBER <= 159))
CORE = Domain("CORE", ~LID.mask)
LEARNED = stretches((0, 114), (1, 16), (2, 17), (3, 18), (4, 49))  # 1-114, 115-130, 131-147, 148-165, 166-214


def test_a_segment_in_several_stretches_is_told_stretch_by_stretch():
    found = found_segments(beads(np.arange(1, 31)), stretches((0, 10), (1, 10), (0, 10)), [])
    assert [segment.ranges for segment in found] == [["A:1-10", "A:21-30"], ["A:11-20"]]


def test_a_ligand_at_the_end_of_the_file_does_not_stretch_its_segment():
    model = beads([1, 2, 3, 4, 900], kind=["protein"] * 4 + ["ligand"])
    found = found_segments(model, np.array([0, 0, 1, 1, 0]), [])
    assert [segment.ranges for segment in found] == [["A:1-2", "A:900 (HEM)"], ["A:3-4"]]
    assert boundaries(model, np.array([0, 0, 1, 1, 0])) == [("A", 2)]


def test_boundaries_are_where_the_chain_changes_segment_however_segments_are_numbered():
    model = beads(np.arange(1, 31))
    assert boundaries(model, stretches((3, 12), (0, 8), (3, 10))) == [("A", 12), ("A", 20)]
    assert boundaries(model, np.zeros(30, dtype=np.int64)) == []


def test_the_end_of_a_chain_is_no_boundary():
    assert boundaries(beads([1, 2, 1, 2], chain="AABB"), np.array([0, 0, 1, 1])) == []


def test_negative_numbers_stay_readable():
    (one,) = residue_ranges(beads([-3, -2, -1, 0, 1]), np.zeros(5, dtype=np.int64))[0]
    assert one.words == "A:-3 to 1"


def test_residues_held_fixed_belong_to_no_segment():
    membership = np.array([[0.0, 0.0], [0.0, 0.0], [0.2, 0.8]])
    assert assign(membership).tolist() == [-1, -1, 1]


def test_a_domain_is_covered_by_the_segments_that_hold_it():
    lid, core = covers(KINASE, LEARNED, [LID, CORE])
    assert (lid.residues, lid.ranges) == (38, ["122-159"])
    assert lid.segments == [2, 3, 4]
    assert (lid.held, lid.segment_residues, lid.segment_ranges) == (38, 51, ["115-165"])
    assert core.segments == [1, 5]  # the others hold 6 or 7 of its 176 residues, and lie mostly in LID
    assert core.held == 114 + 49


def test_segments_are_told_domain_by_domain_in_words():
    agreement = Agreement("LID-CORE distance", "Å", 0.9, 1.0, None, 0, None, (-0.01, 30.0), (21.0, 29.0))
    groups = [LID, CORE]
    segments, covered = found_segments(KINASE, LEARNED, groups), covers(KINASE, LEARNED, groups)
    text = describe(Evaluation(10, 1.0, 0.9, 4.0, 3.0, [agreement], segments, covered, boundaries(KINASE, LEARNED)))
    assert "mean error 1.00 Å (true range 0.0 to 30.0 Å, predicted 21.0 to 29.0 Å)" in text
    assert "   2: 16 residues, 115-130 (9 of LID, 7 of CORE)\n" in text
    assert (
        "LID (122-159; 38 residues): all of it in segments 2, 3 and 4 (115-165), which also have 13 other residues."
    ) in text
    assert "CORE (1-121, 160-214; 176 residues): 163 of its residues in segments 1 and 5 (1-114, 166-214), and" in text


def test_a_domain_held_fixed_is_covered_by_no_segment():
    fixed = np.where(LID.mask, -1, 0)
    (cover,) = covers(KINASE, fixed, [LID])
    assert (cover.segments, cover.held) == ([], 0)


@pytest.mark.parametrize(("labels", "expected"), [([], {}), ([2], {2: 1}), ([0, 1, 0], {0: 2, 1: 1})])
def test_every_label_has_its_ranges(labels, expected):
    found = residue_ranges(beads(range(1, len(labels) + 1)), np.array(labels, dtype=np.int64))
    assert {label: len(ranges) for label, ranges in found.items()} == expected
