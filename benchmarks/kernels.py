"""Compiled loops on one core, as blocks of docs/performance.md.

    python benchmarks/kernels.py

The loops beside the tensor operations that they stand for: values and gradients together, as a training step needs
them, and the largest difference between the two. Then comparing with images in pieces of several sizes.

Time is that of the processor, so that another program beside takes little of it away.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from functools import partial

import torch
from page import write_block
from torch import Tensor

from cryosphere.benchmarking.problem import BenchSettings, made_up
from cryosphere.imaging import spreading_tensors
from cryosphere.imaging.spreading import spread
from cryosphere.memory import keep_freed_memory
from cryosphere.model import comparing
from cryosphere.model.turning import turn, turn_by_tensors

PAGE, COMMAND = "performance.md", "python benchmarks/kernels.py"
IMAGES, BEADS, BOX, SEGMENTS, FEW = 128, 1006, 64, 25, 3
ROUNDS = 15

SIZES = (
    BenchSettings(box=64, residues=214, segments=10, batch_size=128, pixel_size=1.5),
    BenchSettings(),
    BenchSettings(box=256, residues=13_941, segments=20),
)
PIECES = (*((2**power, 1) for power in range(12, 17)), *((2**14, fewest) for fewest in (4, 8, 16)))
"""Beads at once, and how many images at least: with one, pieces of large molecules are single images."""

Made = tuple[Tensor, ...]


def main() -> None:
    """Time everything and write the blocks."""
    torch.set_num_threads(1)
    keep_freed_memory()
    compare_with_tensors()
    compare_pieces()


def compare_with_tensors() -> None:
    """Both ways of both operations."""
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
    write_block("kernels", "```\n" + "\n".join(rows) + "\n```", COMMAND, PAGE)


def compare_pieces() -> None:
    """Comparing a batch with its images, gradients included, for every choice of `comparing`'s two numbers."""
    chosen = comparing.PIECE, comparing.FEWEST
    table = [_piece_milliseconds(settings) for settings in SIZES]
    comparing.PIECE, comparing.FEWEST = chosen
    head = [f"{s.residues:,} residues" for s in SIZES]
    rows = [f"| beads at once | images at least | {' | '.join(f'{text}, ms' for text in head)} |", "|---" * 5 + "|"]
    for place, (beads, fewest) in enumerate(PIECES):
        rows.append(f"| {beads:,} | {fewest} | {' | '.join(f'{times[place]:.1f}' for times in table)} |")
    print("\n".join(rows), flush=True)
    text = "\n".join(rows) + f"\n\nThe settings: {chosen[0]:,} beads, at least {chosen[1]} images."
    write_block("pieces", text, COMMAND, PAGE)


def _piece_milliseconds(settings: BenchSettings) -> list[float]:
    """For each of PIECES."""
    with made_up(settings, torch.device("cpu")) as problem:
        model = problem.fast_model()
        batch = problem.loader(model).batch(problem.rows(1, settings.batch_size))
    with torch.no_grad():
        moved, _ = model.structures(model.inference(batch).mean, model.segmentation(draw=False))
    structures = moved.detach().requires_grad_()

    def compare() -> Made:
        correlations = model.explain(structures, batch)
        return correlations.detach(), *torch.autograd.grad(correlations.sum(), structures)

    found = []
    for comparing.PIECE, comparing.FEWEST in PIECES:
        found.append(_milliseconds(compare))
    return found


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
