"""Correlations in compiled passes are those of the tensors, with gradients, also near the border and under filters."""

from __future__ import annotations

from dataclasses import replace
from functools import partial

import pytest
import torch

from cryosphere.fourier import crop, low_pass, parseval_weights, to_spectrum, up_to
from cryosphere.imaging.ctf import CtfParameters, contrast_transfer
from cryosphere.imaging.formation import seen_from
from cryosphere.imaging.grid import ImageGrid
from cryosphere.imaging.projection import ReferenceProjector, SpreadProjector
from cryosphere.model.batch import Batch
from cryosphere.model.comparing import traced
from cryosphere.model.correlation import CompiledCorrelation, leaves_nyquist_out
from cryosphere.model.losses import spectral_correlation
from cryosphere.training.build import finest_detail

COUNT, BEADS = 5, 70


def never(structures, some, *, with_gradient):
    raise AssertionError("no bead is near the border")


def some_particles(grid: ImageGrid, dtype: torch.dtype, *, spread: float) -> tuple[torch.Tensor, torch.Tensor, Batch]:
    """Structures reaching about 2 `spread` of the box, amplitudes, and noisy images with all that a CTF can have."""
    generator = torch.Generator().manual_seed(grid.box)
    positions = spread * grid.length * torch.randn(COUNT, BEADS, 3, generator=generator, dtype=torch.float64)
    rotations = torch.linalg.qr(torch.randn(COUNT, 3, 3, generator=generator, dtype=torch.float64))[0]
    values = (12000.0, 11000.0, 0.4, 0.3, 40.0, 0.9, 300.0, 2.7, 0.1)
    ctf = CtfParameters(*(torch.full((COUNT,), value, dtype=dtype) for value in values))
    ctf = replace(ctf, defocus_u=torch.linspace(9000, 25000, COUNT, dtype=dtype))
    images = torch.randn(COUNT, grid.box, grid.box, generator=generator, dtype=torch.float64)
    amplitudes = torch.rand(BEADS, generator=generator, dtype=torch.float64) + 0.5
    batch = Batch(torch.arange(COUNT), to_spectrum(images.to(dtype)), rotations.to(dtype), ctf)
    return positions.to(dtype), amplitudes.to(dtype), batch


def by_tensors(positions, batch, *, with_gradient, projector, amplitudes, weights):
    def correlations(structures: torch.Tensor) -> torch.Tensor:
        spectra = projector(seen_from(structures, batch.rotations), amplitudes)
        return spectral_correlation(spectra * contrast_transfer(batch.ctf, projector.grid), batch.spectra, weights)

    return traced(correlations, positions, with_gradient=with_gradient)


@pytest.mark.parametrize("box", [40, 41, 64])
@pytest.mark.parametrize("spread", [0.08, 0.16, 0.4], ids=["inside", "some at the border", "all at the border"])
@pytest.mark.parametrize("resolution", [None, 14.0], ids=["fine", "coarse"])
def test_values_and_gradients_are_those_of_the_tensors(box: int, spread: float, resolution: float | None) -> None:
    grid = ImageGrid(box, 2.1)
    positions, amplitudes, batch = some_particles(grid, torch.float64, spread=spread)
    projector = SpreadProjector(grid, 2.0, dtype=torch.float64)
    keep = up_to(box, 2.1, 4.2) * low_pass(box, 2.1, resolution)
    weights = (parseval_weights(box) * keep.square()).double()

    traced_comparison = partial(by_tensors, projector=projector, amplitudes=amplitudes, weights=weights)

    compiled = CompiledCorrelation(projector, amplitudes, weights, traced_comparison)
    values, gradient = compiled(positions, batch, with_gradient=True)
    expected, slopes = traced_comparison(positions, batch, with_gradient=True)
    torch.testing.assert_close(values, expected, rtol=1e-9, atol=1e-11)
    torch.testing.assert_close(gradient, slopes, rtol=1e-4, atol=1e-5 * float(slopes.abs().max()))
    alone, nothing = compiled(positions, batch, with_gradient=False)
    assert torch.equal(alone, values)
    assert nothing is None


