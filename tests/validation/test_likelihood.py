"""Comparing structures with images at one set of frequencies, and foretelling the other."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch
from scipy.spatial.transform import Rotation

from cryosphere.geometry.poses import random_rotations
from cryosphere.validation.likelihood import View, measure_scale

from .images import noisy, seen_as, two_domain_model


@pytest.fixture(scope="module")
def model():
    return two_domain_model()


def opened(model) -> torch.Tensor:
    """The base structure with its second domain 8 Å away."""
    moved = model.positions.clone()
    moved[60:, 0] += 8.0
    return moved


@torch.no_grad()
def test_errors_of_poses_are_made_up_for(model):
    """Turned by 2 degrees and shifted by 1.5 Å: what that costs is won back, of set two by what set one says."""
    count, generator = 256, np.random.default_rng(0)
    rotations = random_rotations(count, generator)
    off = Rotation.from_rotvec(np.radians(2.0) * generator.normal(size=(count, 3))).as_matrix()
    shifts = torch.as_tensor(generator.normal(scale=1.5, size=(count, 3)), dtype=torch.float32)
    true = seen_as(off @ rotations)
    placed = model.positions + (true.rotations.mT @ (shifts * torch.tensor([1.0, 1, 0]))[..., None])[..., 0][:, None]
    clean = model.generative(placed, true)
    observed = noisy(clean, model, 0.7 * float(clean.abs().square().mean().sqrt()))

    def told(rotations: np.ndarray, structure: torch.Tensor) -> tuple[float, float]:
        batch = replace(seen_as(rotations), spectra=observed)
        scale = measure_scale(model, model.positions, [replace(true, spectra=observed)])
        view = View(model, scale, model.positions, batch)
        predicted = view.predictions(structure)
        plain = (predicted[1] * view.observed[1]).sum(1) - 0.5 * predicted[1].square().sum(1)
        return float(view.foretold(predicted, 0).mean()), float(plain.mean())

    best = told(off @ rotations, placed)[1]
    mended, plain = told(rotations, model.positions)
    assert plain < best - 5.0  # nats
    assert mended > best - 0.25 * (best - plain)


@torch.no_grad()
def test_noise_at_one_set_says_nothing_about_the_other(model):
    """Which of two structures the noise resembles: chance at either set, and unrelated between them."""
    count = 3000
    rotations = np.repeat(random_rotations(1, np.random.default_rng(3)), count, axis=0)
    empty = seen_as(rotations)
    batch = replace(empty, spectra=noisy(torch.zeros_like(model.generative(model.positions, empty)), model, 1.0))
    scale = replace(measure_scale(model, model.positions, [batch]), brightness=(3.0, 3.0))
    view = View(model, scale, model.positions, batch)
    structures = [view.predictions(one) for one in (model.positions, opened(model))]
    preferred = [view.fit(structures[1][which], which) - view.fit(structures[0][which], which) for which in (0, 1)]
    assert min(float(one.std()) for one in preferred) > 0.3  # nats: noise does resemble one of them
    correlation = float(np.corrcoef(*(one.numpy() for one in preferred))[0, 1])
    assert abs(correlation) < 4 / count**0.5


@torch.no_grad()
def test_the_structure_that_was_there_foretells_better_than_another_and_by_how_much_follows_from_the_noise(model):
    """Half the squared distance of the images, over the noise's variance: the expected difference in nats."""
    count = 512
    batch = seen_as(random_rotations(count, np.random.default_rng(1)))
    clean = model.generative(model.positions, batch)
    observed = noisy(clean, model, 1.5 * float(clean.abs().square().mean().sqrt()))
    batch = replace(batch, spectra=observed)
    view = View(model, measure_scale(model, model.positions, [batch]), model.positions, batch)
    right, wrong = view.predictions(model.positions), view.predictions(opened(model))
    for which in (0, 1):
        found = (right[which] - wrong[which]) * view.observed[which]
        expected = 0.5 * (right[which] - wrong[which]).square().sum(1)
        assert float(found.sum(1).mean()) == pytest.approx(float(expected.mean()), rel=0.1)
        told = view.foretold(right, which) - view.foretold(wrong, which)
        assert float(told.mean()) > 0.2 * float(expected.mean())  # a change of pose can make up for the rest
        assert float((told > 0).float().mean()) > 0.9
