"""Learned segments against true domains, where the answer can be said beforehand."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.spatial.transform import Rotation

from cryosphere.evaluation.domains import Domain
from cryosphere.evaluation.partition import Learned, bodies_between, ends_of_components, partition
from cryosphere.structures.beads import Beads

COUNT = 100
BASE = np.random.default_rng(1).normal(scale=10.0, size=(COUNT, 3))
TRUE = np.repeat([0, 1], [60, 40])
DOMAINS = [Domain("TOP", TRUE == 1), Domain("CORE", TRUE == 0)]
BEADS = Beads(
    positions=BASE,
    amplitudes=np.ones(COUNT),
    chain=np.full(COUNT, "A"),
    number=np.arange(1, COUNT + 1),
    insertion=np.full(COUNT, ""),
    name=np.full(COUNT, "ALA"),
    kind=np.full(COUNT, "protein"),
    bonded=np.array([[k, k + 1] for k in range(COUNT - 1)]),
)


def opened(degrees):
    """Structures (n, R, 3) in which TOP has turned about one axis."""
    result = np.repeat(BASE[None], len(degrees), axis=0)
    for structure, angle in zip(result, degrees, strict=True):
        structure[TRUE == 1] = Rotation.from_euler("y", angle, degrees=True).apply(BASE[TRUE == 1])
    return result


def learned(assignment, segments=5, degrees=(-30.0, 0.0, 30.0)):
    structures = opened(degrees)
    ends = structures[None, [0, -1]]
    bodies = bodies_between(ends, assignment, tolerance=0.5)
    return Learned(BEADS, np.eye(segments)[assignment], assignment, bodies, 0.5, structures, structures)


def test_the_true_cut_scores_one_and_leaves_other_segments_empty():
    found = partition(learned(np.where(TRUE == 1, 3, 1)), DOMAINS, BASE)
    assert (found.adjusted_rand, found.adjusted_rand_bodies) == (1.0, 1.0)
    assert (found.segments_used, found.segments_empty) == (2, 3)
    assert found.bodies == [[2], [4]]
    [boundary] = found.boundaries
    assert (boundary.chain, boundary.after, boundary.nearest_segment, boundary.nearest_body) == ("A", 60, 0, 0)


def test_a_domain_in_two_segments_that_move_alike_is_one_body():
    """Segments 1-30, 31-60 and 61-100: the first two stay, the last one moves."""
    found = partition(learned(np.repeat([0, 1, 2], [30, 30, 40])), DOMAINS, BASE)
    assert found.adjusted_rand < 0.8
    assert found.adjusted_rand_bodies == 1.0
    assert found.bodies == [[1, 2], [3]]
    assert [domain.one_body for domain in found.domains] == [True, True]


def test_a_boundary_is_as_far_off_as_along_the_chain():
    found = partition(learned(np.repeat([0, 1], [57, 43])), DOMAINS, BASE)
    assert found.boundaries[0].nearest_segment == 3


@pytest.mark.parametrize(("left_over", "counted"), [(1, 1), (2, 1), (3, 2)])
def test_a_last_residue_or_two_left_to_another_domain_make_no_boundary(left_over, counted):
    top = (TRUE == 1) & (np.arange(COUNT) < COUNT - left_over)
    found = partition(learned(TRUE.copy()), [Domain("TOP", top), Domain("CORE", ~top)], BASE)
    assert [one.after for one in found.boundaries] == [60, COUNT - left_over][:counted]


def test_without_a_cut_there_is_no_nearest_boundary():
    found = partition(learned(np.zeros(COUNT, dtype=np.int64)), DOMAINS, BASE)
    assert (found.boundaries[0].nearest_segment, found.boundaries[0].nearest_body) == (None, None)
    assert found.adjusted_rand == pytest.approx(0.0)


def test_a_rigid_domain_has_no_misfit_and_a_bent_one_has():
    one = learned(np.repeat([0, 1], [60, 40]))
    found = partition(one, [*DOMAINS, Domain("ALL", np.ones(COUNT, dtype=np.bool_))], BASE)
    assert [domain.misfit for domain in found.domains[:2]] == pytest.approx([0.0, 0.0], abs=1e-6)
    assert found.domains[2].misfit > 1.0
    assert [domain.segments for domain in found.domains] == [[2], [1], [1, 2]]
    assert found.domains[2].one_body is False


def test_residues_of_no_domain_do_not_count():
    assignment = np.where(TRUE == 1, 1, 0)
    assignment[:10] = 2
    domains = [DOMAINS[0], Domain("CORE", (TRUE == 0) & (np.arange(COUNT) >= 10))]
    assert partition(learned(assignment), domains, BASE).adjusted_rand == 1.0


def test_residues_held_fixed_are_a_part_of_their_own():
    assignment = np.where(TRUE == 1, 0, -1)
    structures = opened((-30.0, 30.0))
    bodies = bodies_between(structures[None], assignment, tolerance=0.5)
    membership = (assignment == 0)[:, None].astype(np.float64)
    found = partition(Learned(BEADS, membership, assignment, bodies, 0.5, structures, structures), DOMAINS, BASE)
    assert found.adjusted_rand == 1.0
    assert found.bodies == [[0], [1]]
    assert (found.segments_allowed, found.segments_used) == (1, 1)


def test_ends_lie_along_the_directions_in_which_latents_differ():
    latents = np.random.default_rng(0).normal(size=(5000, 3)) * [2.0, 1.0, 0.01] + 7.0
    ends = ends_of_components(latents)
    assert ends.shape == (2, 2, 3)  # the third direction holds less than 1 % of the variance
    across = np.abs(np.diff(ends, axis=1)[:, 0])
    # 5th to 95th percentile of a normal distribution: 3.29 standard deviations; 5000 draws: to 3 %
    assert across[0] == pytest.approx([6.58, 0.0, 0.0], abs=0.25)
    assert across[1] == pytest.approx([0.0, 3.29, 0.0], abs=0.25)
    assert ends_of_components(np.zeros((4, 1))).shape == (1, 2, 1)
    assert np.isfinite(ends_of_components(np.ones((1, 3)))).all()
