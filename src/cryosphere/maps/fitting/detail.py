"""How much detail a single map shows: up to which frequency its density stands out from what surrounds it."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from cryosphere.fourier import integer_frequencies
from cryosphere.maps.density_map import DensityMap

_BRIGHT = 0.05  # of the voxels: taken for density
_FAR = 0.3  # of the voxels: those with the least of it around them, taken for background
_AROUND = 1 / 10  # of the box: how far around a voxel density counts
_SOFT = 1 / 32  # of the box: how softly either region ends
_RING = 2  # shells that are taken together
_FIRST = 4  # shell
_SIGNAL = 0.5  # of the background's power: less signal than that is none
_FAINT = 5e-4  # of the strongest ring's power: so are rings fainter than that
_LEAST_BOX = 24  # voxels: in a smaller one shells are too few to tell


@dataclass(frozen=True)
class Detail:
    """Resolution of a map in Å, and how it was come by, as a half-sentence."""

    resolution: float
    reason: str


def estimate_detail(density_map: DensityMap) -> Detail:
    """The resolution up to which a cubic map's density varies more than its background, at least 2 voxels.

    The power per volume of the brightest region is compared, shell by shell of frequency, with that of the region
    farthest from it; the first ring of shells in which it is less than 1.5 times as large, or fainter than 1/2000 of
    the strongest, ends the detail. A masked map has no background: then only the latter tells.
    """
    box, voxel = density_map.grid.box, density_map.pixel_size
    if box < _LEAST_BOX:
        return Detail(3 * voxel, f"3 voxels, as a box of {box} is too small to tell")
    values = torch.from_numpy(density_map.values - np.median(density_map.values))
    smooth = _blurred(values, _SOFT)
    bright = (smooth >= _quantile(smooth, 1 - _BRIGHT)).float()
    around = _blurred(bright, _AROUND)
    far = (around <= _quantile(around, _FAR)).float()
    inside, outside = (_in_rings(_power(values, _blurred(region, _SOFT))) for region in (bright, far))
    return _where_it_ends(inside, outside, box * voxel)


def _in_rings(power: Tensor) -> NDArray[np.float64]:
    """Mean of every few shells, from the first that counts."""
    rings = (len(power) - _FIRST) // _RING
    return np.asarray(power[_FIRST : _FIRST + rings * _RING].reshape(rings, _RING).mean(dim=1).double().numpy())


def _where_it_ends(inside: NDArray[np.float64], outside: NDArray[np.float64], length: float) -> Detail:
    shells = _FIRST + _RING * np.arange(len(inside)) + 0.5 * (_RING - 1)
    drowned = inside < (1 + _SIGNAL) * outside
    ends = np.flatnonzero(drowned | (inside < _FAINT * inside.max()))
    if len(ends) == 0:
        return Detail(float(length / (shells[-1] + 0.5 * (_RING - 1))), "all that its voxels can hold")
    last = max(0, ends[0] - 1)
    why = "where its density no longer stands out from the background" if drowned[ends[0]] else "where its power ends"
    return Detail(float(length / shells[last]), why)


def _power(values: Tensor, region: Tensor) -> Tensor:
    """Mean power in every shell of a region's values, about their mean there, over the region's own volume."""
    mean = (values * region).sum() / region.sum()
    spectrum = torch.fft.rfftn((values - mean) * region).abs().square()
    box = len(values)
    shell = _radii(box).round().long().flatten()
    sums = torch.bincount(shell, spectrum.flatten()) / torch.bincount(shell)
    return sums[: (box + 1) // 2] / region.square().sum()


def _radii(box: int) -> Tensor:
    rows, columns = integer_frequencies(box)
    return (rows[:, :, None] ** 2 + rows[None] ** 2 + columns[None] ** 2).float().sqrt()


def _blurred(values: Tensor, share: float) -> Tensor:
    """Blurred by a Gaussian whose standard deviation is a share of the box."""
    box = len(values)
    weights = torch.exp(-2 * (math.pi * share * _radii(box)) ** 2)
    blurred: Tensor = torch.fft.irfftn(torch.fft.rfftn(values) * weights, s=(box, box, box))
    return blurred


def _quantile(values: Tensor, share: float) -> Tensor:
    """Of a sample of a large volume."""
    return torch.quantile(values.flatten()[:: max(1, values.numel() // 2**20)], share)
