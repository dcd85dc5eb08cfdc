"""Soft masks around the particle in a map."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from scipy import ndimage

from cryosphere.imaging.grid import ImageGrid
from cryosphere.maps.fsc import soft_ball

Volume = NDArray[np.float32]

SMOOTHING = 15.0  # Å: detail of the map that decides where the particle is
_SIGNIFICANT = 4.0  # standard deviations of the noise, which no solvent reaches
_SHARE_OF_PEAK = 0.15  # of the brightest density
_GROWN, _EDGE = 6.0, 10.0  # Å, and at least so many voxels each:
_LEAST_VOXELS = 3
_LEAST_PARTICLE = 8  # voxels


@dataclass(frozen=True)
class Mask:
    """1 inside the particle, 0 outside, a cosine in between; and how it was made, in words."""

    values: Volume
    note: str


def mask_around_particle(volume: Volume, noise: Volume, grid: ImageGrid, diameter: float) -> Mask:
    """Mask around the largest connected density of a map in which the particle is bright.

    volume: the map; noise: half the difference of its half-maps, in which there is no particle.
    diameter: Å; nothing is sought further from the centre than half of it, where that leaves any voxels.

    Both are smoothed to 15 Å (or four voxels). What exceeds four standard deviations of the noise and 15 % of the
    highest density is the particle, its largest connected part; the mask is that grown by 6 Å, with an edge of 10 Å.
    Where there is no such part, a ball of that diameter.
    """
    voxel = grid.pixel_size
    sigma = max(SMOOTHING, 4 * voxel) / (math.pi * math.sqrt(2)) / voxel
    smooth, rough = (ndimage.gaussian_filter(v, sigma, mode="constant") for v in (volume, noise))
    radius = min(diameter / 2 / voxel, grid.box / 2)
    inside = soft_ball(grid.box, radius, 0.0).numpy() > 0.5
    found = smooth * inside
    threshold = max(_SIGNIFICANT * float(rough.std()), _SHARE_OF_PEAK * float(found.max()))
    labels, count = ndimage.label(found > threshold)
    sizes = np.bincount(labels.ravel(), minlength=2)[1:] if count else np.zeros(1, dtype=np.int64)
    if sizes.max() < _LEAST_PARTICLE:
        edge = max(_EDGE / voxel, _LEAST_VOXELS)
        ball = soft_ball(grid.box, max(radius - edge, 1.0), edge).numpy()
        return Mask(ball, f"mask: a ball of {diameter:.0f} Å, since no density stands out of the noise")
    return _around(labels == 1 + int(sizes.argmax()), grid)


def _around(core: NDArray[np.bool_], grid: ImageGrid) -> Mask:
    grown, edge = (max(width / grid.pixel_size, _LEAST_VOXELS) for width in (_GROWN, _EDGE))
    margin = math.ceil(grown + edge) + 1  # beyond it the mask is 0: most of the box
    found = [np.flatnonzero(core.any(axis=others)) for others in ((1, 2), (0, 2), (0, 1))]
    near = tuple(slice(max(0, int(k[0]) - margin), int(k[-1]) + margin + 1) for k in found)
    distance = torch.from_numpy(ndimage.distance_transform_edt(~core[near]).astype(np.float32))
    values = np.zeros(core.shape, dtype=np.float32)
    values[near] = (0.5 * (1 + torch.cos(math.pi * ((distance - grown) / edge).clamp(0.0, 1.0)))).numpy()
    share = float(values.mean())
    volume = float(core.sum()) * grid.pixel_size**3
    return Mask(
        values,
        f"mask: the largest connected density ({volume / 1000:.0f} nm³), grown by {grown * grid.pixel_size:.0f} Å with "
        f"an edge of {edge * grid.pixel_size:.0f} Å: {100 * share:.0f} % of the box",
    )
