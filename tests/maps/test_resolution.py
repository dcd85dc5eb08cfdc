"""What is said of two half-maps: how far they agree, what a mask adds to that, and where the particle is."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch

from cryosphere.imaging.grid import ImageGrid
from cryosphere.maps.fsc import soft_ball
from cryosphere.maps.masks import mask_around_particle
from cryosphere.maps.resolution import half_map_curves, resolution_at

GRID = ImageGrid(48, 3.0)


def noise(seed, box=48):
    return torch.randn(box, box, box, generator=torch.Generator().manual_seed(seed))


def smooth(volume, cycles):
    """Up to so many cycles per box."""
    box = len(volume)
    axis = torch.fft.fftfreq(box, 1 / box)
    radius = (axis[:, None, None] ** 2 + axis[:, None] ** 2 + axis[: box // 2 + 1] ** 2).sqrt()
    return torch.fft.irfftn(torch.fft.rfftn(volume) * (radius <= cycles), s=(box, box, box))


def curves_of(first, second, mask):
    return half_map_curves(first, second, mask, GRID, torch.Generator().manual_seed(0))


def test_a_mask_alone_makes_noise_agree_and_the_correction_takes_that_off():
    signal, mask = 30 * smooth(noise(0), 6), soft_ball(48, 6, 4)
    signal = signal * soft_ball(48, 8, 4)
    found = curves_of(signal + noise(1), signal + noise(2), mask)
    assert found.randomised_from is not None
    shell = round(found.randomised_from * GRID.length)
    assert found.unmasked[shell] < 0.8 <= found.unmasked[1:shell].min()
    beyond = slice(shell + 2, None)
    assert np.array_equal(found.corrected[: shell + 2], found.masked[: shell + 2])
    assert np.all(found.corrected[beyond] <= found.masked[beyond] + 1e-12)
    # true detail ends at shell 6 plus what the ball mixes in, some three shells
    assert np.abs(found.corrected[14:].mean()) < 0.1


def test_maps_that_agree_everywhere_keep_their_phases():
    one = noise(0)
    found = curves_of(one, one + 0.1 * noise(1), torch.ones(48, 48, 48))
    assert found.randomised_from is None
    assert np.array_equal(found.corrected, found.masked)
    assert resolution_at(found.corrected, found.frequencies, 0.143).kind == "at Nyquist"


def test_random_phases_keep_amplitudes_and_nothing_of_the_agreement():
    one = noise(0)
    found = curves_of(one + 2 * noise(1), one + 2 * noise(2), torch.ones(48, 48, 48))
    start = round(found.randomised_from * GRID.length)
    assert start == 1
    # independent phases: shells of n frequencies scatter by 1 / sqrt(n), 0.02 beyond shell 10
    assert np.abs(found.phase_randomised[10:]).max() < 0.08
    assert found.masked[10:].mean() == pytest.approx(0.2, abs=0.02)


@pytest.mark.parametrize(
    ("curve", "kind", "angstrom"),
    [
        ([1.0, 1.0, 0.5, 0.1, 0.3], "crossed", 1 / (0.02 + 0.01 * 0.357 / 0.4)),
        ([1.0, 0.1, 0.9, 0.5, 0.0], "crossed", 1 / (0.03 + 0.01 * 0.357 / 0.5)),  # the lowest shell is not the end
        ([1.0, 0.9, 0.9, 0.8, 0.7], "at Nyquist", 25.0),
        ([1.0, 0.1, 0.0, 0.1, 0.0], "none", math.inf),
    ],
)
def test_the_resolution_is_where_the_curve_falls_and_says_where_it_does_not(curve, kind, angstrom):
    found = resolution_at(np.array(curve), 0.01 * np.arange(5), 0.143)
    assert (found.kind, found.angstrom) == (kind, pytest.approx(angstrom))
    assert {"crossed": "Å", "at Nyquist": "at Nyquist", "none": "nowhere above"}[kind] in str(found)


def particle():
    """A bright bar of 10 x 12 x 20 voxels, a smaller blob apart from it, and noise."""
    volume = np.zeros((48, 48, 48), dtype=np.float32)
    volume[19:29, 18:30, 14:34] = 1.0
    volume[38:42, 38:42, 38:42] = 1.0
    return volume


def test_the_mask_is_around_the_largest_density_and_soft():
    rough = 0.05 * noise(3).numpy()
    found = mask_around_particle(particle() + rough, 0.05 * noise(4).numpy(), GRID, 140.0)
    values = found.values
    bar, blob = particle() > 0.5, np.zeros((48, 48, 48), dtype=bool)
    blob[38:42, 38:42, 38:42] = True
    assert values[bar & ~blob].min() == pytest.approx(1.0)
    assert values[blob].max() == 0.0
    assert (values.min(), values.max()) == (0.0, 1.0)
    assert np.abs(np.diff(values, axis=2)).max() < 0.5  # 10 Å are more than three voxels
    assert 0.05 < values.mean() < 0.25
    assert "largest connected density" in found.note


def test_a_map_of_noise_gets_a_ball_and_is_told():
    found = mask_around_particle(noise(5).numpy(), noise(6).numpy(), GRID, 100.0)
    assert "no density stands out of the noise" in found.note
    assert found.values[24, 24, 24] == 1.0
    assert found.values[24, 24, 24 + 17] == 0.0  # 51 Å from the centre
