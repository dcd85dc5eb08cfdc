"""Exchanging images among those that show the molecule from the same side."""

from __future__ import annotations

import numpy as np
import pytest
from tests.particles.made_up import particle_table

from cryosphere.validation.neighbours import exchanged, from_view, groups


def angles_between(first: np.ndarray, second: np.ndarray) -> np.ndarray:
    """Between axes, in degrees: opposite ends count as the same."""
    return np.degrees(np.arccos(np.clip(np.abs((first * second).sum(-1)), 0, 1)))


def test_partners_are_others_of_the_same_group_seen_from_nearly_the_same_side_or_from_behind():
    images = particle_table(4000)
    group = groups(images, 4)
    partner = exchanged(group, np.random.default_rng(0))
    assert sorted(partner) == list(range(4000))
    assert (partner != np.arange(4000)).all()
    assert (group[partner] == group).all()
    directions = images.rotations[:, 2]
    assert np.median(angles_between(directions, directions[partner])) < 4  # random ones: 60 degrees
    assert (np.einsum("ni,ni->n", directions, directions[partner]) < 0).any()


@pytest.mark.parametrize("count", [2, 3, 9, 17, 100])
def test_groups_are_as_large_as_allowed_and_none_is_alone(count):
    sizes = np.bincount(groups(particle_table(count), 4))
    assert sizes.max() <= 4
    assert sizes.min() >= 2


def test_what_depends_on_the_view_is_taken_off_and_what_does_not_stays():
    images = particle_table(3000, defocus=np.random.default_rng(2).uniform(1e4, 2e4, 3000))
    x, y, z = images.rotations[:, 2].T
    of_view = np.sin(3 * x * y) + z**4
    of_defocus = 1e-4 * (images.defocus_u - 1.5e4)
    own = np.random.default_rng(3).normal(size=3000)
    values = np.stack([of_view, of_defocus, own], axis=1)
    left = values - from_view(values, images)
    assert left[:, 0].std() < 0.05 * of_view.std()
    assert left[:, 1].std() < 1e-6
    assert left[:, 2].std() > 0.98 * own.std()


def test_few_images_are_not_explained_away():
    own = np.random.default_rng(3).normal(size=(50, 1))
    assert (own - from_view(own, particle_table(50))).std() > 0.8
