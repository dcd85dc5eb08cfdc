"""Kernel volumes: against the density that was simulated, and in their limits."""

from __future__ import annotations

import logging
from dataclasses import replace

import numpy as np
import pytest
import torch

from cryosphere.errors import ConfigError, ParticleError
from cryosphere.geometry.poses import random_rotations
from cryosphere.maps.insertion import SliceSums
from cryosphere.maps.reconstruction import ReconstructionSettings, half_sets, reconstruct_particles
from cryosphere.particles.read import read_particles
from cryosphere.particles.stacks import ImageStacks
from cryosphere.simulation.config import ImageSettings, SimulationConfig
from cryosphere.simulation.protein import two_domain_protein
from cryosphere.simulation.simulate import simulate
from cryosphere.simulation.truth import load_truth
from cryosphere.structures.write import write_model
from cryosphere.volumes.bandwidth import Bandwidth, Ladder, _Shells, chosen_bandwidth, epanechnikov, prediction_scores
from cryosphere.volumes.kernel import KernelSettings, SortedImages, regressed
from cryosphere.volumes.laying import KernelLayer
from cryosphere.volumes.truth import true_image, true_volume, truth_correlation

IMAGES, BOX = 1600, 32
BY_SHELL = KernelSettings(by_shell=True, device="cpu")
TARGETS = np.zeros((2, 1), dtype=np.float32)  # latents are not looked at where distances are given


@pytest.fixture(scope="module")
def opening(tmp_path_factory):
    """1,600 images of 32 pixels at 5 Å of a hinge that opens by up to 60 degrees."""
    folder = tmp_path_factory.mktemp("opening")
    protein = two_domain_protein(0, (90, 60))
    write_model(folder / "protein.cif", protein.model)
    config = SimulationConfig(
        model=folder / "protein.cif",
        motion=protein.opening(60.0, 60),
        images=ImageSettings(count=IMAGES, box=BOX, pixel_size=5.0, snr=0.2, shift=5.0),
        seed=1,
    )
    return simulate(config, folder / "data")


@pytest.fixture(scope="module")
def truth(opening):
    return load_truth(opening.folder / "truth.npz")


@pytest.fixture(scope="module")
def images(opening, truth):
    """The images, sorted by how far their true conformations are from the first and the last one."""
    ends = truth.conformations[[0, -1]]
    squares = np.square(truth.conformations[:, None] - ends).sum(-1).mean(-1)
    distances = np.sqrt(squares)[truth.conformation_index].astype(np.float32)
    return SortedImages(ImageStacks(read_particles(opening.particles)), distances, 1.0, 120.0)


@pytest.fixture(scope="module")
def volumes(images):
    return list(regressed(images, TARGETS, KernelSettings(device="cpu")))


