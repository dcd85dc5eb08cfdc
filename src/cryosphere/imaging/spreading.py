"""Laying beads on a pixel grid with a narrow kernel, and the adjoint: reading the grid at the beads.

The kernel is k(u) = (cosh β√(1 - (2u/w)²) - 1) / (cosh β - 1) for |u| ≤ w / 2 pixels, one of the semicircle family used
for non-uniform FFTs (Barnett, Magland & af Klinteberg 2019); it vanishes at its edge, which keeps gradients accurate.
It needs fewer pixels than a Gaussian: at sigma = 1.5 grid pixels, 6 × 6 of them give a relative error of 2·10⁻⁵ in
values and 2·10⁻⁴ in gradients against the literal sum, where the best Gaussian kernel gives 3·10⁻⁴ in values.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import Any

import numpy as np
import torch
from jaxtyping import Float
from numpy.typing import NDArray
from torch import Tensor

KERNEL_WIDTH = 6  # pixels
WINDOWS_AT_ONCE = 2**14  # beads' windows handled together on a CPU: measured, a third faster than a whole batch
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
        ctx.save_for_backward(pixels, amplitudes)
        ctx.box = box
        grids = [_lay(xy, weights, box) for xy, weights in _pieces(pixels, amplitudes)]
        return torch.cat(grids) if len(grids) > 1 else grids[0]

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor | None, Tensor | None, None]:
        pieces = _pieces(*ctx.saved_tensors, gradient)
        parts = [_read(xy, weights, part, ctx.needs_input_grad) for xy, weights, part in pieces]
        to_pixels, to_amplitudes = (None if x[0] is None else torch.cat(x) for x in zip(*parts, strict=True))
        return to_pixels, to_amplitudes, None


def _pieces(pixels: Tensor, *others: Tensor) -> Iterator[tuple[Tensor, ...]]:
    """The tensors cut along their first axis into pieces that a processor's cache holds; whole on other devices."""
    if pixels.device.type != "cpu" or not len(pixels):
        return iter([(pixels, *others)])
    images = max(1, WINDOWS_AT_ONCE // max(1, pixels.shape[1]))
    return zip(*(torch.split(x, images) for x in (pixels, *others)), strict=True)


def _lay(pixels: Tensor, amplitudes: Tensor, box: int) -> Tensor:
    """The images of beads at `pixels`."""
    kernel, _ = _kernel(pixels, slope=False)
    corner, fits = _place(pixels, box)
    values = (kernel[..., 1, :] * (amplitudes * fits)[..., None])[..., :, None] * kernel[..., None, 0, :]
    grid = pixels.new_zeros(len(pixels), box * box)
    grid.scatter_add_(1, _window_index(corner, box), values.flatten(1))
    return grid.view(-1, box, box)


def _read(
    pixels: Tensor, amplitudes: Tensor, gradient: Tensor, needed: tuple[bool, ...]
) -> tuple[Tensor | None, Tensor | None]:
    """Gradients by the beads' positions and amplitudes, from the gradient by the images; None if not needed."""
    kernel, slope = _kernel(pixels, slope=needed[0])
    corner, fits = _place(pixels, gradient.shape[-1])
    index = _window_index(corner, gradient.shape[-1])
    window = gradient.flatten(1).gather(1, index).view(*corner.shape, KERNEL_WIDTH, KERNEL_WIDTH)
    over_x = torch.matmul(window, kernel[..., 0, :, None])[..., 0]  # (n, beads, w): summed along each row
    to_amplitudes = (over_x * kernel[..., 1, :]).sum(-1) * fits if needed[1] else None
    if slope is None:
        return None, to_amplitudes
    over_y = torch.matmul(kernel[..., 1, None, :], window)[..., 0, :]
    both = torch.stack([(over_y * slope[..., 0, :]).sum(-1), (over_x * slope[..., 1, :]).sum(-1)], dim=-1)
    return both * (amplitudes * fits)[..., None], to_amplitudes


def _first_pixel(pixels: Tensor) -> Tensor:
    return torch.ceil(pixels - KERNEL_WIDTH / 2)


def _kernel(pixels: Tensor, *, slope: bool) -> tuple[Tensor, Tensor | None]:
    """Kernel values, and their derivatives by the bead's position in 1/pixel, along x and y: (n, beads, 2, w) each."""
    steps = torch.arange(KERNEL_WIDTH, device=pixels.device, dtype=pixels.dtype)
    scaled = ((_first_pixel(pixels) - pixels)[..., None] + steps) * (2 / KERNEL_WIDTH)  # in half widths, -1 to 1
    root = torch.sqrt((1 - scaled * scaled).clamp_min(1e-6))
    growing = torch.exp(_STEEPNESS * root)  # cosh and sinh from one exponential: several times as fast
    falling = 1 / growing
    kernel = (0.5 * _SCALE) * (growing + falling) - _SCALE
    if not slope:
        return kernel, None
    return kernel, (_SCALE * _STEEPNESS / KERNEL_WIDTH) * (growing - falling) * scaled / root


def _place(pixels: Tensor, box: int) -> tuple[Tensor, Tensor]:
    """Flat index of each window's first pixel, and 1 where the window lies inside the grid, else 0: (n, beads)."""
    first = _first_pixel(pixels)
    fits = ((first >= 0) & (first <= box - KERNEL_WIDTH)).all(-1)
    first = torch.where(fits[..., None], first, 0).long()
    return first[..., 1] * box + first[..., 0], fits.to(pixels.dtype)


def _window_index(corner: Tensor, box: int) -> Tensor:
    """Flat indices of all pixels of all windows, (n, beads · w · w)."""
    steps = torch.arange(KERNEL_WIDTH, device=corner.device)
    offsets = (steps[:, None] * box + steps[None, :]).flatten()
    return (corner[..., None] + offsets).flatten(1)