def test_the_gradient_is_that_of_finite_differences() -> None:
    grid = ImageGrid(48, 2.0)
    positions, amplitudes, batch = some_particles(grid, torch.float64, spread=0.09)
    weights = (parseval_weights(48) * up_to(48, 2.0, 4.1)).double()
    projector = SpreadProjector(grid, 2.0, dtype=torch.float64)
    compiled = CompiledCorrelation(projector, amplitudes, weights, never)
    direction = torch.randn(positions.shape, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    _, gradient = compiled(positions, batch, with_gradient=True)
    step = 1e-4
    above, _ = compiled(positions + step * direction, batch, with_gradient=False)
    below, _ = compiled(positions - step * direction, batch, with_gradient=False)
    torch.testing.assert_close((above - below) / (2 * step), (gradient * direction).sum((1, 2)), rtol=2e-3, atol=1e-7)


@pytest.mark.parametrize("box", [95, 96])
def test_images_cropped_to_what_beads_can_show_give_the_same_gradient_as_whole_ones(box: int) -> None:
    """Against the literal sum on all pixels and frequencies: what is left out is no signal, only noise's power."""
    grid, sigma = ImageGrid(box, 1.1), 2.0
    positions, amplitudes, batch = some_particles(grid, torch.float32, spread=0.08)
    finest = finest_detail(sigma)
    coarse = grid.cropped_to(finest)
    assert coarse.box < 0.75 * box
    assert coarse.length == pytest.approx(grid.length)
    cropped = replace(batch, spectra=crop(batch.spectra, box, coarse.box))
    weights = parseval_weights(coarse.box) * up_to(coarse.box, coarse.pixel_size, finest)
    compiled = CompiledCorrelation(SpreadProjector(coarse, sigma), amplitudes, weights, never)
    values, gradient = compiled(positions, cropped, with_gradient=True)
    literal = ReferenceProjector(grid, sigma)
    expected, slopes = by_tensors(
        positions, batch, with_gradient=True, projector=literal, amplitudes=amplitudes, weights=parseval_weights(box)
    )
    whole = (parseval_weights(box) * batch.spectra.abs().square()).sum((-2, -1)).sqrt()
    compared = (parseval_weights(box) * up_to(box, 1.1, finest) * batch.spectra.abs().square()).sum((-2, -1)).sqrt()
    torch.testing.assert_close(values * compared / whole, expected, rtol=1e-3, atol=1e-5)
    scaled = gradient * (compared / whole)[:, None, None]
    assert float((scaled - slopes).norm() / slopes.norm()) < 2e-3


def test_nothing_compared_with_anything_is_zero_without_a_gradient() -> None:
    grid = ImageGrid(32, 2.0)
    positions, amplitudes, batch = some_particles(grid, torch.float32, spread=0.05)
    empty = replace(batch, spectra=torch.zeros_like(batch.spectra))
    weights = parseval_weights(32) * up_to(32, 2.0, 4.0)
    values, gradient = CompiledCorrelation(SpreadProjector(grid), amplitudes, weights, never)(
        positions, empty, with_gradient=True
    )
    assert values.tolist() == [0.0] * COUNT
    assert not gradient.any()


def test_a_position_that_is_no_number_shows() -> None:
    grid = ImageGrid(32, 2.0)
    positions, amplitudes, batch = some_particles(grid, torch.float32, spread=0.05)
    positions[2, 7] = float("nan")
    weights = parseval_weights(32) * up_to(32, 2.0, 4.0)
    values, _ = CompiledCorrelation(SpreadProjector(grid), amplitudes, weights, never)(
        positions, batch, with_gradient=True
    )
    assert values.isnan().tolist() == [False, False, True, False, False]


def test_whether_the_nyquist_lines_are_left_out_is_seen() -> None:
    assert leaves_nyquist_out(parseval_weights(32) * up_to(32, 2.0, 2.0))
    assert not leaves_nyquist_out(parseval_weights(32))
    assert leaves_nyquist_out(parseval_weights(31))
