"""Hiding a segment from a model."""

from __future__ import annotations

import numpy as np

from cryosphere.analysis.segments import Segmentation
from cryosphere.simulation.protein import two_domain_protein
from cryosphere.validation.omitted import segment_to_hide, without

MODEL = two_domain_protein(0, (60, 40)).model


def segmentation(*sizes: int) -> Segmentation:
    return Segmentation(MODEL.beads, np.repeat(np.eye(len(sizes)), sizes, axis=0))


def test_the_segment_that_moves_furthest_is_hidden_unless_it_is_too_short_or_most_of_the_molecule():
    moves = np.zeros(100)
    moves[:60], moves[60:65], moves[65:85], moves[85:] = 9.0, 8.0, 5.0, 1.0
    assert segment_to_hide(segmentation(60, 5, 20, 15), moves) == 2


def test_where_nothing_moves_or_no_segment_fits_none_is_hidden():
    assert segment_to_hide(segmentation(60, 40), np.zeros(100)) is None
    assert segment_to_hide(segmentation(55, 45), np.ones(100)) is None


def test_a_model_without_a_segment_has_all_other_residues_where_they_were():
    hidden = np.zeros(100, dtype=bool)
    hidden[20:35] = True
    left = without(MODEL, hidden)
    assert len(left.beads) == 85
    assert np.array_equal(left.beads.number, MODEL.beads.number[~hidden])
    assert np.allclose(left.beads.positions, MODEL.beads.positions[~hidden])
    assert len(MODEL.beads) == 100
