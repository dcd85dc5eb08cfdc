"""Laying beads on a pixel grid with a narrow kernel, and the adjoint: reading the grid at the beads.

The kernel is k(u) = (cosh β√(1 - (2u/w)²) - 1) / (cosh β - 1) for |u| ≤ w / 2 pixels, one of the semicircle family used
for non-uniform FFTs (Barnett, Magland & af Klinteberg 2019); it vanishes at its edge, which keeps gradients accurate.
It needs fewer pixels than a Gaussian: at sigma = 1.5 grid pixels, 6 × 6 of them give a relative error of 2·10⁻⁵ in
values and 2·10⁻⁴ in gradients against the literal sum, where the best Gaussian kernel gives 3·10⁻⁴ in values.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import torch
from jaxtyping import Float
from numpy.typing import NDArray
from torch import Tensor

KERNEL_WIDTH = 6  # pixels
_STEEPNESS = 2.0 * KERNEL_WIDTH  # β
_SCALE = 1 / (math.cosh(_STEEPNESS) - 1)


def spread(
    pixels: Float[Tensor, "n beads 2"], amplitudes: Float[Tensor, " beads"] | Float[Tensor, "#n beads"], box: int
) -> Float[Tensor, "n box box"]:
    """Add each bead's kernel, times its amplitude, to an empty grid of box × box pixels.

    `pixels` are positions (x, y) in pixels, pixel 0's centre at 0. A bead whose window leaves the grid is left out.
    Differentiable in positions and amplitudes; memory grows with the beads, not with beads × pixels.
    """
    amplitudes = amplitudes.expand(pixels.shape[:-1])
    return _Spread.apply(pixels, amplitudes, box)  # type: ignore[no-any-return,no-untyped-call]


def kernel_transform(frequency: NDArray[np.float64]) -> NDArray[np.float64]:
    """Fourier transform of the kernel at frequencies in cycles per pixel (real: the kernel is even)."""
    nodes, weights = np.polynomial.legendre.leggauss(64)
    offsets = nodes * (KERNEL_WIDTH / 2)
    values = _SCALE * (np.cosh(_STEEPNESS * np.sqrt(1 - nodes**2)) - 1) * weights * (KERNEL_WIDTH / 2)
    return np.asarray(np.cos(2 * np.pi * np.asarray(frequency)[..., None] * offsets) @ values)


class _Spread(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, pixels: Tensor, amplitudes: Tensor, box: int) -> Tensor:
        along_x, along_y, corner, inside = _windows(pixels, box)
        weights = amplitudes * inside
        values = (along_y * weights[..., None])[..., :, None] * along_x[..., None, :]
        index = corner[..., None] + _window_offsets(box, pixels.device)
        grid = pixels.new_zeros(len(pixels), box * box)
        grid.scatter_add_(1, index.flatten(1), values.flatten(1))
        ctx.save_for_backward(pixels, amplitudes)
        ctx.box = box
        return grid.view(-1, box, box)

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor | None, Tensor | None, None]:
        pixels, amplitudes = ctx.saved_tensors
        along_x, along_y, corner, inside = _windows(pixels, ctx.box)
        index = corner[..., None] + _window_offsets(ctx.box, pixels.device)
        window = gradient.flatten(1).gather(1, index.flatten(1)).view(*corner.shape, KERNEL_WIDTH, KERNEL_WIDTH)
        over_x = torch.matmul(window, along_x[..., None])[..., 0]  # (n, beads, w): summed along each row
        to_amplitudes = (over_x * along_y).sum(-1) * inside if ctx.needs_input_grad[1] else None
        to_pixels = None
        if ctx.needs_input_grad[0]:
            over_y = torch.matmul(along_y[..., None, :], window)[..., 0, :]
            slope_x, slope_y = _slopes(pixels)
            both = torch.stack([(over_y * slope_x).sum(-1), (over_x * slope_y).sum(-1)], dim=-1)
            to_pixels = both * (amplitudes * inside)[..., None]
        return to_pixels, to_amplitudes, None


def _first_pixel(pixels: Tensor) -> Tensor:
    return torch.ceil(pixels - KERNEL_WIDTH / 2)


def _scaled_offsets(pixels: Tensor) -> Tensor:
    """Distance of each window pixel from its bead, in half widths: (n, beads, 2, w), between -1 and 1."""
    steps = torch.arange(KERNEL_WIDTH, device=pixels.device, dtype=pixels.dtype)
    return ((_first_pixel(pixels) - pixels)[..., None] + steps) * (2 / KERNEL_WIDTH)


def _root(scaled: Tensor) -> Tensor:
    return torch.sqrt((1 - scaled * scaled).clamp_min(1e-6))


def _windows(pixels: Tensor, box: int) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Kernel values along x and y (n, beads, w), the flat index of the first pixel, and 1 where it all fits else 0."""
    kernel = _SCALE * (torch.cosh(_STEEPNESS * _root(_scaled_offsets(pixels))) - 1)
    first = _first_pixel(pixels)
    fits = ((first >= 0) & (first <= box - KERNEL_WIDTH)).all(-1)
    first = torch.where(fits[..., None], first, 0).long()
    corner = first[..., 1] * box + first[..., 0]
    return kernel[..., 0, :], kernel[..., 1, :], corner, fits.to(pixels.dtype)


def _window_offsets(box: int, device: torch.device) -> Tensor:
    """Flat index of each of the w × w window pixels relative to its first one."""
    steps = torch.arange(KERNEL_WIDTH, device=device)
    return (steps[:, None] * box + steps[None, :]).flatten()


def _slopes(pixels: Tensor) -> tuple[Tensor, Tensor]:
    """Derivatives of the kernel values along x and y with respect to the bead's x and y, in 1/pixel."""
    scaled = _scaled_offsets(pixels)
    root = _root(scaled)
    slope = (2 * _SCALE * _STEEPNESS / KERNEL_WIDTH) * torch.sinh(_STEEPNESS * root) * scaled / root
    return slope[..., 0, :], slope[..., 1, :]
