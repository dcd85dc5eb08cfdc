"""Compiled loops beside the tensor operations that they stand for, on one core, as a block of docs/results.md.

    python benchmarks/kernels.py

Values and gradients together, as a training step needs them, and the largest difference between the two.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from functools import partial

import torch
from page import write_block
from torch import Tensor

from cryosphere.imaging import spreading_tensors
from cryosphere.imaging.spreading import spread
from cryosphere.model.turning import turn, turn_by_tensors

IMAGES, BEADS, BOX, SEGMENTS, FEW = 128, 1006, 64, 25, 3
ROUNDS = 15

Made = tuple[Tensor, ...]


def main() -> None:
    """Time both ways of both operations and write the block."""
    torch.set_num_threads(1)
    rows = [f"{'':<34}{'compiled, ms':>14}{'tensors, ms':>14}{'ratio':>8}{'difference':>13}"]
    pairs: dict[str, tuple[Callable[[], Made], Callable[[], Made]]] = {
        f"lay {IMAGES} × {BEADS} beads on {BOX}²": (_laid, _laid_by_tensors),
        f"turn {IMAGES} × {BEADS // 4} residues": (partial(_turned, turn), partial(_turned, turn_by_tensors)),
    }
    for name, (compiled, tensors) in pairs.items():
        fast, slow = _milliseconds(compiled), _milliseconds(tensors)
        apart = max(float((a - b).abs().max() / b.abs().max()) for a, b in zip(compiled(), tensors(), strict=True))
        rows.append(f"{name:<34}{fast:>14.1f}{slow:>14.1f}{slow / fast:>8.1f}{apart:>13.0e}")
        print(rows[-1], flush=True)
    write_block("kernels", "```\n" + "\n".join(rows) + "\n```", "python benchmarks/kernels.py")


def _beads() -> tuple[Tensor, Tensor]:
    """In the middle of the box, with their amplitudes."""
    generator = torch.Generator().manual_seed(0)
    return BOX / 2 + BOX / 7 * torch.randn(IMAGES, BEADS, 2, generator=generator), torch.ones(IMAGES, BEADS)


def _laid() -> Made:
    """Images, and the gradient of the sum of their squares by the beads' positions."""
    pixels, amplitudes = _beads()
    images = spread(pixels.requires_grad_(), amplitudes, BOX)
    return images.detach(), *torch.autograd.grad(images.square().sum(), pixels)


def _laid_by_tensors() -> Made:
    pixels, amplitudes = _beads()
    images = spreading_tensors.lay(pixels, amplitudes, BOX)
    return images, spreading_tensors.read(pixels, amplitudes, 2 * images)[0]


def _turned(function: Callable[..., Tensor]) -> Made:
    """The quarter of the residues that several segments share, turned, and gradients by weights, motions and pivots."""
    generator = torch.Generator().manual_seed(0)
    points = 30 * torch.randn(BEADS // 4, 3, generator=generator)
    weights = torch.rand(len(points), FEW, generator=generator).requires_grad_()
    chosen = torch.randint(SEGMENTS - FEW, (len(points), 1), generator=generator) + torch.arange(FEW)
    rotations = (0.3 * torch.randn(IMAGES, SEGMENTS, 3, generator=generator)).requires_grad_()
    pivots = (10 * torch.randn(SEGMENTS, 3, generator=generator)).requires_grad_()
    moved = function(points, weights, chosen, rotations, pivots)
    return moved.detach(), *torch.autograd.grad(moved.square().sum(), (weights, rotations, pivots))


def _milliseconds(function: Callable[[], Made]) -> float:
    """The shortest of some calls, after one that compiles."""
    function()
    took = []
    for _ in range(ROUNDS):
        began = time.process_time()
        function()
        took.append(time.process_time() - began)
    return 1e3 * min(took)


if __name__ == "__main__":
    main()
