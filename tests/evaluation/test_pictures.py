"""Pictures of an evaluation are drawn for small and large sets alike; how they look is for eyes to judge."""

from __future__ import annotations

import warnings
from dataclasses import replace

import numpy as np
import pytest

from cryosphere.evaluation.domains import Domain
from cryosphere.evaluation.fsc import FscCurves, FscResult
from cryosphere.evaluation.pictures.agreement import MOST_FIGURES, distributions, predicted_against_true
from cryosphere.evaluation.pictures.chains import MOST_CHAINS, Strips, domains_above_segments
from cryosphere.evaluation.pictures.latents import latents_by_truth
from cryosphere.evaluation.pictures.panels import histograms, limits_of, panels
from cryosphere.evaluation.pictures.structures import defects, deviations, shell_correlations
from cryosphere.evaluation.results import Agreement, PerImage
from cryosphere.imaging.grid import ImageGrid

GENERATOR = np.random.default_rng(0)


pytestmark = pytest.mark.usefixtures("no_warnings")


def per_image(images=500, figures=2, dimensions=3, oracle=50):
    true = GENERATOR.uniform(20, 30, (figures, images))
    rows = np.linspace(0, images - 1, min(oracle, images)).astype(int)
    sample = min(images, 40)
    return PerImage(
        names=np.array([f"LID-CORE {k}" for k in range(figures)]),
        units=np.array(["Å" if k % 2 == 0 else "°" for k in range(figures)]),
        predicted=true + GENERATOR.normal(size=true.shape),
        true=true,
        base=np.full(figures, 20.0),
        oracle_rows=rows,
        oracle=true[:, rows],
        deviation=GENERATOR.random(images),
        aligned_deviation=GENERATOR.random(images),
        base_deviation=3 * GENERATOR.random(images),
        base_aligned_deviation=3 * GENERATOR.random(images),
        latent_mean=GENERATOR.normal(size=(images, dimensions)).astype(np.float32),
        latent_sd=np.ones((images, dimensions), dtype=np.float32),
        structure_rows=np.arange(sample),
        lddt=GENERATOR.uniform(0.7, 0.9, sample),
        base_lddt=GENERATOR.uniform(0.7, 0.9, sample),
        clashes=GENERATOR.integers(0, 5, sample),
        true_clashes=np.zeros(sample, dtype=np.int64),
        broken_links=np.zeros(sample, dtype=np.int64),
        true_broken_links=np.zeros(sample, dtype=np.int64),
    )


def agreements(count, correlation=0.9, oracle=0.95):
    return [
        Agreement(f"{k}", "Å", correlation, 1.0, oracle, 50, 0.89, (20.0, 30.0), (19.0, 31.0)) for k in range(count)
    ]


@pytest.mark.parametrize(("images", "figures"), [(1, 1), (2, 2), (500, 6), (5000, 20)])
def test_figures_are_drawn_for_any_number_of_images_and_domains(images, figures, is_picture):
    found = per_image(images, figures)
    scatter = predicted_against_true(found, agreements(figures))
    assert is_picture(scatter)
    assert is_picture(distributions(found))
    assert sum(axes.get_visible() for axes in scatter.axes) == min(figures, MOST_FIGURES)


def test_correlation_and_oracle_stand_in_the_corner():
    figure = predicted_against_true(per_image(), agreements(2))
    assert "r = 0.900\npossible 0.950" in [text.get_text() for text in figure.axes[0].texts]


def test_without_an_oracle_and_without_variation_the_corner_says_so(is_picture):
    found = per_image(oracle=0)
    still = replace(found, predicted=np.full_like(found.predicted, 20.0))
    figure = predicted_against_true(still, agreements(2, correlation=float("nan"), oracle=None))
    assert [text.get_text() for text in figure.axes[0].texts] == ["does not vary"]
    assert is_picture(figure)
    assert is_picture(distributions(still))


def test_panels_have_the_same_scale_along_both_axes():
    axes = predicted_against_true(per_image(), agreements(2)).axes[0]
    assert axes.get_xlim() == axes.get_ylim()
    assert axes.get_aspect() == 1.0


def test_histograms_count_every_image_once_even_beyond_the_limits():
    _, (axes,) = panels(1)
    histograms(axes, {"one": np.array([-5.0, 0.5, 99.0, np.nan])}, ("#000000",), (0.0, 1.0))
    heights = axes.patches[-1].get_data().values
    assert heights.sum() == pytest.approx(1.0)
    assert (heights[0], heights[-1]) == pytest.approx((1 / 3, 1 / 3))


