"""cryoSPARC's particle files (.cs): NumPy record arrays, read without unpickling anything.

Format: https://guide.cryosparc.com, "Manipulating .cs files"; the meaning of poses and shifts in ours:
docs/conventions.md.
"""

from __future__ import annotations

import logging
import re
import warnings
from collections.abc import Mapping, Sequence
from pathlib import Path
from tokenize import TokenError
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from cryosphere.errors import ParticleError
from cryosphere.geometry.poses import rotations_from_cryosparc
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
from cryosphere.particles.star import Poses
from cryosphere.particles.table import Float, Integer, OpticsGroup, ParticleTable

log = logging.getLogger(__name__)

Records = NDArray[Any]  # structured, one field per column
Fields = Mapping[str, NDArray[Any]]  # the same after joining: name -> (n, ...)

_BLOB = ("blob/path", "blob/idx", "blob/shape", "blob/psize_A")
_CLASS = re.compile(r"alignments_class_(\d+)/pose")
_LONGEST_HEADER = 1 << 20  # characters; NumPy's own limit of 10,000 is too small for files of many columns
_BROKEN_HEADER = (ValueError, TypeError, SyntaxError, TokenError, OverflowError, MemoryError, RecursionError, KeyError)


def read_cs(paths: Sequence[str | Path], *, poses: Poses = "required") -> ParticleTable:
    """Read the particles of a .cs file; columns that it lacks come from the other files (passthrough), by uid.

    Poses are those of the refinement (alignments3D), else of an ab-initio job (alignments_class_k): then each
    particle's most probable class is taken, or class 0 where the file has no probabilities (said in the log).

    poses: "ignored" for files without orientations; the rotations are then NaN and the shifts 0.
    Raises ParticleError for anything that cannot be used, naming file, column and row.
    """
    source = Path(paths[0])
    fields = _join([Path(path) for path in paths])
    prefixes = _alignments(fields, source) if poses == "required" else []
    if missing := [*(b for b in _BLOB if b not in fields), *missing_columns(_CTF, "cryosparc", fields)]:
        raise ParticleError(
            f"{source}: missing column(s): {', '.join(missing)}. Give the job's passthrough file as well, or export "
            "the particles with all their slots."
        )
    _log_hints(fields, source)
    stacks, stack_index = _stacks(fields, source)
    values = {name: _numbers(fields, name, source) for c in _CTF if (name := c.cryosparc) in fields}
    optics, optics_index = _optics(fields, values, source)
    count = len(stack_index)
    return ParticleTable(
        rotations=_rotations(fields, prefixes, source) if prefixes else np.full((count, 3, 3), np.nan),
        shifts=_shifts(fields, prefixes, source) if prefixes else np.zeros((count, 2)),
        **translate(CTF_COLUMNS, "cryosparc", values, source),
        optics_index=optics_index,
        stack_index=stack_index,
        image_index=_numbers(fields, "blob/idx", source).astype(np.int64),
        half_set=_half_sets(fields, source),
        optics=optics,
        stacks=stacks,
        source=source,
    )


_CTF = (*OPTICS_COLUMNS, *CTF_COLUMNS)


def _load(path: Path) -> Records:
    """The records of one file, as a memory map: a header that promises more than the file holds is caught here."""
    try:
        with path.open("rb") as file, warnings.catch_warnings(action="ignore"):  # about a broken header's spelling
            version = np.lib.format.read_magic(file)
            readers = {(1, 0): np.lib.format.read_array_header_1_0, (2, 0): np.lib.format.read_array_header_2_0}
            if version not in readers:
                raise ValueError(f"NumPy's format {version} is not known here")
            shape, _, dtype = readers[version](file, max_header_size=_LONGEST_HEADER)
            start = file.tell()
        if dtype.hasobject or dtype.names is None or len(shape) != 1:
            raise ValueError(f"an array of {dtype} and shape {shape} is not a table of plain records")
        if path.stat().st_size - start < shape[0] * dtype.itemsize:
            raise ValueError(f"it announces {shape[0]} particles but is too short for them (truncated?)")
        if shape[0] == 0:
            return np.empty(0, dtype=dtype)
        return np.memmap(path, mode="r", dtype=dtype, shape=shape, offset=start)
    except OSError as error:
        raise ParticleError(f"{path}: cannot be read: {error.strerror or error}") from error
    except _BROKEN_HEADER as error:
        raise ParticleError(f"{path}: is not a usable cryoSPARC file: {error}") from error


