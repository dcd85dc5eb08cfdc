"""MRC stack files: where they lie, and what their headers promise, checked against what is on disk.

Format: Cheng et al. 2015, MRC2014, J. Struct. Biol. 192:146-150. The header's layout and modes are mrcfile's.
"""

from __future__ import annotations

import logging
import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import mrcfile
import numpy as np
from numpy.typing import NDArray

from cryosphere.errors import ImageStackError

log = logging.getLogger(__name__)

_HEADER_BYTES = 1024
_REAL_MODES = (0, 1, 2, 6, 12)  # int8, int16, float32, uint16, float16
_COMPRESSED = {b"\x1f\x8b": "gzip", b"BZ": "bzip2"}


@dataclass(frozen=True)
class StackFile:
    """A stack of `count` square images of `box` pixels, stored from byte `offset` on."""

    path: Path
    count: int
    box: int
    dtype: np.dtype[np.generic]
    offset: int
    pixel_size: float | None  # Å, as the header has it; None where it says nothing
    modified_ns: int  # time of the last change, nanoseconds

    def images(self) -> NDArray[np.generic]:
        """The images as a memory map, (count, box, box); nothing is read yet."""
        shape = (self.count, self.box, self.box)
        return np.memmap(self.path, mode="r", dtype=self.dtype, shape=shape, offset=self.offset)


def read_stack_file(path: Path) -> StackFile:
    """Read and check a stack's header, permissively: a missing MAP stamp or machine stamp is no reason to refuse.

    Raises ImageStackError if the file is missing, compressed, truncated, or not a stack of square real images.
    """
    try:
        with path.open("rb") as file:
            raw = file.read(_HEADER_BYTES)
            status = os.fstat(file.fileno())
    except OSError as error:
        raise ImageStackError(f"{path}: cannot be read: {error.strerror or error}") from error
    if kind := _COMPRESSED.get(raw[:2]):
        raise ImageStackError(f"{path}: is compressed ({kind}); images are read in place, so decompress it first.")
    if len(raw) < _HEADER_BYTES:
        raise ImageStackError(f"{path}: is too short to be an MRC stack ({len(raw)} bytes).")
    header = _header(raw)
    width, height, count, extended = (int(header[name]) for name in ("nx", "ny", "nz", "nsymbt"))
    mode = int(header["mode"])
    if mode not in _REAL_MODES or min(width, height, count) < 1 or extended < 0:
        raise ImageStackError(
            f"{path}: is not a usable MRC stack: its header says mode {mode}, {width} x {height} pixels, {count} "
            f"images (modes {', '.join(map(str, _REAL_MODES))} are read)."
        )
    if width != height:
        raise ImageStackError(f"{path}: images are {width} x {height} pixels; square images are needed.")
    dtype = np.dtype(mrcfile.utils.dtype_from_mode(mode)).newbyteorder(header.dtype["mode"].byteorder)
    expected = _HEADER_BYTES + extended + count * height * width * dtype.itemsize
    if status.st_size < expected:
        raise ImageStackError(
            f"{path}: is truncated: {count} images of {width} x {width} pixels need {expected} bytes, the file has "
            f"{status.st_size}. Copy it again."
        )
    return StackFile(
        path, count, width, dtype, _HEADER_BYTES + extended, _header_pixel_size(header), status.st_mtime_ns
    )


def _header(raw: bytes) -> np.void:
    """The header in the byte order that its machine stamp names or, without one, under which its mode makes sense."""
    layouts = {order: np.dtype(mrcfile.dtypes.HEADER_DTYPE).newbyteorder(order) for order in "<>"}
    headers = {order: np.frombuffer(raw, dtype=layout)[0] for order, layout in layouts.items()}
    try:
        order = mrcfile.utils.byte_order_from_machine_stamp(headers["<"]["machst"])
    except ValueError:
        order = "<" if int(headers["<"]["mode"]) in _REAL_MODES else ">"
    header: np.void = headers[order]
    return header


def _header_pixel_size(header: np.void) -> float | None:
    cell, samples = float(header["cella"]["x"]), int(header["mx"])
    return cell / samples if samples > 0 and np.isfinite(cell) and cell > 0 else None


def locate_stacks(names: Sequence[str], source: Path, datadir: Path | None) -> list[Path]:
    """Find the stack files that a particle file names.

    Tried in turn: the name in datadir, then without its first folder, and so on down to the bare file name; the name
    itself if it is absolute; the name in the particle file's folder, in every folder above it, and in the current one
    (RELION and cryoSPARC write paths relative to the project's folder).
    Raises ImageStackError for a datadir that is no folder, and for missing stacks with their number and every place
    tried for the first.
    """
    _require_folder(datadir)
    found: list[Path] = []
    missing: list[tuple[str, list[Path]]] = []
    last = 0  # stacks of one data set mostly lie together: begin with the place that held the previous one
    for name in names:
        places = _places(name, source, datadir)
        order = [min(last, len(places) - 1), *range(len(places))]
        hit = next((k for k in order if _is_file(places[k])), None)
        if hit is None:
            missing.append((name, places))
        else:
            found.append(places[hit])
            last = hit
    if missing:
        name, places = missing[0]
        tried = "".join(f"\n  {place}" for place in places)
        hint = "Give the folder that holds them as --datadir." if datadir is None else "Is --datadir the right folder?"
        raise ImageStackError(
            f"{source}: {len(missing)} of {len(names)} image stack(s) not found, the first being {name}. {hint} "
            f"Tried:{tried}"
        )
    _refuse_mixups(names, found, source)
    return found


def box_of_stacks(names: Sequence[str], source: Path, datadir: Path | None) -> int | None:
    """Pixels of the images' side, from the header of the first stack found where `locate_stacks` looks; None: no stack.

    Raises ImageStackError for a datadir that is no folder, or a stack that cannot be used.
    """
    _require_folder(datadir)
    found = (place for name in names for place in _places(name, source, datadir) if _is_file(place))
    first = next(found, None)
    return None if first is None else read_stack_file(first).box


def _require_folder(datadir: Path | None) -> None:
    if datadir is not None and not datadir.is_dir():
        problem = "is not a folder" if datadir.exists() else "does not exist"
        raise ImageStackError(f"the folder given for image stacks (--datadir), {datadir}, {problem}")


def _places(name: str, source: Path, datadir: Path | None) -> list[Path]:
    path = Path(name)
    parts = path.parts[1:] if path.is_absolute() else path.parts
    places = [datadir.joinpath(*parts[k:]) for k in range(len(parts))] if datadir is not None else []
    if path.is_absolute():
        places.append(path)
    else:
        places += [folder / path for folder in (*source.absolute().parents, Path.cwd())]
    return list(dict.fromkeys(places))


def _is_file(path: Path) -> bool:
    try:
        return path.is_file()
    except (OSError, ValueError):  # a name that no file can have, or a folder we may not enter
        return False


def _refuse_mixups(names: Sequence[str], found: Sequence[Path], source: Path) -> None:
    """Two different stacks must not both be taken for one file, as happens with equal file names in two folders."""
    owner: dict[Path, str] = {}
    for name, path in zip(names, found, strict=True):
        other = owner.setdefault(path, name)
        if Path(other) != Path(name):
            raise ImageStackError(
                f"{source}: {other} and {name} are different stacks, but only {path} was found for both. Give "
                "--datadir the folder relative to which these names are written."
            )
