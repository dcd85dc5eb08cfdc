"""Residues that fade instead of moving: which explains images better, and that blurred ones do not count as fading."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

import numpy as np
import pytest
import torch

from cryosphere.geometry.poses import random_rotations
from cryosphere.model.batch import Batch
from cryosphere.validation.composition import Fading, Shapes, fading_weights, gain_over_fading
from cryosphere.validation.likelihood import View, measure_scale

from .images import noisy, seen_as, two_domain_model

IMAGES = 300
AWAY = 10.0  # Å by which the second domain moves for one unit along its motion


@pytest.fixture(scope="module")
def model():
    return two_domain_model()


class Images:
    """What an observer shows of one batch of images."""

    def __init__(self, model, batch: Batch) -> None:
        self.model, self.batch, self.mean, self.rows = model, batch, model.positions, np.arange(len(batch))
        self.scale = measure_scale(model, self.mean, [batch])

    def views(self, some: np.ndarray | None = None) -> Iterator[tuple[slice, View]]:
        rows = self.rows if some is None else some
        yield slice(0, len(rows)), View(self.model, self.scale, self.mean, self.batch[torch.as_tensor(rows)])


@torch.no_grad()
def gain(model, places: np.ndarray, brightness: np.ndarray, read: np.ndarray, of: int = 0) -> tuple[float, float]:
    """Mean and error over images whose second domain lies at `places` (n,), of this `brightness`, and is `read` at.

    of: 0: of moving over fading, 1: of fading over the same brightness in all images.
    """
    motion = np.zeros((1, 100, 3))
    motion[0, 60:, 0] = AWAY
    structures = model.positions + torch.as_tensor(places[:, None, None] * motion, dtype=torch.float32)
    there = torch.ones(len(places), 100)
    there[:, 60:] = torch.as_tensor(brightness, dtype=torch.float32)[:, None]
    batch = seen_as(random_rotations(len(places), np.random.default_rng(0)))
    clean = model.generative(structures, batch, there)
    spectra = noisy(clean, model, 1.5 * float(clean.abs().square().mean().sqrt()))
    middle, still = model.positions.numpy(), np.zeros((len(places), 1))
    weights, fold = fading_weights(np.linalg.norm(motion[0], axis=1))[None], np.zeros(len(places), dtype=np.int64)
    what = Fading(motion, Shapes(middle, read[:, None]), (Shapes(middle, still),), weights, fold)
    found = [gain_over_fading(Images(model, replace(batch, spectra=spectra)), what, which) for which in (0, 1)]
    each = found[0][of] + found[1][of]
    return float(each.mean()), float(each.std() / len(each) ** 0.5)


def test_a_domain_that_comes_and_goes_is_not_explained_by_moving_it_away(model):
    absent = np.arange(IMAGES) % 2
    mean, error = gain(model, np.zeros(IMAGES), 1.0 - absent, 1.0 * absent)
    assert mean < -5 * error


def test_only_what_comes_and_goes_is_told_so(model):
    absent, never = np.arange(IMAGES) % 2, np.zeros(IMAGES)
    mean, error = gain(model, never, 1.0 - absent, 1.0 * absent, of=1)
    assert mean > 5 * error
    misread = np.random.default_rng(1).choice([-1.0, 1.0], IMAGES)
    by_rest, error = gain(model, never, np.ones(IMAGES), misread)
    assert by_rest < -5 * error  # rest explains the images better than places that are not theirs,
    assert gain(model, never, np.ones(IMAGES), misread, of=1)[0] < -0.1 * by_rest  # and not since the domain fades


def test_a_domain_that_moves_is_not_explained_by_fading(model):
    places = np.random.default_rng(1).choice([-1.0, 1.0], IMAGES)
    mean, error = gain(model, places, np.ones(IMAGES), places)
    assert mean > 5 * error


def test_a_domain_as_faint_in_all_images_neither_moves_nor_comes_and_goes(model):
    """Blurred residues are no evidence against a motion: it is given the same faintness."""
    mean, error = gain(model, np.zeros(IMAGES), np.full(IMAGES, 0.4), np.zeros(IMAGES))
    assert abs(mean) < 0.1  # nats: what it costs not to know that the brightness is the same in all images
    places = np.random.default_rng(1).choice([-1.0, 1.0], IMAGES)
    mean, error = gain(model, places, np.full(IMAGES, 0.4), places)
    assert mean > 2 * error


def test_what_moves_little_does_not_fade():
    weights = fading_weights(np.array([0.0, 2.0, 4.0, 6.0, 8.0]))
    assert weights == pytest.approx([0.0, 0.0, 0.5, 1.0, 1.0])
    assert fading_weights(np.zeros(3)) == pytest.approx(0.0)
