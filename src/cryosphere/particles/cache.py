"""Preprocessed images on disk: made once, opened at once thereafter, never held in memory as a whole."""

from __future__ import annotations

import errno
import hashlib
import json
import logging
import os
import shutil
import socket
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from functools import cached_property
from pathlib import Path
from typing import BinaryIO

import numpy as np
import torch
from jaxtyping import Complex, Float
from numpy.typing import NDArray
from torch import Tensor

from cryosphere import fourier
from cryosphere.errors import ImageStackError, InputError
from cryosphere.particles.preprocess import PreprocessSettings, preprocess_batch
from cryosphere.particles.stacks import ImageStacks
from cryosphere.particles.table import Integer, ParticleTable
from cryosphere.progress import SILENT, Progress

log = logging.getLogger(__name__)

_VERSION = 1  # raise it whenever preprocessing gives other values: older caches are then not taken for current ones
_PIXELS_PER_BATCH = 1 << 20  # 4 MiB of float32: larger batches fall out of the processor's cache and are slower


@dataclass(frozen=True)
class ParticleImages:
    """n preprocessed images, as half-spectra in a file of float16 (real, imaginary) pairs that is memory-mapped.

    pixel_size: Å, after downsampling to `box` pixels. The images are centred: the table's shifts are already applied.
    """

    table: ParticleTable
    box: int
    pixel_size: float
    path: Path

    def __len__(self) -> int:
        return len(self.table)

    def is_complete(self) -> bool:
        """Whether the file is there and whole."""
        return is_complete_array(self.path, _shape(self))

    def spectra(self, rows: Integer | slice) -> Complex[Tensor, "n box half"]:
        """Half-spectra of the given rows, complex64, in that order."""
        pairs = np.asarray(self._pairs[rows], dtype=np.float32)
        return torch.view_as_complex(torch.from_numpy(pairs))

    def images(self, rows: Integer | slice) -> Float[Tensor, "n box box"]:
        """The given rows as real images, float32."""
        return fourier.from_spectrum(self.spectra(rows), self.box)

    @cached_property
    def _pairs(self) -> NDArray[np.float16]:
        return np.asanyarray(np.load(self.path, mmap_mode="r", allow_pickle=False))

    def __getstate__(self) -> dict[str, object]:
        """Everything but the memory map: another process opens its own."""
        return {name: value for name, value in self.__dict__.items() if name != "_pairs"}


def build_cache(
    table: ParticleTable,
    stacks: ImageStacks,
    settings: PreprocessSettings,
    folder: str | Path,
    progress: Progress = SILENT,
) -> ParticleImages:
    """Preprocess all images into a file in `folder`, or open that file if it is already there.

    The file's name is derived from all that decides its content: which images of which stacks (path, size, time of last
    change), shifts, pixel size and settings. It is written under another name and renamed when complete.
    table: the particles, row by row those of `stacks`.
    Raises ImageStackError for unusable images, InputError if the disk is too small.
    """
    if len(table) != len(stacks):
        raise ValueError(f"{len(table)} particles, but {len(stacks)} images: the table must be that of the stacks")
    folder = Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    box = settings.output_box(stacks.box)
    path = folder / f"spectra-{_key(table, stacks, settings, box)}.npy"
    prepared = ParticleImages(table, box, table.pixel_size * stacks.box / box, path)
    _remove_abandoned(folder)
    if prepared.is_complete():
        log.info("%s: preprocessed images found", path)
    else:
        _build(prepared, stacks, settings, progress)
    return prepared


