"""The narrow kernel that beads are laid on a grid with; see `cryosphere.imaging.spreading`."""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray

KERNEL_WIDTH = 6  # pixels
STEEPNESS = 2.0 * KERNEL_WIDTH  # β
SCALE = 1 / (math.cosh(STEEPNESS) - 1)


def kernel(offsets: NDArray[np.float64]) -> NDArray[np.float64]:
    """The kernel at distances of at most KERNEL_WIDTH / 2 pixels from the bead."""
    return np.asarray(SCALE * (np.cosh(STEEPNESS * np.sqrt(1 - (2 * offsets / KERNEL_WIDTH) ** 2)) - 1))
