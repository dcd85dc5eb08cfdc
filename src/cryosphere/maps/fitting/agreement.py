"""How well a placed model explains a map: the correlation of their densities where the model is."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from cryosphere.imaging.grid import ImageGrid
from cryosphere.imaging.projection import oversampling
from cryosphere.maps.density import SIGMA_OF_RESOLUTION, AtomDensity
from cryosphere.maps.density_map import DensityMap
from cryosphere.maps.fitting.landscape import smoothed, working_box
from cryosphere.structures.model import AtomicModel

_MASK = 0.1  # of the model's high density: less is outside
_HIGH = 0.99  # quantile of the model's density that counts as high
_MOST_VOXELS = 512  # along a side of the grid on which the model's density is made: 0.5 GB
_MOSTLY = 0.5  # of the atoms must lie in the map, or there is nothing to correlate


def affordable(resolution: float, density_map: DensityMap) -> float:
    """The finest resolution in Å, from the one asked for on, at which the model's density fits into memory."""
    while True:
        box = min(density_map.grid.box, working_box(density_map, resolution))
        grid = ImageGrid(box, density_map.grid.length / box)
        if box * oversampling(grid, SIGMA_OF_RESOLUTION * resolution) <= _MOST_VOXELS:
            return resolution
        resolution *= 1.05


class Agreement:
    """The correlation of model and map at a resolution, for as many placements of the model as one likes."""

    def __init__(self, model: AtomicModel, density_map: DensityMap, resolution: float) -> None:
        """Both are cut off at the resolution, the model's density also blurred to it, as a map's usually is."""
        self._resolution = resolution
        self._map = smoothed(density_map, resolution, edge="sharp")
        self._density = AtomDensity(model, self._map.grid, resolution)

    def of(self, positions: NDArray[np.float64]) -> float | None:
        """Correlation, both about their means within the model's mask, of atoms at (n_atoms, 3) Å in the map's frame.

        The mask is where the model's density exceeds a tenth of its 99th percentile. None where half the atoms or more
        lie outside the map.
        """
        box = self._map.grid.length
        inside = (np.abs(positions - self._map.origin - box / 2) < box / 2).all(axis=1)
        if inside.mean() <= _MOSTLY:
            return None
        made = replace(self._map, values=self._density.volume(positions - self._map.centre))
        density = smoothed(made, self._resolution, edge="sharp").values
        occupied = density > 0.01 * density.max()
        mask = density > _MASK * np.quantile(density[occupied], _HIGH)
        model, found = density[mask].astype(np.float64), self._map.values[mask].astype(np.float64)
        model, found = model - model.mean(), found - found.mean()
        norm = np.sqrt((model**2).sum() * (found**2).sum())
        return float((model * found).sum() / norm) if norm > 0 else 0.0
