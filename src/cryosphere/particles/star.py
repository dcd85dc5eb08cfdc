"""RELION's particle files: one block (up to 3.0), or optics and particles (3.1 and later); written in the latter form.

Format: https://relion.readthedocs.io, "Conventions & File formats"; the meaning of angles and shifts in ours:
docs/conventions.md.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np
import pandas as pd
import starfile

from cryosphere.errors import ParticleError
from cryosphere.files import replacing
from cryosphere.geometry.poses import relion_from_rotations, rotations_from_relion
from cryosphere.particles.columns import (
    CTF_COLUMNS,
    OPTICS_COLUMNS,
    UNMODELLED,
    check_finite,
    check_positive,
    group_optics,
    missing_columns,
    translate,
)
from cryosphere.particles.star_blocks import StarBlock, read_blocks
from cryosphere.particles.table import Float, Integer, OpticsGroup, ParticleTable

log = logging.getLogger(__name__)

Poses = Literal["required", "ignored"]

_ANGLES = ("rlnAngleRot", "rlnAngleTilt", "rlnAnglePsi")
_ORIGINS_ANGSTROM = ("rlnOriginXAngst", "rlnOriginYAngst")
_ORIGINS_PIXELS = ("rlnOriginX", "rlnOriginY")
_PIXEL_SIZES = ("rlnImagePixelSize", "rlnPixelSize")
_MAGNIFICATION = ("rlnMagnification", "rlnDetectorPixelSize")
_ANGSTROM_PER_MICRON = 1e4
_OPTICS_LABELS = (*(c.relion for c in OPTICS_COLUMNS), *_PIXEL_SIZES, *_MAGNIFICATION, "rlnImageSize")
_PARTICLE_LABELS = (
    *(c.relion for c in CTF_COLUMNS),
    *_ANGLES,
    *_ORIGINS_ANGSTROM,
    *_ORIGINS_PIXELS,
    "rlnRandomSubset",
)
_TOMOGRAPHY = (
    "rlnCtfImage",
    "rlnCoordinateZ",
    "rlnCenteredCoordinateZAngst",
)  # and everything that begins with rlnTomo
_CORRECTED = {
    "rlnCtfDataAreCtfPremultiplied": "multiplied by their CTF",
    "rlnCtfDataArePhaseFlipped": "corrected for the signs of their CTF (phases flipped)",
}
_IMAGE_NAME = r"0*[1-9][0-9]{0,8}"


@dataclass(frozen=True)
class _StarColumns:
    """What a STAR file says of n particles, in its own labels and units, the optics table's values spread over them."""

    path: Path
    values: Mapping[str, Float]  # per label (n,)
    image_names: pd.Series[str]  # (n,)
    group: Integer  # (n,) row of the optics table
    group_names: tuple[str, ...]


def read_star(path: str | Path, *, poses: Poses = "required") -> ParticleTable:
    """Read the particles of a single-particle STAR file.

    Shifts are taken in Å, or in pixels of the image where the file has no others, or as 0 (said in the log). The pixel
    size comes from rlnImagePixelSize, rlnPixelSize, or magnification and detector pixel size.

    poses: "ignored" for files without orientations; the rotations are then NaN and the shifts 0.
    Raises ParticleError for anything that cannot be used, naming file, column and row.
    """
    columns = _read_columns(Path(path), poses)
    stacks, stack_index, image_index = _split_image_names(columns)
    pixel_size = _pixel_sizes(columns)
    optics, optics_index = _optics(columns, pixel_size)
    rotations, shifts = _poses(columns, pixel_size, poses)
    return ParticleTable(
        rotations=rotations,
        shifts=shifts,
        **translate(CTF_COLUMNS, "relion", columns.values, columns.path),
        optics_index=optics_index,
        stack_index=stack_index,
        image_index=image_index,
        half_set=_half_sets(columns),
        optics=optics,
        stacks=stacks,
        source=columns.path,
    )


def _read_columns(path: Path, poses: Poses) -> _StarColumns:
    blocks = read_blocks(path)
    particles = _particle_block(blocks)
    optics = next((b for b in blocks if b is not particles and "rlnOpticsGroup" in b.labels), None)
    present = {*particles.labels, *(optics.labels if optics else ())}
    _refuse_tomography(path, present)
    _require_columns(path, present, poses)
    if ignored := [label for label in UNMODELLED["relion"] if label in present]:
        log.warning("%s: higher-order aberrations are not part of our CTF and are ignored: %s", path, ignored)
    numbers = [
        label for label in (*_PARTICLE_LABELS, *_OPTICS_LABELS, *_CORRECTED) if not optics or label not in optics.labels
    ]
    frame = particles.read(text=("rlnImageName", "rlnOpticsGroupName"), numbers=("rlnOpticsGroup", *numbers))
    if not len(frame):
        raise ParticleError(f"{path}: block data_{particles.name} lists no particles.")
    values = {label: frame[label].to_numpy() for label in numbers if label in frame}
    _refuse_corrected(path, values)
    group, names = np.zeros(len(frame), dtype=np.int64), ()
    if optics:
        table = _read_optics(optics)
        group, names = _match_groups(path, frame, table), tuple(table["rlnOpticsGroupName"])
        values |= {label: table[label].to_numpy()[group] for label in _OPTICS_LABELS if label in table}
    return _StarColumns(path, values, frame["rlnImageName"], group, names)


