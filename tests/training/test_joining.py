"""Segments that move alike are joined; those that move apart are not, nor any without images to judge by."""

from __future__ import annotations

import numpy as np
import torch

from cryosphere.training.joining import join_alike

from .hinge_model import hinge_model


def test_halves_of_a_rigid_part_are_joined_and_the_structures_stay() -> None:
    model, images, latents = hinge_model((0.0, 0.0, 1.0, 1.0))
    with torch.no_grad():
        before, _ = model.structures(latents[:20], model.segmentation(draw=False))
    joins = join_alike(model, images, np.arange(len(images)), 64)
    assert len(joins) == 2
    assert (
        max(join.misfit for join in joins) < 0.1
    )  # Å: residues on a border turn half about one centre, half the other
    with torch.no_grad():
        membership = model.segmentation(draw=False)
        after, _ = model.structures(latents[:20], membership)
    strongest = membership.argmax(1)
    assert len(strongest.unique()) == model.segmentation.alive.sum() == 2
    assert (strongest[:-1] != strongest[1:]).nonzero().item() == 19  # residues 0-19 and 20-39
    away_from_the_border = torch.cat([torch.arange(15), torch.arange(25, 40)])
    assert (after - before)[:, away_from_the_border].norm(dim=-1).max() < 0.1  # Å: they turn about the same points


def test_parts_that_move_apart_stay_apart() -> None:
    model, images, _ = hinge_model((0.0, 0.0, 1.0, -1.0))
    joins = join_alike(model, images, np.arange(len(images)), 64)
    assert [{join.gone, join.kept} for join in joins] == [{0, 1}]
    assert model.segmentation.alive.sum() == 3


def test_small_differences_that_the_images_show_are_kept() -> None:
    nearly = (0.0, 0.0, 1.0, 0.94)  # the last quarter lags by up to 5 degrees: an RMS of less than 2 Å
    model, images, _ = hinge_model(nearly, noise=0.02)
    assert {2, 3} not in [{join.gone, join.kept} for join in join_alike(model, images, np.arange(len(images)), 64)]
    model, images, _ = hinge_model(nearly, noise=20.0)  # here nobody could tell
    assert {2, 3} in [{join.gone, join.kept} for join in join_alike(model, images, np.arange(len(images)), 64)]


def test_a_handful_of_images_joins_nothing() -> None:
    model, images, _ = hinge_model((0.0, 0.0, 1.0, 1.0))
    assert join_alike(model, images, np.arange(10), 64) == []
    assert join_alike(model, images, np.arange(0), 64) == []
    assert model.segmentation.alive.all()
