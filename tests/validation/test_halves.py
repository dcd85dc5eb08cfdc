"""Which images the two models are trained on, and which are kept for the comparison."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from tests.particles.made_up import particle_table

from cryosphere.errors import InputError
from cryosphere.validation.halves import choose_halves


@pytest.mark.parametrize("count", [200, 1000, 30_000])
def test_every_image_is_in_exactly_one_of_the_three_sets(count):
    found = choose_halves(particle_table(count), 0)
    together = np.concatenate([found.first, found.second, found.test])
    assert sorted(together) == list(range(count))
    assert abs(len(found.first) - len(found.second)) < 0.15 * count
    assert len(found.test) == {200: 50, 1000: 250, 30_000: 2000}[count]


def test_rows_of_one_image_are_never_in_two_of_the_sets():
    """As after a symmetry expansion."""
    thrice = particle_table(400)[np.repeat(np.arange(400), 3)]
    found = choose_halves(thrice, 0)
    images = [set(thrice.image_index[rows].tolist()) for rows in (found.first, found.second, found.test)]
    assert not images[0] & images[1]
    assert not images[2] & (images[0] | images[1])
    assert len(found.test) == len(images[2]) == 100
    split = replace(thrice, half_set=np.tile([1, 2, 1], 400))
    with pytest.raises(InputError, match="rows of one image into different halves"):
        choose_halves(split, 0)


def test_the_halves_of_the_refinement_are_kept_apart():
    subsets = np.random.default_rng(1).integers(1, 3, 1000)
    found = choose_halves(particle_table(1000, half_set=subsets), 0)
    assert (subsets[found.first] == 1).all()
    assert (subsets[found.second] == 2).all()
    assert "rlnRandomSubset" in found.how


def test_drawn_halves_are_told_of_and_depend_on_the_seed_alone():
    first, again, other = (choose_halves(particle_table(1000), seed) for seed in (0, 0, 1))
    assert "drawn with seed 0" in first.how
    assert np.array_equal(first.first, again.first)
    assert not np.array_equal(first.test, other.test)


def test_a_column_that_names_only_some_images_is_not_used_and_that_is_said():
    subsets = np.r_[np.ones(300, dtype=np.int64), np.zeros(700, dtype=np.int64)]
    assert "only 300 of 1,000" in choose_halves(particle_table(1000, half_set=subsets), 0).how


def test_halves_of_very_different_size_are_refused_with_their_sizes():
    subsets = np.r_[np.ones(800, dtype=np.int64), np.full(200, 2)]
    with pytest.raises(InputError, match="800 images into half 1 and 200 into half 2"):
        choose_halves(particle_table(1000, half_set=subsets), 0)


def test_too_few_images_are_refused_with_their_number():
    with pytest.raises(InputError, match="150 images are too few"):
        choose_halves(particle_table(150), 0)
