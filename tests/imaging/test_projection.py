"""Projection of beads: the reference against its formula, the fast projector against the reference."""

from __future__ import annotations

import math

import pytest
import torch

from cryosphere.fourier import from_spectrum
from cryosphere.imaging.grid import ImageGrid
from cryosphere.imaging.projection import ReferenceProjector, SpreadProjector, spreading_box

TOLERANCE = 5e-4  # relative, the figure the design asks for


def random_beads(spread_of: float, grid: ImageGrid, count: int = 40) -> tuple[torch.Tensor, torch.Tensor]:
    """Beads over `spread_of` times the box (beyond 1 some lie outside), with amplitudes of residues."""
    generator = torch.Generator().manual_seed(1)
    xy = (torch.rand(2, count, 2, generator=generator, dtype=torch.float64) - 0.5) * spread_of * grid.length
    return xy, 30 + 60 * torch.rand(count, generator=generator, dtype=torch.float64)


def relative(found: torch.Tensor, expected: torch.Tensor) -> float:
    return float((found - expected).norm() / expected.norm())


@pytest.mark.parametrize("box", [32, 33])
def test_one_bead_is_the_integral_of_its_gaussian_along_z_around_the_pixel_it_falls_on(box: int) -> None:
    grid, sigma = ImageGrid(box, 1.5), 3.0
    x, y, electrons = 4.2, -3.1, 46.0
    spectra = ReferenceProjector(grid, sigma)(torch.tensor([[[x, y]]], dtype=torch.float64), torch.tensor([electrons]))
    image = from_spectrum(spectra, box)[0]
    row, column = 10, 21
    squared = ((column - box // 2) * 1.5 - x) ** 2 + ((row - box // 2) * 1.5 - y) ** 2
    density = electrons * math.exp(-squared / (2 * sigma**2)) / (2 * math.pi * sigma**2)
    assert image[row, column].item() == pytest.approx(density * 1.5**2, rel=1e-9)


@pytest.mark.parametrize("box", [48, 49])
@pytest.mark.parametrize("spread_of", [0.4, 0.95, 1.3])
@pytest.mark.parametrize("ratio", [0.25, 0.5, 0.65, 1.0, 1.15, 1.3, 2.0, 3.0])
def test_spread_equals_the_literal_sum_in_values_and_gradients(box: int, spread_of: float, ratio: float) -> None:
    grid = ImageGrid(box, 1.7)
    xy, amplitudes = random_beads(spread_of, grid)
    results = []
    for projector in (
        ReferenceProjector(grid, ratio * grid.pixel_size),
        SpreadProjector(grid, ratio * grid.pixel_size, dtype=torch.float64),
    ):
        inputs = xy.clone().requires_grad_(), amplitudes.clone().requires_grad_()
        spectra = projector(*inputs)
        target = torch.randn(spectra.shape, generator=torch.Generator().manual_seed(2), dtype=torch.complex128)
        gradients = torch.autograd.grad((spectra * target.conj()).real.sum(), inputs)
        results.append((spectra.detach(), *gradients))
    for found, expected in zip(results[1], results[0], strict=True):
        # a white target weighs the highest frequencies most: the hardest case for gradients
        assert relative(found, expected) < (TOLERANCE if found.is_complex() else 2 * TOLERANCE)


def test_spread_in_single_precision_is_as_good() -> None:
    grid = ImageGrid(64, 1.5)
    xy, amplitudes = random_beads(0.6, grid, count=300)
    expected = ReferenceProjector(grid, 2.0)(xy, amplitudes)
    found = SpreadProjector(grid, 2.0)(xy.float(), amplitudes.float())
    assert relative(found.to(torch.complex128), expected) < TOLERANCE


@pytest.mark.parametrize("ratio", [0.5, 1.3, 2.0])
def test_the_sum_of_the_pixels_is_the_number_of_electrons(ratio: float) -> None:
    grid = ImageGrid(64, 1.0)
    xy, amplitudes = random_beads(0.3, grid)
    images = from_spectrum(SpreadProjector(grid, ratio, dtype=torch.float64)(xy, amplitudes), 64)
    assert torch.allclose(images.sum((-2, -1)), amplitudes.sum().expand(2), rtol=1e-3)


def test_a_bead_at_the_border_does_not_come_back_in_on_the_other_side() -> None:
    grid = ImageGrid(32, 2.0)
    bead = torch.tensor([[[30.9, 0.0]]], dtype=torch.float64)  # at the right-hand edge
    images = from_spectrum(SpreadProjector(grid, 2.6, dtype=torch.float64)(bead, torch.ones(1)), 32)
    assert images[0, :, :8].abs().max() < 1e-4 * images.max()
    assert images[0, 16, 31] > 0.5 * images.max()


def test_beads_far_outside_leave_nothing() -> None:
    grid = ImageGrid(32, 2.0)
    beads = torch.tensor([[[500.0, 0.0], [-33.0e3, 1.0e6]]])
    assert SpreadProjector(grid, 2.0)(beads, torch.ones(2)).abs().max() == 0


def test_padded_and_plain_paths_agree_where_both_apply(monkeypatch: pytest.MonkeyPatch) -> None:
    grid = ImageGrid(48, 1.5)
    xy, amplitudes = random_beads(0.4, grid)
    projector = SpreadProjector(grid, 2.0, dtype=torch.float64)
    plain = projector(xy, amplitudes)
    monkeypatch.setattr(SpreadProjector, "_reaches_stay_inside", lambda _, pixels: pixels[:, 0, 0] > 1e9)
    assert relative(projector(xy, amplitudes), plain) < 1e-4


def test_only_images_with_a_bead_near_the_border_are_padded_and_all_keep_their_order() -> None:
    grid = ImageGrid(48, 1.5)
    inside, amplitudes = random_beads(0.4, grid)
    outside, _ = random_beads(1.1, grid)
    projector = SpreadProjector(grid, 2.0, dtype=torch.float64)
    mixed = torch.stack([outside[0], inside[0], outside[1], inside[1]]).requires_grad_()
    spectra = projector(mixed, amplitudes)
    for image in range(4):
        alone = mixed[image : image + 1].detach().requires_grad_()
        expected = projector(alone, amplitudes)
        assert torch.equal(spectra[image], expected[0])
        found = torch.autograd.grad(spectra[image].abs().sum(), mixed, retain_graph=True)[0][image]
        assert torch.allclose(found, torch.autograd.grad(expected.abs().sum(), alone)[0][0])


def test_amplitudes_may_differ_between_images() -> None:
    grid = ImageGrid(32, 2.0)
    xy, amplitudes = random_beads(0.4, grid)
    each = torch.stack([amplitudes, 2 * amplitudes])
    spectra = SpreadProjector(grid, 2.0, dtype=torch.float64)(xy[:1].expand(2, -1, -1), each)
    assert torch.allclose(spectra[1], 2 * spectra[0])


def test_beads_are_laid_on_the_images_own_pixels_if_sigma_allows_and_never_on_twice_as_many() -> None:
    boxes = [spreading_box(ImageGrid(64, 1.0), sigma) for sigma in (2.0, 1.35, 1.0, 0.5, 0.05)]
    assert boxes[:2] == [64, 64]
    assert boxes == sorted(boxes)
    assert 64 < boxes[2] < boxes[4] <= 1.7 * 64
