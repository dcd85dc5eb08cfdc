"""A density map as a smooth landscape: low-passed, on a grid no finer than needed, differentiable between voxels."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import torch
from jaxtyping import Float
from numpy.typing import NDArray
from scipy.ndimage import spline_filter
from torch import Tensor
from torch.autograd.function import once_differentiable

from cryosphere.compiling import compiled
from cryosphere.fourier import integer_frequencies
from cryosphere.imaging.grid import next_fast_even
from cryosphere.maps.density import lowest_frequencies
from cryosphere.maps.density_map import DensityMap
from cryosphere.workers import on_all_cores

VOXELS_PER_RESOLUTION = 3.0  # of a grid that holds a map of some resolution
CONTOURS = 2.0  # times the resolution: features larger than that fade
_BORDER = 4  # voxels of nothing around the map, so that it ends without a step


def smoothed(
    density_map: DensityMap,
    resolution: float,
    *,
    voxels_per_resolution: float = VOXELS_PER_RESOLUTION,
    edge: Literal["contours", "sharp"] = "contours",
) -> DensityMap:
    """A cubic map low-passed at `resolution` Å, about its median, which stands for 0.

    "contours": by a Gaussian that falls to 1/e there, less the part of it that varies over more than twice that
    length. What is left are the outlines; without that, a part of a complex would be placed in its dense middle.
    "sharp": cut off by a cosine over the next tenth. On a coarser grid of the same field of view and first voxel,
    where one of resolution / `voxels_per_resolution` is coarser.
    """
    length = density_map.grid.length
    volume = torch.from_numpy(density_map.values - np.median(density_map.values))
    coarse = working_box(density_map, resolution, voxels_per_resolution)
    if coarse < len(volume):
        volume = lowest_frequencies(volume, coarse)
    box = len(volume)
    rows, columns = integer_frequencies(box)
    squared = (rows[:, :, None] ** 2 + rows[None] ** 2 + columns[None] ** 2) * (resolution / length) ** 2
    if edge == "contours":
        passed = torch.exp(-squared) * (1 - torch.exp(-squared * CONTOURS**2))
    else:
        passed = 0.5 * (1 + torch.cos(math.pi * ((squared.sqrt() - 1) / 0.1).clamp(0.0, 1.0)))
    volume = torch.fft.irfftn(torch.fft.rfftn(volume) * passed, s=(box, box, box))
    return DensityMap(volume.numpy(), length / box, density_map.origin, density_map.source)


def working_box(
    density_map: DensityMap, resolution: float, voxels_per_resolution: float = VOXELS_PER_RESOLUTION
) -> int:
    """Voxels along the side of the coarsest quick grid that holds a map's field of view at a resolution in Å."""
    return next_fast_even(max(8, math.ceil(density_map.grid.length * voxels_per_resolution / resolution)))


@dataclass(frozen=True)
class Landscape:
    """A map as a tricubic spline through its voxels; nothing outside."""

    coefficients: NDArray[np.float32]  # [z, y, x], of the padded map
    first: NDArray[np.float64]  # (x, y, z) in Å of the first coefficient
    voxel: float  # Å

    @classmethod
    def of(cls, density_map: DensityMap) -> Landscape:
        """The spline of a map, such as one that `smoothed` made."""
        padded = np.pad(density_map.values, _BORDER)
        coefficients = spline_filter(padded, order=3, mode="mirror", output=np.float32)
        return cls(coefficients, density_map.origin - _BORDER * density_map.pixel_size, density_map.pixel_size)

    def height(self, points: Float[Tensor, "*batch 3"]) -> Float[Tensor, "*batch"]:
        """Density at points, (x, y, z) Å, differentiable once; 0 outside the map."""
        return _Height.apply(points, self)  # type: ignore[no-any-return,no-untyped-call]


class _Height(torch.autograd.Function):
    """Value of the spline, with its gradient computed in the same pass."""

    @staticmethod
    def forward(context: Any, points: Tensor, landscape: Landscape) -> Tensor:
        steps = (points.detach().reshape(-1, 3).double() - torch.from_numpy(landscape.first)) / landscape.voxel
        places = np.ascontiguousarray(steps.numpy())
        found = np.empty((len(places), 4), dtype=np.float32)
        on_all_cores(lambda some: climb(landscape.coefficients, places[some], found[some]), len(places))
        heights = torch.from_numpy(found).to(points.dtype).reshape(*points.shape[:-1], 4)
        context.save_for_backward(heights[..., 1:] / landscape.voxel)
        return heights[..., 0].contiguous()

    @staticmethod
    @once_differentiable
    def backward(context: Any, towards: Tensor) -> tuple[Tensor, None]:
        (slope,) = context.saved_tensors
        return towards[..., None] * slope, None


@compiled
def climb(coefficients: np.ndarray, places: np.ndarray, found: np.ndarray) -> None:
    """Height and slopes along x, y, z, into `found` (P, 4), of a cubic B-spline at places (P, 3), in voxels (x, y, z).

    `climb_reference` says the same in NumPy.
    """
    sides = coefficients.shape
    weights, slopes = np.empty((3, 4)), np.empty((3, 4))
    base = np.empty(3, dtype=np.int64)
    for p in range(places.shape[0]):
        inside = True
        for axis in range(3):
            place = places[p, axis]
            if not 1.0 <= place < sides[2 - axis] - 2.0:
                inside = False
                break
            base[axis] = np.int64(place)
            t = place - base[axis]
            u = 1.0 - t
            weights[axis, 0], slopes[axis, 0] = u * u * u / 6, -u * u / 2
            weights[axis, 1], slopes[axis, 1] = (3 * t * t * t - 6 * t * t + 4) / 6, (3 * t - 4) * t / 2
            weights[axis, 2], slopes[axis, 2] = (3 * u * u * u - 6 * u * u + 4) / 6, -(3 * u - 4) * u / 2
            weights[axis, 3], slopes[axis, 3] = t * t * t / 6, t * t / 2
        if not inside:
            found[p, :] = 0.0
            continue
        height, along_x, along_y, along_z = 0.0, 0.0, 0.0, 0.0
        for k in range(4):
            for j in range(4):
                row, row_slope = 0.0, 0.0
                for i in range(4):
                    value = coefficients[base[2] - 1 + k, base[1] - 1 + j, base[0] - 1 + i]
                    row += weights[0, i] * value
                    row_slope += slopes[0, i] * value
                height += weights[2, k] * weights[1, j] * row
                along_x += weights[2, k] * weights[1, j] * row_slope
                along_y += weights[2, k] * slopes[1, j] * row
                along_z += slopes[2, k] * weights[1, j] * row
        found[p, 0], found[p, 1], found[p, 2], found[p, 3] = height, along_x, along_y, along_z


def climb_reference(coefficients: NDArray[np.float32], places: NDArray[np.float64]) -> NDArray[np.float64]:
    """What `climb` finds, (P, 4), by SciPy and differences of 10⁻⁴ voxels, for places at least 2 voxels inside."""
    from scipy.ndimage import map_coordinates

    def height(moved: NDArray[np.float64]) -> NDArray[np.float64]:
        return np.asarray(map_coordinates(coefficients.astype(float), moved.T[::-1], order=3, prefilter=False))

    steps = 1e-4 * np.eye(3)
    slopes = [(height(places + step) - height(places - step)) / 2e-4 for step in steps]
    return np.stack([height(places), *slopes], axis=1)
