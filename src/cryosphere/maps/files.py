"""Density maps in and out: MRC files, read as other programs write them, and written to lie over their model.

Format: Cheng et al. 2015, MRC2014, J. Struct. Biol. 192:146-150, and the CCP4 maps it grew out of.
"""

from __future__ import annotations

import gzip
import logging
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO, cast

import mrcfile
import numpy as np
from numpy.typing import ArrayLike, NDArray

from cryosphere.errors import MapError
from cryosphere.files import replacing
from cryosphere.maps.density_map import DensityMap

log = logging.getLogger(__name__)

EXTENSIONS = (".mrc", ".map", ".ccp4")
_HEADER_BYTES = 1024
_MODES = {0: "i1", 1: "i2", 2: "f4", 6: "u2", 12: "f2"}
_COMPLEX_MODES = (3, 4)
_LEAST = 8  # voxels along an axis
_MOST_VALUES = 2048**3
_AT_ONCE = 2**24  # bytes: memory grows with what the file holds, not with what its header promises
_FARTHEST = 1e6  # Å: an origin beyond it is no place
_EQUAL = 1e-3  # relative difference of voxel sizes that rounding in headers explains


def write_map(
    path: str | Path, volume: NDArray[np.floating], pixel_size: float, origin: ArrayLike | None = None
) -> None:
    """Write a volume [z, y, x] as a 32-bit MRC map, whole or not at all.

    `pixel_size` in Å. `origin`: place (x, y, z) in Å of the first voxel's centre; by default the one that puts voxel
    box // 2 at the origin of the model's frame, so that map and model coincide.

    Raises:
        ValueError: if the volume has not three axes.
    """
    if volume.ndim != 3:
        raise ValueError(f"a map has three axes, found an array of shape {volume.shape}")
    first = -(np.array(volume.shape[::-1]) // 2) * pixel_size if origin is None else np.asarray(origin, dtype=float)
    with replacing(path) as temporary, mrcfile.new(temporary, overwrite=True) as file:
        file.set_data(np.ascontiguousarray(volume, dtype=np.float32))
        file.set_volume()
        file.voxel_size = pixel_size
        file.header.origin.x, file.header.origin.y, file.header.origin.z = first.tolist()


def require_new_map(path: Path, *, overwrite: bool) -> None:
    """Make sure, before any work, that a map can be written to `path`.

    Raises:
        MapError: for a name that is not one of a map, a folder that does not exist, or a file that is there already
            (unless `overwrite`).
    """
    if path.suffix.lower() not in EXTENSIONS:
        raise MapError(f"{path}: maps are written as MRC; give the file a name that ends in .mrc")
    if not path.parent.is_dir():
        raise MapError(f"{path}: there is no folder {path.parent}; make it first")
    if path.exists() and not overwrite:
        raise MapError(f"{path} exists already; choose another name, or allow it to be replaced (--overwrite)")


def read_map(path: str | Path) -> DensityMap:
    """Read a density map, plain or gzipped, with its axes in any order.

    Where the header gives an ORIGIN it places the map, else its nstart; where both are zero, the first voxel stands at
    the origin of the model's frame, and the log says so. Read permissively: a missing MAP stamp or machine stamp, a
    wrong kind of space group, and an extended header are no reasons to refuse.

    Raises:
        MapError: for a file that is missing, truncated, no map, or a map that is empty, too small (under 8 voxels),
            of complex values, not finite, constant, or whose voxels are no cubes.
    """
    path = Path(path)
    with _opened(path) as file:
        raw = _take(file, _HEADER_BYTES)
        if len(raw) < _HEADER_BYTES:
            raise MapError(f"{path}: is too short to be a map ({len(raw)} bytes); an MRC or CCP4 map is expected.")
        header = _header(raw)
        columns, rows, sections = shape = _shape(path, header)
        kind = np.dtype(_MODES[int(header["mode"])]).newbyteorder(header.dtype["mode"].byteorder)
        pixel_size, axes = _pixel_size(path, header, shape), _axes(path, header)
        origin = _origin(path, header, axes, pixel_size)
        skipped = len(_take(file, int(header["nsymbt"])))
        expected = columns * rows * sections * kind.itemsize
        content = _take(file, expected)
    if len(content) < expected:
        raise MapError(
            f"{path}: is truncated: {columns} x {rows} x {sections} voxels need {_HEADER_BYTES + skipped + expected} "
            f"bytes, the file has {_HEADER_BYTES + skipped + len(content)}. Copy it again."
        )
    stored = np.frombuffer(content, dtype=kind).reshape(sections, rows, columns)
    order = [(axes[2], axes[1], axes[0]).index(axis) for axis in (3, 2, 1)]  # file: section, row, column; ours: z, y, x
    values = np.ascontiguousarray(stored.transpose(order), dtype=np.float32)
    _require_values(path, values)
    return DensityMap(values, pixel_size, origin, str(path))


@contextmanager
def _opened(path: Path) -> Iterator[BinaryIO]:
    if path.exists() and not path.is_file():  # a pipe or a device could be read for ever
        raise MapError(f"{path}: is not a regular file; an MRC or CCP4 map is expected.")
    try:
        with path.open("rb") as file:
            packed = file.read(2) == b"\x1f\x8b"
            file.seek(0)
            if not packed:
                yield file
                return
            with gzip.open(file) as unpacked:
                yield cast("BinaryIO", unpacked)
    except FileNotFoundError as error:
        raise MapError(f"{path}: there is no such file; an MRC or CCP4 map is expected.") from error
    except (EOFError, gzip.BadGzipFile, zlib.error) as error:
        raise MapError(f"{path}: the gzip file is damaged or truncated ({error}). Copy it again.") from error
    except OSError as error:
        raise MapError(f"{path}: cannot be read: {error.strerror or error}") from error


def _take(file: BinaryIO, count: int) -> bytearray:
    """Up to `count` bytes; fewer where the file ends before."""
    content = bytearray()
    while len(content) < count:
        piece = file.read(min(_AT_ONCE, count - len(content)))
        if not piece:
            break
        content += piece
    return content


def _header(raw: bytearray) -> np.void:
    """The header in the byte order under which its mode, size and axes make sense, or else the machine stamp's."""
    layouts = {order: np.dtype(mrcfile.dtypes.HEADER_DTYPE).newbyteorder(order) for order in "<>"}
    headers = {order: np.frombuffer(bytes(raw), dtype=layout)[0] for order, layout in layouts.items()}
    stamped = ">" if bytes(headers["<"]["machst"])[:1] == b"\x11" else "<"
    other = "<" if stamped == ">" else ">"
    header: np.void = headers[other if _looks_right(headers[other]) and not _looks_right(headers[stamped]) else stamped]
    return header


def _looks_right(header: np.void) -> bool:
    known = int(header["mode"]) in (*_MODES, *_COMPLEX_MODES)
    return known and all(0 < int(header[name]) < 2**16 for name in ("nx", "ny", "nz"))


def _shape(path: Path, header: np.void) -> tuple[int, int, int]:
    """Columns, rows and sections, after a look at whether this is a map at all."""
    columns, rows, sections, mode, extended = (int(header[name]) for name in ("nx", "ny", "nz", "mode", "nsymbt"))
    found = f"its header says mode {mode}, {columns} x {rows} x {sections} voxels"
    if mode in _COMPLEX_MODES:
        raise MapError(f"{path}: holds complex values (mode {mode}), a Fourier transform. Give the map in real space.")
    if mode not in _MODES or min(columns, rows, sections) < 1 or extended < 0:
        modes = ", ".join(map(str, _MODES))
        raise MapError(f"{path}: is not a usable map: {found} (modes {modes} are read). Is this an MRC or CCP4 map?")
    if columns * rows * sections > _MOST_VALUES:
        raise MapError(f"{path}: is damaged or too large: {found}; up to {_MOST_VALUES} voxels are read.")
    if min(columns, rows, sections) < _LEAST:
        raise MapError(f"{path}: is too small: {found}, at least {_LEAST} along each axis are needed.")
    return columns, rows, sections


def _axes(path: Path, header: np.void) -> tuple[int, int, int]:
    """Which of x, y, z (1, 2, 3) columns, rows and sections run along."""
    found = tuple(int(header[name]) for name in ("mapc", "mapr", "maps"))
    if found == (0, 0, 0):
        log.info("%s: does not say which axis is which; columns, rows, sections are taken for x, y, z", path)
        return 1, 2, 3
    if sorted(found) != [1, 2, 3]:
        raise MapError(
            f"{path}: is damaged: its axes (mapc, mapr, maps) are {found}, where 1, 2 and 3 in some order are expected."
        )
    return found  # type: ignore[return-value]


def _pixel_size(path: Path, header: np.void, shape: tuple[int, int, int]) -> float:
    """Å per voxel from the cell and its samples."""
    cell = np.array([float(header["cella"][axis]) for axis in "xyz"])
    samples = np.array([int(header[name]) for name in ("mx", "my", "mz")])
    angles = np.array([float(header["cellb"][name]) for name in ("alpha", "beta", "gamma")])
    if not (np.isfinite(cell).all() and (cell > 0).all()):
        raise MapError(
            f"{path}: its header gives no cell (found {_listed(cell)} Å), so its pixel size is unknown. Set it with "
            "the program that made the map."
        )
    if not (np.isfinite(angles).all() and (np.isclose(angles, 90.0, atol=0.01) | (angles == 0)).all()):
        raise MapError(f"{path}: its cell has angles of {_listed(angles)} degrees; a rectangular one is needed.")
    if (samples <= 0).any():
        log.info("%s: does not say how many voxels its cell has; its own number of voxels is taken", path)
        axes = _axes(path, header)
        samples = np.array([shape[axes.index(axis)] for axis in (1, 2, 3)])
    sizes = cell / samples
    if sizes.max() - sizes.min() > _EQUAL * sizes.mean():
        raise MapError(
            f"{path}: its voxels measure {' x '.join(f'{size:.5g}' for size in sizes)} Å; cubes are needed. Resample "
            "the map, or correct its header."
        )
    return float(sizes.mean())


def _origin(path: Path, header: np.void, axes: tuple[int, int, int], pixel_size: float) -> NDArray[np.float64]:
    stated = np.array([float(header["origin"][axis]) for axis in "xyz"])
    starts = [int(header[name]) for name in ("nxstart", "nystart", "nzstart")]  # of columns, rows, sections
    first = np.array([starts[axes.index(axis)] for axis in (1, 2, 3)]) * pixel_size
    place = stated if stated.any() else first
    if not np.isfinite(place).all() or np.abs(place).max() > _FARTHEST:
        raise MapError(f"{path}: is damaged: its header places the first voxel at {_listed(place)} Å.")
    if stated.any():
        log.info("%s: the header's ORIGIN places its first voxel at %s Å", path, _listed(place))
    elif first.any():
        log.info("%s: the header's nstart places its first voxel at %s Å", path, _listed(place))
    else:
        log.info("%s: the header gives neither ORIGIN nor nstart, so its first voxel stands at (0, 0, 0)", path)
    return place


def _listed(numbers: NDArray[np.floating]) -> str:
    return f"({', '.join(f'{number:.5g}' for number in numbers)})"


def _require_values(path: Path, values: NDArray[np.float32]) -> None:
    unusable = int(values.size - np.isfinite(values).sum())
    if unusable:
        raise MapError(f"{path}: {unusable} of {values.size} voxels are not finite. The map is damaged; make it anew.")
    if values.min() == values.max():
        raise MapError(f"{path}: is empty: all {values.size} voxels have the value {float(values.flat[0]):g}.")
