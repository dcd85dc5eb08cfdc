"""The Fourier pair and what is exact in Fourier space."""

from __future__ import annotations

import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from cryosphere import fourier


def gaussian_blob(box: int, x: float, y: float, sigma: float) -> torch.Tensor:
    """A smooth image that is band-limited to rounding: its own definition is the outside source."""
    axis = torch.arange(box, dtype=torch.float64) - box // 2
    return torch.exp(-((axis[None, :] - x) ** 2 + (axis[:, None] - y) ** 2) / (2 * sigma**2))


@pytest.mark.parametrize("box", [32, 33])
def test_the_inverse_transform_gives_the_image_back(box: int) -> None:
    image = torch.randn(3, box, box, dtype=torch.float64)
    assert torch.allclose(fourier.from_spectrum(fourier.to_spectrum(image), box), image, atol=1e-12)


@pytest.mark.parametrize("box", [32, 33])
def test_parseval_weights_give_the_sum_of_squares_of_the_pixels(box: int) -> None:
    image = torch.randn(box, box, dtype=torch.float64)
    power = (fourier.parseval_weights(box) * fourier.to_spectrum(image).abs() ** 2).sum()
    assert power.item() == pytest.approx(image.square().sum().item(), rel=1e-6)


@pytest.mark.parametrize(("box", "new_box"), [(64, 32), (64, 48), (65, 32), (64, 33), (65, 33), (65, 49), (64, 63)])
def test_cropping_samples_a_smooth_image_on_coarser_pixels_about_the_same_centre(box: int, new_box: int) -> None:
    factor = box / new_box
    sigma = 3.0 * factor  # nothing beyond either Nyquist frequency
    image = gaussian_blob(box, 0.0, 0.0, sigma)
    cropped = fourier.from_spectrum(fourier.crop(fourier.to_spectrum(image), box, new_box), new_box)
    expected = gaussian_blob(new_box, 0.0, 0.0, sigma / factor)
    inside = fourier.pixel_radii(new_box) < new_box / 4
    assert torch.allclose(cropped[inside], expected[inside], atol=2e-3)  # tails of the blob wrap around the box


@pytest.mark.parametrize("box", [64, 65])
@pytest.mark.parametrize(("dx", "dy"), [(3.0, -2.0), (0.5, 0.25), (-7.3, 11.9)])
def test_shifting_moves_the_content_by_exactly_that_many_pixels_in_x_and_y(box: int, dx: float, dy: float) -> None:
    image = gaussian_blob(box, 0.0, 0.0, 2.5)
    moved = fourier.shift(fourier.to_spectrum(image), box, torch.tensor([dx, dy], dtype=torch.float64))
    expected = gaussian_blob(box, dx, dy, 2.5)
    assert torch.allclose(fourier.from_spectrum(moved, box), expected, atol=1e-6)


def test_half_a_pixel_of_shift_keeps_the_power_of_white_noise() -> None:
    noise = torch.randn(50, 33, 33, generator=torch.Generator().manual_seed(0))
    moved = fourier.from_spectrum(fourier.shift(fourier.to_spectrum(noise), 33, torch.tensor([0.5, 0.5])), 33)
    assert moved.square().mean().item() == pytest.approx(noise.square().mean().item(), rel=1e-4)


def test_cropping_cannot_enlarge() -> None:
    with pytest.raises(ValueError, match="cannot enlarge"):
        fourier.truncate(fourier.to_spectrum(torch.zeros(8, 8)), 8, 16)


@given(box=st.integers(8, 70), fraction=st.floats(0.3, 1.0))
def test_cropping_keeps_the_mean_grey_value(box: int, fraction: float) -> None:
    new_box = max(4, round(box * fraction))
    image = torch.rand(box, box, dtype=torch.float64)
    cropped = fourier.from_spectrum(fourier.crop(fourier.to_spectrum(image), box, new_box), new_box)
    assert cropped.mean().item() == pytest.approx(image.mean().item(), rel=1e-9)


def test_low_pass_keeps_what_is_coarser_and_removes_what_is_finer() -> None:
    box, pixel = 64, 1.5
    keep = fourier.low_pass(box, pixel, 12.0)
    radii = fourier.radial_frequencies(box, pixel)
    assert (keep[radii < 1 / 12.0] == 1).all()
    assert (keep[radii > 1.3 / 12.0] == 0).all()
    assert (fourier.low_pass(box, pixel, None) == 1).all()


def test_soft_disc_is_one_inside_zero_outside_and_half_in_the_middle_of_its_edge() -> None:
    disc = fourier.soft_disc(65, 10.0, 4.0)
    assert disc[32, 32] == 1
    assert disc[32, 32 + 12].item() == pytest.approx(0.5)
    assert disc[32, 32 + 15] == 0
    assert math.isclose(float(disc.max()), 1.0)
