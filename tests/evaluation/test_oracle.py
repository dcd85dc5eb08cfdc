"""The oracle's posterior is Bayes' theorem over the true conformations."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch

from cryosphere.evaluation import oracle
from cryosphere.evaluation.oracle import conformation_posteriors, spread_candidates
from cryosphere.imaging.ctf import CtfParameters
from cryosphere.imaging.formation import particle_images
from cryosphere.imaging.grid import ImageGrid
from cryosphere.imaging.projection import ReferenceProjector
from cryosphere.particles.stacks import ImageStacks

ALL = np.arange(3)
ROWS = np.arange(40)


@pytest.fixture(scope="module")
def noisy(simulated):
    """Three conformations in images in which they can often, but not always, be told apart."""
    return simulated(3, count=40, snr=0.02)


def literal_posterior(data, stacks, prior):
    """Explicitly, in double precision: prior times exp(-|y - x|² / 2 s²) for every image y and prediction x."""
    truth = data.truth
    projector = ReferenceProjector(ImageGrid(truth.box, truth.pixel_size), truth.bead_sigma)
    result = []
    for row in ROWS:
        seen = particle_images(
            torch.as_tensor(truth.conformations, dtype=torch.float64),
            torch.as_tensor(truth.amplitudes),
            torch.as_tensor(truth.rotations[[row] * 3]),
            torch.as_tensor(truth.shifts[[row] * 3]),
            CtfParameters.from_table(data.table[np.array([row] * 3)], dtype=torch.float64),
            projector,
        ).numpy()
        observed = truth.sign * stacks.read(np.array([row]))[0].astype(np.float64)
        squares = ((observed - seen) ** 2).sum(axis=(1, 2))
        joint = prior * np.exp(-(squares - squares.min()) / (2 * truth.noise_sd**2))
        result.append(joint / joint.sum())
    return np.array(result)


def test_the_posterior_is_that_of_the_literal_sum_in_double_precision(noisy):
    stacks = ImageStacks(noisy.table)
    prior = np.bincount(noisy.truth.conformation_index) / len(ROWS)
    expected = literal_posterior(noisy, stacks, prior)
    found = conformation_posteriors(noisy.truth, stacks, ROWS, ALL)
    assert 0.2 < np.median(expected.max(axis=1)) < 0.999, "a case where it matters"
    # single precision and the fast projector: 5·10⁻⁴ of a signal whose weight in nats is 0.02 · 32² / 2 = 10
    assert found == pytest.approx(expected, abs=5e-3)


def test_the_prior_is_how_often_a_conformation_is_shown(noisy):
    skewed = replace(noisy.truth, conformation_index=np.repeat([0, 1, 2], [30, 8, 2]))
    stacks = ImageStacks(noisy.table)
    expected = literal_posterior(noisy, stacks, np.array([0.75, 0.2, 0.05]))
    assert conformation_posteriors(skewed, stacks, ROWS, ALL) == pytest.approx(expected, abs=5e-3)


def test_a_candidate_stands_for_the_conformations_nearest_to_it(noisy):
    order = np.argsort(noisy.truth.parameters[:, 0])
    low, middle, high = noisy.truth.parameters[order, 0]
    blind = replace(noisy.truth, noise_sd=1e9)
    found = conformation_posteriors(blind, ImageStacks(noisy.table), ROWS[:1], order[[0, 2]])
    counts = np.bincount(noisy.truth.conformation_index)[order] / len(ROWS)
    expected = [counts[0], counts[1] + counts[2]] if high - middle < middle - low else [counts[:2].sum(), counts[2]]
    assert found[0] == pytest.approx(expected, abs=1e-6)


def test_posteriors_sum_to_one_whatever_is_computed_at_a_time(noisy, monkeypatch):
    stacks = ImageStacks(noisy.table)
    whole = conformation_posteriors(noisy.truth, stacks, ROWS, ALL)
    assert whole.sum(axis=1) == pytest.approx(np.ones(len(ROWS)), abs=1e-12)
    monkeypatch.setattr(oracle, "PIXELS_READ", 7 * 32**2)
    monkeypatch.setitem(oracle.WORK_AT_ONCE, "cpu", 1)
    # alone, a structure may be projected without padding: the difference is the projector's, 5·10⁻⁴ of 10 nats
    assert conformation_posteriors(noisy.truth, stacks, ROWS, ALL) == pytest.approx(whole, abs=5e-3)


def test_without_noise_to_speak_of_the_oracle_knows_the_conformation(simulated):
    clear = simulated(3, count=40, snr=100.0)
    found = conformation_posteriors(clear.truth, ImageStacks(clear.table), ROWS, ALL)
    assert found.argmax(axis=1).tolist() == clear.truth.conformation_index.tolist()
    assert found.max(axis=1).min() > 0.999


def test_where_noise_is_everything_the_prior_is_left(noisy):
    blind = replace(noisy.truth, noise_sd=1e9)
    found = conformation_posteriors(blind, ImageStacks(noisy.table), ROWS, ALL)
    prior = np.bincount(noisy.truth.conformation_index) / len(ROWS)
    assert found == pytest.approx(np.tile(prior, (len(ROWS), 1)), abs=1e-6)


def test_the_number_of_threads_is_as_before(noisy):
    before = torch.get_num_threads()
    conformation_posteriors(noisy.truth, ImageStacks(noisy.table), ROWS[:2], ALL)
    assert torch.get_num_threads() == before


@pytest.mark.parametrize("sample", [200, 7])
def test_candidates_are_spread_along_the_angle_of_the_hinge(data, monkeypatch, sample):
    """The hinge's angle is the one way in which conformations differ, so it orders them; 20 of them, 5 candidates."""
    monkeypatch.setattr(oracle, "SAMPLE", sample)
    rank = np.argsort(np.argsort(data.truth.parameters[:, 0]))
    steps = np.diff(np.sort(rank[spread_candidates(data.truth, 5)]))
    assert steps.sum() == 19, "from the smallest angle to the largest"
    assert set(steps.tolist()) <= {4, 5}


def test_all_conformations_are_candidates_where_they_are_few(data):
    assert spread_candidates(data.truth, 100).tolist() == list(range(20))
