"""Terms of the loss against their definitions."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch

from cryosphere.fourier import low_pass, parseval_weights, to_spectrum
from cryosphere.model import losses
from cryosphere.model.posteriors import Gaussian, kl_divergence

NO_PAIRS = torch.zeros(0, 2, dtype=torch.int64)


@pytest.mark.parametrize("box", [24, 25])
def test_correlation_of_spectra_is_that_of_the_pixels(box: int) -> None:
    left, right = torch.randn(2, 3, box, box, dtype=torch.float64)
    right = right + 0.3 * left
    found = losses.spectral_correlation(to_spectrum(left), to_spectrum(right), parseval_weights(box).double())
    for k in range(3):
        a, b = left[k].flatten().numpy(), right[k].flatten().numpy()
        assert found[k].item() == pytest.approx(a @ b / (np.linalg.norm(a) * np.linalg.norm(b)), abs=1e-6)


def test_the_loss_mask_applies_to_both_images() -> None:
    box = 16
    mask = torch.zeros(box, box, dtype=torch.float64)
    mask[4:12, 4:12] = 1
    inside = torch.randn(1, box, box, dtype=torch.float64)
    left, right = inside.clone(), inside.clone()
    left[:, :4] += 50.0
    right[:, 13:] -= 80.0  # different rubbish outside the mask
    found = losses.masked_correlation(to_spectrum(left), to_spectrum(right), torch.ones(box, box // 2 + 1), mask)
    assert found.item() == pytest.approx(1.0, abs=1e-9)


def test_the_low_pass_applies_to_both_images() -> None:
    box, keep = 32, low_pass(32, 1.0, 8.0)
    base = torch.randn(1, box, box)
    left, right = to_spectrum(base), to_spectrum(base)
    beyond = keep == 0
    left = left + 30 * torch.randn(left.shape, dtype=left.dtype) * beyond
    right = right + 30 * torch.randn(right.shape, dtype=right.dtype) * beyond
    weights = parseval_weights(box) * keep.square()
    assert losses.spectral_correlation(left, right, weights).item() == pytest.approx(1.0, abs=1e-5)
    mask = torch.ones(box, box)
    assert losses.masked_correlation(left, right, keep, mask).item() == pytest.approx(1.0, abs=1e-5)


def test_an_empty_image_correlates_zero_with_finite_gradients() -> None:
    predicted = torch.zeros(1, 8, 5, dtype=torch.complex64, requires_grad=True)
    value = losses.spectral_correlation(predicted, to_spectrum(torch.randn(1, 8, 8)), parseval_weights(8))
    value.sum().backward()
    assert value.item() == 0
    assert torch.isfinite(torch.view_as_real(predicted.grad)).all()


def test_continuity_is_the_mean_squared_change_of_bond_lengths() -> None:
    base = torch.tensor([[0.0, 0, 0], [3.8, 0, 0], [7.6, 0, 0]])
    moved = torch.tensor([[[0.0, 0, 0], [3.8, 0, 0], [9.6, 0, 0]]])  # the second bond is 2 Å longer
    bonded = torch.tensor([[0, 1], [1, 2]])
    assert losses.continuity(moved, base, bonded).item() == pytest.approx((0 + 4) / 2, rel=1e-5)
    assert losses.continuity(moved, base, NO_PAIRS).item() == 0


def test_clash_is_the_mean_squared_depth_over_clashing_pairs_and_skips_bonds() -> None:
    positions = torch.tensor([[[0.0, 0, 0], [3.0, 0, 0], [0, 2.0, 0], [50.0, 0, 0]]])
    bonded = torch.tensor([[0, 1]])
    # non-bonded pairs below 4 Å: (0, 2) at 2 and (1, 2) at √13
    expected = ((4 - 2.0) ** 2 + (4 - math.sqrt(13)) ** 2) / 2
    assert losses.clash(positions, bonded).item() == pytest.approx(expected, rel=1e-5)


def test_nothing_clashing_gives_zero_and_finite_gradients() -> None:
    positions = (100 * torch.arange(4.0)[None, :, None].expand(2, 4, 3)).clone().requires_grad_()
    value = losses.clash(positions, NO_PAIRS)
    value.backward()
    assert value.item() == 0
    assert torch.isfinite(positions.grad).all()


def test_distant_parts_that_the_motion_brings_together_clash() -> None:
    positions = torch.tensor([[[0.0, 0, 0], [80.0, 0, 0]], [[0.0, 0, 0], [1.0, 0, 0]]])
    assert losses.clash(positions, NO_PAIRS).item() == pytest.approx((0 + 9) / 2, rel=1e-5)


def test_kl_divergence_is_that_of_torch_distributions() -> None:
    mean, log_sd = torch.randn(5, 3), 0.3 * torch.randn(5, 3)
    expected = torch.distributions.kl_divergence(
        torch.distributions.Normal(mean, log_sd.exp()), torch.distributions.Normal(0.2, 1.7)
    )
    assert torch.allclose(kl_divergence(Gaussian(mean, log_sd), 0.2, 1.7), expected, atol=1e-5)


def test_the_calibrated_weight_makes_the_objective_a_log_likelihood() -> None:
    # images y = a x + noise, unit variance, n pixels: the Gaussian log-likelihood of y under the best-scaled x' is
    # n/2 · 1/(1 - c²) · (…); its slope in the correlation is n c / (1 - c²). Take it by finite differences.
    n, c = 4000, 0.2
    noise_variance = 1 - c**2

    def log_likelihood(correlation: float) -> float:  # scale of the prediction fixed at its expected value c
        return -0.5 * n * (1 - 2 * c * correlation + c**2) / noise_variance

    slope = (log_likelihood(c + 1e-4) - log_likelihood(c - 1e-4)) / 2e-4
    assert 1 / losses.calibrated_kl_weight(torch.tensor(c), n).item() == pytest.approx(slope, rel=1e-5)
