"""What is chosen from an agreement of model and map, from the images, and from the model."""

from __future__ import annotations

import numpy as np
import pytest

from cryosphere.errors import ConfigError
from cryosphere.imaging.grid import ImageGrid
from cryosphere.maps.model_fsc import ModelMapFsc
from cryosphere.preparation.choices import (
    choose_box,
    choose_contrast,
    choose_low_pass,
    choose_mask,
    choose_segments,
)
from cryosphere.preparation.consensus import images_for_map
from cryosphere.preparation.placement import Candidate, Placement, choose, preference
from cryosphere.simulation.protein import two_domain_protein

IMAGES = ImageGrid(200, 1.0)
PROTEIN = two_domain_protein(0, (60, 40)).model


def agreement(*curve):
    """A correlation in shells of an image 200 Å wide."""
    frequencies = np.arange(len(curve)) / IMAGES.length
    return ModelMapFsc(frequencies, np.array(curve, dtype=float), 0.0)


def candidate(kind, in_map, mean, spread=0.05):
    """A placement that 100 images agree with by a mean and a spread."""
    noise = np.random.default_rng(0).standard_normal(100)
    return Candidate(kind, PROTEIN, in_map, mean + spread * (noise - noise.mean()))


def test_the_low_pass_is_where_the_correlation_falls_to_a_half():
    choice, crossing = choose_low_pass(agreement(1, *[0.9] * 20, 0.7, 0.3, 0.1), IMAGES)
    assert crossing.angstrom == pytest.approx(200 / 21.5)  # shell 21 has 0.7, shell 22 has 0.3
    assert choice.value == round(200 / 21.5, 1)
    assert "null" in choice.reason


def test_a_dip_at_low_frequencies_is_passed_over_and_a_lone_shell_at_high_ones_too():
    curve = [1, 0.9, 0.4, 0.45, *[0.8] * 16, 0.7, 0.3, 0.1, 0.6, 0.1]  # shell 20 has 0.7, shell 21 has 0.3
    choice, _ = choose_low_pass(agreement(*curve), IMAGES)
    assert choice.value == round(200 / 20.5, 1)
    assert "dips below that at" in choice.reason


@pytest.mark.parametrize(
    ("curve", "words"),
    [
        ([1] + [0.9] * 99, "Not needed"),  # agree to Nyquist
        ([1] + [0.9] * 65 + [0.2] * 30, "Not needed"),  # to 3.1 Å, finer than the 3.4 Å that beads of 2 Å hold
        ([1] + [0.4] * 80, "do not agree"),
        ([1, 0.9, 0.9, 0.2] + [0.1] * 80, "do not agree"),  # to 80 Å of 200: training takes no low-pass like that
    ],
)
def test_there_is_no_low_pass_where_it_would_change_nothing_or_leave_nothing(curve, words):
    choice, _ = choose_low_pass(agreement(*curve), IMAGES)
    assert choice.value is None
    assert words in choice.reason


@pytest.mark.parametrize(
    ("low_pass", "images", "box"),
    [
        (8.0, IMAGES, 90),  # 0.6 of 8 Å is 4.8 Å: 83.3 pixels at least, the next that transforms fast
        (20.0, IMAGES, 72),  # not coarser than 6 Å: 66.7 pixels
        (5.0, IMAGES, 100),  # 3 Å is finer than needed: pixels of 2 Å
        (None, IMAGES, 100),
        (8.0, ImageGrid(64, 3.0), 64),  # never larger than the images
        (8.0, ImageGrid(90, 2.4), 90),
    ],
)
def test_the_box_holds_the_low_pass_comfortably_and_is_never_larger_than_the_images(low_pass, images, box):
    choice = choose_box(low_pass, images)
    assert choice.value == box
    assert str(box) in choice.reason


@pytest.mark.parametrize(("mean", "contrast"), [(0.2, "white"), (-0.2, "black"), (0.001, "auto")])
def test_the_contrast_is_the_sign_of_the_images_correlation_where_that_is_sure(mean, contrast):
    assert choose_contrast(candidate("found by search", 0.9, mean)).value == contrast


