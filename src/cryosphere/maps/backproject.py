"""A consensus map of a particle file: read, reconstruct, and write maps, curves and pictures."""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from cryosphere.distribution import World, join
from cryosphere.errors import ConfigError, MapError
from cryosphere.files import can_hold_files, replacing
from cryosphere.imaging.grid import ImageGrid
from cryosphere.maps.files import read_map, write_map
from cryosphere.maps.pictures import central_sections, correlation_curves
from cryosphere.maps.reconstruction import (
    Reconstruction,
    ReconstructionSettings,
    Volume,
    checked_grid,
    reconstruct_particles,
)
from cryosphere.particles.read import read_particles
from cryosphere.particles.stacks import ImageStacks
from cryosphere.presentation.style import png
from cryosphere.progress import SILENT, Progress

log = logging.getLogger(__name__)

MAP, HALVES, CURVES = "map.mrc", ("half1.mrc", "half2.mrc"), "fsc.csv"
PICTURES = ("fsc.png", "slices.png")
FILES = (*HALVES, CURVES, *PICTURES, MAP)  # in the order of appearance: the map says "complete"

SMALLEST_MASK = 500  # voxels: within less, random phases correlate as anything does
_PIXEL_SIZE_TOLERANCE = 1e-3


@dataclass(frozen=True)
class BackprojectionSettings:
    """Which images of a particle file become a map, and how.

    datadir: folder in which stacks are looked for first. images: how many, drawn at random with the seed; None: all.
    mask: an MRC file, on the map's grid, for the masked correlation.
    """

    datadir: Path | None = None
    images: int | None = None
    mask: Path | None = None
    reconstruction: ReconstructionSettings = field(default_factory=ReconstructionSettings)


def backproject(
    particles: Sequence[Path],
    outdir: Path,
    settings: BackprojectionSettings | None = None,
    *,
    progress: Progress = SILENT,
    overwrite: bool = False,
) -> Reconstruction:
    """Reconstruct the map that particles with poses show, and write it with its half-maps and their correlation.

    particles: a .star or .cs files. outdir: gets map.mrc, half1.mrc, half2.mrc, fsc.csv and the pictures fsc.png and
    slices.png, all or none of them. The processes of a job share the images; the first one writes.

    Raises:
        InputError: for particles without poses or images, an impossible box, number of images or mask, too little
            memory, or an `outdir` that holds such files already (unless `overwrite`).
    """
    settings = settings or BackprojectionSettings()
    world = join()
    with world.together():
        _check_folder(outdir, overwrite=overwrite)
        table = read_particles(list(particles))
        stacks = ImageStacks(table, settings.datadir)
        rows = chosen_rows(len(table), settings.images, settings.reconstruction.seed)
        grid = checked_grid(table, stacks, rows, settings.reconstruction)
        mask = None if settings.mask is None else read_mask(settings.mask, grid)
    how = replace(settings.reconstruction, mask=mask)
    found = reconstruct_particles(table, stacks, rows, how, progress, world)
    for note in found.notes:
        log.info("%s", note)
    with world.together():
        if world.is_first:
            _write(found, outdir)
    _report(found, outdir, world)
    return found


def chosen_rows(count: int, wanted: int | None, seed: int) -> NDArray[np.int64]:
    """All rows, or as many as wanted, drawn at random.

    Raises:
        ConfigError: for fewer than two images, or more than there are.
    """
    if wanted is None:
        return np.arange(count)
    if not 2 <= wanted <= count:
        raise ConfigError(f"{wanted} images were asked for (--images); it can be from 2 to the file's {count:,}")
    return np.sort(np.random.default_rng(seed).choice(count, wanted, replace=False))


