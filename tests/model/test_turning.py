"""Partial turns about several pivots: compiled and by tensors, with gradients."""

from __future__ import annotations

import pytest
import torch

from cryosphere.model.turning import turn, turn_by_tensors


def some_turns(images: int = 3, angle: float = 1.0) -> list[torch.Tensor]:
    """Points, weights, chosen segments, rotations and pivots in double precision."""
    generator = torch.Generator().manual_seed(6)

    def numbers(*shape: int) -> torch.Tensor:
        return torch.randn(*shape, generator=generator, dtype=torch.float64)

    chosen = torch.stack([torch.randperm(4, generator=generator)[:3].sort().values for _ in range(7)])
    weights = torch.rand(7, 3, generator=generator, dtype=torch.float64)
    return [20 * numbers(7, 3), weights, chosen, angle * numbers(images, 4, 3), 10 * numbers(4, 3)]


@pytest.mark.parametrize("angle", [0.0, 1e-7, 1e-3, 0.3, 2.0, 5.0])
def test_both_implementations_agree_in_values_and_gradients(angle: float) -> None:
    found = []
    for implementation in (turn, turn_by_tensors):
        given = some_turns(angle=angle)
        wanted = [given[k].requires_grad_() for k in (1, 3, 4)]
        moved = implementation(*given)
        towards = torch.linspace(-1, 1, moved.numel(), dtype=torch.float64).reshape(moved.shape)
        found.append([moved.detach(), *torch.autograd.grad((moved * towards).sum(), wanted)])
    for one, other in zip(*found, strict=True):
        torch.testing.assert_close(one, other, rtol=2e-6, atol=2e-6)


@pytest.mark.parametrize("angle", [1e-3, 0.3, 2.0, 5.0])
def test_gradients_are_those_of_finite_differences(angle: float) -> None:
    points, weights, chosen, rotations, pivots = some_turns(angle=angle)
    given = [tensor.requires_grad_() for tensor in (weights, rotations, pivots)]
    assert torch.autograd.gradcheck(lambda w, r, p: turn(points, w, chosen, r, p), given, eps=1e-6, atol=1e-5)


def test_single_precision_is_right_to_a_hundred_thousandth() -> None:
    exact = some_turns()
    moved = turn(*(tensor.float() if tensor.is_floating_point() else tensor for tensor in exact))
    torch.testing.assert_close(moved.double(), turn(*exact), rtol=1e-5, atol=2e-4)


def test_gradients_by_the_points_come_from_the_tensors() -> None:
    points, *rest = some_turns()
    assert torch.autograd.gradcheck(lambda p: turn(p, *rest), [points.requires_grad_()])


def test_the_images_are_shared_among_the_threads() -> None:
    before = torch.get_num_threads()
    results = []
    try:
        for threads in (1, 2):
            torch.set_num_threads(threads)
            given = some_turns(images=5)
            wanted = [given[k].requires_grad_() for k in (1, 3, 4)]
            moved = turn(*given)
            results.append([moved, *torch.autograd.grad(moved.square().sum(), wanted)])
            assert turn(*given[:3], given[3][:0], given[4]).shape == (0, 7, 3)
    finally:
        torch.set_num_threads(before)
    for one, other in zip(*results, strict=True):
        torch.testing.assert_close(one, other)
