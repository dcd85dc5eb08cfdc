"""Fourier slices added to volumes in tensor operations: for graphics cards, and what the compiled code is held to."""

from __future__ import annotations

import itertools

import torch
from jaxtyping import Complex, Float, Int
from torch import Tensor

from cryosphere.fourier import integer_frequencies


def add(
    products: Complex[Tensor, "n side half"],
    weights: Float[Tensor, "n side half"],
    frames: Float[Tensor, "n 2 3"],
    halves: Int[Tensor, " n"],
    sums: Float[Tensor, "sets planes width width 3"],
) -> None:
    """Lay each frequency of each slice on the eight voxels around its place in the volume, and add it there.

    products, weights: half-spectra of images times their CTF, and CTF², with phases about the particle's centre.
    frames: where one step along the image's x and y frequencies leads in the volume, (x, y, z) in voxels.
    halves: 0 or 1 (or more, of more sets), the volume that each image goes to.
    sums: real part, imaginary part and weight at frequencies (z, y, x), of z from 0 and of y and x from minus the
        largest one; added to in place. Frequencies beyond (side - 1) / 2 are left out.
    """
    side, (planes, width) = weights.shape[-2], sums.shape[1:3]
    rows, columns = (k.expand(side, side // 2 + 1) for k in integer_frequencies(side, weights.device))
    kept = 4 * (rows.square() + columns.square()) <= (side - 1) ** 2
    steps = torch.stack([columns[kept], rows[kept]], dim=-1).to(frames.dtype)
    places = torch.matmul(steps, frames)  # (n, samples, 3)
    sign = torch.where(places[..., 2] < 0, -1.0, 1.0)  # what lies below z = 0 is added as its mirror image above it
    parts = [products.real[:, kept], products.imag[:, kept] * sign, weights[:, kept]]
    share = torch.where(columns[kept] == 0, 0.5, 1.0)  # this column stands with its mirror image in the slice
    values = (torch.stack(parts, dim=-1) * share[:, None]).to(sums.dtype)
    places = places * sign[..., None]
    places[..., :2] += (width - 1) // 2
    corner = places.floor()
    fraction = (places - corner).to(sums.dtype)
    x, y, z = corner.long().unbind(-1)
    flat = sums.view(-1, 3)
    for taps in itertools.product((0, 1), repeat=3):
        weight = torch.stack([fraction[..., k] if tap else 1 - fraction[..., k] for k, tap in enumerate(taps)]).prod(0)
        at = ((halves[:, None] * planes + z + taps[2]) * width + y + taps[1]) * width + x + taps[0]
        flat.index_add_(0, at.flatten(), (weight[..., None] * values).flatten(0, 1))
