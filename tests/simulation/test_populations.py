"""Sharing out images among states: whole numbers, as near to the weights as they can be."""

from __future__ import annotations

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from cryosphere.simulation.populations import assigned, shared_out

WEIGHTS = st.lists(st.floats(0.001, 1000), min_size=1, max_size=20)


@given(st.integers(0, 10_000), WEIGHTS)
def test_everything_is_shared_out_and_nobody_misses_his_share_by_one(total, weights):
    counts = shared_out(total, weights)
    assert counts.sum() == total
    assert np.abs(counts - total * np.array(weights) / sum(weights)).max() < 1 + 1e-6


@given(st.integers(1, 500), WEIGHTS, st.integers(0, 9))
def test_every_image_shows_a_state_and_states_are_shown_as_often_as_shared_out(images, weights, seed):
    index = assigned(images, len(weights), weights, np.random.default_rng(seed))
    assert np.array_equal(np.bincount(index, minlength=len(weights)), shared_out(images, weights))


@given(st.integers(1, 500), st.integers(1, 40))
def test_without_weights_states_are_shown_equally_often(images, states):
    counts = np.bincount(assigned(images, states, None, np.random.default_rng(0)), minlength=states)
    assert counts.max() - counts.min() <= 1


def test_a_state_of_weight_zero_is_never_shown():
    assert shared_out(7, [0, 1, 0, 3]).tolist() == [0, 2, 0, 5]
