"""Turning points about the pivots of a few segments, one after the other, each by a part of the segment's rotation."""

from __future__ import annotations

from typing import Any

import torch
from jaxtyping import Float, Int
from torch import Tensor
from torch.autograd.function import once_differentiable

from cryosphere.geometry.motions import rotate
from cryosphere.workers import on_all_cores


def turn(
    points: Float[Tensor, "points 3"],
    weights: Float[Tensor, "points few"],
    chosen: Int[Tensor, "points few"],
    rotations: Float[Tensor, "n segments 3"],
    pivots: Float[Tensor, "segments 3"],
) -> Float[Tensor, "n points 3"]:
    """Points turned about the pivots of the `chosen` segments in turn, by `weights` times their rotation vectors.

    On a processor compiled, and then differentiable once, and not in the points; elsewhere in tensor operations.
    """
    compiled = points.dtype in (torch.float32, torch.float64) and points.device.type == "cpu"
    if compiled and not points.requires_grad:
        return _Turn.apply(points, weights, chosen, rotations, pivots)  # type: ignore[no-any-return,no-untyped-call]
    return turn_by_tensors(points, weights, chosen, rotations, pivots)


def turn_by_tensors(points: Tensor, weights: Tensor, chosen: Tensor, rotations: Tensor, pivots: Tensor) -> Tensor:
    """The same in tensor operations, on any device, differentiable in everything."""
    moved = points.expand(len(rotations), *points.shape)
    for k in range(chosen.shape[1]):
        pivot = pivots[chosen[:, k]]
        by = weights[:, k, None] * rotations.index_select(1, chosen[:, k])
        moved = pivot + rotate(moved - pivot, by)
    return moved


class _Turn(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, *given: Tensor) -> Tensor:
        from cryosphere.model.turning_compiled import turn

        ctx.save_for_backward(*given)
        points, weights, chosen, rotations, pivots = (t.detach().contiguous().numpy() for t in given)
        moved = given[3].new_empty(len(rotations), *points.shape)

        def one(piece: slice) -> None:
            turn(points, weights, chosen, (rotations[piece], pivots), moved.numpy()[piece])

        on_all_cores(one, len(rotations))
        return moved

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, gradient: Tensor) -> tuple[None, Tensor, None, Tensor, Tensor]:
        from cryosphere.model.turning_compiled import turn_back

        points, weights, chosen, rotations, pivots = (t.detach().contiguous().numpy() for t in ctx.saved_tensors)
        to_moved = gradient.contiguous().numpy()
        to_rotations = torch.zeros(rotations.shape, dtype=gradient.dtype)

        def one(piece: slice) -> tuple[Tensor, Tensor]:
            own = torch.zeros(weights.shape, dtype=gradient.dtype), torch.zeros(pivots.shape, dtype=gradient.dtype)
            out = own[0].numpy(), to_rotations.numpy()[piece], own[1].numpy()
            turn_back(points, weights, chosen, (rotations[piece], pivots), to_moved[piece], out)
            return own

        parts = on_all_cores(one, len(rotations))
        to_weights, to_pivots = (torch.stack(part).sum(0) for part in zip(*parts, strict=True))
        return None, to_weights, None, to_rotations, to_pivots
