"""The model as each particle of a data set would show it: the first thing to look at when something is wrong."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np

from cryosphere.errors import ConfigError, ImageStackError, ParticleError
from cryosphere.imaging.grid import ImageGrid
from cryosphere.particles.mrc_stacks import box_of_stacks
from cryosphere.particles.read import read_particles
from cryosphere.particles.table import ParticleTable
from cryosphere.progress import SILENT, Progress
from cryosphere.simulation.rendering import Renderer
from cryosphere.simulation.stack_writer import StackWriter
from cryosphere.structures.model import read_model
from cryosphere.structures.placement import check_inside_box

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class ProjectionSettings:
    """How projections are made; what is None is taken from the particle file, the box also from its first stack."""

    ctf: Literal["apply", "omit"] = "apply"
    pixel_size: float | None = None  # Å
    box: int | None = None  # pixels
    sigma: float = 2.0  # Å, of each bead
    datadir: Path | None = None  # folder in which stacks are looked for first


def project_particles(
    model: Path,
    particles: Sequence[Path],
    output: Path,
    settings: ProjectionSettings | None = None,
    *,
    progress: Progress = SILENT,
    overwrite: bool = False,
) -> ParticleTable:
    """Write the stack of projections of `model` with the poses, shifts and CTFs of `particles`, one per particle.

    model: PDB or mmCIF; particles: .star or .cs files; output: an .mrcs stack, in the particles' order, that appears
    when it is complete. Only the particles' metadata is needed, not their images, except that files which do not say
    how many pixels the images have (RELION up to 3.0) leave that to the first stack found. Returns the particles.

    Raises:
        InputError: for an unusable model or particle file, a model outside the box, a box size that is neither given
            nor in the file nor in a stack beside it, or an output that exists already (unless `overwrite`).
    """
    settings = settings or ProjectionSettings()
    if output.exists() and not overwrite:
        raise ImageStackError(f"{output} exists already; choose another name, or allow it to be replaced (--overwrite)")
    table = read_particles(list(particles))
    atoms = read_model(model)
    grid = _grid(table, settings)
    check_inside_box(atoms, grid.box, grid.pixel_size, source=model)
    renderer = Renderer(table, atoms.beads.amplitudes, grid, sigma=settings.sigma, ctf=settings.ctf == "apply")
    writer = StackWriter(output, count=len(table), box=grid.box, pixel_size=grid.pixel_size)
    with writer, progress.track(len(table), "projecting") as advance:
        for rows in renderer.batches():
            writer.write(renderer.images(rows, atoms.beads.positions))
            advance(len(rows))
    log.info("%s: %d projections of %d pixels, %.4g Å per pixel", output, len(table), grid.box, grid.pixel_size)
    return table


def _grid(table: ParticleTable, settings: ProjectionSettings) -> ImageGrid:
    for name, value in (("pixel size", settings.pixel_size), ("box", settings.box)):
        if value is not None and not (np.isfinite(value) and value > 0):
            raise ConfigError(f"the {name} must be positive, found {value}")
    box = settings.box or table.optics[0].box or _box_of_first_stack(table, settings.datadir)
    return ImageGrid(box=box, pixel_size=settings.pixel_size or table.pixel_size)


def _box_of_first_stack(table: ParticleTable, datadir: Path | None) -> int:
    names = [table.stacks[k] for k in np.unique(table.stack_index)]
    box = box_of_stacks(names, table.source, datadir)
    if box is None:
        raise ParticleError(
            f"{table.source} does not say how many pixels its images have, and none of its {len(names)} stack(s), such "
            f"as {names[0]}, was found; give the number (--box) or the folder of the stacks (--datadir)"
        )
    log.info("%s does not say how many pixels its images have; its stacks have %d", table.source, box)
    return box
