"""The oracle's posterior is Bayes' theorem over the true conformations."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch

from cryosphere.evaluation import candidates, oracle
from cryosphere.evaluation.candidates import find_candidates
from cryosphere.evaluation.oracle import ask_oracle
from cryosphere.evaluation.true_atoms import AtomsOfBeads
from cryosphere.imaging.ctf import CtfParameters
from cryosphere.imaging.formation import particle_images
from cryosphere.imaging.grid import ImageGrid
from cryosphere.imaging.projection import ReferenceProjector, SpreadProjector
from cryosphere.particles.stacks import ImageStacks
from cryosphere.structures.model import read_model

ROWS = np.arange(40)


def posteriors(truth, stacks, rows=ROWS, most=100):
    return ask_oracle(truth, stacks, rows, find_candidates(truth, most)).posteriors


@pytest.fixture(scope="module")
def noisy(simulated):
    """Three conformations in images in which they can often, but not always, be told apart."""
    return simulated(3, count=40, snr=0.02)


def literal_likelihood(data, stacks, present):
    """Explicitly, in double precision: exp(-|y - x|² / 2 s²) for every image y and prediction x, up to a constant.

    present (R,): which residues there are; the constant is the sum of squares of the image itself.
    """
    truth = data.truth
    projector = ReferenceProjector(ImageGrid(truth.box, truth.pixel_size), truth.bead_sigma)
    result = []
    for row in ROWS:
        seen = particle_images(
            torch.as_tensor(truth.conformations, dtype=torch.float64),
            torch.as_tensor(truth.amplitudes * present),
            torch.as_tensor(truth.rotations[[row] * 3]),
            torch.as_tensor(truth.shifts[[row] * 3]),
            CtfParameters.from_table(data.table[np.array([row] * 3)], dtype=torch.float64),
            projector,
        ).numpy()
        observed = truth.sign * stacks.read(np.array([row]))[0].astype(np.float64)
        squares = ((observed - seen) ** 2).sum(axis=(1, 2)) - (observed**2).sum()
        result.append(np.exp(-squares / (2 * truth.noise_sd**2)))
    return np.array(result)


def literal_posterior(data, stacks, prior):
    """Prior times likelihood, over their sum."""
    joint = prior * literal_likelihood(data, stacks, np.ones(100))
    return joint / joint.sum(axis=1, keepdims=True)


def test_the_posterior_is_that_of_the_literal_sum_in_double_precision(noisy):
    stacks = ImageStacks(noisy.table)
    prior = np.bincount(noisy.truth.conformation_index) / len(ROWS)
    expected = literal_posterior(noisy, stacks, prior)
    found = posteriors(noisy.truth, stacks)
    assert 0.2 < np.median(expected.max(axis=1)) < 0.999, "a case where it matters"
    # single precision and the fast projector: 5·10⁻⁴ of a signal whose weight in nats is 0.02 · 32² / 2 = 10
    assert found == pytest.approx(expected, abs=5e-3)


def test_the_prior_is_how_often_a_conformation_is_shown(noisy):
    skewed = replace(noisy.truth, conformation_index=np.repeat([0, 1, 2], [30, 8, 2]))
    stacks = ImageStacks(noisy.table)
    expected = literal_posterior(noisy, stacks, np.array([0.75, 0.2, 0.05]))
    assert posteriors(skewed, stacks) == pytest.approx(expected, abs=5e-3)


def test_a_candidate_stands_for_the_conformations_of_its_group(noisy):
    """Two groups for three angles: the two that are nearer to each other go together."""
    order = np.argsort(noisy.truth.parameters[:, 0])
    low, middle, high = noisy.truth.parameters[order, 0]
    found = find_candidates(noisy.truth, 2)
    together = order[1:] if high - middle < middle - low else order[:2]
    assert found.group[together[0]] == found.group[together[1]]
    assert len(np.unique(found.group)) == 2
    assert not found.exact
    counts = np.bincount(noisy.truth.conformation_index)
    mean = np.average(noisy.truth.conformations[together], axis=0, weights=counts[together])
    group = found.group[together[0]]
    assert found.points[group] == pytest.approx(mean, abs=1e-4)  # float32, some 50 Å
    angle = np.average(noisy.truth.parameters[together, 0], weights=counts[together])
    assert found.figure(noisy.truth.parameters[:, 0])[group] == pytest.approx(angle)
    blind = replace(noisy.truth, noise_sd=1e9)
    assert posteriors(blind, ImageStacks(noisy.table), ROWS[:1], 2)[0, group] == pytest.approx(
        counts[together].sum() / len(ROWS), abs=1e-6
    )


def test_posteriors_sum_to_one_whatever_is_computed_at_a_time(noisy, monkeypatch):
    stacks = ImageStacks(noisy.table)
    whole = posteriors(noisy.truth, stacks)
    assert whole.sum(axis=1) == pytest.approx(np.ones(len(ROWS)), abs=1e-12)
    monkeypatch.setattr(oracle, "PIXELS_READ", 7 * 32**2)
    monkeypatch.setitem(oracle.WORK_AT_ONCE, "cpu", 1)
    assert posteriors(noisy.truth, stacks) == pytest.approx(whole, abs=1e-4)  # single precision, of 10 nats


def test_without_noise_to_speak_of_the_oracle_knows_the_conformation(simulated):
    clear = simulated(3, count=40, snr=100.0)
    found = posteriors(clear.truth, ImageStacks(clear.table))
    assert found.argmax(axis=1).tolist() == clear.truth.conformation_index.tolist()
    assert found.max(axis=1).min() > 0.999


def test_where_noise_is_everything_the_prior_is_left(noisy):
    blind = replace(noisy.truth, noise_sd=1e9)
    found = posteriors(blind, ImageStacks(noisy.table))
    prior = np.bincount(noisy.truth.conformation_index) / len(ROWS)
    assert found == pytest.approx(np.tile(prior, (len(ROWS), 1)), abs=1e-6)


def test_the_number_of_threads_is_as_before(noisy):
    before = torch.get_num_threads()
    posteriors(noisy.truth, ImageStacks(noisy.table), ROWS[:2])
    assert torch.get_num_threads() == before


def test_where_images_lack_residues_the_oracle_is_not_told_which(noisy):
    """Residues 81-100 are missing in a quarter of the images: both compositions count, by how often they occur."""
    absent = np.arange(100)[None] >= 80
    presence = (np.arange(len(ROWS)) % 4 > 0)[:, None]
    truth = replace(noisy.truth, absent_sets=absent, presence=presence)
    stacks = Rendered(truth, noisy.table, np.random.default_rng(0))
    lacking = replace(noisy, truth=truth)
    joint = 0.75 * literal_likelihood(lacking, stacks, np.ones(100))
    joint += 0.25 * literal_likelihood(lacking, stacks, ~absent[0])
    joint *= np.bincount(truth.conformation_index)
    expected = joint / joint.sum(axis=1, keepdims=True)
    assert posteriors(truth, stacks) == pytest.approx(expected, abs=5e-3)


@pytest.mark.parametrize("kept", [True, False])
def test_images_made_of_atoms_are_understood_as_such(simulated, kept):
    """Without noise to speak of; with and without the file of the true atoms."""
    clear = simulated(3, count=40, snr=100.0, density="atoms")
    truth, model = clear.truth, read_model(clear.model)
    atoms = np.stack([AtomsOfBeads(model).positions(one) for one in truth.conformations]).astype(np.float32)
    found = find_candidates(truth.with_atoms(atoms if kept else None), 100, model)
    assert found.points.shape[1] > 4 * 100
    posterior = ask_oracle(truth, ImageStacks(clear.table), ROWS, found).posteriors
    assert posterior.argmax(axis=1).tolist() == truth.conformation_index.tolist()
    assert posterior.max(axis=1).min() > 0.999
    noise = ask_oracle(truth, ImageStacks(clear.table), ROWS, found).log_joint.max(axis=1)
    pixels = truth.box**2
    # minus half the noise's sum of squares in units of its variance: 512 ± 23 for 32 × 32 pixels, plus the log prior
    assert -noise == pytest.approx(np.full(len(ROWS), pixels / 2), rel=0.25)


@pytest.mark.parametrize("sample", [200, 7])
def test_groups_are_stretches_of_the_angle_of_the_hinge(data, monkeypatch, sample):
    """The hinge's angle is the one way in which conformations differ, so groups do not interleave along it."""
    monkeypatch.setattr(candidates, "SAMPLE", sample)
    found = find_candidates(data.truth, 5)
    along = found.group[np.argsort(data.truth.parameters[:, 0])]
    assert len(found) == 5
    assert (np.diff(along) != 0).sum() == 4


