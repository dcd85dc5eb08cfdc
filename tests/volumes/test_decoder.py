"""The volume decoder: what it is given of the images, and whether its volumes are those of their own states."""

from __future__ import annotations

import itertools
from dataclasses import replace
from pathlib import Path

import mrcfile
import numpy as np
import pytest
import roma
import torch

from cryosphere.distribution import ALONE
from cryosphere.errors import ConfigError, ParticleError
from cryosphere.fourier import integer_frequencies
from cryosphere.imaging.ctf import CtfParameters
from cryosphere.imaging.formation import particle_images
from cryosphere.imaging.grid import ImageGrid
from cryosphere.maps.density import bead_volumes
from cryosphere.maps.fsc import shell_correlations, volume_spectra
from cryosphere.maps.insertion import SliceSums
from cryosphere.maps.reconstruction import ReconstructionSettings, reconstruct_particles
from cryosphere.particles.stacks import ImageStacks
from cryosphere.particles.table import OpticsGroup, ParticleTable
from cryosphere.progress import SILENT
from cryosphere.volumes import decoder
from cryosphere.volumes.decoder import DecoderSettings, SeenImages, decoded, group_means, plan
from cryosphere.volumes.decoder_maps import _transformed, departures, signal_amplitudes, whole_cycles
from cryosphere.volumes.decoder_network import FourierNetwork, NetworkSize
from cryosphere.volumes.decoder_sums import Band, condensed, inside
from cryosphere.volumes.decoder_training import Evidence, Training, between_shells, train
from cryosphere.volumes.decoder_validation import Held, keep_what_is_foretold

GRID, SIGMA = ImageGrid(32, 4.0), 4.0
IMAGES = 1200
SMALL = NetworkSize(width=48, points=48, components=4)


def rotations_of(count, seed=0):
    quaternions = torch.randn(count, 4, generator=torch.Generator().manual_seed(seed))
    return roma.unitquat_to_rotmat(quaternions / quaternions.norm(dim=1, keepdim=True))


def hinge(angle):
    """Eighty beads: a body at rest and an arm turned by the angle about the y axis."""
    generator = torch.Generator().manual_seed(4)
    body = 9 * torch.randn(50, 3, generator=generator) - torch.tensor([0.0, 0.0, 12.0])
    arm = torch.stack([torch.zeros(30), torch.zeros(30), torch.linspace(4, 40, 30)], dim=-1)
    arm = arm + 3 * torch.randn(30, 3, generator=generator)
    turn = roma.rotvec_to_rotmat(torch.tensor([0.0, float(angle), 0.0]))
    return torch.cat([body, arm @ turn.T])


def angle_at(latent):
    return 0.6 * np.asarray(latent)[..., 0]


def true_volume(angle):
    return bead_volumes(hinge(angle)[None], torch.full((80,), 50.0), GRID, SIGMA)[0].numpy()


def agreement(volume, true):
    """Mean correlation of shells 2 to 9, details of 64 to 14 Å."""
    spectra = (volume_spectra(torch.from_numpy(np.ascontiguousarray(v))[None]) for v in (volume, true))
    return float(shell_correlations(*spectra)[0, 2:10].mean())


