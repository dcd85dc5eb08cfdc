"""Fourier shell correlation: up to which detail two volumes agree."""

from __future__ import annotations

import math
from functools import lru_cache
from typing import Literal

import torch
from jaxtyping import Complex, Float, Int
from torch import Tensor

Shells = Literal["centred", "cryobench"]
"""How a spatial frequency of r cycles per box finds its shell i: "centred", the nearest whole number, shells
0 … (D - 1) // 2; "cryobench", i - 1 ≤ r < i, shells 0 … D // 2 - 1, of which the 0th is empty."""


def volume_spectra(volumes: Float[Tensor, "*batch box box box"]) -> Complex[Tensor, "*batch box box half"]:
    """Half-spectra of real volumes, orthonormal, with the phase origin at the first voxel."""
    spectra: Tensor = torch.fft.rfftn(volumes, dim=(-3, -2, -1), norm="ortho")
    return spectra


def shell_correlations(
    first: Complex[Tensor, "n box box half"],
    second: Complex[Tensor, "#n box box half"],
    shells: Shells = "centred",
) -> Float[Tensor, "n shells"]:
    """Correlation of two volumes' spectra (see `volume_spectra`) in each shell of spatial frequency, -1 to 1.

    Harauz & van Heel 1986. Shell i lies at i / (box · pixel size) per Å. Where a volume has no signal at all in a
    shell the correlation is 0; the empty shell 0 of "cryobench" has 1 by definition.
    """
    box = first.shape[-2]
    index, weights, count = _shell_index(box, shells, first.device)
    weights = weights.to(first.real.dtype)
    cross, one, other = (
        _sum_in_shells(values * weights, index, count)
        for values in ((first * second.conj()).real, _power(first), _power(second))
    )
    norm = torch.sqrt(one * other)
    curve: Tensor = torch.where(norm > 0, cross / norm.clamp_min(torch.finfo(norm.dtype).tiny), 0.0)
    if shells == "cryobench":
        curve[:, 0] = 1.0
    return curve


def _power(spectra: Tensor) -> Tensor:
    return torch.view_as_real(spectra).square().sum(-1)


def _sum_in_shells(values: Tensor, index: Tensor, count: int) -> Tensor:
    sums = values.new_zeros(len(values), count + 1)
    return sums.index_add_(1, index, values.flatten(1))[:, :count]


@lru_cache(maxsize=4)
def _shell_index(box: int, shells: Shells, device: torch.device) -> tuple[Int[Tensor, " all"], Tensor, int]:
    """Shell of each point of a half-spectrum (`count` where it lies beyond the last), its weight, and their number."""
    rows = (torch.arange(box, device=device) + box // 2) % box - box // 2
    columns = torch.arange(box // 2 + 1, device=device)
    squared = rows[:, None, None] ** 2 + rows[None, :, None] ** 2 + columns**2
    radius = squared.double().sqrt()
    count = (box - 1) // 2 + 1 if shells == "centred" else box // 2
    nearest = radius.add(0.5).floor() if shells == "centred" else radius.floor() + 1
    weights = torch.full((box // 2 + 1,), 2.0, device=device)  # every column but the first stands for two
    weights[0] = 1.0
    return nearest.long().clamp_max(count).flatten(), weights, count


def shell_frequencies(shells: int, box: int, pixel_size: float) -> Float[Tensor, " shells"]:
    """Spatial frequency of each centred shell in 1/Å."""
    return torch.arange(shells, dtype=torch.float64) / (box * pixel_size)


def resolution(
    curves: Float[Tensor, "n shells"], frequencies: Float[Tensor, " shells"], threshold: float
) -> Float[Tensor, " n"]:
    """Resolution in Å at which each curve first falls below `threshold`, linear between shells.

    A curve that stays above it has the resolution of its last shell: the grid shows no finer detail.
    """
    after = curves[:, 1:] < threshold
    falls = after.any(dim=1)
    k = after.long().argmax(dim=1)  # the first shell of the crossing step
    high, low = curves.gather(1, k[:, None])[:, 0], curves.gather(1, k[:, None] + 1)[:, 0]
    share = ((high - threshold) / (high - low).clamp_min(1e-12)).clamp(0.0, 1.0)
    frequencies = frequencies.to(curves)
    crossing = frequencies[k] + share * (frequencies[k + 1] - frequencies[k])
    return 1 / torch.where(falls, crossing, frequencies[-1])


def cryobench_area(curves: Float[Tensor, "n shells"], box: int) -> Float[Tensor, " n"]:
    """Area under |FSC| as CryoBench reports it, for curves over its own shells (`shells="cryobench"`).

    The trapezoid rule against i / box for i = 0 … box / 2 - 1, the correlation at i = 0 being 1: at most 0.492 for a
    box of 128, which is the figure that the benchmark states.
    """
    area: Tensor = torch.trapezoid(curves.abs(), dx=1 / box, dim=-1)
    return area


def soft_ball(
    box: int, radius_voxels: float, width_voxels: float, device: torch.device | str = "cpu"
) -> Float[Tensor, "box box box"]:
    """Mask of 1 inside the radius around voxel box // 2, 0 outside radius + width, a cosine in between."""
    axis = torch.arange(box, device=device, dtype=torch.float32) - box // 2
    radii = torch.sqrt(axis[:, None, None] ** 2 + axis[None, :, None] ** 2 + axis**2)
    beyond = (radii - radius_voxels) / max(width_voxels, 1e-6)
    return 0.5 * (1 + torch.cos(math.pi * beyond.clamp(0.0, 1.0)))
