"""Motions that two models share are found, and what noise or the direction of view make alike is not taken for one."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.spatial.transform import Rotation
from tests.particles.made_up import particle_table

from cryosphere.validation.agreement import residue_agreement, segment_overlap
from cryosphere.validation.library import Library, in_one_frame
from cryosphere.validation.motions import by_chance, common_motions, displacement, modes_of
from cryosphere.validation.neighbours import groups

from .scene import hinge_library, side

IMAGES = 1200


def errors(seed: int, size: float, count: int = IMAGES) -> tuple[np.ndarray, np.ndarray]:
    first, second = np.random.default_rng(seed).normal(scale=size, size=(2, count))
    return first, second


def test_a_motion_that_both_models_read_is_found_with_its_residues_and_amplitude():
    library, truth = hinge_library(), np.random.default_rng(5).uniform(-6, 6, IMAGES)
    models = [side(library, truth, errors(seed, 6.0)) for seed in (1, 2)]
    common = common_motions(*models, particle_table(IMAGES), 0)
    assert common.correlations[0] == pytest.approx(12 / (12 + 36), abs=0.05)  # variances of motion and noise, Å²
    assert common.distances[0] > 6
    assert common.p_values[0] == pytest.approx(1 / 1001)
    moved = np.linalg.norm(displacement(models[0], common.axes[0][:, 0]), axis=-1)
    assert moved[30:] == pytest.approx(6 / 3**0.5, rel=0.05)  # standard deviation of a uniform distribution
    assert moved[:30] == pytest.approx(0.0, abs=1e-9)


def test_noise_that_both_models_see_alike_is_no_agreement_where_each_sees_other_frequencies():
    """Both models take the noise for motion, and the same one: shown all data they agree, wrongly."""
    library, still = hinge_library(), np.zeros(IMAGES)
    noise = errors(3, 6.0)
    models = [side(library, still, noise) for _ in range(2)]
    common = common_motions(*models, particle_table(IMAGES), 0)
    assert common.p_values[0] > 0.01
    residues = residue_agreement(*models)
    assert residues.same_data[30:].min() > 0.99
    assert np.abs(residues.split_data[30:]).max() < 0.1


def test_a_conformation_that_follows_the_view_is_no_motion():
    images = particle_table(IMAGES)
    x, y, z = images.rotations[:, 2].T
    models = [side(hinge_library(), 6 * (x * y + z**2), errors(seed, 3.0)) for seed in (1, 2)]
    assert common_motions(*models, images, 0).p_values[0] > 0.01


def test_of_two_motions_of_which_images_show_one_the_other_is_not_taken_along():
    generator = np.random.default_rng(7)
    library = hinge_library(second=4.0)
    truth = generator.uniform(-6, 6, IMAGES)
    models = [side(library, truth, errors(seed, 4.0)) for seed in (1, 2)]
    common = common_motions(*models, particle_table(IMAGES), 0)
    assert common.p_values[0] < 0.01
    assert len(common.correlations) == 2
    assert common.p_values[1] > 0.01


def test_models_without_motion_have_none_in_common():
    still = hinge_library()
    still = Library(np.repeat(still.mean[None], 3, axis=0), np.full(3, 1 / 3))
    models = [side(still, np.zeros(IMAGES), errors(seed, 4.0)) for seed in (1, 2)]
    common = common_motions(*models, particle_table(IMAGES), 0)
    assert len(common.correlations) == 0
    assert residue_agreement(*models).same_data == pytest.approx(0.0)


def test_chance_is_rarely_called_rare():
    """Of data sets without motion, about one in a hundred may pass the level of one in a hundred."""
    passed = 0
    for seed in range(25):
        models = [side(hinge_library(9), np.zeros(200), errors(100 * n + seed, 5.0, 200)) for n in (1, 2)]
        passed += bool(common_motions(*models, particle_table(200, seed), seed).p_values[0] < 0.01)
    assert passed <= 2


@pytest.mark.parametrize("same", [False, True])
def test_chance_scatters_as_still_images_do_whether_or_not_both_models_see_the_same_noise(same):
    """Two good models of one molecule take the same noise for the same place: their readings are then alike."""
    found, expected = [], []
    for seed in range(400):
        generator = np.random.default_rng(seed)
        ours = generator.normal(size=(2, 400, 6))
        theirs = ours if same else generator.normal(size=(2, 400, 6))
        sides = np.concatenate(ours), np.concatenate(theirs[::-1])
        found.append(np.linalg.norm(sides[0].T @ sides[1] / 800, 2))
        expected.append(by_chance(sides, groups(particle_table(400, seed), 8), generator, 20))
    assert np.std(expected) == pytest.approx(np.std(found), rel=0.12)
    assert np.mean(expected) == pytest.approx(np.mean(found), rel=0.03)


def test_motions_of_the_whole_molecule_are_taken_off():
    library = hinge_library(second=0.0)
    still = np.repeat(library.mean[None], 33, axis=0)
    turns = Rotation.from_rotvec(0.2 * np.random.default_rng(1).normal(size=(33, 3))).as_matrix()
    shifts = np.random.default_rng(2).normal(scale=5, size=(33, 1, 3))
    tumbling = Library(still @ turns.transpose(0, 2, 1) + shifts, library.shares)
    for one in in_one_frame(tumbling, tumbling):
        assert len(modes_of(one).directions) == 0


def test_principal_motions_have_the_amplitude_of_the_structures():
    library = hinge_library(second=3.0)
    amplitudes = modes_of(library).amplitudes
    places = np.linspace(-1, 1, 33)
    expected = [size * places.std() * (10 / 40) ** 0.5 for size in (6.0, 3.0)]
    assert amplitudes == pytest.approx(expected, rel=0.02)


def test_segments_are_matched_whatever_their_order():
    first = np.repeat(np.eye(3), (10, 20, 10), axis=0)
    second = np.repeat(np.eye(4)[[2, 0, 3]], (12, 18, 10), axis=0)
    found = segment_overlap(first, second)
    assert found.share == pytest.approx(38 / 40)
    assert found.used == (3, 3)
    assert segment_overlap(first, first[:, ::-1]).adjusted_rand == pytest.approx(1.0)