@pytest.mark.parametrize("values", [[], [3.0], [3.0, 3.0], [np.nan]])
def test_limits_are_never_empty(values):
    low, high = limits_of([np.array(values)])
    assert low < high


@pytest.mark.parametrize("images", [1, 500])
def test_structures_are_drawn(images, is_picture):
    found = per_image(images)
    assert is_picture(deviations(found))
    assert is_picture(defects(found))
    many = replace(found, clashes=found.clashes * 1000)
    assert is_picture(defects(many))


def test_structures_without_neighbours_have_no_local_agreement_to_draw(is_picture):
    found = per_image(5)
    alone = np.full(5, np.nan)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", RuntimeWarning)  # NumPy's, about medians of nothing
        assert is_picture(deviations(replace(found, lddt=alone, base_lddt=alone)))


def curves(images, shells):
    values = np.linspace(1, 0.1, shells) * np.ones((images, 1))
    return FscCurves(values, np.full(images, 5.0), np.full(images, 4.0), np.full(images, 0.3))


@pytest.mark.parametrize(("images", "box", "pixel"), [(1, 24, 8.0), (100, 128, 0.8)])
def test_shell_correlations_are_drawn_with_a_resolution_axis(images, box, pixel, is_picture):
    shells = box // 2
    frequencies = np.arange(shells) / (box * pixel)
    rows, grid = np.arange(images), ImageGrid(box, pixel)
    of_beads = FscResult(rows, grid, frequencies, curves(images, shells), curves(images, shells), None, None)
    both = replace(of_beads, atoms=of_beads.beads, base_atoms=of_beads.base_beads)
    assert is_picture(shell_correlations(of_beads))
    figure = shell_correlations(both)
    assert is_picture(figure)
    assert len(figure.axes) == 2
    resolutions = [float(label.get_text()) for label in figure.axes[0].child_axes[0].get_xticklabels()]
    assert resolutions
    assert 1 / min(resolutions) <= frequencies[-1] * 1.001


def strips(chains, residues, segments):
    number = np.tile(np.arange(residues) - 3, chains)
    chain = np.repeat([f"C{k}" for k in range(chains)], residues)
    domain = np.where(number > residues // 2, 0, -1)
    segment = np.where(number < 2, -1, np.arange(chains * residues) * segments // (chains * residues))
    return Strips(chain, number, domain, segment, ["LID"], segments + 1)


@pytest.mark.parametrize(("chains", "residues", "segments"), [(1, 5, 1), (2, 300, 25), (30, 40, 3)])
def test_domains_stand_above_segments_for_every_chain(chains, residues, segments, is_picture):
    figure = domains_above_segments(strips(chains, residues, segments))
    assert is_picture(figure)
    labels = [label.get_text() for label in figure.axes[0].get_yticklabels()]
    assert labels[:2] == ["chain C0  true", "learned"]
    assert len(labels) == 2 * min(chains, MOST_CHAINS)


def test_strips_show_what_each_residue_belongs_to(run):
    from cryosphere.training.trained import TrainedModel

    beads = TrainedModel.load(run, device="cpu").atomic_model.beads
    inside = np.arange(len(beads)) >= 60
    made = Strips.of(beads, [Domain("TOP", inside), Domain("REST", ~inside)], inside.astype(np.int64), 2)
    assert made.domain.tolist() == [1] * 60 + [0] * 40
    assert made.segment.tolist() == [0] * 60 + [1] * 40


@pytest.mark.parametrize(("images", "dimensions"), [(1, 1), (300, 1), (20_000, 8)])
def test_latents_are_drawn_for_any_number_of_images_and_dimensions(images, dimensions, is_picture):
    assert is_picture(latents_by_truth(per_image(images, 4, dimensions)))


def test_a_collapsed_latent_and_a_truth_that_does_not_vary_are_drawn(is_picture):
    found = per_image(50)
    assert is_picture(latents_by_truth(replace(found, latent_mean=np.zeros((50, 3), dtype=np.float32))))
    assert is_picture(latents_by_truth(replace(found, true=np.ones_like(found.true))))


def test_latents_with_one_direction_are_drawn_against_the_true_value():
    found = per_image(100)
    line = np.outer(found.true[0], [1.0, 2.0, 0.0]).astype(np.float32)
    figure = latents_by_truth(replace(found, latent_mean=line))
    assert figure.axes[0].get_ylabel() == "true (Å)"