def _particle_block(blocks: list[StarBlock]) -> StarBlock:
    """The block of particles: the one with image names; failing that the one that by its name ought to have them."""
    named = [b for b in blocks if "rlnImageName" in b.labels] or [
        b for b in blocks if "rlnOpticsGroupName" not in b.labels
    ]
    preferred = [b for b in named if b.name.lower() == "particles"]
    chosen = (preferred or named or blocks)[0]
    if len(named) > 1:
        log.info("%s: of several blocks with particles, data_%s is used", chosen.path, chosen.name)
    return chosen


def _refuse_tomography(path: Path, present: set[str]) -> None:
    marks = sorted(label for label in present if label.startswith("rlnTomo") or label in _TOMOGRAPHY)
    if marks:
        raise ParticleError(
            f"{path}: this is a tomography (subtomogram) file, as {', '.join(marks[:4])} show(s). Only single-particle "
            "images are supported."
        )


def _refuse_corrected(path: Path, values: Mapping[str, Float]) -> None:
    """Our images are the microscope's, with its transfer function and all its signs in them."""
    for label, what in _CORRECTED.items():
        if label in values and np.any(values[label] != 0):
            raise ParticleError(
                f"{path}: the images have been {what} ({label} is {values[label].max():g}); images as the microscope "
                "shows them are needed. Extract the particles again without that (RELION: without premultiplying or "
                "phase flipping)."
            )


def _require_columns(path: Path, present: set[str], poses: Poses) -> None:
    missing = [] if "rlnImageName" in present else ["rlnImageName"]
    missing += missing_columns((*OPTICS_COLUMNS, *CTF_COLUMNS), "relion", present)
    if not present.intersection(_PIXEL_SIZES) and not present.issuperset(_MAGNIFICATION):
        missing.append("rlnImagePixelSize (or rlnMagnification with rlnDetectorPixelSize)")
    angles = [label for label in _ANGLES if label not in present] if poses == "required" else []
    if not missing and not angles:
        return
    hint = " Poses are missing: use the output of a 3D refinement (its run_data.star)." if angles else ""
    raise ParticleError(f"{path}: missing column(s): {', '.join([*missing, *angles])}.{hint}")


def _read_optics(optics: StarBlock) -> pd.DataFrame:
    table = optics.read(
        text=("rlnOpticsGroupName",),
        numbers=("rlnOpticsGroup", *_OPTICS_LABELS, *_CORRECTED, "rlnImageDimensionality"),
    )
    _refuse_corrected(optics.path, {label: table[label].to_numpy() for label in _CORRECTED if label in table})
    if not len(table):
        raise ParticleError(f"{optics.path}: block data_{optics.name} lists no optics groups.")
    if "rlnImageDimensionality" in table and np.any(table["rlnImageDimensionality"] == 3):
        raise ParticleError(f"{optics.path}: rlnImageDimensionality is 3: only two-dimensional images are supported.")
    if "rlnOpticsGroupName" not in table:
        table["rlnOpticsGroupName"] = [f"opticsGroup{number:g}" for number in table["rlnOpticsGroup"]]
    return table


def _match_groups(path: Path, particles: pd.DataFrame, optics: pd.DataFrame) -> Integer:
    """Row of the optics table for each particle, (n,)."""
    label = next((name for name in ("rlnOpticsGroup", "rlnOpticsGroupName") if name in particles), None)
    if label is None:
        if len(optics) > 1:
            raise ParticleError(f"{path}: {len(optics)} optics groups, but no column rlnOpticsGroup in the particles.")
        return np.zeros(len(particles), dtype=np.int64)
    known = [f"{name:g}" if isinstance(name, float) else name for name in optics[label]]
    if len(set(known)) < len(known):
        raise ParticleError(f"{path}: a {label} occurs twice among the optics groups {', '.join(known)}.")
    group: Integer = np.asarray(pd.Index(optics[label]).get_indexer(pd.Index(particles[label])), dtype=np.int64)
    if np.any(group < 0):
        row = int(np.flatnonzero(group < 0)[0])
        raise ParticleError(
            f"{path}: particle row {row + 1} is of {label} {particles[label].iloc[row]}, which is not among the optics "
            f"groups {', '.join(known)}."
        )
    return group


