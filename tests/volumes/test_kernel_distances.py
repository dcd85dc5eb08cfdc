"""Distances between structures without placing their residues, held to the residues' own."""

from __future__ import annotations

from types import SimpleNamespace

import numpy as np
import pytest
import torch
from scipy.spatial.transform import Rotation

from cryosphere.geometry.motions import RigidMotions
from cryosphere.model.deformation import deform_reference
from cryosphere.volumes.distances import structure_distances

RESIDUES, SEGMENTS, IMAGES = 60, 4, 30


def a_run(membership):
    """What `structure_distances` asks of a run; a latent is a seed of its motions."""
    generator = np.random.default_rng(0)
    positions = generator.normal(size=(RESIDUES, 3)) * 20 + [100.0, -50.0, 30.0]
    pivots = generator.normal(size=(SEGMENTS, 3)) * 30

    def rotation_vectors(z):
        return np.stack([np.random.default_rng(int(seed)).normal(size=(SEGMENTS, 3)) * 0.5 for seed in z[:, 0]])

    def translations(z):
        return np.stack([np.random.default_rng(int(seed) + 999).normal(size=(SEGMENTS, 3)) * 4 for seed in z[:, 0]])

    def motions(z):
        turns = Rotation.from_rotvec(rotation_vectors(z).reshape(-1, 3)).as_quat().reshape(len(z), SEGMENTS, 4)
        return SimpleNamespace(quaternions=turns, translations=translations(z), pivots=pivots)

    def residues(z):
        moved = RigidMotions(torch.from_numpy(rotation_vectors(z)), torch.from_numpy(translations(z)))
        arrays = (torch.from_numpy(array) for array in (positions, membership))
        return deform_reference(*arrays, moved, torch.from_numpy(pivots)).numpy()

    latents = np.arange(IMAGES, dtype=np.float32)[:, None]
    model = SimpleNamespace(motions=motions, atomic_model=SimpleNamespace(beads=SimpleNamespace(positions=positions)))
    return SimpleNamespace(latents=latents, segments=membership, model=model, residues=residues)


def apart(run, targets):
    one, other = run.residues(run.latents), run.residues(targets)
    return np.sqrt(np.square(one[:, None] - other).sum(-1).mean(-1))


@pytest.mark.parametrize("empty", [0, 1])
def test_the_distance_is_the_root_mean_square_displacement_of_all_residues(empty):
    """Also with a segment without residues, which moves as wildly as any."""
    membership = np.eye(SEGMENTS)[np.arange(RESIDUES) % (SEGMENTS - empty)]
    run = a_run(membership)
    targets = np.array([[3.0], [77.0]], dtype=np.float32)
    found = structure_distances(run, targets)
    assert found.shape == (IMAGES, 2)
    assert found[3, 0] == pytest.approx(0.0, abs=1e-4)
    assert np.allclose(found, apart(run, targets), rtol=1e-4, atol=1e-4)


def test_residues_that_nothing_moves_stay_and_dilute_the_distance():
    membership = np.eye(SEGMENTS)[np.arange(RESIDUES) % SEGMENTS]
    membership[: RESIDUES // 2] = 0.0
    run = a_run(membership)
    targets = np.array([[5.0]], dtype=np.float32)
    assert np.allclose(structure_distances(run, targets), apart(run, targets), rtol=1e-4, atol=1e-4)


def test_a_soft_border_between_segments_hardly_matters():
    """Weights of a hundredth elsewhere, as training leaves them."""
    membership = 0.99 * np.eye(SEGMENTS)[np.arange(RESIDUES) % SEGMENTS] + 0.01 / SEGMENTS
    run = a_run(membership / membership.sum(1, keepdims=True))
    targets = np.array([[5.0]], dtype=np.float32)
    assert np.allclose(structure_distances(run, targets), apart(run, targets), rtol=0.01, atol=0.1)
