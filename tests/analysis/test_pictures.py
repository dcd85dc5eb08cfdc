"""Pictures are drawn for everything between the smallest and the largest run; how they look is for eyes to judge."""

from __future__ import annotations

import matplotlib as mpl
import numpy as np
import pytest

from cryosphere.analysis.pictures.chains import MOST_CHAINS, ChainLayout, residue_movement, segments_along_chains
from cryosphere.analysis.pictures.curves import motion_distributions, training_curves
from cryosphere.analysis.pictures.ensemble import structure_ensemble
from cryosphere.analysis.pictures.images import example_images
from cryosphere.analysis.pictures.latents import latent_density
from cryosphere.presentation.style import segment_colours

GENERATOR = np.random.default_rng(0)


pytestmark = pytest.mark.usefixtures("no_warnings")


def layout(chains, residues, segments):
    chain = np.repeat([f"C{k}" for k in range(chains)], residues)
    number = np.tile(np.arange(residues), chains) - 3
    assignment = np.arange(chains * residues) * segments // (chains * residues)
    return ChainLayout(chain, number, assignment, np.bincount(assignment, minlength=segments + 1))


@pytest.mark.parametrize(("chains", "residues", "segments"), [(1, 50, 1), (2, 300, 5), (8, 40, 30), (61, 20, 7)])
def test_chains_are_drawn_with_their_segments_and_movement(chains, residues, segments, is_picture):
    made = layout(chains, residues, segments)
    membership = np.eye(segments + 1)[made.assignment]
    assert made.chain_count == min(chains, MOST_CHAINS)
    assert is_picture(segments_along_chains(made, membership))
    assert is_picture(residue_movement(made, GENERATOR.random(chains * residues)))


def test_residues_held_fixed_are_drawn_grey(is_picture):
    made = layout(1, 60, 2)
    fixed = ChainLayout(made.chain, made.number, np.where(made.number < 20, -1, made.assignment), made.segment_sizes)
    figure = segments_along_chains(fixed, np.where(made.number[:, None] < 20, 0.0, np.eye(3)[made.assignment]))
    strip = np.asarray(figure.axes[0].images[0].get_array())
    assert strip[0, 0] == pytest.approx(segment_colours(made.segment_sizes)[-1])
    assert is_picture(residue_movement(fixed, np.zeros(60)))


@pytest.mark.parametrize(("images", "dimensions"), [(1, 1), (2, 1), (2, 3), (1000, 1), (5000, 8)])
def test_latents_are_drawn_for_any_number_of_images_and_dimensions(images, dimensions, is_picture):
    scores = GENERATOR.normal(size=(images, dimensions))
    path = np.linspace(-1, 1, 10)[:, None] * np.eye(dimensions)[0]
    assert is_picture(latent_density(scores, np.full(dimensions, 1 / dimensions), [path] * min(dimensions, 3)))


def test_equal_latents_are_drawn_too(is_picture):
    assert is_picture(latent_density(np.zeros((500, 2)), np.zeros(2), [np.zeros((10, 2))]))
    assert is_picture(latent_density(np.zeros((500, 1)), np.zeros(1), [np.zeros((10, 1))]))


@pytest.mark.parametrize("epochs", [1, 2, 300])
def test_curves_are_drawn_from_the_first_epoch_on(epochs, is_picture):
    columns = {
        "epoch": np.arange(1.0, epochs + 1),
        "train_mean_correlation": np.linspace(0.1, 0.2, epochs),
        "validation_correlation": np.full(epochs, np.nan),
        "train_loss": np.linspace(-0.1, -0.2, epochs),
    }
    columns |= {"kl_latent": np.full(epochs, 2.0), "kl_segments": np.full(epochs, 110.0)}
    figure = training_curves(columns, 0.15, "undeformed model, 30 held-out images")
    assert is_picture(figure)
    assert len(figure.axes) == 4  # the two KL terms, in the thousands and in ones, on axes of their own


@pytest.mark.parametrize("segments", [2, 30])
def test_distributions_are_drawn_for_all_segments_but_the_reference(segments, is_picture):
    percentiles = np.sort(GENERATOR.random((5, segments)), axis=0)
    figure = motion_distributions(percentiles, percentiles, np.full(segments, 10), (1,))
    labels = [label.get_text() for label in figure.axes[0].get_yticklabels()]
    assert labels == [f"S{k + 1}" for k in range(segments) if k != 1]
    assert is_picture(figure)


@pytest.mark.parametrize(("points", "residues"), [(1, 1), (2, 5), (10, 300), (10, 20_000)])
def test_ensembles_keep_one_scale_in_all_views(points, residues, is_picture):
    frames = np.cumsum(GENERATOR.normal(size=(points, residues, 3)), axis=1)
    bonded = np.stack([np.arange(residues - 1), np.arange(1, residues)], axis=1)
    figure = structure_ensemble(frames, bonded, "title")
    assert is_picture(figure)
    for axes in figure.axes[:3]:
        assert axes.get_aspect() == 1.0


def test_examples_are_drawn_even_where_an_image_is_flat(is_picture):
    observed = GENERATOR.normal(size=(3, 33, 33)).astype(np.float32)
    predicted = np.zeros_like(observed)
    assert is_picture(example_images(observed, predicted, np.array([0, 7, 12]), 2.5, 20.0))


def test_pictures_leave_the_settings_of_matplotlib_alone():
    before = dict(mpl.rcParams)
    latent_density(np.zeros((5, 1)), np.ones(1), [np.zeros((3, 1))])
    assert dict(mpl.rcParams) == before


def test_segments_in_use_have_different_colours_and_empty_ones_are_grey():
    colours = segment_colours(np.array([5] * 30 + [0]))
    assert len(np.unique(colours[:30].round(4), axis=0)) == 30
    assert np.ptp(colours[30]) == 0