def _shape(prepared: ParticleImages) -> tuple[int, int, int, int]:
    return (len(prepared), prepared.box, prepared.box // 2 + 1, 2)


def is_complete_array(path: Path, shape: tuple[int, ...]) -> bool:
    """Whether a .npy file is there and holds a whole float16 array of that shape; a damaged one is told in the log."""
    if not path.exists():
        return False
    try:
        found = np.load(path, mmap_mode="r", allow_pickle=False)
        complete = bool(found.shape == shape and found.dtype == np.float16)
    except (ValueError, OSError, EOFError):
        complete = False
    if not complete:
        log.warning("%s: is damaged and is made again", path)
    return complete


def _build(prepared: ParticleImages, stacks: ImageStacks, settings: PreprocessSettings, progress: Progress) -> None:
    shape = _shape(prepared)
    needed, free = 2 * int(np.prod(shape)), shutil.disk_usage(prepared.path.parent).free
    if needed > free:
        raise InputError(
            f"{prepared.path.parent}: the preprocessed images need {needed / 1e9:.1f} GB, but {free / 1e9:.1f} GB are "
            "free. Make room, or choose a smaller box."
        )
    temporary = _temporary_name(prepared.path)
    try:
        with temporary.open("wb") as file, progress.track(len(prepared), "preprocessing images") as advance:
            header = {"descr": np.dtype(np.float16).newbyteorder("<").str, "fortran_order": False, "shape": shape}
            np.lib.format.write_array_header_1_0(file, header)
            start = file.tell()
            for rows in _batches(stacks):
                _write_rows(file, start, rows, _prepare(prepared.table, rows, stacks, settings))
                advance(len(rows))
            file.flush()
            os.fsync(file.fileno())
        temporary.replace(prepared.path)
    except OSError as error:
        if error.errno not in (errno.ENOSPC, errno.EDQUOT):
            raise
        raise InputError(
            f"{prepared.path.parent}: the disk or quota is full; {needed / 1e9:.1f} GB are needed."
        ) from error
    finally:
        temporary.unlink(missing_ok=True)


def _batches(stacks: ImageStacks) -> Iterator[Integer]:
    """Rows in the order in which their images lie on disk, some at a time."""
    order = np.lexsort((stacks.table.image_index, stacks.table.stack_index))
    size = max(1, _PIXELS_PER_BATCH // stacks.box**2)
    for start in range(0, len(order), size):
        yield order[start : start + size]


def _prepare(
    table: ParticleTable, rows: Integer, stacks: ImageStacks, settings: PreprocessSettings
) -> NDArray[np.float16]:
    images = torch.from_numpy(stacks.read(rows))
    shifts = torch.from_numpy(table.shifts[rows].astype(np.float32))
    spectra = preprocess_batch(images, shifts, table.pixel_size, settings)
    pairs = torch.view_as_real(spectra).to(torch.float16)
    broken = ~pairs.flatten(1).isfinite().all(dim=1)
    if broken.any():
        where = stacks.describe(int(rows[int(broken.int().argmax())]))
        raise ImageStackError(f"{where} has values far beyond its background's noise; remove this particle.")
    return pairs.numpy().astype("<f2", copy=False)


def _write_rows(file: BinaryIO, start: int, rows: Integer, pairs: NDArray[np.float16]) -> None:
    """Write each row at its place, runs of consecutive rows in one go."""
    bounds = np.flatnonzero(np.diff(rows) != 1) + 1
    for run, block in zip(np.split(rows, bounds), np.split(pairs, bounds), strict=True):
        file.seek(start + int(run[0]) * pairs[0].nbytes)
        file.write(np.ascontiguousarray(block).data)


def _key(table: ParticleTable, stacks: ImageStacks, settings: PreprocessSettings, box: int) -> str:
    """Short hash of all that decides the preprocessed images, and of nothing else (such as the order of the stacks)."""
    files = [(str(f.path.absolute()), f.offset, f.count, f.modified_ns) for f in stacks.files]
    order = sorted(range(len(files)), key=files.__getitem__)
    described = {
        "version": _VERSION,
        "files": [files[k] for k in order],
        "pixel_size": table.pixel_size,
        **asdict(settings),
        "box": box,
    }
    digest = hashlib.sha256(json.dumps(described, sort_keys=True).encode())
    shifts = np.round(table.shifts, 6) + 0.0  # Å: the last bits may be lost in a text file; + 0.0 turns -0 into 0
    for column in (shifts, np.argsort(order)[stacks.file_of_row], table.image_index):
        digest.update(np.ascontiguousarray(column).tobytes())
    return digest.hexdigest()[:20]


def _temporary_name(path: Path) -> Path:
    return path.with_name(f".{path.name}.{socket.gethostname()}.{os.getpid()}.part")


def _remove_abandoned(folder: Path) -> None:
    """Delete what builds on this machine left behind when they were killed; builds still running are left alone."""
    for part in folder.glob(f".spectra-*.npy.{socket.gethostname()}.*.part"):
        process = part.name.split(".")[-2]
        if process.isdigit() and not _is_running(int(process)):
            log.info("%s: left behind by an interrupted run, removed", part)
            part.unlink(missing_ok=True)


def _is_running(process: int) -> bool:
    if os.name != "posix":  # elsewhere signal 0 would end the process
        return True
    try:
        os.kill(process, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    return True
