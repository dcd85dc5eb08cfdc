"""What the volume decoder is given of the images at each frequency, and how coefficients become density."""

from __future__ import annotations

import itertools

import pytest
import torch
from tests.volumes.hinge import GRID, hinge, rotations_of, spectrum_of_beads

from cryosphere.fourier import integer_frequencies
from cryosphere.imaging.grid import ImageGrid
from cryosphere.maps.density import bead_volumes
from cryosphere.maps.insertion import SliceSums
from cryosphere.volumes.decoder_maps import _transformed, whole_cycles
from cryosphere.volumes.decoder_sums import Band, condensed, inside
from cryosphere.volumes.decoder_training import Evidence, between_shells


def test_what_a_group_is_given_at_a_frequency_is_its_density_turned_back_by_the_poses():
    """The image's (kx, ky) is the density's Aᵀ (kx, ky, 0): images and density are both summed bead by bead.

    Images of one group show beads, as many of another show nothing: their consensus is half the density, and half of it
    is left for the first. The trilinear grid's means over half a cycle take a few percent off.
    """
    rotations, band = rotations_of(300, seed=7), Band.up_to(8, 32, GRID.length)
    rows, columns = (k.double() for k in integer_frequencies(band.box))
    k = torch.stack(torch.broadcast_tensors(columns, rows, torch.zeros(1, 1)), dim=-1) / GRID.length
    beads = 0.5 * hinge(0.3)
    images = torch.stack([spectrum_of_beads(beads @ rotation.T, k.flatten(0, 1)) for rotation in rotations])
    images = images.view(-1, band.box, band.box // 2 + 1).to(torch.complex64)
    sums = SliceSums.empty(band.box, sets=2)
    for group, shown in ((0, images), (1, torch.zeros_like(images))):
        sums.add(shown, torch.ones(shown.shape), rotations, torch.full((300,), group))
    found = condensed(sums, band, torch.ones(3, 9))
    full = found.weights[:, 0] > 0.5
    left = torch.complex(*found.products[full, :, 0].T) / found.weights[full, 0]
    true = 0.5 * spectrum_of_beads(beads, found.places[full] / (2 * GRID.length))
    assert float((left - true).abs().square().sum().sqrt()) < 0.15 * float(true.abs().square().sum().sqrt())
    assert torch.allclose(found.products.sum(-1), torch.zeros(len(full), 2), atol=2e-3 * float(true.abs().max()) * 300)


def quarter_turns():
    """The 24 turns of a cube: they take the grid's places to places of the grid, so that nothing is interpolated."""
    found = []
    for order in itertools.permutations(range(3)):
        for signs in itertools.product((1.0, -1.0), repeat=3):
            matrix = torch.zeros(3, 3)
            matrix[range(3), order] = torch.tensor(signs)
            if torch.linalg.det(matrix) > 0:
                found.append(matrix)
    return torch.stack(found)


def test_the_misfit_from_sums_is_that_of_all_images_one_by_one():
    """|F - CTF · V|² summed over images and frequencies, for a density of each group, less the same for the consensus.

    The sums hold half of the frequencies, and next to nothing is added to the consensus' weights.
    """
    generator = torch.Generator().manual_seed(3)
    rotations, band = quarter_turns(), Band.up_to(4, 16, 64.0)
    images, transfer = (torch.randn(24, *shape, generator=generator) for shape in ((9, 9), (1, 1)))
    group = torch.arange(24) % 2
    sums = SliceSums.empty(9, sets=2)
    slices = torch.fft.rfft2(images) * transfer
    sums.add(slices, transfer.square().expand(slices.shape), rotations, group)
    found = condensed(sums, band, torch.tensor([2.0, 1.0, 1.0])[:, None].expand(3, 5))  # the noise's power is 1
    evidence = Evidence.of(found, torch.ones(5), band)
    beads = 5 * torch.randn(2, 6, 3, generator=generator)

    def coefficients(of_group, frequencies):  # 0 at the origin, which is its own mirror image
        return spectrum_of_beads(beads[of_group], frequencies) - 6.0

    asked = torch.stack([coefficients(k, evidence.frequencies) for k in (0, 1)], dim=-1)
    asked = torch.view_as_real(asked).movedim(-1, 1).float()
    misfit = evidence.misfit(asked, torch.arange(len(asked))) * found.weights.sum()

    k = torch.cartesian_prod(*[torch.arange(-4, 5)] * 2)
    k = k[k.square().sum(-1) <= 16]
    spectra = torch.fft.fft2(images)[:, k[:, 1], k[:, 0]]
    places = torch.einsum("nji,rj->nri", rotations[:, :2], k.float()).round().long()
    common = torch.zeros(9, 9, 9, dtype=torch.complex64), torch.zeros(9, 9, 9)
    at = tuple(places.flatten(0, 1).T)
    common[0].index_put_(at, (spectra * transfer[:, 0]).flatten(), accumulate=True)
    common[1].index_put_(at, transfer[:, 0].square().expand(24, len(k)).flatten(), accumulate=True)
    consensus = (common[0] / common[1].clamp_min(1e-6))[tuple(places.movedim(-1, 0))]
    own = torch.stack([coefficients(int(group[n]), places[n] / 64.0) for n in range(24)])
    left, before = (spectra - transfer[:, 0] * (consensus + more) for more in (own, 0 * own))
    expected = (left.abs().square() - before.abs().square()).sum()
    assert float(2 * misfit) == pytest.approx(float(expected), rel=5e-3)


def test_every_place_of_the_band_is_asked_once_without_its_mirror_image():
    band = Band.up_to(3, 32, 128.0)
    sums = SliceSums(band.box, torch.ones(2, 8, 15, 15, 3))
    places = [tuple(place) for place in condensed(sums, band, torch.ones(3, 4)).places.tolist()]
    mirrored = {tuple(-k for k in place) for place in places}
    ball = sum(x * x + y * y + z * z <= 36 for x in range(-6, 7) for y in range(-6, 7) for z in range(-6, 7))
    assert len(places) == len(set(places))
    assert set(places) & mirrored == {(0, 0, 0)}
    assert len(set(places) | mirrored) == ball


@pytest.mark.parametrize("box", [32, 33])
def test_coefficients_become_the_density_about_the_middle_voxel(box):
    """Gaussian beads of 8 Å, whose spectrum is written down, in an even and an odd box; no detail beyond 12.8 Å."""
    grid = ImageGrid(box, 4.0)
    band, beads = Band.up_to(10, box, grid.length), 0.7 * hinge(0.2)
    places = whole_cycles(band)
    k = places.double() / grid.length
    values = spectrum_of_beads(beads, k) * torch.exp(-2 * (torch.pi * 8.0) ** 2 * k.square().sum(-1))
    volume = _transformed(places, torch.view_as_real(values).float(), box)
    gridding = torch.sinc((torch.arange(box) - box // 2) / (2 * box)).square()
    volume = volume * gridding[:, None, None] * gridding[:, None] * gridding
    true = bead_volumes(beads[None], torch.ones(80), grid, 8.0)[0]
    assert torch.allclose(volume, true, atol=2e-3 * float(true.max()))


def test_the_lowest_frequencies_of_a_slice_are_kept_where_they_are():
    for side in (16, 15):
        rows, columns = integer_frequencies(side)
        numbered = torch.complex(columns.float().expand(side, -1), rows.float().expand(-1, side // 2 + 1))
        own_rows, own_columns = integer_frequencies(7)
        kept = inside(numbered[None], 7)[0]
        assert torch.equal(kept.real, own_columns.float().expand(7, -1))
        assert torch.equal(kept.imag, own_rows.float().expand(-1, 4))


def test_between_shells_values_are_linear():
    found = between_shells(torch.tensor([0.0, 2.0, 6.0]), torch.tensor([0.5, 1.25, 7.0]))
    assert torch.allclose(found, torch.tensor([1.0, 3.0, 6.0]))
