"""A model file made into a map file."""

from __future__ import annotations

import logging
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np
import torch
from numpy.typing import NDArray

from cryosphere.errors import ConfigError
from cryosphere.imaging.grid import ImageGrid
from cryosphere.maps.density import SIGMA_OF_RESOLUTION, AtomDensity, bead_volumes
from cryosphere.maps.density_map import DensityMap
from cryosphere.maps.files import read_map, require_new_map, write_map
from cryosphere.structures.model import AtomicModel, read_model
from cryosphere.structures.placement import check_inside_box

log = logging.getLogger(__name__)

_BOXES = (8, 1024)  # voxels along a side
_BEAD_SIGMA = 2.0  # Å, that of the beads images are compared with


@dataclass(frozen=True)
class VolumeSettings:
    """How a volume is made of a model."""

    pixel_size: float | None = None  # Å; needed, unless there is a map to be like
    box: int | None = None  # voxels; likewise
    like: Path | None = None  # map whose pixel size, box and place are taken
    resolution: float | None = (
        None  # Å; None: the finest that the grid holds well; for beads, 2 Å of standard deviation
    )
    atoms: Literal["all", "beads"] = "all"


def volume_of(model: Path, output: Path, settings: VolumeSettings, *, overwrite: bool = False) -> DensityMap:
    """Write the density of a model as an MRC map that lies over it.

    The model's origin is the centre of the box, voxel D // 2; or the map stands where the one that it is to be like
    stands. All atoms with their electron scattering factors, or one bead per residue with its electrons.

    Raises:
        InputError: for a model that cannot be used or lies outside the box, impossible settings, a map to be like that
            is no cube, or an output that exists already (unless `overwrite`).
    """
    require_new_map(output, overwrite=overwrite)
    grid, centre, origin = _place(settings)
    if settings.resolution is not None and not 2 * grid.pixel_size * 0.999 <= settings.resolution <= grid.length:
        raise ConfigError(
            f"the resolution must be between {2 * grid.pixel_size:.4g} Å, two voxels, and {grid.length:.4g} Å, the "
            f"box; found {settings.resolution:g} Å"
        )
    atoms = read_model(model).translated(-centre)
    check_inside_box(atoms, grid.box, grid.pixel_size, source=model)
    made = DensityMap(_density(atoms, grid, settings), grid.pixel_size, origin, str(output))
    write_map(output, made.values, grid.pixel_size, origin)
    log.info("%s: %d voxels of %.4g Å along each side", output, grid.box, grid.pixel_size)
    return made


def _place(settings: VolumeSettings) -> tuple[ImageGrid, NDArray[np.float64], NDArray[np.float64]]:
    """The grid, and where its centre and its first voxel stand in the model's frame."""
    if settings.like is not None:
        if settings.pixel_size is not None or settings.box is not None:
            raise ConfigError("a map to be like (--like) gives pixel size and box; leave out --pixel-size and --box")
        pattern = read_map(settings.like)
        return pattern.grid, pattern.centre, pattern.origin
    if settings.pixel_size is None or settings.box is None:
        raise ConfigError("give the pixel size in Å (--pixel-size) and the box in voxels (--box), or a map (--like)")
    if not (np.isfinite(settings.pixel_size) and settings.pixel_size > 0):
        raise ConfigError(f"the pixel size must be positive, found {settings.pixel_size}")
    least, most = _BOXES
    if not least <= settings.box <= most:
        raise ConfigError(f"the box must have {least} to {most} voxels along a side, found {settings.box}")
    first = np.full(3, -(settings.box // 2) * settings.pixel_size)
    return ImageGrid(settings.box, settings.pixel_size), np.zeros(3), first


def _density(model: AtomicModel, grid: ImageGrid, settings: VolumeSettings) -> NDArray[np.float32]:
    if settings.atoms == "all":
        return AtomDensity(model, grid, settings.resolution).volume(model.positions)
    sigma = _BEAD_SIGMA if settings.resolution is None else SIGMA_OF_RESOLUTION * settings.resolution
    positions, amplitudes = (torch.from_numpy(x).float() for x in (model.beads.positions, model.beads.amplitudes))
    return np.asarray(bead_volumes(positions[None], amplitudes, grid, sigma)[0].numpy())
