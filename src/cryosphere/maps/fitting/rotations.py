"""Rotations spread evenly, and how far two of them are apart."""

from __future__ import annotations

import math

import torch
from jaxtyping import Float
from torch import Tensor

_SQUARE_ROOT_OF_2 = math.sqrt(2.0)
_PSI = 1.533751168755204288118041  # the real root of x⁴ = x + 4 that is positive


def even_rotations(count: int) -> Float[Tensor, "count 4"]:
    """Unit quaternions (x, y, z, w), as many as asked for, spread evenly over all rotations, float64.

    The super-Fibonacci spiral of Alexa (CVPR 2022, "Super-Fibonacci Spirals: Fast, Low-Discrepancy Sampling of SO(3)").
    """
    s = torch.arange(count, dtype=torch.float64) + 0.5
    t = s / count
    inner, outer = t.sqrt(), (1 - t).sqrt()
    alpha, beta = 2 * math.pi * s / _SQUARE_ROOT_OF_2, 2 * math.pi * s / _PSI
    return torch.stack([inner * alpha.sin(), inner * alpha.cos(), outer * beta.sin(), outer * beta.cos()], dim=1)


def rotations_for_spacing(degrees: float) -> int:
    """How many even rotations lie this far apart: all rotations measure 8 π² radians³, each has a cube of them."""
    return math.ceil(8 * math.pi**2 / math.radians(degrees) ** 3)


def angles_between(
    first: Float[Tensor, "*#batch 3 3"], second: Float[Tensor, "*#batch 3 3"]
) -> Float[Tensor, "*batch"]:
    """Angle in radians of the rotation that leads from one rotation matrix to the other, 0 to π."""
    trace = (first * second).sum(dim=(-2, -1))
    return torch.arccos(((trace - 1) / 2).clamp(-1.0, 1.0))