def test_each_volume_shows_its_own_conformation_better_than_the_other_and_than_the_map_of_all(volumes, images, truth):
    consensus = reconstruct_particles(images.stacks.table, images.stacks)
    low = slice(1, BOX // 4)
    for k, volume in enumerate(volumes):
        own, other = (
            true_volume(truth, true_image(truth, images.distances[:, which], 20), volume.state.grid)
            for which in (k, 1 - k)
        )
        found = truth_correlation(volume.state.map, own)[low].mean()
        assert found > 0.9
        assert found > truth_correlation(volume.state.map, other)[low].mean() + 0.03
        assert found > truth_correlation(consensus.map, own)[low].mean() + 0.03


def test_the_bandwidth_is_narrower_than_the_motion_and_wider_than_nothing(volumes, images):
    for k, volume in enumerate(volumes):
        widest = float(images.distances[:, k].max())
        assert 0.05 * widest < volume.state.bandwidth < 0.7 * widest
        assert (volume.bandwidths == volume.state.bandwidth).all()
        counted = epanechnikov(images.distances[:, k], volume.state.bandwidth)
        assert volume.within == (counted > 0).sum()
        assert volume.effective == pytest.approx(counted.sum() ** 2 / (counted**2).sum())
        assert 100 < volume.effective < volume.within < IMAGES


def test_a_half_map_does_not_depend_on_the_images_of_the_other_half(images):
    """Those of the second half are all made to count alike; the first half's map stays what it was."""
    settings = KernelSettings(bandwidth=8.0, device="cpu")
    second = half_sets(images.stacks.table, np.arange(IMAGES), 0)[0] == 1
    changed = np.where(second[:, None], 0.0, images.distances).astype(np.float32)
    one, other = (
        next(regressed(replace(images, distances=d), TARGETS, settings)).state for d in (images.distances, changed)
    )
    assert np.array_equal(one.half1, other.half1)
    assert not np.allclose(one.half2, other.half2, atol=1e-2 * np.abs(one.half2).max())


def test_with_a_bandwidth_without_end_the_volume_is_the_map_of_all_images(images):
    settings = KernelSettings(bandwidth=1e9, seed=3, device="cpu")
    found = next(regressed(images, TARGETS, settings)).state
    how = ReconstructionSettings(contrast="white", diameter=120.0, seed=3, device="cpu")
    consensus = reconstruct_particles(images.stacks.table, images.stacks, settings=how)
    for name in ("map", "half1", "half2"):
        one, other = getattr(found, name), getattr(consensus, name)
        assert np.allclose(one, other, atol=1e-4 * np.abs(other).max())
    assert found.images == pytest.approx(IMAGES)


def test_with_a_bandwidth_for_each_shell_fine_detail_is_averaged_over_more_images(images, volumes):
    """What is chosen for all shells together lies between the coarsest shell's and the finest one's."""
    found = next(regressed(replace(images, distances=images.distances[:, :1]), TARGETS[:1], BY_SHELL))
    assert (found.bandwidths[1:] >= found.bandwidths[:-1]).all()
    assert found.bandwidths[0] <= found.state.bandwidth < found.bandwidths[-1]
    assert found.state.bandwidth == volumes[0].state.bandwidth
    finest = slice(-4, None)  # of the same images, more of which are counted there
    assert found.state.curves.unmasked[finest].mean() > volumes[0].state.curves.unmasked[finest].mean()


def test_images_at_the_bandwidth_count_nothing(images):
    """Only the images inside are laid, so that others may hold anything."""
    inside = float(np.median(images.distances[:, 0]))
    spoilt = images.distances.copy()
    spoilt[images.distances[:, 0] >= inside, 0] = 1e6
    settings = KernelSettings(bandwidth=inside, device="cpu")
    one, other = (
        next(regressed(replace(images, distances=d[:, :1]), TARGETS[:1], settings)) for d in (images.distances, spoilt)
    )
    assert np.array_equal(one.state.map, other.state.map)
    assert one.within == other.within == (images.distances[:, 0] < inside).sum()


def test_dark_protein_gives_a_bright_map(images):
    settings = KernelSettings(bandwidth=8.0, device="cpu")
    bright, dark = (next(regressed(replace(images, sign=sign), TARGETS, settings)).state.map for sign in (1.0, -1.0))
    assert np.array_equal(bright, -dark)


def test_a_kernel_of_one_width_weighs_whole_slices_and_one_of_several_each_frequency(images):
    distances = np.array([0.0, 1.0, 3.0], dtype=np.float32)
    empty = SliceSums.empty(8)
    rows = np.arange(3)
    like = torch.zeros(3, 16, 9)
    whole = KernelLayer(empty, np.zeros(3, dtype=np.int64), distances, Bandwidth(np.full(5, 2.0), 2.0))
    assert whole._shares(rows, like).flatten().tolist() == [1.0, 0.75, 0.0]
    by_shell = replace(whole, bandwidth=Bandwidth(np.array([2.0, 2.0, 2.0, 4.0, np.inf]), 2.0))
    shares = by_shell._shares(rows, like)
    assert shares.shape == like.shape
    assert shares[:, 0, 0].tolist() == [1.0, 0.75, 0.0]  # shell 0
    assert shares[:, 0, 4].tolist() == [1.0, 0.75, 0.0]  # half steps: four of them are shell 2
    assert shares[1:, 6, 0].tolist() == [1 - 1 / 16, 1 - 9 / 16]  # shell 3
    assert shares[:, 8, 8].tolist() == [1.0, 1.0, 1.0]  # beyond the last shell


def test_the_ladder_has_enough_images_of_both_halves_in_its_narrowest_bandwidth():
    generator = np.random.default_rng(0)
    distances, halves = generator.uniform(0, 9, 3000), (np.arange(3000) % 3 == 0).astype(np.int64)
    ladder = Ladder.of(distances, halves)
    inside = distances <= ladder.bandwidths[0]
    assert min((halves[inside] == half).sum() for half in (0, 1)) >= 50
    assert ladder.edges[-1] == distances.max()
    assert np.bincount(ladder.bins(distances)).sum() == 3000
    for bandwidth in ladder.bandwidths:  # bins weigh as their images do on average
        exact = epanechnikov(distances, bandwidth).sum()
        assert ladder.weights(bandwidth) @ np.bincount(ladder.bins(distances)) == pytest.approx(exact, rel=0.1)


def test_where_nothing_moves_all_images_count_the_same():
    ladder = Ladder.of(np.zeros(400), np.arange(400) % 2)
    assert ladder.bandwidths.tolist() == [np.inf]
    assert ladder.bins(np.zeros(400)).max() == 0


def test_density_that_does_not_depend_on_the_distance_is_averaged_over_far_more_images_than_one_that_does(images):
    """Distances drawn at random tell nothing, so the wider the better; true ones tell a narrow bandwidth."""
    drawn = np.random.default_rng(0).permutation(images.distances[:, 0])
    settings = KernelSettings(device="cpu")
    blind = next(regressed(replace(images, distances=drawn[:, None]), TARGETS[:1], settings))
    seeing = next(regressed(replace(images, distances=images.distances[:, :1]), TARGETS[:1], settings))
    assert blind.effective > 2 * seeing.effective


def test_the_score_is_least_where_a_map_predicts_the_other_half_exactly():
    """Two bins of the same noiseless density against bins of a density of their own: the ladder stops before those."""
    box, bins = 8, 4
    generator = torch.Generator().manual_seed(0)
    first, second = (torch.randn(1, 40, box, box // 2 + 1, dtype=torch.complex64, generator=generator) for _ in "ab")
    rotations = torch.from_numpy(random_rotations(40, np.random.default_rng(0))).float()
    sums = SliceSums.empty(box, sets=2 * bins)
    weights = torch.ones(40, box, box // 2 + 1)
    for number in range(bins):
        for half in (0, 1):
            spectra = (first if number < 2 else second)[0].mean(0).expand_as(weights).contiguous()
            sums.add(spectra, weights, rotations, torch.full((40,), 2 * number + half))
    ladder = Ladder(np.array([1.0, 2.0, 3.0, 4.0]), np.array([0.2, 2.2, 6.2, 12.2]))
    scores = prediction_scores(sums, ladder)
    assert scores.shape == (4, 5)
    assert scores[:, 1:].sum(1).argmin() == 0


def test_a_filter_of_the_images_changes_no_bandwidth():
    """Shells count by the noise in them, so that images filtered in any way, alike, are told the same."""
    generator = torch.Generator().manual_seed(0)
    box, ladder = 8, Ladder(np.array([1.0, 2.0, 3.0]), np.array([0.2, 2.2, 6.2]))
    values = torch.randn(6, box + 1, 2 * box + 1, 2 * box + 1, 3, generator=generator)
    values[..., 2] = values[..., 2].square() + 0.5
    values[:2, ..., 0] += 2.0  # what the nearest images of both halves have alike
    radii = _Shells.of(SliceSums(box, values)).index.view(values.shape[1:4])
    filtered = values.clone()
    filtered[..., :2] *= (0.2 + radii[..., None]) ** 2
    one, other = (prediction_scores(SliceSums(box, some), ladder) for some in (values, filtered))
    assert (one < 0).any(axis=0).all()
    assert np.allclose(one, other, rtol=1e-3, atol=1e-3 * np.abs(one).max())


def test_a_shells_bandwidth_never_falls_with_the_frequency_and_follows_its_score():
    widths = np.array([1.0, 2.0, 4.0])
    scores = np.zeros((3, 20))
    scores[0, :10], scores[1, :10] = -9.0, -5.0
    scores[1, 10:], scores[2, 10:] = -0.9, -0.5
    chosen = chosen_bandwidth(scores, widths)
    assert chosen.whole == 1.0
    assert chosen.of_shell[:9].tolist() == [1.0] * 9
    assert chosen.of_shell[-6:].tolist() == [2.0] * 6
    assert chosen.widest == 2.0


def test_too_few_images_are_counted(images):
    with pytest.raises(ParticleError, match=r"volume 0: there are too few .* within 0\.01 Å \d+ of one half"):
        next(regressed(images, TARGETS, KernelSettings(bandwidth=0.01, device="cpu")))
    with pytest.raises(ConfigError, match="bandwidth is -1"):
        KernelSettings(bandwidth=-1.0)


def test_halves_of_very_different_size_are_refused_and_missing_ones_drawn(images, caplog):
    table = images.stacks.table
    given = np.where(np.arange(IMAGES) < 100, 1, 2)
    uneven = replace(images, stacks=ImageStacks(replace(table, half_set=given)))
    with pytest.raises(ParticleError, match=r"very different size: 100 and 1,500"):
        next(regressed(uneven, TARGETS, KernelSettings(device="cpu")))
    with caplog.at_level(logging.INFO):
        next(regressed(images, TARGETS, KernelSettings(bandwidth=9.0, seed=5, device="cpu")))
    assert caplog.text.count("800 and 800 images, drawn with seed 5") == 1
    even = replace(images, stacks=ImageStacks(replace(table, half_set=1 + np.arange(IMAGES) % 2)))
    with caplog.at_level(logging.INFO):
        next(regressed(even, TARGETS, KernelSettings(bandwidth=9.0, device="cpu")))
    assert "as rlnRandomSubset says" in caplog.text