def test_all_conformations_are_candidates_where_they_are_few(data):
    found = find_candidates(data.truth, 100)
    assert found.exact
    assert found.points == pytest.approx(data.truth.conformations)
    assert found.shares == pytest.approx(np.bincount(data.truth.conformation_index) / 100)


def test_a_conformation_that_no_image_shows_is_no_candidate(noisy):
    unseen = replace(noisy.truth, conformation_index=np.where(noisy.truth.conformation_index == 1, 0, 2))
    found = find_candidates(unseen, 100)
    assert len(found) == 2
    assert found.shares.sum() == pytest.approx(1.0)
    assert found.shares.min() > 0


def test_the_oracle_sees_images_under_the_true_poses_whatever_the_particle_file_says(noisy):
    stacks, wrong = ImageStacks(noisy.table), replace(noisy.table, rotations=noisy.table.rotations[::-1])
    assert posteriors(noisy.truth, ImageStacks(wrong)) == pytest.approx(posteriors(noisy.truth, stacks), abs=1e-9)


def test_beads_that_never_move_are_projected_once_without_changing_anything(noisy, monkeypatch):
    stacks = ImageStacks(noisy.table)
    shared = posteriors(noisy.truth, stacks)
    monkeypatch.setattr(oracle, "STILL", -1.0)
    assert posteriors(noisy.truth, stacks) == pytest.approx(shared, abs=5e-3)  # the projector's error, see above