@pytest.fixture(scope="module")
def seen(tmp_path_factory) -> SeenImages:
    """1200 images of the hinge with twenty times as much noise as signal; the second latent means nothing."""
    folder: Path = tmp_path_factory.mktemp("hinge")
    generator = np.random.default_rng(0)
    latents = np.stack([generator.uniform(-1, 1, IMAGES), 0.01 * generator.normal(size=IMAGES)], axis=-1)
    rotations = rotations_of(IMAGES)
    ones, whole = np.ones(IMAGES), np.zeros(IMAGES, dtype=np.int64)
    shifts = generator.normal(scale=3.0, size=(IMAGES, 2))
    table = ParticleTable(
        rotations=rotations.double().numpy(),
        shifts=shifts,
        defocus_u=generator.uniform(12_000, 20_000, IMAGES),
        defocus_v=generator.uniform(12_000, 20_000, IMAGES),
        defocus_angle=0.3 * ones,
        phase_shift=0 * ones,
        b_factor=0 * ones,
        ctf_scale=ones,
        optics_index=whole,
        stack_index=whole,
        image_index=np.arange(IMAGES),
        half_set=whole,
        optics=(OpticsGroup("one", 300.0, 2.7, 0.1, GRID.pixel_size, GRID.box),),
        stacks=(str(folder / "particles.mrcs"),),
        source=folder / "particles.star",
    )
    positions = torch.stack([hinge(angle) for angle in angle_at(latents)])
    clean = particle_images(
        positions,
        torch.full((80,), 50.0),
        rotations,
        torch.from_numpy(shifts).float(),
        CtfParameters.from_table(table),
        (GRID, SIGMA),
    ).numpy()
    noise = generator.normal(size=clean.shape) * clean.std() * 20**0.5
    with mrcfile.new(folder / "particles.mrcs") as stack:
        stack.set_data((clean + noise).astype(np.float32))
        stack.set_image_stack()
        stack.voxel_size = GRID.pixel_size
    return SeenImages(ImageStacks(table), latents.astype(np.float32), 1.0, 110.0)


@pytest.fixture(scope="module")
def states(seen):
    """Decoded at both ends and in the middle."""
    targets = np.array([[-0.9, 0], [0, 0], [0.9, 0]], dtype=np.float32)
    return decoded(seen, targets, DecoderSettings(epochs=25, size=SMALL, device="cpu"))


@pytest.fixture(scope="module")
def consensus(seen):
    settings = ReconstructionSettings(contrast="white", diameter=seen.diameter, device="cpu")
    return reconstruct_particles(seen.stacks.table, seen.stacks, settings=settings)


def test_a_decoded_volume_is_that_of_its_own_state_more_than_the_other_end_or_the_consensus(states, consensus):
    own = {angle: true_volume(angle) for angle in (-0.54, 0.54)}
    for state, angle in ((states[0], -0.54), (states[2], 0.54)):
        here = agreement(state.map, own[angle])
        assert here > agreement(state.map, own[-angle]) + 0.1
        assert here > agreement(consensus.map, own[angle]) + 0.03
        for half in (state.half1, state.half2):
            assert agreement(half, own[angle]) > agreement(half, own[-angle])


def test_a_state_carries_its_latent_mask_and_curves_and_counts_all_images(states):
    first = states[0]
    assert np.array_equal(first.z, np.float32([-0.9, 0]))
    assert first.map.shape == first.mask.values.shape == (32, 32, 32)
    assert (first.images, first.bandwidth, first.grid) == (IMAGES, None, GRID)
    assert 8.0 <= first.resolution.angstrom < 30.0


def test_dark_protein_gives_the_same_volumes(seen, states, tmp_path):
    table = replace(seen.stacks.table, stacks=(str(tmp_path / "dark.mrcs"),))
    with mrcfile.new(tmp_path / "dark.mrcs") as stack:
        stack.set_data(-seen.stacks.read(np.arange(IMAGES)))
        stack.set_image_stack()
        stack.voxel_size = GRID.pixel_size
    dark = SeenImages(ImageStacks(table), seen.latents, -1.0, seen.diameter)
    settings = DecoderSettings(epochs=1, size=SMALL, device="cpu")
    one, other = (decoded(images, states[0].z[None], settings)[0].map for images in (seen, dark))
    assert np.abs(one - other).max() < 1e-3 * np.abs(one).max()


def test_where_the_network_says_nothing_the_volume_is_the_consensus_map(seen, consensus):
    """With the smallest steps nothing is learned: what the network began with is left."""
    settings = DecoderSettings(epochs=1, learning_rate=1e-12, size=SMALL, device="cpu")
    (state,) = decoded(seen, np.zeros((1, 2), dtype=np.float32), settings)
    assert np.allclose(state.half1, consensus.half1, atol=1e-4 * np.abs(consensus.half1).max())
    assert np.allclose(state.half2, consensus.half2, atol=1e-4 * np.abs(consensus.half2).max())


def spectrum_of_beads(beads, frequencies):
    """Summed bead by bead, in double precision; frequencies (p, 3) in 1/Å."""
    return torch.exp(-2j * torch.pi * (frequencies.double() @ beads.double().T)).sum(-1)


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