def _join(paths: Sequence[Path]) -> Fields:
    """Columns of the first file, then those that only the others have, in the first file's order of particles."""
    first, *others = (_load(path) for path in paths)
    if not len(first):
        raise ParticleError(f"{paths[0]}: lists no particles.")
    fields: dict[str, NDArray[Any]] = {name: first[name] for name in first.dtype.names or ()}
    for path, other in zip(paths[1:], others, strict=True):
        rows = _rows_of(first, other, paths[0], path)
        fields |= {name: other[name][rows] for name in other.dtype.names or () if name not in fields}
    return fields


def _rows_of(first: Records, other: Records, first_path: Path, path: Path) -> Integer:
    for records, name in ((first, first_path), (other, path)):
        if "uid" not in (records.dtype.names or ()) or records.dtype["uid"].kind not in "iu":
            raise ParticleError(f"{name}: has no column uid, by which several .cs files are put together.")
    index = pd.Index(_native(other["uid"]))
    if not index.is_unique:
        raise ParticleError(f"{path}: the same uid occurs in several rows.")
    rows: Integer = np.asarray(index.get_indexer(pd.Index(_native(first["uid"]))), dtype=np.int64)
    if np.any(rows < 0):
        raise ParticleError(
            f"{path}: lacks {np.count_nonzero(rows < 0)} of the {len(rows)} particles of {first_path} (by uid); these "
            "files do not belong together."
        )
    return rows


def _native(values: NDArray[Any]) -> NDArray[Any]:
    """The values in this machine's byte order, which pandas insists on."""
    return np.asarray(values).astype(values.dtype.newbyteorder("="))


def _alignments(fields: Fields, source: Path) -> list[str]:
    """Prefixes of the columns with poses: that of a refinement, or one per class of an ab-initio job."""
    if "alignments3D/pose" in fields:
        return ["alignments3D"]
    classes = sorted(int(m.group(1)) for m in map(_CLASS.fullmatch, fields) if m)
    if not classes:
        found = " It has 2D alignments only." if any(name.startswith("alignments2D/") for name in fields) else ""
        raise ParticleError(
            f"{source}: has no 3D poses (alignments3D/pose).{found} Use the particles of a refinement or ab-initio "
            "job, or give the file with the alignments as well."
        )
    prefixes = [f"alignments_class_{k}" for k in classes]
    taken = "each particle's most probable one" if _has_posteriors(fields, prefixes) else prefixes[0]
    log.warning("%s: poses of %d ab-initio class(es); taken: %s", source, len(prefixes), taken)
    return prefixes


def _has_posteriors(fields: Fields, prefixes: list[str]) -> bool:
    return len(prefixes) > 1 and all(f"{prefix}/class_posterior" in fields for prefix in prefixes)


def _of_best_class(
    fields: Fields, prefixes: list[str], column: str, source: Path, shape: tuple[int, ...] = ()
) -> Float | None:
    """A column of the alignments, from each particle's most probable class; None where it is absent."""
    if any(f"{prefix}/{column}" not in fields for prefix in prefixes):
        return None
    if not _has_posteriors(fields, prefixes):
        return _numbers(fields, f"{prefixes[0]}/{column}", source, shape)
    values = np.stack([_numbers(fields, f"{prefix}/{column}", source, shape) for prefix in prefixes])
    posteriors = np.stack([_numbers(fields, f"{prefix}/class_posterior", source) for prefix in prefixes])
    best: Float = values[posteriors.argmax(axis=0), np.arange(values.shape[1])]
    return best


def _rotations(fields: Fields, prefixes: list[str], source: Path) -> Float:
    vectors = _of_best_class(fields, prefixes, "pose", source, (3,))
    if vectors is None:
        raise ParticleError(f"{source}: only some of the classes have poses.")
    return rotations_from_cryosparc(vectors)


