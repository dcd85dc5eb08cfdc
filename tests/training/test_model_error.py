"""The error of structures that images are asked about, against errors that were planted and noise that is known."""

from types import SimpleNamespace

import numpy as np
import pytest
import torch

from cryosphere.distribution import ALONE
from cryosphere.training.displacements import Wishes, stretches, wishes
from cryosphere.training.model_error import fit
from cryosphere.training.spread import model_error_of

from .hinge_model import hinge_model


def test_stretches_end_with_their_chain():
    assert stretches(np.array(list("AAAAABB"))).tolist() == [0, 0, 0, 1, 1, 2, 2]


def ask(planted: float, noise: float = 1.0):
    """Wishes of images whose residues 20 to 22 lie `planted` Å along z from where the model has them."""
    model, images, latents = hinge_model((0.0, 0.4), particles=400, noise=noise)
    shift = torch.zeros(40, 3)
    shift[20:23, 2] = planted
    everything = images.everything
    with torch.no_grad():
        before, _ = model.structures(latents, model.segmentation(draw=False))
        difference = model.generative(before + shift, everything) - model.generative(before, everything)
    everything.spectra.add_(difference)
    stretch = np.minimum((np.arange(40) + 1) // 3, 13)  # 20, 21 and 22 are stretch 7
    group = np.asarray(latents[:, 0] > 0, dtype=np.int64)
    return model, wishes(model, images, np.arange(400), latents.numpy(), (stretch, group))


def test_images_of_the_models_own_structures_wish_for_as_much_as_noise_makes_them():
    _, found = ask(0.0)
    assert found.dispersion == pytest.approx(1.0, abs=0.08)  # slopes of 400 × 42 displacements
    values, vectors = np.linalg.eigh(found.information.sum(axis=0))
    known = values > 1e-3 * values.max()
    scaled = (found.slopes.sum(axis=0) @ vectors)[known] / np.sqrt(values[known])
    assert 0.5 < np.mean(scaled**2) < 1.6  # some forty numbers of variance 1


def test_a_stretch_that_lies_elsewhere_than_the_model_has_it_is_wished_there():
    _, found = ask(1.0)
    information = found.information.sum(axis=0) + np.eye(42)
    wish = np.linalg.solve(information, found.slopes.sum(axis=0)).reshape(14, 3)
    assert np.abs(wish).argmax() == 7 * 3 + 2
    assert wish[7, 2] == pytest.approx(1.0, abs=0.3)  # noise 0.1, a bead of 3 Å makes it less than linear


def test_the_error_of_structures_is_found_where_it_is_and_not_where_there_is_none():
    model, found = ask(1.0)
    error = fit(found, model.positions.double().numpy())
    of_stretch = np.sqrt(error.residue_variance)
    assert of_stretch[20:23].min() > 1.5 * np.median(of_stretch)
    _, right = ask(0.0)
    assert np.sqrt(fit(right, model.positions.double().numpy()).residue_variance.mean()) < 0.3


def test_the_size_of_errors_is_that_of_errors_drawn_at_random():
    generator = np.random.default_rng(1)
    positions = np.arange(60)[:, None] * np.array([3.8, 0.0, 0.0])
    stretch = np.arange(60) // 3
    covariance = np.exp(-np.abs(positions[:, None, 0] - positions[None, :, 0]) / 4.0)
    drawn = np.linalg.cholesky(covariance) @ generator.normal(0, 0.5, (40, 60, 3))
    means = drawn.reshape(40, 20, 3, 3).mean(axis=2).reshape(40, 60)
    information = np.tile(400.0 * np.eye(60), (40, 1, 1))
    slopes = 400.0 * means + generator.normal(0, 20.0, means.shape)
    error = fit(Wishes(stretch, slopes, information, np.full(40, 10), 1.0), positions)
    assert np.sqrt(error.residue_variance.mean()) == pytest.approx(0.5 * np.sqrt(3), rel=0.05)


def test_where_images_are_too_few_it_is_said_what_all_structures_hold(tmp_path, caplog):
    """Those of images the spread of their latents; those at latents of one's own, as of volumes, what was given."""
    run = SimpleNamespace(model_error=tmp_path / "model_error.npz")
    model = SimpleNamespace(run=run, step=1, world=ALONE, validation_rows=np.arange(99))
    assert model_error_of(model) is None
    assert "99 images are too few" in caplog.text
    assert "of images' structures are of the latents alone" in caplog.text
    assert "at other latents have none, but the input's B-factors" in caplog.text