def test_noise_is_what_the_signal_leaves_of_the_images_power(seen, consensus):
    """The images' background has a standard deviation of 1: its power is the number of pixels, in every shell."""
    group, band = plan(seen.latents, consensus, 1e9)
    training = decoder.HalfTraining(
        maker_of(seen, consensus), seen, group, band, signal_amplitudes(consensus, band), DecoderSettings()
    )
    work = torch.device("cpu"), SILENT, ALONE
    sums = decoder.add_up(training.maker, np.arange(IMAGES), group, band, work)
    noise = sums.noise(training.amplitudes.square())[2:]
    assert torch.allclose(noise, torch.full_like(noise, 32.0**2), rtol=0.25)  # what moves is not in the consensus
    assert sums.noise(torch.zeros(band.cycles + 1))[2] > 1.5 * 32.0**2


def maker_of(seen, consensus):
    scale = decoder.find_scale(seen.stacks, np.arange(IMAGES), seen.diameter / 2)
    return decoder.SliceMaker(seen.stacks, CtfParameters.from_table(seen.stacks.table), consensus.grid, scale, 1)


def test_training_finds_coefficients_that_are_a_product_of_latent_and_frequency():
    """Least squares of a case whose answer is known: u(k, z) = z · cos(2π k·r), all weights 1."""
    generator = torch.Generator().manual_seed(0)
    frequencies = 0.05 * torch.randn(1500, 3, generator=generator)
    z = torch.linspace(-1, 1, 8)[:, None]
    wave = torch.cos(2 * torch.pi * frequencies @ torch.tensor([12.0, -9.0, 5.0]))
    true = torch.stack([wave[:, None] * z.T, torch.zeros(1500, 8)], dim=1)
    evidence = Evidence(frequencies, true, torch.ones(1500, 8))
    network = FourierNetwork(torch.tensor([[0.0], [0.6]]), 30.0, SMALL, 0)
    told = []
    train(network, evidence, z, Training(200, 1e-2, 0), told.append)
    assert told == [1] * 200
    with torch.no_grad():
        assert float((network(frequencies, z) - true).square().mean() / true.square().mean()) < 0.02


@pytest.fixture(scope="module")
def heard():
    """A wave that both halves show in 8 states, and noise of each half's own, three times as strong."""
    generator = torch.Generator().manual_seed(0)
    frequencies = 0.05 * torch.randn(1200, 3, generator=generator)
    z = torch.linspace(-1, 1, 8)[:, None]
    wave = torch.cos(2 * torch.pi * frequencies @ torch.tensor([12.0, -9.0, 5.0]))
    true = torch.stack([wave[:, None] * z.T, torch.zeros(1200, 8)], dim=1)
    noisy = [true + 3 * true.std() * torch.randn(true.shape, generator=generator) for _ in range(2)]
    ones = torch.ones(1200, 8)
    return true, [Held(Evidence(frequencies, some, ones), z, torch.full((8,), 10.0)) for some in noisy]


def learned(heard, epochs=300):
    """A network that has learned of the first half alone."""
    network = FourierNetwork(torch.tensor([[0.0], [0.6]]), 30.0, SMALL, 0)
    own = heard[1][0]
    train(network, own.evidence, own.z, Training(epochs, 1e-2, 0), lambda _: None)
    return network


def error_of(network, heard):
    """What is wrong with what a network says, against what is true, as a share of it."""
    true, (own, _) = heard
    with torch.no_grad():
        return float((network(own.evidence.frequencies, own.z) - true).square().sum() / true.square().sum())


def test_what_the_other_half_does_not_show_is_taken_from_what_was_learned(heard):
    """Trained long on strong noise, a network is far from the truth: one component of four is of the density."""
    network = learned(heard)
    before = error_of(network, heard)
    shares = keep_what_is_foretold(network, heard[1][1])
    assert error_of(network, heard) < 0.7 * before
    assert ((shares >= 0) & (shares <= 1)).all()
    assert shares.sum() < 2.5