def _split_image_names(columns: _StarColumns) -> tuple[tuple[str, ...], Integer, Integer]:
    """Stack names, and per particle its stack and its 0-based place there, from `number@stack`.

    A name without `@` is a file of one image, as in RELION.
    """
    parts = columns.image_names.str.partition("@")
    numbered = parts[1] == "@"
    number, stack = parts[0].where(numbered, "1"), parts[2].where(numbered, parts[0])
    bad = np.flatnonzero(~(number.str.fullmatch(_IMAGE_NAME) & (stack != "")).to_numpy(dtype=bool))
    if len(bad):
        raise ParticleError(
            f"{columns.path}: rlnImageName of particle row {bad[0] + 1} is {columns.image_names.iloc[bad[0]]!r}; "
            f"expected number@stack with numbers from 1, such as 000001@stack.mrcs ({len(bad)} such row(s))."
        )
    stack_index, stacks = pd.factorize(stack)
    return (
        tuple(map(str, stacks)),
        stack_index.astype(np.int64),
        np.asarray(number.astype(np.int64), dtype=np.int64) - 1,
    )


def _pixel_sizes(columns: _StarColumns) -> Float:
    """Å per pixel of each particle's image, (n,)."""
    for label in _PIXEL_SIZES:
        if label in columns.values:
            check_positive({label: columns.values[label]}, columns.path)
            return columns.values[label]
    check_positive({label: columns.values[label] for label in _MAGNIFICATION}, columns.path)
    log.info("%s: pixel size taken from magnification and detector pixel size", columns.path)
    return columns.values["rlnDetectorPixelSize"] * _ANGSTROM_PER_MICRON / columns.values["rlnMagnification"]


def _optics(columns: _StarColumns, pixel_size: Float) -> tuple[tuple[OpticsGroup, ...], Integer]:
    box = columns.values.get("rlnImageSize", np.full(len(pixel_size), np.nan))
    if "rlnImageSize" in columns.values:
        check_positive({"rlnImageSize": box}, columns.path)
    settings = translate(OPTICS_COLUMNS, "relion", columns.values, columns.path)
    settings |= {"pixel_size": pixel_size, "box": box}
    return group_optics(settings, columns.group, columns.group_names, columns.path)


def _poses(columns: _StarColumns, pixel_size: Float, poses: Poses) -> tuple[Float, Float]:
    """Rotations (n, 3, 3) and shifts (n, 2) in Å."""
    count = len(pixel_size)
    if poses == "ignored":
        return np.full((count, 3, 3), np.nan), np.zeros((count, 2))
    check_finite({label: columns.values[label] for label in _ANGLES}, columns.path)
    rotations = rotations_from_relion(*(columns.values[label] for label in _ANGLES))
    for labels, unit in ((_ORIGINS_ANGSTROM, np.ones(count)), (_ORIGINS_PIXELS, pixel_size)):
        found = {label: columns.values[label] for label in labels if label in columns.values}
        if len(found) == 1:
            raise ParticleError(f"{columns.path}: has {next(iter(found))} but not both of {' and '.join(labels)}.")
        if found:
            check_finite(found, columns.path)
            return rotations, np.stack([found[label] * unit for label in labels], axis=1)
    log.warning("%s: has no origins (rlnOriginXAngst, rlnOriginX); the particles are taken to be centred", columns.path)
    return rotations, np.zeros((count, 2))


def _half_sets(columns: _StarColumns) -> Integer:
    subset = columns.values.get("rlnRandomSubset", np.zeros(len(columns.group)))
    return np.where(np.isin(subset, (1, 2)), subset, 0).astype(np.int64)


def write_star(path: str | Path, table: ParticleTable) -> None:
    """Write particles as RELION 3.1 and later read them: a table of optics groups and one of particles.

    Numbers read back to 1e-15, Euler angles to 1e-12. Rotations that are NaN (read with poses="ignored") are left out.
    The file appears under its name only when it is complete.
    """
    path = Path(path)
    blocks = {"optics": _optics_frame(table), "particles": _particle_frame(table)}
    with replacing(path) as temporary:
        starfile.write(blocks, temporary, float_format=None)


def _optics_frame(table: ParticleTable) -> pd.DataFrame:
    frame = pd.DataFrame(
        {
            "rlnOpticsGroupName": [g.name for g in table.optics],
            "rlnOpticsGroup": range(1, len(table.optics) + 1),
            **{c.relion: [getattr(g, c.field) for g in table.optics] for c in OPTICS_COLUMNS},
            "rlnImagePixelSize": [g.pixel_size for g in table.optics],
        }
    )
    if all(g.box is not None for g in table.optics):
        frame["rlnImageSize"] = [g.box for g in table.optics]
    return frame.assign(rlnImageDimensionality=2)


def _particle_frame(table: ParticleTable) -> pd.DataFrame:
    stacks = pd.Series(table.stacks, dtype=str).take(table.stack_index).reset_index(drop=True)
    numbers = pd.Series(table.image_index + 1).astype(str).str.zfill(6)
    frame = pd.DataFrame({"rlnImageName": numbers + "@" + stacks, "rlnOpticsGroup": table.optics_index + 1})
    if not np.isnan(table.rotations).all():
        frame[list(_ANGLES)] = relion_from_rotations(table.rotations)
        frame[list(_ORIGINS_ANGSTROM)] = table.shifts
    for column in CTF_COLUMNS:
        frame[column.relion] = getattr(table, column.field) / column.relion_unit
    if np.any(table.half_set):
        frame["rlnRandomSubset"] = table.half_set
    return frame
