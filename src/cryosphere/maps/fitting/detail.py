"""How much detail a single map shows: up to which frequency its density stands out from what surrounds it."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from scipy.ndimage import distance_transform_edt
from torch import Tensor

from cryosphere.fourier import integer_frequencies
from cryosphere.maps.density_map import DensityMap

_BAND = 2.5  # shells: standard deviation of a band; in space it reaches a sixteenth of the box
_EVERY = 2  # shells between bands
_BRIGHT = 0.05  # of the voxels: taken for density
_FAR = 0.3  # of the voxels: the farthest from it, taken for background
_SIGNAL = 0.5  # of the background's variance: less signal than that is none
_FAINT = 1e-3  # of the strongest band's variance: so are bands fainter than that
_LEAST_BOX = 24  # voxels: in a smaller one bands are too few to tell


@dataclass(frozen=True)
class Detail:
    """Resolution of a map in Å, and how it was come by, as a half-sentence."""

    resolution: float
    reason: str


def estimate_detail(density_map: DensityMap) -> Detail:
    """The resolution up to which a cubic map's density varies more than its background, at least 2 voxels.

    The map is looked at in bands of frequency. In each the variance among the brightest voxels is compared with that
    among those farthest from them; the first band in which it is less than 1.5 times as large, or less than a
    thousandth of the strongest band's, ends the detail. A masked map has no background: then only the latter tells.
    """
    box, voxel = density_map.grid.box, density_map.pixel_size
    if box < _LEAST_BOX:
        return Detail(3 * voxel, f"3 voxels, as a box of {box} is too small to tell")
    spectrum = torch.fft.rfftn(torch.from_numpy(density_map.values))
    rows, columns = integer_frequencies(box)
    radii = torch.sqrt((rows[:, :, None] ** 2 + rows[None] ** 2 + columns[None] ** 2).float())
    smooth = _filtered(spectrum, torch.exp(-((radii / (box / 8)) ** 2)), box)
    bright = smooth >= torch.quantile(smooth.flatten()[:: max(1, box**3 // 2**22)], 1 - _BRIGHT)
    distances = torch.from_numpy(distance_transform_edt(~bright.numpy()))
    far = distances >= np.quantile(distances.numpy(), 1 - _FAR)
    inside, outside, shells = [], [], range(4, box // 2, _EVERY)
    for shell in shells:
        band = _filtered(spectrum, torch.exp(-0.5 * ((radii - shell) / _BAND) ** 2) * (radii > 0), box).square()
        inside.append(float(band[bright].mean()))
        outside.append(float(band[far].mean()))
    return _where_it_ends(np.array(inside), np.array(outside), np.array(shells), box * voxel)


def _where_it_ends(inside: np.ndarray, outside: np.ndarray, shells: np.ndarray, length: float) -> Detail:
    drowned = inside < (1 + _SIGNAL) * outside
    faint = inside < _FAINT * inside.max()
    ends = np.flatnonzero(drowned | faint)
    if len(ends) == 0:
        finest = 2 * length / (2 * (shells[-1] + _EVERY // 2))
        return Detail(float(finest), "all that its voxels can hold")
    last = max(0, ends[0] - 1)
    why = "where its density no longer stands out from the background" if drowned[ends[0]] else "where its power ends"
    return Detail(float(length / shells[last]), why)


def _filtered(spectrum: Tensor, weights: Tensor, box: int) -> Tensor:
    volume: Tensor = torch.fft.irfftn(spectrum * weights, s=(box, box, box))
    return volume
