"""Moving residues by the segments' rigid motions."""

from __future__ import annotations

import math

import pytest
import torch
from scipy.spatial.transform import Rotation

from cryosphere.geometry.motions import RigidMotions
from cryosphere.model.deformation import choose_deform, deform, deform_reference, segment_centres
from cryosphere.model.segmentation import Part, Segmentation


def random_motions(images: int, segments: int, dtype: torch.dtype = torch.float64) -> RigidMotions:
    generator = torch.Generator().manual_seed(0)
    draw = lambda scale: scale * torch.randn(images, segments, 3, generator=generator, dtype=dtype)  # noqa: E731
    return RigidMotions(draw(0.5), draw(4.0))


def test_a_segment_moves_as_a_rigid_body_about_its_pivot() -> None:
    points = torch.randn(20, 3, dtype=torch.float64) * 10
    membership = torch.zeros(20, 2, dtype=torch.float64)
    membership[:12, 0] = membership[12:, 1] = 1
    motions = random_motions(3, 2)
    pivots = segment_centres(points, membership)
    moved = deform(points, membership, motions, pivots)
    for image in range(3):
        turn = Rotation.from_rotvec(motions.rotations[image, 1].numpy())
        expected = turn.apply((points[12:] - pivots[1]).numpy()) + pivots[1].numpy()
        expected = torch.from_numpy(expected) + motions.translations[image, 1]
        assert torch.allclose(moved[image, 12:], expected, atol=1e-9)


def test_a_shared_residue_turns_by_its_share_of_the_angle() -> None:
    points = torch.tensor([[1.0, 0.0, 0.0]], dtype=torch.float64)
    membership = torch.tensor([[0.25, 0.75]], dtype=torch.float64)
    rotations = torch.tensor([[[0.0, 0.0, math.pi], [0.0, 0.0, 0.0]]], dtype=torch.float64)
    translations = torch.tensor([[[0.0, 0.0, 4.0], [0.0, 0.0, 8.0]]], dtype=torch.float64)
    moved = deform(points, membership, RigidMotions(rotations, translations), torch.zeros(2, 3, dtype=torch.float64))
    quarter = math.pi / 4  # a quarter of π
    expected = torch.tensor([[[math.cos(quarter), math.sin(quarter), 0.25 * 4 + 0.75 * 8]]], dtype=torch.float64)
    assert torch.allclose(moved, expected, atol=1e-9)


def test_the_fast_path_equals_the_loop_over_segments_in_values_and_gradients() -> None:
    points = torch.randn(200, 3, dtype=torch.float64) * 20
    results = []
    for path in (deform, deform_reference):
        segmentation = Segmentation(torch.arange(200), [Part(0, 199, 12)], temperature=20.0).double()
        membership = segmentation(draw=False)
        motions = random_motions(4, 12)
        inputs = [t.requires_grad_() for t in (motions.rotations, motions.translations)]
        moved = path(points, membership, RigidMotions(*inputs), segment_centres(points, membership))
        weights = torch.linspace(-1, 1, moved.numel(), dtype=torch.float64).view_as(moved)
        learned = [segmentation.mean, segmentation.width, segmentation.logit]
        results.append((moved.detach(), *torch.autograd.grad((moved * weights).sum(), [*inputs, *learned])))
    beyond = membership.sort(dim=1, descending=True).values[:, 3:].sum(1).max().item()
    for fast, slow in zip(*results, strict=True):
        # the error is the weight that the three strongest segments leave, times the size of the motions
        error = (fast - slow).norm() / slow.norm()
        assert error < max(20 * beyond, 1e-9)


@pytest.mark.parametrize("segments", [4, 10, 25])
def test_following_a_quarter_of_the_residues_is_enough_for_large_turns(segments: int) -> None:
    residues = 1000
    points = torch.randn(residues, 3, dtype=torch.float64) * 20
    membership = Segmentation(torch.arange(residues), [Part(0, residues - 1, segments)]).double()(draw=False)
    motions = random_motions(4, segments)
    motions = RigidMotions(3 * motions.rotations, motions.translations)  # angles of 150 degrees and more
    pivots = segment_centres(points, membership)
    quick = choose_deform(20.0)(points, membership, motions, pivots)
    literal = deform_reference(points, membership, motions, pivots)
    assert (quick - literal).norm(dim=-1).max() < 0.02  # Å: weight elsewhere below 1e-4, distances up to 100 Å


def test_a_blunt_segmentation_takes_the_loop() -> None:
    assert choose_deform(20.0) is not deform_reference
    assert choose_deform(1.0) is deform_reference


def test_residues_of_no_segment_stay() -> None:
    points = torch.randn(5, 3)
    moved = deform(points, torch.zeros(5, 3), random_motions(2, 3, torch.float32), torch.zeros(3, 3))
    assert torch.equal(moved, points.expand(2, 5, 3))


def test_an_empty_segment_has_its_pivot_at_the_origin_without_dividing_by_zero() -> None:
    membership = torch.zeros(4, 2)
    membership[:, 0] = 1
    assert segment_centres(torch.randn(4, 3), membership)[1].abs().sum() == 0


def test_pivot_at_the_segment_or_at_the_box_centre_express_the_same_motions() -> None:
    points = torch.randn(10, 3, dtype=torch.float64) * 10
    membership = torch.ones(10, 1, dtype=torch.float64)
    motions = random_motions(2, 1)
    centre = segment_centres(points, membership)
    about_centre = deform(points, membership, motions, centre)
    turned = Rotation.from_rotvec(motions.rotations[:, 0].numpy()).apply(centre[0].numpy())
    translations = motions.translations + (centre - torch.from_numpy(turned))[:, None]
    about_origin = deform(points, membership, RigidMotions(motions.rotations, translations), torch.zeros_like(centre))
    assert torch.allclose(about_centre, about_origin, atol=1e-9)