def _shifts(fields: Fields, prefixes: list[str], source: Path) -> Float:
    """Shifts in Å, (n, 2); they are written in pixels of the alignment, which need not be the image's."""
    shift = _of_best_class(fields, prefixes, "shift", source, (2,))
    if shift is None:
        log.warning("%s: has no shifts; the particles are taken to be centred", source)
        return np.zeros((len(fields["blob/idx"]), 2))
    pixel = _of_best_class(fields, prefixes, "psize_A", source)
    pixel = _numbers(fields, "blob/psize_A", source) if pixel is None else pixel
    check_positive({"alignments3D/psize_A": pixel}, source)
    return shift * pixel[:, None]


def _numbers(fields: Fields, name: str, source: Path, shape: tuple[int, ...] = ()) -> Float:
    """A column as float64, (n, *shape), checked to be finite and of that shape."""
    try:
        values = np.asarray(fields[name]).astype(np.float64)
    except (ValueError, TypeError) as error:
        raise ParticleError(f"{source}: column {name} does not hold numbers: {error}") from error
    if values.shape[1:] != shape:
        raise ParticleError(f"{source}: column {name} has the shape {values.shape[1:]} per particle, not {shape}.")
    check_finite({name: values}, source)
    return values


def _stacks(fields: Fields, source: Path) -> tuple[tuple[str, ...], Integer]:
    paths = np.asarray(fields["blob/path"])
    if paths.dtype.kind not in "SU" or paths.ndim != 1:
        raise ParticleError(f"{source}: blob/path does not hold file names.")
    index, unique = pd.factorize(paths.astype(object))
    names = tuple((p.decode("utf-8", "replace") if isinstance(p, bytes) else str(p)).lstrip(">") for p in unique)
    if "" in names:
        row = int(np.flatnonzero(index == names.index(""))[0])
        raise ParticleError(f"{source}: blob/path of particle row {row + 1} is empty.")
    if np.any((image := _numbers(fields, "blob/idx", source)) < 0):
        raise ParticleError(f"{source}: blob/idx of particle row {np.flatnonzero(image < 0)[0] + 1} is negative.")
    return names, index.astype(np.int64)


def _optics(fields: Fields, values: Mapping[str, Float], source: Path) -> tuple[tuple[OpticsGroup, ...], Integer]:
    shape = _numbers(fields, "blob/shape", source, (2,))
    unequal = np.flatnonzero((shape[:, 0] != shape[:, 1]) | (shape[:, 0] < 1))
    if len(unequal):
        height, width = shape[unequal[0]]
        raise ParticleError(
            f"{source}: the image of particle row {unequal[0] + 1} is of {width:g} x {height:g} pixels (blob/shape); "
            "square images are needed."
        )
    settings = translate(OPTICS_COLUMNS, "cryosparc", values, source)
    settings |= {"pixel_size": _numbers(fields, "blob/psize_A", source), "box": shape[:, 0]}
    return group_optics(settings, np.zeros(len(shape), dtype=np.int64), (), source)


def _half_sets(fields: Fields, source: Path) -> Integer:
    """1 and 2 for cryoSPARC's splits 0 and 1; 0 where all particles are in the same, as before any refinement."""
    if "alignments3D/split" not in fields:
        return np.zeros(len(fields["blob/idx"]), dtype=np.int64)
    split = _numbers(fields, "alignments3D/split", source)
    is_split = np.isin(split, (0, 1)).all() and len(np.unique(split)) == 2
    return split.astype(np.int64) + 1 if is_split else np.zeros(len(split), dtype=np.int64)


def _log_hints(fields: Fields, source: Path) -> None:
    if "blob/sign" in fields:
        signs = sorted(set(_numbers(fields, "blob/sign", source).tolist()))
        log.info("%s: blob/sign is %s (-1: cryoSPARC took the protein to be dark); a hint only", source, signs)
    ignored = [name for name in UNMODELLED["cryosparc"] if name in fields and _deviates(name, fields, source)]
    if ignored:
        log.warning("%s: higher-order aberrations are not part of our CTF and are ignored: %s", source, ignored)


def _deviates(name: str, fields: Fields, source: Path) -> bool:
    """Whether an aberration is there at all; anisotropic magnification is none when it is 0 or the unit matrix."""
    values = _numbers(fields, name, source, fields[name].shape[1:])
    is_unit = name.endswith("anisomag") and values.shape[1:] == (4,) and np.allclose(values, (1, 0, 0, 1))
    return bool(np.any(values)) and not is_unit
