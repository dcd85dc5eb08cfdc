"""The volume decoder: whether its volumes are those of their own states, and what it refuses."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import mrcfile
import numpy as np
import pytest
import torch
from tests.volumes.hinge import GRID, SIGMA, SMALL, hinge, rotations_of

from cryosphere.distribution import ALONE
from cryosphere.errors import ConfigError, ParticleError
from cryosphere.imaging.ctf import CtfParameters
from cryosphere.imaging.formation import particle_images
from cryosphere.maps.density import bead_volumes
from cryosphere.maps.fsc import shell_correlations, volume_spectra
from cryosphere.maps.reconstruction import ReconstructionSettings, reconstruct_particles
from cryosphere.particles.stacks import ImageStacks
from cryosphere.particles.table import OpticsGroup, ParticleTable
from cryosphere.progress import SILENT
from cryosphere.volumes import decoder
from cryosphere.volumes.decoder import DecoderSettings, SeenImages, decoded, group_means, plan
from cryosphere.volumes.decoder_maps import signal_amplitudes
from cryosphere.volumes.decoder_network import NetworkSize

IMAGES = 1200


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


def test_the_other_half_is_asked_unless_everything_is_to_be_kept(seen, monkeypatch):
    def asked(*_):
        raise AssertionError("the other half was asked")

    monkeypatch.setattr(decoder, "keep_what_is_foretold", asked)
    z = np.zeros((1, 2), dtype=np.float32)
    settings = DecoderSettings(epochs=1, size=SMALL, device="cpu", kept="all")
    assert len(decoded(seen, z, settings)) == 1
    with pytest.raises(AssertionError, match="was asked"):
        decoded(seen, z, replace(settings, kept="foretold"))


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
