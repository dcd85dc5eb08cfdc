"""Three encoders behind one interface, and what the lifted one looks at."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch

from cryosphere.fourier import crop, low_pass, soft_disc, to_spectrum
from cryosphere.imaging.ctf import contrast_transfer
from cryosphere.imaging.formation import particle_spectra
from cryosphere.imaging.grid import ImageGrid
from cryosphere.imaging.projection import SpreadProjector
from cryosphere.model.batch import Batch
from cryosphere.model.encoders import FreeEncoder, LiftedEncoder, PixelEncoder
from cryosphere.model.lifting import Lifter, LiftingGrid, sample
from cryosphere.model.vae import BaseStructure

from .conftest import some_ctf


def test_sampling_at_pixel_centres_reads_the_pixels() -> None:
    for box in (8, 9):
        image = torch.arange(float(box * box)).view(1, box, box)
        places = torch.tensor([[[0.0, 0.0], [2.0, -1.0], [-3.0, 3.0]]])
        centre = box // 2
        expected = [image[0, centre, centre], image[0, centre - 1, centre + 2], image[0, centre + 3, centre - 3]]
        assert torch.allclose(sample(image, places)[0], torch.stack(expected), atol=1e-3)


def test_images_of_the_base_structure_leave_nothing_to_look_at(batch: Batch) -> None:
    assert batch.features is not None
    assert batch.features.abs().max() < 1e-2


def test_density_that_moved_shows_where_it_went(batch: Batch, base: BaseStructure, projector: SpreadProjector) -> None:
    displaced = base.positions.clone()
    displaced[:10] += torch.tensor([0.0, 0.0, 12.0])
    spectra = particle_spectra(displaced, base.amplitudes, batch.rotations, projector)
    moved = replace(batch, spectra=spectra * contrast_transfer(batch.ctf, projector.grid))
    grid = LiftingGrid.around(base.positions.numpy(), 8)
    mean = Lifter(base.positions, base.amplitudes, projector, grid, residual=True)(moved).mean(
        0
    )  # a small backprojection
    nearest = lambda points: torch.cdist(points, grid.points).argmin(1)  # noqa: E731
    assert mean[nearest(displaced[:10])].mean() > mean.mean()
    assert mean[nearest(base.positions[:10])].mean() < mean.mean()


@pytest.mark.parametrize("kind", ["lifted", "mlp", "free"])
def test_every_encoder_gives_a_finite_gaussian_and_learns(kind: str, batch: Batch) -> None:
    assert batch.features is not None
    encoder = {
        "lifted": lambda: LiftedEncoder(batch.features.shape[1], (16,), 3),
        "mlp": lambda: PixelEncoder(soft_disc(24, 11.0, 0.0) > 0.5, torch.ones(24, 13), (16,), 3),
        "free": lambda: FreeEncoder(6, 3),
    }[kind]()
    posterior = encoder(batch)
    assert posterior.mean.shape == posterior.sd.shape == (6, 3)
    assert (posterior.sd > 0).all()
    posterior.sample(torch.Generator().manual_seed(0)).square().sum().backward()
    assert all(torch.isfinite(p.grad).all() for p in encoder.parameters())


def test_the_pixel_encoder_does_not_see_beyond_the_low_pass(batch: Batch) -> None:
    keep = low_pass(24, 3.0, 20.0)
    encoder = PixelEncoder(soft_disc(24, 11.0, 0.0) > 0.5, keep, (16,), 3)
    beyond = torch.randn_like(batch.spectra) * (keep == 0)
    seen = encoder(replace(batch, spectra=batch.spectra + 100 * beyond)).mean
    assert torch.allclose(seen, encoder(batch).mean, atol=1e-4)


def test_the_lifted_encoder_says_what_is_missing(batch: Batch) -> None:
    with pytest.raises(ValueError, match="lifted features"):
        LiftedEncoder(10, (8,), 2)(replace(batch, features=None))


@pytest.mark.parametrize("box", [95, 96])
def test_images_cropped_to_what_the_filter_leaves_give_the_same_features(box: int) -> None:
    grid, count = ImageGrid(box, 1.5), 8
    generator = torch.Generator().manual_seed(0)
    positions = 20 * torch.randn(60, 3, generator=generator)
    points = LiftingGrid.around(positions.numpy(), 16)
    rotations = torch.linalg.qr(torch.randn(count, 3, 3, generator=generator))[0]
    images = torch.randn(count, box, box, generator=generator)
    whole = Batch(torch.arange(count), to_spectrum(images), rotations, some_ctf(count))
    coarse = grid.cropped_to(points.spacing / 1.5)
    assert coarse.box <= 0.8 * box
    cropped = replace(whole, spectra=crop(whole.spectra, box, coarse.box))
    amplitudes, noise = torch.ones(60), coarse.box / box
    expected = Lifter(positions, amplitudes, SpreadProjector(grid), points)(whole)
    found = Lifter(positions, amplitudes, SpreadProjector(coarse), points, noise=noise)(cropped)
    both = torch.stack([found.flatten(), expected.flatten()])
    assert float(torch.corrcoef(both)[0, 1]) > 0.99  # reading between coarser pixels is a little blurred
    assert float(found.std() / expected.std()) == pytest.approx(1, abs=0.1)
