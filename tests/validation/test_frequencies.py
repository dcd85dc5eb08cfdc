"""The two sets of frequencies share no noise, although the images end at a disc that mixes neighbouring ones."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from cryosphere.fourier import integer_frequencies, to_spectrum
from cryosphere.particles.preprocess import edge_mask
from cryosphere.validation.frequencies import two_sets


@pytest.mark.parametrize("box", [32, 47, 64])
def test_no_frequency_is_in_both_sets_nor_within_one_cycle_of_the_other(box):
    first, second = (mask.bool() for mask in two_sets(box))
    assert not (first & second).any()
    rows, columns = (f.expand(first.shape) for f in integer_frequencies(box))
    points = torch.stack([rows, columns], dim=-1).float()
    apart = torch.cdist(points[first], points[second])
    assert apart.min() > 1.4


@pytest.mark.parametrize("box", [32, 47, 64])
def test_a_frequency_and_its_mirror_image_are_in_the_same_set(box):
    rows = -np.arange(box) % box
    for mask in two_sets(box):
        assert torch.equal(mask[:, 0], mask[rows, 0])


def test_both_sets_reach_from_coarse_to_fine_detail():
    rows, columns = integer_frequencies(64)
    ring = (rows.square() + columns.square()).float().sqrt()
    for mask in two_sets(64):
        assert ring[mask > 0].min() < 5
        assert ring[mask > 0].max() > 30
        assert 0.25 < float(mask.mean()) < 0.4


def test_noise_behind_a_round_mask_hardly_correlates_between_the_sets():
    """A tenth of what it does between neighbouring frequencies, as squared correlations summed over neighbours."""
    box = 32
    noise = torch.randn(4000, box, box, generator=torch.Generator().manual_seed(0))
    spectra = to_spectrum(noise * edge_mask(box, 0.1))
    inside = torch.zeros(box, box // 2 + 1, dtype=torch.bool)
    inside[:12, 1:12] = True  # one quadrant, so that no frequency is another's mirror image
    first, second = (mask.bool() & inside for mask in two_sets(box))
    one, other = spectra[:, first], spectra[:, second]
    normed = [x / x.abs().square().mean(0).sqrt() for x in (one, other)]
    between = (normed[0].mH @ normed[1] / len(noise)).abs().square()
    chance = 1 / len(noise)
    leak = (between - chance).sum(1).max()
    everything = spectra[:, inside]
    everything = everything / everything.abs().square().mean(0).sqrt()
    within = (everything.mH @ everything / len(noise)).abs().square().fill_diagonal_(0) - chance
    within = within.masked_fill(torch.eye(len(within), dtype=torch.bool), 0.0)
    assert within.sum(1).max() > 0.1  # neighbours do correlate
    assert leak < 0.2 * within.sum(1).max()