def read_mask(path: Path, grid: ImageGrid) -> Volume:
    """A mask from an MRC file, which must have the map's voxels and values from 0 to 1; its origin is not looked at.

    Raises:
        MapError: if it has not.
    """
    found = read_map(path)
    if found.shape != (grid.box,) * 3 or abs(found.pixel_size - grid.pixel_size) > _PIXEL_SIZE_TOLERANCE * (
        grid.pixel_size
    ):
        raise MapError(
            f"{path}: the mask has {' x '.join(map(str, found.shape))} voxels of {found.pixel_size:.4g} Å, the map "
            f"{grid.box} x {grid.box} x {grid.box} of {grid.pixel_size:.4g} Å; make the mask from this map, or choose "
            "its box (--box)"
        )
    lowest, highest = float(found.values.min()), float(found.values.max())
    if lowest < 0 or highest > 1:
        raise MapError(f"{path}: a mask has values from 0 to 1, this file has {lowest:.3g} to {highest:.3g}")
    if found.values.sum() < SMALLEST_MASK:
        raise MapError(
            f"{path}: the mask holds {found.values.sum():.0f} voxels, too few for a correlation; it should hold the "
            f"particle (at least {SMALLEST_MASK})"
        )
    return found.values


def _check_folder(outdir: Path, *, overwrite: bool) -> None:
    if outdir.exists() and not outdir.is_dir():
        raise MapError(f"{outdir} is a file, and a folder is needed for the maps; choose another name")
    if not can_hold_files(outdir):
        raise MapError(f"{outdir}: no files can be written there; choose another folder (--outdir)")
    existing = [name for name in FILES if (outdir / name).exists()]
    if existing and not overwrite:
        raise MapError(
            f"{outdir} already holds {', '.join(existing)}; choose another folder, or allow them to be replaced "
            "(--overwrite)"
        )


def _write(found: Reconstruction, outdir: Path) -> None:
    """Write all files under other names first: they appear together when the last one is complete."""
    volumes = dict(zip((MAP, *HALVES), (found.map, found.half1, found.half2), strict=True))
    writers: dict[str, Callable[[Path], object]] = {
        name: lambda path, volume=volume: write_map(path, volume, found.grid.pixel_size)  # type: ignore[misc]
        for name, volume in volumes.items()
    }
    writers[CURVES] = lambda path: path.write_text(curves_table(found), encoding="utf-8")
    writers[PICTURES[0]] = lambda path: path.write_bytes(png(correlation_curves(found)))
    writers[PICTURES[1]] = lambda path: path.write_bytes(png(central_sections(found)))
    is_new = not outdir.exists()
    outdir.mkdir(parents=True, exist_ok=True)
    try:
        with ExitStack() as stack:
            for name in reversed(FILES):  # the last one that is entered appears first
                writers[name](stack.enter_context(replacing(outdir / name)))
            (outdir / MAP).unlink(missing_ok=True)  # of maps that are replaced
    except BaseException:
        if is_new and not any(outdir.iterdir()):
            outdir.rmdir()
        raise


def curves_table(found: Reconstruction) -> str:
    """The content of fsc.csv: a row for each shell from 1 on."""
    curves = found.curves
    lines = [
        "shell,frequency_per_angstrom,resolution_angstrom,fsc_unmasked,fsc_masked,fsc_phase_randomised,fsc_corrected"
    ]
    columns = (curves.unmasked, curves.masked, curves.phase_randomised, curves.corrected)
    for shell in range(1, len(curves.frequencies)):
        frequency = curves.frequencies[shell]
        values = ",".join(f"{column[shell]:.6f}" for column in columns)
        lines.append(f"{shell},{frequency:.8f},{1 / frequency:.4f},{values}")
    return "\n".join(lines) + "\n"


def _report(found: Reconstruction, outdir: Path, world: World) -> None:
    if not world.is_first:
        return
    log.info(
        "resolution: %s at 0.143, corrected for the mask; %s unmasked (at 0.5: %s and %s)",
        *(found.resolution(curve, threshold) for threshold in (0.143, 0.5) for curve in ("corrected", "unmasked")),
    )
    log.info(
        "%s: map and half-maps of %d voxels, %.4g Å per voxel, curves, pictures",
        outdir,
        found.grid.box,
        found.grid.pixel_size,
    )
