"""Laying beads on a pixel grid with a narrow kernel, and the adjoint: reading the grid at the beads.

The kernel is k(u) = (cosh β√(1 - (2u/w)²) - 1) / (cosh β - 1) for |u| ≤ w / 2 pixels, one of the semicircle family used
for non-uniform FFTs (Barnett, Magland & af Klinteberg 2019); it vanishes at its edge, which keeps gradients accurate.
It needs fewer pixels than a Gaussian: at sigma = 1.5 grid pixels, 6 × 6 of them give a relative error of 2·10⁻⁵ in
values and 2·10⁻⁴ in gradients against the literal sum, where the best Gaussian kernel gives 3·10⁻⁴ in values.

Two implementations with the same meaning: `spreading_tensors` in tensor operations, for any device, and
`spreading_compiled`, eight times as fast, for processors.
"""

from __future__ import annotations

from functools import lru_cache
from typing import Any

import numpy as np
import torch
from jaxtyping import Float
from numpy.typing import NDArray
from torch import Tensor
from torch.autograd.function import once_differentiable

from cryosphere.imaging import spreading_tensors
from cryosphere.imaging.kernel import KERNEL_WIDTH, kernel
from cryosphere.workers import on_all_cores


def spread(
    pixels: Float[Tensor, "n beads 2"], amplitudes: Float[Tensor, " beads"] | Float[Tensor, "#n beads"], box: int
) -> Float[Tensor, "n box box"]:
    """Add each bead's kernel, times its amplitude, to an empty grid of box × box pixels.

    `pixels` are positions (x, y) in pixels, pixel 0's centre at 0. A bead whose window leaves the grid is left out.
    Differentiable in positions and amplitudes, once; memory grows with the beads, not with beads × pixels.
    """
    amplitudes = amplitudes.expand(pixels.shape[:-1])
    return _Spread.apply(pixels, amplitudes, box)  # type: ignore[no-any-return,no-untyped-call]


def kernel_transform(frequency: NDArray[np.float64]) -> NDArray[np.float64]:
    """Fourier transform of the kernel at frequencies in cycles per pixel (real: the kernel is even)."""
    nodes, weights = _quadrature(64)
    offsets = nodes * (KERNEL_WIDTH / 2)
    values = kernel(offsets) * weights * (KERNEL_WIDTH / 2)
    return np.asarray(np.cos(2 * np.pi * np.asarray(frequency)[..., None] * offsets) @ values)


@lru_cache(maxsize=1)
def _quadrature(points: int) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    nodes, weights = np.polynomial.legendre.leggauss(points)
    return np.asarray(nodes), np.asarray(weights)


class _Spread(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, pixels: Tensor, amplitudes: Tensor, box: int) -> Tensor:
        ctx.save_for_backward(pixels, amplitudes)
        if _compiled_for(pixels):
            from cryosphere.imaging.spreading_compiled import lay

            grids = pixels.new_zeros(len(pixels), box, box)
            _on_all_cores(lay, (pixels, amplitudes), (grids,))
            return grids
        return spreading_tensors.lay(pixels, amplitudes, box)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, Tensor, None]:
        pixels, amplitudes = ctx.saved_tensors
        if _compiled_for(pixels):
            from cryosphere.imaging.spreading_compiled import read

            to_pixels, to_amplitudes = (torch.zeros(x.shape, dtype=x.dtype) for x in (pixels, amplitudes))
            _on_all_cores(read, (pixels, amplitudes, gradient), (to_pixels, to_amplitudes))
            return to_pixels, to_amplitudes, None
        return *spreading_tensors.read(pixels, amplitudes, gradient), None


def _compiled_for(pixels: Tensor) -> bool:
    return pixels.device.type == "cpu" and pixels.dtype in (torch.float32, torch.float64)


def _on_all_cores(function: Any, given: tuple[Tensor, ...], written: tuple[Tensor, ...]) -> None:
    """Call `function` with arrays, a part of the images on each of PyTorch's threads; it writes into the last ones."""
    arrays = [*(x.detach().contiguous().numpy() for x in given), *(x.numpy() for x in written)]
    on_all_cores(lambda piece: function(*(array[piece] for array in arrays)), len(arrays[0]))
