"""Figures of the latent space, where they can be said beforehand."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from scipy.spatial.transform import Rotation

from cryosphere.evaluation.latents import (
    divergences,
    effective_dimension,
    latent_quality,
    neighbours_kept,
    predictability,
)

GENERATOR = np.random.default_rng(2)


def between(points):
    return np.linalg.norm(points[:, None] - points[None], axis=-1)


def test_a_latent_that_is_the_truth_keeps_all_neighbours():
    line = GENERATOR.normal(size=(200, 1))
    assert neighbours_kept(between(line), between(3 * line), 5)[0] == 1.0


def test_a_latent_of_chance_keeps_as_many_as_chance():
    found, chance = neighbours_kept(
        between(1000 * GENERATOR.normal(size=(500, 1))), between(GENERATOR.normal(size=(500, 2))), 25
    )
    assert chance == pytest.approx(25 / 499, rel=1e-2)  # and now and then another within the tie of 0.001 Å
    assert found == pytest.approx(chance, abs=0.01)  # 500 × 25 draws with p = 0.05: 0.002, one standard deviation


def test_all_images_of_one_conformation_are_its_nearest():
    """Five conformations, 40 images each: any of the 39 others counts, though only 5 are asked for."""
    which = np.repeat(np.arange(5.0), 40)[:, None]
    latent = which + 0.01 * GENERATOR.normal(size=which.shape)
    found, chance = neighbours_kept(between(which), between(latent), 5)
    assert (found, chance) == (1.0, pytest.approx(39 / 199))


def test_a_pose_in_the_latent_is_found_and_chance_is_not():
    poses = Rotation.random(600, random_state=0).as_matrix().reshape(-1, 9)
    leaking, by_chance = predictability(poses[:, :4] + 0.1 * GENERATOR.normal(size=(600, 4)), poses)
    assert leaking > 0.4  # four of nine entries are told outright
    assert abs(by_chance) < 0.05
    nothing, _ = predictability(GENERATOR.normal(size=(600, 4)), poses)
    assert abs(nothing) < 0.05


def test_a_bent_dependence_on_the_pose_is_found_too():
    """The square of an entry: no line predicts it, since poses are alike to both sides."""
    views = Rotation.random(1000, random_state=1).as_matrix()[:, 2]
    found, by_chance = predictability(np.abs(views[:, :1]), views[:, :1] ** 2)
    assert found > 0.9
    assert by_chance < 0.05


@pytest.mark.parametrize("dimensions", [1, 2, 5])
def test_as_many_dimensions_as_vary_alike(dimensions):
    mean = np.zeros((4000, 6))
    mean[:, :dimensions] = GENERATOR.normal(size=(4000, dimensions))
    assert effective_dimension(mean) == pytest.approx(dimensions, rel=0.01)  # sampling: eigenvalues differ by 3 %


def test_turning_latent_space_changes_no_dimension():
    mean = GENERATOR.normal(size=(300, 3)) * [3.0, 1.0, 0.1]
    turned = mean @ Rotation.random(random_state=3).as_matrix()
    assert effective_dimension(turned) == pytest.approx(effective_dimension(mean))
    assert effective_dimension(mean[:, :1]) == pytest.approx(1.0)
    assert np.isnan(effective_dimension(np.ones((10, 3))))


def test_a_posterior_that_is_the_prior_diverges_by_nothing():
    assert divergences(np.zeros((5, 2)), np.ones((5, 2))) == pytest.approx([0.0, 0.0])
    # a mean of 1 costs half a nat; half the spread costs log 2 - 3/8
    assert divergences(np.array([[1.0, 0.0]]), np.array([[1.0, 0.5]])) == pytest.approx([0.5, np.log(2) - 0.375])


def test_the_simulated_angle_as_latent_is_in_order(data):
    angle = data.truth.parameters[data.truth.conformation_index, 0]
    mean = np.stack([angle / angle.std(), np.zeros(100)], axis=1).astype(np.float32)
    found = latent_quality(mean, np.tile(np.float32([0.01, 1.0]), (100, 1)), data.truth)
    assert (found.images, found.neighbours, found.neighbours_kept) == (100, 2, 1.0)
    assert (found.dimensions, found.active_dimensions) == (2, 1)
    assert found.effective_dimension == pytest.approx(1.0)
    assert found.pose_r2 < 0.05


def test_with_very_few_images_nothing_is_said_about_neighbours_and_poses(data):
    names = ("conformation_index", "rotations", "shifts", "presence")
    few = replace(data.truth, **{name: getattr(data.truth, name)[:5] for name in names})
    found = latent_quality(np.zeros((5, 2), np.float32), np.ones((5, 2), np.float32), few)
    assert found.neighbours_kept is None
    assert found.pose_r2 is None
    assert np.isnan(found.effective_dimension)
