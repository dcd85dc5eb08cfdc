"""The passes over beads and spectra of `cryosphere.model.correlation`, compiled for the processor by Numba.

All write into arrays that are handed to them. Complex spectra come as pairs of real numbers, (..., 2).
"""

from __future__ import annotations

from typing import Any

import numpy as np

from cryosphere.compiling import Array, compiled


@compiled
def see(positions: Array, rotations: Array, scale: float, centre: float, pixels: Array) -> None:
    """Write where beads (n, beads, 3) appear, in pixels (n, beads, 2): scale (A r)_xy + centre."""
    kind = positions.dtype.type
    s, c = kind(scale), kind(centre)
    for image in range(len(positions)):
        for axis in range(2):
            a, b, d = s * rotations[image, axis, 0], s * rotations[image, axis, 1], s * rotations[image, axis, 2]
            for bead in range(positions.shape[1]):
                x, y, z = positions[image, bead, 0], positions[image, bead, 1], positions[image, bead, 2]
                pixels[image, bead, axis] = a * x + b * y + d * z + c


@compiled
def stay_between(pixels: Array, first: float, last: float, inside: Array) -> None:
    """Write of each image whether all its beads lie between two pixels; those at no number do, to be seen later."""
    for image in range(len(pixels)):
        outside = 0
        for bead in range(pixels.shape[1]):
            for axis in range(2):
                outside += pixels[image, bead, axis] < first or pixels[image, bead, axis] > last
        inside[image] = outside == 0


@compiled
def turn_back(gradient: Array, rotations: Array, scale: float, out: Array) -> None:
    """Write the gradient by positions (n, beads, 3), given that by pixels (n, beads, 2): scale Aᵀ g."""
    kind = gradient.dtype.type
    s = kind(scale)
    for image in range(len(gradient)):
        for axis in range(3):
            a, b = s * rotations[image, 0, axis], s * rotations[image, 1, axis]
            for bead in range(gradient.shape[1]):
                out[image, bead, axis] = a * gradient[image, bead, 0] + b * gradient[image, bead, 1]


@compiled
def correlate(spectra: Array, given: Any, values: Array) -> None:
    """Write each image's correlation into `values` (n, 3), with the powers of the predicted and observed image."""
    transfer, observed, weights, ends = given
    box, side = weights.shape[0], spectra.shape[1]
    kind = spectra.dtype.type
    for image in range(len(spectra)):
        product = power = observed_power = kind(0)
        for row in range(box):
            seen, watched = spectra[image, _row(row, box, side)], observed[image, row]
            through, weight = transfer[image, row], weights[row]
            for k in range(ends[row]):
                t, w = through[k], weight[k]
                real, imag = t * seen[k, 0], t * seen[k, 1]
                product += w * (real * watched[k, 0] + imag * watched[k, 1])
                power += w * (real * real + imag * imag)
                observed_power += w * (watched[k, 0] * watched[k, 0] + watched[k, 1] * watched[k, 1])
        both = max(power * observed_power, kind(1e-20))
        values[image, 0] = product / np.sqrt(both)
        values[image, 1], values[image, 2] = power, observed_power


@compiled
def differentiate(spectra: Array, given: Any, values: Array) -> None:
    """Replace spectra by the gradient of the correlation, as spectra whose inverse transform is that by the grids.

    With P the predicted image and O the observed one, and p and o their powers: O / √(p o) - c P / p at each frequency,
    back through what the microscope and the widening did.
    """
    transfer, observed, weights, ends = given
    box, side = weights.shape[0], spectra.shape[1]
    kind = spectra.dtype.type
    for image in range(len(spectra)):
        power, observed_power = values[image, 1], values[image, 2]
        both = power * observed_power
        towards = kind(1) / np.sqrt(max(both, kind(1e-20)))
        away = values[image, 0] / power if both > kind(1e-20) else kind(0)
        last = 0
        for row in range(box):
            at = _row(row, box, side)
            if at < 0:
                continue
            spectra[image, last:at] = 0  # between the lowest positive and negative frequencies nothing is kept
            last = at + 1
            seen, watched = spectra[image, at], observed[image, row]
            through, weight = transfer[image, row], weights[row]
            for k in range(ends[row]):
                t = through[k]
                factor = t * weight[k] * (kind(1) if k == 0 else kind(0.5))
                seen[k, 0] = factor * (towards * watched[k, 0] - away * t * seen[k, 0])
                seen[k, 1] = factor * (towards * watched[k, 1] - away * t * seen[k, 1])
            seen[ends[row] :] = 0
        spectra[image, last:] = 0


@compiled
def _row(row: int, box: int, side: int) -> int:
    """Where a row of a spectrum of `box` stands in one of `side`; -1 for the Nyquist row, which nobody weighs."""
    if 2 * row < box:
        return row
    return row - box + side if 2 * row > box else -1