def test_jitter_does_not_mislead_the_oracle(simulated):
    """400 distinct angles with 0.7 Å of jitter at high signal: 40 groups find the angle better than 40 of them do."""
    clean = simulated(400, count=400, snr=1.0)
    generator = np.random.default_rng(1)
    moved = clean.truth.conformations
    jitter = smooth_noise(generator, moved.shape) * 0.7
    # images of jittered conformations: the simulation's noise on top of images of structures moved a little
    truth = replace(clean.truth, conformations=(moved + jitter).astype(np.float32))
    images = Rendered(truth, clean.table, generator)
    rows = np.arange(0, 400, 4)
    angle = truth.parameters[:, 0]
    true = angle[truth.conformation_index[rows]]

    def found(chosen):
        return np.corrcoef(ask_oracle(truth, images, rows, chosen).expected(angle), true)[0, 1]

    groups = find_candidates(truth, 40)
    picked = np.sort(generator.permutation(400)[:40])
    nearest = np.abs(angle[:, None] - angle[picked]).argmin(axis=1)
    as_they_are = replace(groups, points=truth.conformations[picked], group=nearest)
    assert found(groups) > found(as_they_are)
    assert found(groups) > 0.98


def test_the_oracle_says_how_far_its_correlation_rests_on_chance(noisy):
    """Halves drawn from the images vary about as much among each other as the bootstrap says the whole does."""
    angle = noisy.truth.parameters[:, 0]
    found = ask_oracle(noisy.truth, ImageStacks(noisy.table), ROWS, find_candidates(noisy.truth, 100))
    true, expected = angle[noisy.truth.conformation_index], found.expected(angle)
    generator, halves = np.random.default_rng(0), []
    for _ in range(20):
        some = generator.permutation(len(ROWS))[: len(ROWS) // 2]
        halves.append(np.corrcoef(expected[some], true[some])[0, 1])
    # a half drawn without replacement varies as the whole does (delete-half jackknife); 20 halves tell it to 16 %
    assert found.uncertainty(angle, true) == pytest.approx(np.std(halves), rel=0.6)
    assert found.without_noise(angle) == pytest.approx(true)  # every conformation is a candidate


def test_one_image_says_nothing_about_chance(noisy):
    found = ask_oracle(noisy.truth, ImageStacks(noisy.table), ROWS[:1], find_candidates(noisy.truth, 100))
    assert np.isnan(found.uncertainty(noisy.truth.parameters[:, 0], np.zeros(1)))


def smooth_noise(generator, shape):
    """Displacements with unit RMS along each axis that neighbours along the chain share."""
    kernel = np.hanning(15)
    raw = generator.normal(size=(shape[0], shape[1] + 14, 3))
    smooth = np.apply_along_axis(np.convolve, 1, raw, kernel, mode="valid")
    return smooth / smooth.std()


class Rendered:
    """A stack held in memory: what the truth says, with its noise."""

    def __init__(self, truth, table, generator):
        self.table = table
        projector = SpreadProjector(ImageGrid(truth.box, truth.pixel_size), truth.bead_sigma)
        noiseless = particle_images(
            torch.as_tensor(truth.conformations[truth.conformation_index]),
            torch.as_tensor(truth.amplitudes * truth.present(slice(None)), dtype=torch.float32),
            torch.as_tensor(truth.rotations, dtype=torch.float32),
            torch.as_tensor(truth.shifts, dtype=torch.float32),
            CtfParameters.from_table(table),
            projector,
        ).numpy()
        self.images = truth.sign * noiseless + truth.noise_sd * generator.normal(size=noiseless.shape)

    def read(self, rows):
        return self.images[rows].astype(np.float32)
