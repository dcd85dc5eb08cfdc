"""What both ways to density, kernel regression and the volume decoder, give for one conformation."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from cryosphere.imaging.grid import ImageGrid
from cryosphere.maps.masks import Mask
from cryosphere.maps.resolution import HalfMapCurves, Resolution, resolution_at

Volume = NDArray[np.float32]


@dataclass(frozen=True)
class StateVolume:
    """Density at one latent: a map [z, y, x] and its independent half-maps, protein bright, and how well they agree.

    The centre, voxel box // 2, is the origin of the particles' poses and of the run's model.
    """

    z: NDArray[np.float32]  # (latent,)
    map: Volume
    half1: Volume
    half2: Volume
    grid: ImageGrid
    mask: Mask
    curves: HalfMapCurves
    images: float  # how many whole images' weight went into it
    bandwidth: float | None  # Å: kernel regression's, RMS displacement of residues; None: volume decoder

    @property
    def resolution(self) -> Resolution:
        """Where the half-maps' correlation, corrected for the mask, falls below 0.143."""
        return resolution_at(self.curves.corrected, self.curves.frequencies, 0.143)
