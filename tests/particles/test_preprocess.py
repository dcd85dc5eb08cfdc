"""Preprocessing against images whose downsampled, shifted form is known by formula."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from cryosphere import fourier
from cryosphere.errors import ConfigError
from cryosphere.particles.preprocess import PreprocessSettings, edge_mask, preprocess_batch


def settings(**changes) -> PreprocessSettings:
    return PreprocessSettings(
        **{"box": None, "contrast": "white", "background_radius": 20.0, "soft_edge": 0.0, **changes}
    )


def blob(box: int, pixel_size: float, centre: tuple[float, float], sigma: float = 6.0) -> torch.Tensor:
    """Gaussian of width sigma (Å) at (x, y) Å from the physical centre, sampled on box pixels."""
    axis = (torch.arange(box, dtype=torch.float64) - box // 2) * pixel_size
    square = (axis[None, :] - centre[0]) ** 2 + (axis[:, None] - centre[1]) ** 2
    return torch.exp(-square / (2 * sigma**2)).float()


def correlation(a: torch.Tensor, b: torch.Tensor) -> float:
    return float(torch.corrcoef(torch.stack([a.flatten(), b.flatten()]))[0, 1])


@pytest.mark.parametrize("side", [64, 65])
@pytest.mark.parametrize("box", [None, 48, 41])
def test_the_particle_is_moved_to_the_centre_and_downsampled_exactly(side, box):
    shift = torch.tensor([[5.3, -7.7]])  # Å: the particle stands at minus the shift
    image = blob(side, 2.0, (-5.3, 7.7))[None]
    spectra = preprocess_batch(image, shift, 2.0, settings(box=box))
    new_box = side if box is None else box
    result = fourier.from_spectrum(spectra, new_box)[0]
    expected = blob(new_box, 2.0 * side / new_box, (0.0, 0.0))
    # float32 transforms; the Gaussian itself is band-limited to 1e-8 at these pixel sizes
    assert correlation(result, expected) > 1 - 1e-6
    wrong = preprocess_batch(image, -shift, 2.0, settings(box=box))
    assert correlation(fourier.from_spectrum(wrong, new_box)[0], expected) < 0.5


@pytest.mark.parametrize("box", [32, 33])
def test_the_background_has_mean_0_and_standard_deviation_1(box):
    generator = torch.Generator().manual_seed(0)
    images = 7 + 3 * torch.randn(5, 64, 64, generator=generator)
    result = fourier.from_spectrum(preprocess_batch(images, torch.zeros(5, 2), 1.5, settings(box=box)), box)
    outside = result[:, fourier.pixel_radii(box) > 20.0 / (1.5 * 64 / box)]
    torch.testing.assert_close(outside.mean(dim=1), torch.zeros(5), atol=1e-4, rtol=0)
    torch.testing.assert_close(outside.std(dim=1, correction=0), torch.ones(5), atol=1e-4, rtol=0)


def test_dark_protein_becomes_bright():
    noise = torch.randn(1, 64, 64, generator=torch.Generator().manual_seed(1))
    dark = noise - 20 * blob(64, 1.5, (0, 0))
    black = fourier.from_spectrum(preprocess_batch(dark, torch.zeros(1, 2), 1.5, settings(contrast="black")), 64)
    white = fourier.from_spectrum(preprocess_batch(dark, torch.zeros(1, 2), 1.5, settings()), 64)
    torch.testing.assert_close(black, -white, atol=1e-5, rtol=0)
    assert black[0, 32, 32] > 10


def test_a_radius_beyond_the_box_leaves_the_corners_as_background():
    images = torch.randn(2, 32, 32, generator=torch.Generator().manual_seed(2))
    spectra = preprocess_batch(images, torch.zeros(2, 2), 1.0, settings(background_radius=1e6))
    outside = fourier.from_spectrum(spectra, 32)[:, fourier.pixel_radii(32) > 0.9 * 16]
    torch.testing.assert_close(outside.std(dim=1, correction=0), torch.ones(2), atol=1e-4, rtol=0)


def test_noiseless_images_are_normalised_by_the_whole_image():
    image = 5 + torch.where(fourier.pixel_radii(64) < 8, 3.0, 0.0)[None]
    result = fourier.from_spectrum(preprocess_batch(image, torch.zeros(1, 2), 1.0, settings()), 64)
    assert result.isfinite().all()
    assert float(result.square().mean()) == pytest.approx(1.0, rel=1e-4)


def test_the_soft_edge_falls_to_zero_at_half_the_box():
    mask = edge_mask(64, 0.25)
    radii = fourier.pixel_radii(64)
    assert mask[radii >= 32].max() == 0
    torch.testing.assert_close(mask[radii <= 24], torch.ones_like(mask[radii <= 24]))
    assert float(mask[32, 32 + 28]) == pytest.approx(0.5, abs=1e-6)  # the cosine's middle
    assert edge_mask(64, 0.0).min() == 1
    images = torch.randn(1, 64, 64, generator=torch.Generator().manual_seed(3))
    masked = fourier.from_spectrum(preprocess_batch(images, torch.zeros(1, 2), 1.0, settings(soft_edge=0.25)), 64)
    assert masked[0][radii >= 32].abs().max() < 1e-5


@pytest.mark.parametrize(
    "change",
    [
        {"background_radius": 0.0},
        {"background_radius": np.nan},
        {"soft_edge": 1.5},
        {"soft_edge": -0.1},
        {"contrast": "x"},
    ],
)
def test_impossible_settings_are_refused(change, unchecked_types):
    with pytest.raises(ConfigError):
        settings(**change)


@pytest.mark.parametrize("box", [65, 7, 0, -3])
def test_a_box_that_cannot_be_had_is_refused(box):
    with pytest.raises(ConfigError, match=f"box is {box} pixels, but the images have 64"):
        settings(box=box).output_box(64)
