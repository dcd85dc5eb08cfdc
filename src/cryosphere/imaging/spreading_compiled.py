"""Spreading and its adjoint compiled for the processor by Numba: a pass over the beads with all they need in its cache.

Where a bead lies between two pixels decides its six kernel values along an axis. Each is a polynomial in that fraction,
right to 10⁻⁸ (slopes to 2·10⁻⁶): no exponentials, and several beads at once in the processor's vector units. The
functions write into arrays that are handed to them.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.polynomial import Chebyshev, Polynomial
from numpy.typing import NDArray

from cryosphere.compiling import Array, compiled
from cryosphere.imaging.kernel import KERNEL_WIDTH, kernel

TAPS = KERNEL_WIDTH
DEGREE = 8  # of the polynomials; `_evaluate` is written out for it
BLOCK = 64  # beads whose kernel values are found together


def _tables(kind: type[np.floating[Any]]) -> tuple[Array, Array]:
    """Polynomials' coefficients of the kernel's values at each pixel of a window, and of their slopes by the position.

    (TAPS, DEGREE + 1) each, lowest power first, in the fraction that is -1 where the window begins 3 pixels before the
    bead and 1 where it begins 2 before it.
    """
    values, slopes = np.zeros((2, TAPS, DEGREE + 1), dtype=kind)
    for tap in range(TAPS):
        fitted = Chebyshev.interpolate(_Tap(tap), DEGREE).convert(kind=Polynomial)
        values[tap] = fitted.coef
        slopes[tap, :-1] = -2 * fitted.deriv().coef
    return values, slopes


class _Tap:
    """The kernel at one of the window's pixels, by the fraction."""

    def __init__(self, tap: int) -> None:
        self.nearest = tap - 2.5

    def __call__(self, fraction: NDArray[np.float64]) -> NDArray[np.float64]:
        return kernel(self.nearest + 0.5 * fraction)


_TABLES = {np.dtype(kind): _tables(kind) for kind in (np.float32, np.float64)}


def lay(pixels: Array, amplitudes: Array, grids: Array) -> None:
    """Add beads at `pixels` (n, beads, 2) with `amplitudes` (n, beads) to `grids` (n, box, box)."""
    values, _ = _TABLES[pixels.dtype]
    _lay(pixels, amplitudes, grids, values)


def read(pixels: Array, amplitudes: Array, gradient: Array, to_pixels: Array, to_amplitudes: Array) -> None:
    """Write the gradients by positions and amplitudes, given that by the grids, where there are zeros before."""
    _read(pixels, amplitudes, gradient, _TABLES[pixels.dtype], to_pixels, to_amplitudes)


@compiled
def _lay(pixels: Array, amplitudes: Array, grids: Array, table: Array) -> None:
    images, beads, _ = pixels.shape
    box = grids.shape[1]
    corner, fractions = np.empty(BLOCK, np.int64), np.empty((2, BLOCK), pixels.dtype)
    k = np.empty((2, TAPS, BLOCK), pixels.dtype)
    for image in range(images):
        grid = grids[image].reshape(-1)
        for start in range(0, beads, BLOCK):
            count = min(BLOCK, beads - start)
            _place(pixels[image, start : start + count], box, corner, fractions)
            _evaluate(fractions, table, count, k)
            for b in range(count):
                if corner[b] < 0:
                    if np.isnan(fractions[0, b] + fractions[1, b]):
                        grid[0] = np.nan  # no number went in, none comes out
                    continue
                k0, k1, k2, k3, k4, k5 = k[0, 0, b], k[0, 1, b], k[0, 2, b], k[0, 3, b], k[0, 4, b], k[0, 5, b]
                for row in range(TAPS):
                    weight = amplitudes[image, start + b] * k[1, row, b]
                    at = np.uint64(corner[b] + row * box)  # unsigned: Numba then leaves out the case of negative ones
                    grid[at] += weight * k0
                    grid[at + np.uint64(1)] += weight * k1
                    grid[at + np.uint64(2)] += weight * k2
                    grid[at + np.uint64(3)] += weight * k3
                    grid[at + np.uint64(4)] += weight * k4
                    grid[at + np.uint64(5)] += weight * k5


