"""Spreading and its adjoint in tensor operations: for graphics cards, and what the compiled one is tested against."""

from __future__ import annotations

import torch
from torch import Tensor

from cryosphere.imaging.kernel import KERNEL_WIDTH, SCALE, STEEPNESS


def lay(pixels: Tensor, amplitudes: Tensor, box: int) -> Tensor:
    """The grids of beads at `pixels`, (n, box, box); see `cryosphere.imaging.spreading.spread`."""
    kernel, _ = _kernel(pixels, slope=False)
    corner, fits = _place(pixels, box)
    values = (kernel[..., 1, :] * (amplitudes * fits)[..., None])[..., :, None] * kernel[..., None, 0, :]
    grid = pixels.new_zeros(len(pixels), box * box)
    grid.scatter_add_(1, _window_index(corner, box), values.flatten(1))
    return grid.view(-1, box, box)


def read(pixels: Tensor, amplitudes: Tensor, gradient: Tensor) -> tuple[Tensor, Tensor]:
    """Gradients by the beads' positions (n, beads, 2) and amplitudes (n, beads), from the gradient by the grids."""
    kernel, slope = _kernel(pixels, slope=True)
    assert slope is not None
    corner, fits = _place(pixels, gradient.shape[-1])
    index = _window_index(corner, gradient.shape[-1])
    window = gradient.flatten(1).gather(1, index).view(*corner.shape, KERNEL_WIDTH, KERNEL_WIDTH)
    over_x = torch.matmul(window, kernel[..., 0, :, None])[..., 0]  # (n, beads, w): summed along each row
    over_y = torch.matmul(kernel[..., 1, None, :], window)[..., 0, :]
    both = torch.stack([(over_y * slope[..., 0, :]).sum(-1), (over_x * slope[..., 1, :]).sum(-1)], dim=-1)
    return both * (amplitudes * fits)[..., None], (over_x * kernel[..., 1, :]).sum(-1) * fits


def _first_pixel(pixels: Tensor) -> Tensor:
    return torch.ceil(pixels - KERNEL_WIDTH / 2)


def _kernel(pixels: Tensor, *, slope: bool) -> tuple[Tensor, Tensor | None]:
    """Kernel values, and their derivatives by the bead's position in 1/pixel, along x and y: (n, beads, 2, w) each."""
    steps = torch.arange(KERNEL_WIDTH, device=pixels.device, dtype=pixels.dtype)
    scaled = ((_first_pixel(pixels) - pixels)[..., None] + steps) * (2 / KERNEL_WIDTH)  # in half widths, -1 to 1
    root = torch.sqrt((1 - scaled * scaled).clamp_min(1e-6))
    growing = torch.exp(STEEPNESS * root)  # cosh and sinh from one exponential: several times as fast
    falling = 1 / growing
    kernel = (0.5 * SCALE) * (growing + falling) - SCALE
    if not slope:
        return kernel, None
    return kernel, (SCALE * STEEPNESS / KERNEL_WIDTH) * (growing - falling) * scaled / root


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