def test_a_contrast_that_is_given_stays():
    assert choose_contrast(candidate("found by search", 0.9, -0.2), "white").value == "white"


def test_segments_are_the_default_where_none_are_asked_for():
    assert choose_segments(None, PROTEIN.beads).value == 10
    assert choose_segments(6, PROTEIN.beads).value == 6


def test_the_mask_holds_the_model_and_stays_inside_the_box():
    choice = choose_mask(PROTEIN.beads, IMAGES)
    outermost = np.linalg.norm(PROTEIN.beads.positions, axis=1).max()
    assert outermost + 10 < float(choice.value) * IMAGES.length / 2
    assert choose_mask(PROTEIN.beads, ImageGrid(20, 2.0)).value == 1.0


def test_a_model_stays_where_it_stood_unless_another_place_is_clearly_better():
    stood, found = candidate("as it stood, refined", 0.80, 0.2), candidate("found by search", 0.82, 0.2)
    assert choose([stood, found]) is stood
    better = candidate("found by search", 0.9, 0.2)
    assert choose([stood, better]) is better


def test_of_places_that_the_map_cannot_tell_apart_the_images_choose():
    found, runner_up = candidate("found by search", 0.82, 0.15), candidate("runner-up", 0.80, 0.2)
    assert choose([found, runner_up]) is runner_up
    poor = candidate("runner-up", 0.5, 0.3)  # the map speaks against it
    assert choose([found, poor]) is found


def test_the_images_preference_is_in_standard_errors_and_the_same_for_dark_protein():
    generator = np.random.default_rng(1)
    one, other = (Candidate("runner-up", PROTEIN, 0.8, m + 0.05 * generator.standard_normal(400)) for m in (0.2, 0.15))
    difference = one.in_images - other.in_images
    expected = difference.mean() / (difference.std(ddof=1) / 20)
    assert preference(one, other) == pytest.approx(expected)
    dark = [Candidate(c.kind, PROTEIN, 0.8, -c.in_images) for c in (one, other)]
    assert preference(*dark) == pytest.approx(expected)


def placement(chosen, other):
    return Placement(chosen, chosen, (), other, 8.0, "as told", 0.0, 0.0, 0.0, "as told")


@pytest.mark.parametrize(
    ("in_map", "in_images", "hand"),
    [
        (0.5, 0.1, "right"),
        (0.9, 0.3, "wrong"),
        (0.9, 0.2, "unclear"),  # the images cannot tell
        (0.3, 0.2, "right"),  # nor here, but nothing speaks against the map
        (0.9, 0.1, "right"),  # the images speak against what the map says
        (0.81, 0.3, "wrong"),  # the images are sure
        (0.8, 0.2, "unclear"),
    ],
)
def test_the_hand_is_what_map_and_images_say(in_map, in_images, hand):
    chosen = candidate("found by search", 0.8, 0.2)
    generator = np.random.default_rng(2)
    noise = 0.05 * generator.standard_normal(100)
    other = Candidate("other hand", PROTEIN, in_map, in_images + noise - noise.mean())
    assert placement(chosen, other).hand == hand


@pytest.mark.parametrize(
    ("count", "box", "wanted", "number"),
    [(5_000, 256, None, 5_000), (1_000_000, 256, None, 15_258), (1_000_000, 400, None, 10_000), (5_000, 64, 200, 200)],
)
def test_a_map_is_made_of_all_images_or_of_as_many_as_take_minutes(count, box, wanted, number):
    chosen, why = images_for_map(count, box, wanted)
    assert chosen == number
    assert f"{number:,}" in why
    assert ("at random" in why) == (number < count)


@pytest.mark.parametrize("wanted", [1, 101])
def test_as_many_images_as_there_are_not_are_refused(wanted):
    with pytest.raises(ConfigError, match="--images"):
        images_for_map(100, 64, wanted)
