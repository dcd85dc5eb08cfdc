"""Fourier shell correlation: against a plain loop, against another library, and what its figures mean."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
import torch_fourier_shell_correlation

from cryosphere.maps.fsc import (
    cryobench_area,
    resolution,
    shell_correlations,
    shell_frequencies,
    soft_ball,
    volume_spectra,
)


def volumes(box, count=2, seed=0):
    made = np.random.default_rng(seed).normal(size=(count, box, box, box))
    made[1:] += made[0]
    return torch.from_numpy(made)


def by_the_book(first, second, inside):
    """Correlation over the full spectrum, frequency by frequency in `inside(radius)`."""
    box = len(first)
    one, other = (np.fft.fftshift(np.fft.fftn(v)) for v in (first, second))
    axis = np.arange(box) - box // 2
    radius = np.sqrt(axis[:, None, None] ** 2 + axis[None, :, None] ** 2 + axis**2)
    where = inside(radius)
    cross = np.vdot(other[where], one[where]).real
    return cross / np.sqrt((np.abs(one[where]) ** 2).sum() * (np.abs(other[where]) ** 2).sum())


@pytest.mark.parametrize("box", [12, 13])
def test_centred_shells_agree_with_a_loop_over_the_full_spectrum(box):
    first, second = volumes(box)
    curve = shell_correlations(volume_spectra(first[None]), volume_spectra(second[None]))[0]
    assert len(curve) == (box - 1) // 2 + 1
    for i, value in enumerate(curve.tolist()):
        expected = by_the_book(first.numpy(), second.numpy(), lambda r, i=i: (r >= i - 0.5) & (r < i + 0.5))
        assert value == pytest.approx(expected, rel=1e-10)


@pytest.mark.parametrize("box", [12, 13])
def test_cryobench_shells_agree_with_a_loop_over_the_full_spectrum(box):
    """Shells i - 1 ≤ r < i, i = 1 … D / 2 - 1, and 1 at zero."""
    first, second = volumes(box)
    curve = shell_correlations(volume_spectra(first[None]), volume_spectra(second[None]), "cryobench")[0]
    assert len(curve) == box // 2
    assert curve[0] == 1.0
    for i in range(1, box // 2):
        expected = by_the_book(first.numpy(), second.numpy(), lambda r, i=i: (r >= i - 1) & (r < i))
        assert curve[i].item() == pytest.approx(expected, rel=1e-10)
    x = np.arange(box // 2) / box
    area = np.trapezoid(np.abs(curve.numpy()), x)
    assert cryobench_area(curve[None], box).item() == pytest.approx(area, rel=1e-12)


def test_the_area_of_equal_volumes_is_the_maximum_that_cryobench_states():
    """0.492 at a box of 128."""
    spectra = volume_spectra(volumes(128, count=1).float())
    curve = shell_correlations(spectra, spectra, "cryobench")
    assert cryobench_area(curve, 128).item() == pytest.approx(0.492, abs=5e-4)


def test_another_library_agrees():
    """torch-fourier-shell-correlation shares each frequency among the two nearest shells: alike, not equal."""
    first, second = volumes(48)
    mine = shell_correlations(volume_spectra(first[None]), volume_spectra(second[None]))[0]
    theirs = torch_fourier_shell_correlation.fourier_shell_correlation(first, second)
    # shells of thousands of independent frequencies scatter by less than 0.03 about 0.707
    assert torch.allclose(mine[6:], theirs[6 : len(mine)].to(mine), atol=0.03)


def test_a_batch_is_compared_pair_by_pair_or_with_one():
    several, one = volume_spectra(volumes(10, 4)), volume_spectra(volumes(10, 1, seed=1))
    together = shell_correlations(several, one)
    for k in range(4):
        assert torch.allclose(together[k], shell_correlations(several[k : k + 1], one)[0])


def test_noise_as_strong_as_the_signal_in_both_maps_gives_a_half():
    signal, *noise = torch.from_numpy(np.random.default_rng(2).normal(size=(3, 64, 64, 64)))
    first, second = (volume_spectra((signal + n)[None]) for n in noise)
    curve = shell_correlations(first, second)[0, 8:]
    assert curve.mean().item() == pytest.approx(0.5, abs=0.01)


def test_shells_without_signal_have_no_correlation():
    nothing = volume_spectra(torch.zeros(1, 8, 8, 8))
    assert shell_correlations(nothing, nothing).tolist() == [[0.0] * 4]


def test_resolution_is_where_the_curve_first_falls_below_the_threshold():
    frequencies = shell_frequencies(5, box=10, pixel_size=2.0)  # 0, 0.05, 0.1, 0.15, 0.2 per Å
    curves = torch.tensor([[1.0, 0.9, 0.7, 0.3, 0.6], [1.0, 0.4, 0.9, 0.1, 0.0], [1.0, 1.0, 1.0, 0.9, 0.8]])
    found = resolution(curves, frequencies, 0.5).tolist()
    # halfway between 0.1 and 0.15; 5/6 of the way from 0 to 0.05; never: the last shell
    assert found == pytest.approx([1 / 0.125, 1 / (0.05 * 5 / 6), 1 / 0.2])


def test_a_curve_that_only_touches_the_threshold_has_not_fallen_below_it():
    curve = torch.tensor([[1.0, 0.5, 0.5, 0.0]])
    assert resolution(curve, shell_frequencies(4, 10, 1.0), 0.5).item() == pytest.approx(5.0)


def test_a_low_passed_map_agrees_with_itself_up_to_its_cutoff():
    """Noise beyond 1 / 8 Å in one of the maps: the 0.143 crossing lies there."""
    box, voxel = 64, 2.0
    original, noise = volumes(box, 2, seed=3)
    spectra = volume_spectra(original[None])
    radius = torch.sqrt(sum(torch.meshgrid(*(_squared(box, half=k == 2) for k in range(3)), indexing="ij")))
    mixed = torch.where(radius <= box * voxel / 8.0, spectra, volume_spectra(noise[None] - original[None]))
    curve = shell_correlations(spectra, mixed)
    found = resolution(curve, shell_frequencies(curve.shape[1], box, voxel), 0.143).item()
    assert found == pytest.approx(8.0, abs=8.0 / 16)  # within a shell: the 16th is the last one kept


def _squared(box, *, half):
    whole = np.fft.rfftfreq(box) if half else np.fft.fftfreq(box)
    return torch.from_numpy((whole * box) ** 2)


def test_a_soft_mask_is_one_inside_and_zero_outside():
    mask = soft_ball(21, 5.0, 3.0)
    assert mask[10, 10, 15] == 1.0
    assert mask[10, 10, 18] == 0.0
    assert mask[10, 10, 16].item() == pytest.approx(0.5 * (1 + math.cos(math.pi / 3)), abs=1e-6)