@compiled
def _read(
    pixels: Array, amplitudes: Array, gradient: Array, tables: tuple[Array, Array], out: Array, out_amplitudes: Array
) -> None:
    values, slopes = tables
    images, beads, _ = pixels.shape
    box = gradient.shape[1]
    corner, fractions = np.empty(BLOCK, np.int64), np.empty((2, BLOCK), pixels.dtype)
    k, s = np.empty((2, TAPS, BLOCK), pixels.dtype), np.empty((2, TAPS, BLOCK), pixels.dtype)
    for image in range(images):
        grid = gradient[image].reshape(-1)
        for start in range(0, beads, BLOCK):
            count = min(BLOCK, beads - start)
            _place(pixels[image, start : start + count], box, corner, fractions)
            _evaluate(fractions, values, count, k)
            _evaluate(fractions, slopes, count, s)
            for b in range(count):
                if corner[b] < 0:
                    continue
                k0, k1, k2, k3, k4, k5 = k[0, 0, b], k[0, 1, b], k[0, 2, b], k[0, 3, b], k[0, 4, b], k[0, 5, b]
                s0, s1, s2, s3, s4, s5 = s[0, 0, b], s[0, 1, b], s[0, 2, b], s[0, 3, b], s[0, 4, b], s[0, 5, b]
                total = along_x = along_y = pixels.dtype.type(0)
                for row in range(TAPS):
                    at = np.uint64(corner[b] + row * box)
                    g0, g1, g2 = grid[at], grid[at + np.uint64(1)], grid[at + np.uint64(2)]
                    g3, g4, g5 = grid[at + np.uint64(3)], grid[at + np.uint64(4)], grid[at + np.uint64(5)]
                    across = (g0 * k0 + g1 * k1) + (g2 * k2 + g3 * k3) + (g4 * k4 + g5 * k5)
                    total += across * k[1, row, b]
                    along_y += across * s[1, row, b]
                    along_x += ((g0 * s0 + g1 * s1) + (g2 * s2 + g3 * s3) + (g4 * s4 + g5 * s5)) * k[1, row, b]
                amplitude = amplitudes[image, start + b]
                out[image, start + b, 0] = amplitude * along_x
                out[image, start + b, 1] = amplitude * along_y
                out_amplitudes[image, start + b] = total


@compiled
def _place(pixels: Array, box: int, corner: Array, fractions: Array) -> None:
    """Flat index of each bead's first pixel, -1 where its window leaves the grid, and the fractions along x and y."""
    kind = pixels.dtype.type
    last = box - TAPS
    for b in range(len(pixels)):
        x, y = pixels[b, 0], pixels[b, 1]
        first_x, first_y = np.ceil(x - kind(3)), np.ceil(y - kind(3))
        fits = first_x >= 0 and first_y >= 0 and first_x <= last and first_y <= last
        corner[b] = np.int64(first_y) * box + np.int64(first_x) if fits else -1
        fractions[0, b] = (first_x - x + kind(2.5)) * kind(2)
        fractions[1, b] = (first_y - y + kind(2.5)) * kind(2)


@compiled
def _evaluate(fractions: Array, table: Array, count: int, out: Array) -> None:
    """Polynomials of the first `count` fractions (2, BLOCK) with the coefficients `table`, (2, TAPS, BLOCK)."""
    for axis in range(2):
        for tap in range(TAPS):
            c0, c1, c2, c3, c4 = table[tap, 0], table[tap, 1], table[tap, 2], table[tap, 3], table[tap, 4]
            c5, c6, c7, c8 = table[tap, 5], table[tap, 6], table[tap, 7], table[tap, 8]
            t, values = fractions[axis], out[axis, tap]
            for b in range(count):
                x = t[b]
                upper = c4 + x * (c5 + x * (c6 + x * (c7 + x * c8)))
                values[b] = c0 + x * (c1 + x * (c2 + x * (c3 + x * upper)))
