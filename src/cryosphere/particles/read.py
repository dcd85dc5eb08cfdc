"""Particles from whatever file they come in."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from pathlib import Path

from cryosphere.errors import ParticleError
from cryosphere.particles.cryosparc import read_cs
from cryosphere.particles.star import Poses, read_star
from cryosphere.particles.table import ParticleTable

log = logging.getLogger(__name__)

_NPY_MAGIC = b"\x93NUMPY"
_PIXEL_SIZE_TOLERANCE = 1e-4  # 0.01 pixel over a box of 100


def read_particles(paths: str | Path | Sequence[str | Path], *, poses: Poses = "required") -> ParticleTable:
    """Read particles from a RELION STAR file or from cryoSPARC .cs files.

    paths: one file; or several .cs files of which the first leads and the others (passthrough) add columns.
    poses: "ignored" for files without orientations; the rotations are then NaN and the shifts 0.
    Raises ParticleError for anything that cannot be used: what, in which file and row, and the likely remedy.

    The format is recognised by the content, not by the name.
    """
    files = [Path(paths)] if isinstance(paths, str | Path) else [Path(path) for path in paths]
    if not files:
        raise ParticleError("No particle file was given.")
    is_cryosparc = [_is_cryosparc(path) for path in files]
    if len(files) > 1 and not all(is_cryosparc):
        raise ParticleError(
            f"{files[is_cryosparc.index(False)]}: only .cs files can be given together; join STAR files beforehand."
        )
    table = read_cs(files, poses=poses) if is_cryosparc[0] else read_star(files[0], poses=poses)
    _require_one_geometry(table)
    log.info(
        "%s: %d particles in %d stack(s), %d optics group(s), %.4g Å per pixel",
        table.source,
        len(table),
        len(table.stacks),
        len(table.optics),
        table.pixel_size,
    )
    return table


def _is_cryosparc(path: Path) -> bool:
    if path.exists() and not path.is_file():  # a pipe or a device could be read for ever
        raise ParticleError(f"{path}: is not a regular file; expected a .star or .cs file.")
    try:
        with path.open("rb") as file:
            return file.read(len(_NPY_MAGIC)) == _NPY_MAGIC or path.suffix == ".cs"
    except OSError as error:
        raise ParticleError(f"{path}: cannot be read: {error.strerror or error}") from error


def _require_one_geometry(table: ParticleTable) -> None:
    sizes = [group.pixel_size for group in table.optics]
    boxes = sorted({group.box for group in table.optics if group.box is not None})
    found = ""
    if max(sizes) - min(sizes) > _PIXEL_SIZE_TOLERANCE * min(sizes):
        found = f"pixel sizes, from {min(sizes):g} to {max(sizes):g} Å"
    elif len(boxes) > 1:
        found = f"image sizes, {', '.join(map(str, boxes))} pixels"
    if found:
        raise ParticleError(
            f"{table.source}: the optics groups have different {found}; extract or rescale all particles to the same."
        )
