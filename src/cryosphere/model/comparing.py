"""Comparing many structures with their images on a CPU: a few images at a time, on all cores at once.

Each image's correlation depends on its own structure alone. So the gradient with respect to the structures can be taken
piece by piece, together with the values, while all that a piece needs is in a core's cache; on two cores that takes
under half of the time of a whole batch whose every operation is shared among the cores.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

from cryosphere.workers import lone_workers

PIECE = 2**16  # beads at once; measured with 214 and 1,006 of them: fewer take longer, more gain nothing

Compare = Callable[[Tensor, slice], Tensor]
"""From the structures (m, beads, 3) of a slice of the batch to one number each, (m,)."""


def in_pieces(compare: Compare, positions: Tensor) -> Tensor:
    """What `compare(positions, slice(None))` gives, (n,), computed in pieces on all of PyTorch's threads.

    Differentiable in `positions` (n, beads, 3), once.
    """
    if not len(positions):
        return positions.new_zeros(0)
    return _InPieces.apply(positions, compare)  # type: ignore[no-any-return,no-untyped-call]


class _InPieces(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, positions: Tensor, compare: Compare) -> Tensor:
        wanted = ctx.needs_input_grad[0]

        def one(piece: slice) -> tuple[Tensor, Tensor | None]:
            with torch.set_grad_enabled(wanted):
                structures = positions[piece].detach().requires_grad_(wanted)
                values = compare(structures, piece)
                gradient = torch.autograd.grad(values.sum(), structures)[0] if wanted else None
            return values.detach(), gradient

        threads = torch.get_num_threads()
        done = list(lone_workers(threads).map(one, _pieces(len(positions), positions.shape[1], threads)))
        if wanted:
            ctx.save_for_backward(torch.cat([gradient for _, gradient in done if gradient is not None]))
        return torch.cat([values for values, _ in done])

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, weights: Tensor) -> tuple[Tensor, None]:
        (gradient,) = ctx.saved_tensors
        return weights[:, None, None] * gradient, None


def _pieces(images: int, beads: int, threads: int) -> list[slice]:
    """Slices that a core's cache holds, at least one for each thread where there are images enough."""
    size = max(1, min(PIECE // max(1, beads), -(-images // threads)))
    return [slice(start, start + size) for start in range(0, images, size)]
