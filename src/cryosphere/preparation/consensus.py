"""The map that the model is placed in: a user's, if it belongs to the particles, or one made of their images."""

from __future__ import annotations

import logging
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal

import numpy as np
import torch
from numpy.typing import NDArray

from cryosphere.errors import ConfigError, MapError
from cryosphere.imaging.grid import ImageGrid
from cryosphere.maps.backproject import chosen_rows
from cryosphere.maps.density import lowest_frequencies
from cryosphere.maps.density_map import DensityMap, require_cubic
from cryosphere.maps.files import read_map
from cryosphere.maps.reconstruction import DIAMETER, Reconstruction, ReconstructionSettings, reconstruct_particles
from cryosphere.particles.stacks import ImageStacks
from cryosphere.particles.table import ParticleTable
from cryosphere.progress import Progress

log = logging.getLogger(__name__)

DETAIL = 3.0  # Å: beads of 2 Å hold nothing finer than 3.4 Å, so a map need not either
MOST_PIXELS = 1e9  # of all images together: on two cores about six minutes
LEAST_IMAGES = 10_000  # are always used, if there are as many
_MARGIN = 10.0  # Å around the model
_SAME_FIELD = 0.01  # relative difference of the fields of view of a map and the images it was made of
_SAME_PIXEL = 0.002  # of the pixel sizes where the box is the same: rounding explains no more


@dataclass(frozen=True)
class Consensus:
    """A density map in the frame of the particles' poses, and how it came about.

    density_map: its ORIGIN is such that the centre of the images' box, about which poses turn, is (0, 0, 0).
    shift: (3,) Å, what takes a model that overlays the map's file into that frame.
    reconstruction: with the half-maps, where the map was made of the images; None where it was given.
    how: in words, whether it was made or given, and whether it was resampled.
    """

    density_map: DensityMap
    shift: NDArray[np.float64]
    reconstruction: Reconstruction | None
    how: tuple[str, ...]


@dataclass(frozen=True)
class ImagesForMap:
    """Which images a map is made of, and how they are read.

    wanted: how many, drawn at random with the seed; None: all, or as many as can be had in minutes.
    """

    wanted: int | None = None
    contrast: Literal["auto", "white", "black"] = "auto"
    seed: int = 0


def images_for_map(count: int, box: int, wanted: int | None) -> tuple[int, str]:
    """How many of `count` images of `box` pixels the map is made of, and why.

    Raises:
        ConfigError: for a wanted number that cannot be had.
    """
    if wanted is not None:
        if not 2 <= wanted <= count:
            raise ConfigError(f"{wanted} images were asked for (--images); it can be from 2 to the file's {count:,}")
        return wanted, f"{wanted:,} of {count:,} images, drawn at random, as asked for"
    affordable = max(LEAST_IMAGES, int(MOST_PIXELS / box**2))
    if count <= affordable:
        return count, f"all {count:,} images"
    return affordable, (
        f"{affordable:,} of {count:,} images, drawn at random: enough to place a model, in minutes (another number "
        "with --images)"
    )


def consensus_from_images(
    table: ParticleTable,
    stacks: ImageStacks,
    radius: float,
    how: ImagesForMap,
    progress: Progress,
) -> Consensus:
    """Backproject the images, or a random part of very many, on voxels as fine as the model's beads can show.

    radius: Å, of the model.

    Raises:
        InputError: for images that no map can be made of.
    """
    images = ImageGrid(stacks.box, table.pixel_size)
    number, why = images_for_map(len(table), stacks.box, how.wanted)
    rows = chosen_rows(len(table), number if number < len(table) else None, how.seed)
    diameter = min(max(DIAMETER * images.length, 2 * (radius + _MARGIN)), images.length)
    box = images.cropped_to(DETAIL).box
    settings = ReconstructionSettings(box=box, contrast=how.contrast, diameter=diameter, seed=how.seed)
    log.info("map: made of %s", why)
    found = reconstruct_particles(table, stacks, rows, settings, progress)
    for note in found.notes:
        log.info("%s", note)
    resolution = f"half-maps agree to {found.resolution()} at 0.143, corrected for the mask"
    log.info("map: %s", resolution)
    size = f"{found.grid.box}³ voxels of {found.grid.pixel_size:.4g} Å"
    if found.grid.box < stacks.box:
        size += f" (cropped in Fourier space from the images' {stacks.box} pixels of {table.pixel_size:.4g} Å)"
    first = np.full(3, -(found.grid.box // 2) * found.grid.pixel_size)
    made = DensityMap(found.map, found.grid.pixel_size, first, "the map made of the images")
    return Consensus(made, np.zeros(3), found, (f"made of {why}, on {size}", resolution))


def consensus_from_file(path: Path, table: ParticleTable, stacks: ImageStacks) -> Consensus:
    """A map from a file, which must show the same box as the images: with their pixels, or with other ones in number.

    Its centre, voxel D // 2, becomes the origin. A map with finer voxels than the model's beads can show is cropped in
    Fourier space.

    Raises:
        MapError: for a map that cannot be read, is no cube, or has another field of view.
    """
    found = read_map(path)
    require_cubic(found)
    images = ImageGrid(stacks.box, table.pixel_size)
    _require_same_field(path, found.grid, images)
    box = found.grid.box
    # the particles' figure counts: a header that rounds would place the model some tenths of an Å off
    placed = replace(found, pixel_size=images.length / box, origin=np.full(3, -(box // 2) * images.length / box))
    size = f"{box}³ voxels of {placed.pixel_size:.4g} Å"
    how = f"{path.name} as it is, {size}"
    if box != images.box:
        how = f"{path.name}, {size}: the images' field of view on {'fewer' if box < images.box else 'more'} pixels"
    coarse = placed.grid.cropped_to(DETAIL)
    if coarse.box < box:
        values = lowest_frequencies(torch.from_numpy(placed.values), coarse.box).numpy()
        placed = replace(placed, values=values, pixel_size=coarse.pixel_size)
        how += f"; cropped in Fourier space to {coarse.box}³ of {coarse.pixel_size:.4g} Å: beads hold nothing finer"
    else:
        how += "; not resampled"
    log.info("map: %s", how)
    return Consensus(placed, -found.centre, None, (how,))


def _require_same_field(path: Path, of_map: ImageGrid, images: ImageGrid) -> None:
    """Make sure that a map shows the images' box."""
    sizes = (
        f"{path}: the map has {of_map.box} voxels of {of_map.pixel_size:.4g} Å a side ({of_map.length:.4g} Å), "
        f"the images have {images.box} pixels of {images.pixel_size:.4g} Å ({images.length:.4g} Å)"
    )
    ratio = of_map.pixel_size / images.pixel_size
    if of_map.box == images.box and abs(ratio - 1) > _SAME_PIXEL:
        raise MapError(
            f"{sizes}: with equal boxes the pixel sizes should be equal. Correct the one that is wrong, in the map's "
            "header or in the particle file"
        )
    if abs(of_map.length / images.length - 1) > _SAME_FIELD:
        raise MapError(
            f"{sizes}. Both must show the same field of view: give the consensus map of these particles, uncropped "
            "(one downsampled in Fourier space will do), or leave out --map to have one made"
        )
