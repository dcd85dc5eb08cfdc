"""Up to which detail a placed model and a map agree: their Fourier shell correlation."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from scipy.ndimage import distance_transform_edt

from cryosphere.errors import MapError, StructureError
from cryosphere.maps.density import AtomDensity
from cryosphere.maps.density_map import DensityMap
from cryosphere.maps.fsc import resolution, shell_correlations, shell_frequencies, volume_spectra
from cryosphere.structures.model import AtomicModel

THRESHOLD = 0.5  # a perfect model against a full map: as much signal as noise (Rosenthal & Henderson 2003)
_SHARPNESS = 3.0  # voxels: resolution of the model's density, fine enough to hold power up to the last shell
_LARGE = 320  # voxels along a side
_ENVELOPE = 8.0  # Å: resolution of the density from which the mask is made, at least 3 voxels
_LEVEL = 0.1  # of that density's 99th percentile
_MARGIN, _EDGE = 3.0, 5.0  # voxels that the mask reaches beyond it, and its soft edge: a cosine


@dataclass(frozen=True)
class ModelMapFsc:
    """Fourier shell correlation of a model's density with a map, both in a soft mask around the model."""

    frequencies: NDArray[np.float64]  # (shells,) 1/Å
    curve: NDArray[np.float64]  # (shells,)
    resolution: float  # Å at which the curve first falls below 0.5


def model_map_fsc(model: AtomicModel, density_map: DensityMap, mask: NDArray[np.floating] | None = None) -> ModelMapFsc:
    """How far down in resolution a model, placed in the map's frame, explains a cubic map.

    mask: [z, y, x], 0 to 1, of the map's shape; by default a soft one around the model.

    Raises:
        MapError: for a map that is no cube, or a mask of another shape.
        StructureError: for a model of which nothing lies in the map.
    """
    grid = density_map.grid
    places = model.positions - density_map.centre
    sharpness = _SHARPNESS if grid.box <= _LARGE else None  # in a large box the grid is not made finer
    density = AtomDensity(model, grid, sharpness and sharpness * grid.pixel_size).volume(places)
    if not density.any():
        raise StructureError(f"{model.name}: no atom lies in {density_map.source}; fit the model into the map first")
    if mask is None:
        mask = model_mask(model, density_map)
    elif mask.shape != density_map.values.shape:
        raise MapError(f"the mask has shape {mask.shape}, {density_map.source} {density_map.values.shape}")
    found, expected = (
        volume_spectra(torch.from_numpy((values * mask).astype(np.float64))[None])
        for values in (density_map.values - np.median(density_map.values), density)
    )
    curve = shell_correlations(found, expected)
    frequencies = shell_frequencies(curve.shape[1], grid.box, grid.pixel_size)
    falls = float(resolution(curve, frequencies, THRESHOLD)[0])
    return ModelMapFsc(frequencies.numpy(), curve[0].numpy(), falls)


def model_mask(model: AtomicModel, density_map: DensityMap) -> NDArray[np.float32]:
    """1 where a placed model is and 3 voxels around it, 0 beyond, with a soft edge of 5 voxels: [z, y, x]."""
    grid = density_map.grid
    envelope = AtomDensity(model, grid, max(_ENVELOPE, 3 * grid.pixel_size))
    density = envelope.volume(model.positions - density_map.centre)
    inside = density > _LEVEL * np.quantile(density[density > 0.01 * density.max()], 0.99)
    beyond = (distance_transform_edt(~inside) - _MARGIN) / _EDGE
    return np.asarray(0.5 * (1 + np.cos(np.pi * np.clip(beyond, 0.0, 1.0))), dtype=np.float32)
