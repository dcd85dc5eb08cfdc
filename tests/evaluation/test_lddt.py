"""lDDT is what its authors defined (Mariani et al. 2013), on one bead per residue."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.spatial.transform import Rotation

from cryosphere.evaluation.lddt import lddt, local_agreement

GENERATOR = np.random.default_rng(5)
FAR = np.array([100.0, 0.0, 0.0])
TRUE = GENERATOR.normal(scale=12.0, size=(3, 60, 3))


def test_a_rigidly_moved_structure_keeps_all_distances():
    moved = np.stack([Rotation.random(random_state=k).apply(x) + 40.0 for k, x in enumerate(TRUE)])
    assert lddt([moved], TRUE) == pytest.approx(np.ones((1, 3)))


@pytest.mark.parametrize(
    ("shift", "score"), [(0.0, 1.0), (0.4, 1.0), (0.7, 0.75), (1.5, 0.5), (3.0, 0.25), (4.5, 0.0), (-3.0, 0.25)]
)
def test_one_distance_counts_by_how_many_of_the_four_tolerances_it_meets(shift, score):
    true = np.array([[[0.0, 0, 0], [10.0, 0, 0]]])
    model = true + np.array([[0.0, 0, 0], [shift, 0, 0]])
    assert lddt([model], true)[0, 0] == score


def test_pairs_are_those_within_15_angstrom_in_truth_not_in_the_model():
    true = np.array([[[0.0, 0, 0], [10.0, 0, 0], [26.0, 0, 0]]])  # 16 Å between the last two
    model = np.array([[[0.0, 0, 0], [10.0, 0, 0], [12.0, 0, 0]]])
    assert lddt([model], true)[0, 0] == 1.0


def test_a_domain_in_the_wrong_place_costs_only_the_pairs_across_the_hinge():
    """Two clouds 12 Å apart, one moved by 100 Å: what remains is the share of pairs inside the clouds."""
    first, second = GENERATOR.normal(size=(30, 3)), GENERATOR.normal(size=(20, 3)) + FAR * 0.12
    true = np.concatenate([first, second])[None]
    model = np.concatenate([first, second + FAR])[None]
    across = (np.linalg.norm(first[:, None] - second[None], axis=2) < 15.0).sum()
    inside = 30 * 29 / 2 + 20 * 19 / 2
    assert lddt([model], true)[0, 0] == pytest.approx(inside / (inside + across))


def test_one_structure_may_stand_for_all():
    several = lddt([TRUE, TRUE[:1]], TRUE)
    assert several.shape == (2, 3)
    assert several[1] == pytest.approx(lddt([np.repeat(TRUE[:1], 3, axis=0)], TRUE)[0])


def test_without_neighbours_there_is_no_score():
    assert np.isnan(lddt([np.zeros((1, 2, 3))], np.array([[[0.0, 0, 0], [50.0, 0, 0]]]))).all()
    assert lddt([np.zeros((1, 4, 3))], np.zeros((0, 4, 3))).shape == (1, 0)


def test_the_brief_form_is_mean_and_median():
    found = local_agreement(np.array([0.2, 0.4, 0.9]), np.array([0.1, 0.1, 0.4]))
    assert (found.images, found.mean, found.median) == (3, pytest.approx(0.5), 0.4)
    assert (found.base_mean, found.base_median) == (pytest.approx(0.2), 0.1)
