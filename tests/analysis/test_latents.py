"""Principal components, traversals and clusters of latents."""

from __future__ import annotations

import numpy as np
import pytest

from cryosphere.analysis.pca import principal_components
from cryosphere.analysis.traversal import cluster, traverse

GENERATOR = np.random.default_rng(5)


def test_the_first_component_is_the_direction_of_largest_variance():
    latents = GENERATOR.normal(size=(2000, 3)) * [0.1, 2.0, 0.5] + [4.0, 5.0, 6.0]
    found = principal_components(latents)
    assert found.directions[0] == pytest.approx([0.0, 1.0, 0.0], abs=0.05)  # sampling error of 2000 points
    assert found.variances == pytest.approx(np.sort(np.linalg.eigvalsh(np.cov(latents.T)))[::-1])
    assert found.explained.sum() == pytest.approx(1.0)


def test_components_keep_their_sign_when_images_are_reordered():
    latents = GENERATOR.normal(size=(500, 4)) * [3.0, 2.0, 1.0, 0.5]
    first = principal_components(latents).directions
    second = principal_components(latents[GENERATOR.permutation(500)]).directions
    assert first == pytest.approx(second, abs=1e-9)
    assert (np.take_along_axis(first, np.abs(first).argmax(axis=1)[:, None], axis=1) > 0).all()


def test_projecting_and_reconstructing_gives_the_latents_back():
    latents = GENERATOR.normal(size=(50, 3))
    found = principal_components(latents)
    assert found.reconstruct(found.project(latents)) == pytest.approx(latents)


@pytest.mark.parametrize("shape", [(1, 1), (1, 4), (2, 8), (2, 1), (3, 5)])
def test_few_images_still_have_a_component_to_follow(shape):
    latents = GENERATOR.normal(size=shape)
    found = principal_components(latents)
    assert 1 <= found.followed <= max(1, shape[0] - 1)
    walk = traverse(latents, found, 0, points=4)
    assert walk.latents.shape == (4, shape[1])
    assert np.isfinite(walk.latents).all()


@pytest.mark.parametrize(("spread", "expected"), [([3.0, 0.2, 0.1], 1), ([3.0, 1.0, 0.1], 2), ([1.0] * 8, 3)])
def test_components_with_less_than_a_hundredth_of_the_variance_are_not_followed(spread, expected):
    latents = GENERATOR.normal(size=(2000, len(spread))) * spread  # shares: squares of the spreads
    assert principal_components(latents).followed == expected


def test_equal_latents_give_a_traversal_that_stands_still():
    latents = np.full((20, 2), 0.7)
    walk = traverse(latents, principal_components(latents), 0)
    assert walk.latents == pytest.approx(np.full((10, 2), 0.7))


def test_a_traversal_runs_evenly_from_the_5th_to_the_95th_percentile():
    latents = GENERATOR.normal(size=(1000, 3)) * [2.0, 1.0, 0.3]
    found = principal_components(latents)
    walk = traverse(latents, found, 1, points=7)
    along = found.project(latents)[:, 1]
    assert found.project(walk.latents)[:, 1] == pytest.approx(np.linspace(*np.percentile(along, (5, 95)), 7))


def test_a_traversal_bends_with_curved_data_while_the_line_does_not():
    x = GENERATOR.uniform(-1, 1, 4000)
    latents = np.stack([2 * x, x**2 + 0.02 * GENERATOR.normal(size=4000)], axis=1)
    found = principal_components(latents)
    bent = traverse(latents, found, 0).latents
    straight = traverse(latents, found, 0, path="line").latents
    off = [np.abs(walk[:, 1] - (walk[:, 0] / 2) ** 2).max() for walk in (bent, straight)]
    assert off[0] < 0.1  # a kernel one step (0.4) wide flattens a curve of x²/4 by 0.04
    assert off[1] > 0.3


def test_a_traversal_across_a_fork_stays_on_a_branch():
    x = GENERATOR.uniform(-3, 3, 4000)
    latents = np.stack([2 * x, np.abs(x) + 0.05 * GENERATOR.normal(size=4000)], axis=1)  # a V; PC2 points upwards
    walk = traverse(latents, principal_components(latents), 1).latents
    nearest = np.linalg.norm(walk[:, None] - latents[None], axis=-1).min(axis=1)
    assert nearest.max() < 0.3  # a step of the traversal; in the middle of the V it would be up to 5
    assert np.ptp(np.sign(walk[2:, 0])) == 0  # one branch all the way


def test_clusters_are_found_and_represented_by_images_of_theirs():
    centres = np.array([[0.0, 0.0], [10.0, 0.0], [0.0, 10.0]])
    truth = np.repeat([0, 1, 2], [50, 200, 100])
    latents = centres[truth] + GENERATOR.normal(size=(350, 2)) * 0.3
    found = cluster(latents, 3)
    assert found.sizes.tolist() == [200, 100, 50]
    assert truth[found.rows].tolist() == [1, 2, 0]
    assert found.latents == pytest.approx(latents[found.rows])
    assert (found.labels == np.array([2, 0, 1])[truth]).all()


def test_no_more_clusters_than_different_latents():
    assert len(cluster(np.zeros((5, 3)), 10).rows) == 1
    assert len(cluster(np.array([[0.0], [1.0]]), 10).rows) == 2
