"""Fourier slices added to volumes by code compiled for the processor with Numba.

Each call writes only the planes that it is given, so that several threads add the same slices at once without waiting
for each other; a voxel's sum is taken in the order of the images, whatever the number of threads.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np
from numpy.typing import NDArray

from cryosphere.compiling import Array, compiled


def add(
    products: Array, weights: Array, frames: NDArray[np.float64], halves: NDArray[np.int64], planes: slice, sums: Array
) -> None:
    """Add slices to the given planes of `sums`; shapes as in `cryosphere.maps.insertion_tensors.add`, parts as pairs.

    products: (n, side, half, 2), real and imaginary part.
    """
    _add(products, weights, frames, halves, (planes.start, planes.stop), sums)


@compiled
def _add(
    products: Array,
    weights: Array,
    frames: NDArray[np.float64],
    halves: NDArray[np.int64],
    planes: tuple[int, int],
    sums: Array,
) -> None:
    kind = sums.dtype.type
    low, high = planes
    side = weights.shape[1]
    width = sums.shape[2]
    radius = (width - 1) // 2
    limit = 0.25 * (side - 1) ** 2
    for image in range(len(weights)):
        volume = sums[halves[image]].reshape(-1)
        ax, ay, az = frames[image, 0, 0], frames[image, 0, 1], frames[image, 0, 2]
        bx, by, bz = frames[image, 1, 0], frames[image, 1, 1], frames[image, 1, 2]
        for turned in range(2):  # a frequency below the plane z = 0 is added as its mirror image above it
            sign = 1.0 - 2.0 * turned
            for row in range(side):
                ky = row if 2 * row < side else row - side
                left = limit - ky * ky
                if left < 0:
                    continue
                slope, start = sign * az, sign * bz * ky
                first, last = _columns(slope, start, low - 1.0, high, int(math.sqrt(left)))
                for kx in range(first, last + 1):
                    z = slope * kx + start
                    if z < 0 or (turned and z == 0):
                        continue
                    iz = int(z)
                    if iz + 1 < low or iz >= high:
                        continue
                    x = sign * (ax * kx + bx * ky) + radius
                    y = sign * (ay * kx + by * ky) + radius
                    ix, iy = int(x), int(y)
                    fx, fy, fz = kind(x - ix), kind(y - iy), kind(z - iz)
                    share = kind(0.5) if kx == 0 else kind(1)  # this column stands with its mirror image in the slice
                    weight = share * weights[image, row, kx]
                    real = share * products[image, row, kx, 0]
                    imaginary = kind(sign) * share * products[image, row, kx, 1]
                    for above in range(2):
                        if iz + above < low or iz + above >= high:
                            continue
                        along_z = fz if above else kind(1) - fz
                        for further in range(2):
                            along = along_z * (fy if further else kind(1) - fy)
                            here, there = along * (kind(1) - fx), along * fx
                            at = np.uint64((((iz + above) * width + iy + further) * width + ix) * 3)
                            volume[at] += here * real
                            volume[at + np.uint64(1)] += here * imaginary
                            volume[at + np.uint64(2)] += here * weight
                            volume[at + np.uint64(3)] += there * real
                            volume[at + np.uint64(4)] += there * imaginary
                            volume[at + np.uint64(5)] += there * weight


@compiled
def _columns(slope: float, start: float, bottom: float, top: float, last: int) -> Any:
    """The first and last column, of 0 to `last`, whose `slope` · column + `start` may lie from bottom to top."""
    if abs(slope) < 1e-9:
        return (0, last) if bottom - 1 <= start <= top + 1 else (1, 0)
    one, other = (bottom - start) / slope, (top - start) / slope
    lowest, highest = max(0.0, min(one, other)), min(float(last), max(one, other))
    if lowest > highest:
        return 1, 0
    return int(lowest), min(last, int(highest) + 1)