def test_what_both_halves_show_is_kept(heard):
    """Nearly without noise: each half's images are the truth, and the network has learned it."""
    true, (own, _) = heard
    same = replace(own, evidence=replace(own.evidence, products=true))
    network = learned((true, [same, same]))
    before = error_of(network, heard)
    keep_what_is_foretold(network, same)
    assert before < 0.05
    assert error_of(network, heard) < before + 0.01


def test_where_the_other_half_shows_the_opposite_the_consensus_is_left(heard):
    true, (own, _) = heard
    network = learned((true, [replace(own, evidence=replace(own.evidence, products=true))]))
    shares = keep_what_is_foretold(network, replace(own, evidence=replace(own.evidence, products=-true)))
    assert shares.max() < 0.1
    assert error_of(network, heard) == pytest.approx(1.0, abs=0.05)


def test_the_other_half_is_asked_unless_everything_is_to_be_kept(seen, monkeypatch):
    def asked(*_):
        raise AssertionError("the other half was asked")

    monkeypatch.setattr(decoder, "keep_what_is_foretold", asked)
    z = np.zeros((1, 2), dtype=np.float32)
    settings = DecoderSettings(epochs=1, size=SMALL, device="cpu", kept="all")
    assert len(decoded(seen, z, settings)) == 1
    with pytest.raises(AssertionError, match="was asked"):
        decoded(seen, z, replace(settings, kept="foretold"))


def test_a_latent_direction_that_the_run_left_unused_does_not_sort_images(seen):
    """Its spread is a hundredth of the other's: scaled alike, it stays small."""
    network = FourierNetwork(torch.tensor([[0.0, 0.0], [0.6, 0.01]]), 30.0, SMALL, 0)
    here, unused, used = network.weights(torch.tensor([[0.0, 0.0], [0.0, 0.01], [0.6, 0.0]]))
    assert (unused - here).norm() < 0.1 * (used - here).norm()


def test_volumes_start_from_the_same_networks_for_the_same_seed_only():
    latents = torch.tensor([[0.0], [1.0]])
    one, same, other = (FourierNetwork(latents, 30.0, SMALL, seed) for seed in (0, 0, 1))
    assert all(torch.equal(a, b) for a, b in zip(one.parameters(), same.parameters(), strict=True))
    assert not torch.equal(one.points, other.points)
    assert one.points.norm(dim=-1).max() <= 30.0
    assert not departures(one, torch.zeros(1, 1), torch.ones(5), Band.up_to(4, 16, 64.0), 16).any()


def test_with_less_memory_groups_become_fewer_and_then_the_band_narrower(seen, consensus):
    wide = plan(seen.latents, consensus, 1e12)
    tight = plan(seen.latents, consensus, 3e7)
    tighter = plan(seen.latents, consensus, 1e6)
    assert wide[0].count == 64
    assert tight[0].count < 64
    assert tight[1] == wide[1]
    assert tighter[0].count == 16
    assert tighter[1].cycles < wide[1].cycles


def test_groups_have_their_own_images_mean_latent():
    latents = np.array([[0.0, 1.0], [2.0, 3.0], [10.0, 0.0]], dtype=np.float32)
    found = group_means(latents, np.array([0, 0, 2]), 3)
    assert np.allclose(found, [[1.0, 2.0], latents.mean(axis=0), [10.0, 0.0]])


def test_between_shells_values_are_linear():
    found = between_shells(torch.tensor([0.0, 2.0, 6.0]), torch.tensor([0.5, 1.25, 7.0]))
    assert torch.allclose(found, torch.tensor([1.0, 3.0, 6.0]))


@pytest.mark.parametrize(
    "wrong",
    [{"epochs": 0}, {"learning_rate": 0.0}, {"size": NetworkSize(width=0)}],
    ids=lambda wrong: next(iter(wrong)),
)
def test_impossible_settings_are_refused(wrong):
    with pytest.raises(ConfigError, match=r"must be|needs at least"):
        DecoderSettings(**wrong)


def test_halves_of_very_different_size_are_refused(seen):
    halves = np.where(np.arange(IMAGES) < 1100, 1, 2)
    table = replace(seen.stacks.table, half_set=halves)
    with pytest.raises(ParticleError, match="1,100 and 100"):
        decoded(replace(seen, stacks=ImageStacks(table)), np.zeros((1, 2), dtype=np.float32), DecoderSettings())
