"""Comparing many structures with their images on a CPU: a few images at a time, on all cores at once.

Each image's correlation depends on its own structure alone. So the gradient with respect to the structures can be taken
piece by piece, together with the values, while all that a piece needs is in a core's cache; on two cores that takes
under half of the time of a whole batch whose every operation is shared among the cores.
"""

from __future__ import annotations

from collections.abc import Callable
from contextlib import closing
from typing import Any, Protocol, runtime_checkable

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

from cryosphere.workers import one_by_one

PIECE = 2**14  # beads at once, and
FEWEST = 8  # images: see benchmarks/kernels.py

Compared = tuple[Tensor, Tensor | None]
"""One number for each structure, (m,), and, where asked for, its gradient by that structure, of the same shape."""


@runtime_checkable
class Compare(Protocol):
    """Compares the structures of a slice of the batch with their images.

    A structure is (beads, 3), positions in Å, or (beads, 4), the last of which is each bead's amplitude.
    """

    def __call__(self, structures: Tensor, piece: slice, /, *, with_gradient: bool) -> Compared: ...


def in_pieces(compare: Compare, positions: Tensor) -> Tensor:
    """What `compare` finds for all structures, (n,), computed in pieces on all of PyTorch's threads.

    Differentiable in the structures `positions`, (n, beads, 3) or with amplitudes (n, beads, 4), once.
    """
    if not len(positions):
        return positions.new_zeros(0)
    return _InPieces.apply(positions, compare)  # type: ignore[no-any-return,no-untyped-call]


def traced(compare: Callable[[Tensor], Tensor], positions: Tensor, *, with_gradient: bool) -> Compared:
    """Numbers (m,) from structures, with the gradients that PyTorch finds."""
    with torch.set_grad_enabled(with_gradient):
        structures = positions.detach().requires_grad_(with_gradient)
        values = compare(structures)
        gradient = torch.autograd.grad(values.sum(), structures)[0] if with_gradient else None
    return values.detach(), gradient


class _InPieces(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, positions: Tensor, compare: Compare) -> Tensor:
        wanted = bool(ctx.needs_input_grad[0])
        structures = positions.detach()

        def one(piece: slice) -> Compared:
            return compare(structures[piece], piece, with_gradient=wanted)

        pieces = _pieces(len(positions), positions.shape[1], torch.get_num_threads())
        with closing(one_by_one(one, pieces)) as results:
            done = list(results)
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
    size = max(1, min(max(FEWEST, PIECE // max(1, beads)), -(-images // threads)))
    return [slice(start, start + size) for start in range(0, images, size)]
