"""Image stacks out: an MRC file that appears under its name when the last image is in it."""

from __future__ import annotations

import json
import os
import time
from dataclasses import asdict, dataclass
from io import BufferedRandom
from pathlib import Path
from types import TracebackType
from typing import Self

import mrcfile
import numpy as np
from numpy.typing import NDArray

from cryosphere.errors import ImageStackError
from cryosphere.files import write_text

_FLOAT32 = 2  # the MRC mode
_HEADER_BYTES = 1024
_SECONDS_BETWEEN_NOTES = 5.0  # of how far an unfinished stack is


@dataclass
class _Tally:
    """What the images written so far add up to."""

    written: int = 0
    sum: float = 0.0
    sum_of_squares: float = 0.0
    lowest: float = float("inf")
    highest: float = float("-inf")

    def add(self, images: NDArray[np.float32]) -> None:
        self.written += len(images)
        self.sum += float(images.sum(dtype=np.float64))
        self.sum_of_squares += float(np.square(images, dtype=np.float64).sum())
        self.lowest = min(self.lowest, float(images.min()))
        self.highest = max(self.highest, float(images.max()))


class StackWriter:
    """Writes images one batch after the other to an MRC stack (mode 2, 32-bit floats), in bounded memory.

    Used in a `with` block. The images go to a temporary file beside `path`, whose space is reserved at the start; when
    all `count` images are written it takes the name `path`, and if the block fails it is removed.

    keep_unfinished: if the block fails or the process is killed, the temporary file stays, with a note of how many
    images are safely in it; the next writer of the same path goes on from there (`written` says where). The images
    must come in the same batches then, for the same bytes.
    """

    def __init__(self, path: Path, *, count: int, box: int, pixel_size: float, keep_unfinished: bool = False) -> None:
        self._path = path
        self._keep = keep_unfinished
        self._temporary = path.with_name(
            f".{path.name}.part" if keep_unfinished else f".{path.name}.{os.getpid()}.part"
        )
        self._note = path.with_name(f".{path.name}.json")
        self._shape = (count, box, box)
        self._pixel_size = pixel_size
        self._tally = _Tally()
        self._noted = time.monotonic()
        self._file: BufferedRandom | None = None

    @property
    def written(self) -> int:
        """How many images are in the stack."""
        return self._tally.written

    def __enter__(self) -> Self:
        if self._path.is_dir():
            raise ImageStackError(f"cannot write the stack {self._path}: it is a folder")
        try:
            self._path.parent.mkdir(parents=True, exist_ok=True)
            earlier = self._earlier() if self._keep else None
            if earlier is None:
                self._create()
            self._tally = earlier or _Tally()
            self._file = self._temporary.open("r+b")
            if earlier is None:
                _reserve_space(self._file)
            self._file.seek(_HEADER_BYTES + self.written * self._bytes_per_image)
        except OSError as error:
            self._discard()
            size = 4 * np.prod(self._shape, dtype=np.float64) / 2**30
            raise ImageStackError(
                f"cannot write {self._path}, which takes {size:.2g} GiB: {error.strerror or error}"
            ) from error
        return self

    def write(self, images: NDArray[np.float32]) -> None:
        """Append images, (m, box, box)."""
        end = self.written + len(images)
        if images.shape[1:] != self._shape[1:] or end > self._shape[0]:
            raise ValueError(f"images {images.shape} do not fit a stack {self._shape} holding {self.written} already")
        assert self._file is not None, "used in a `with` block"
        self._file.write(np.ascontiguousarray(images, dtype=np.float32).data)
        self._tally.add(images)
        if self._keep and time.monotonic() - self._noted >= _SECONDS_BETWEEN_NOTES:
            self._take_note()

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        if kind is not None:
            if self._keep and self.written:
                self._take_note()
                self._close()
            else:
                self._discard()
            return
        if self.written != self._shape[0]:
            self._discard()
            raise ValueError(f"{self.written} images were written to a stack of {self._shape[0]}")
        self._close()
        try:
            self._write_statistics()
            self._temporary.replace(self._path)
        finally:
            self._discard()

    @property
    def _bytes_per_image(self) -> int:
        return 4 * self._shape[1] * self._shape[2]

    def _create(self) -> None:
        with mrcfile.new_mmap(self._temporary, shape=self._shape, mrc_mode=_FLOAT32, overwrite=True) as stack:
            stack.set_image_stack()
            stack.voxel_size = self._pixel_size
            stack.header.nlabl = 0  # the library's label has the time in it: equal stacks would differ
            stack.header.label[:] = b""

    def _earlier(self) -> _Tally | None:
        """How far an earlier writer came; None where there is nothing to go on from."""
        try:
            tally = _Tally(**json.loads(self._note.read_text(encoding="utf-8")))
            size = self._temporary.stat().st_size
        except (OSError, ValueError, TypeError):
            return None
        whole = _HEADER_BYTES + self._shape[0] * self._bytes_per_image
        return tally if size == whole and 0 < tally.written <= self._shape[0] else None

    def _take_note(self) -> None:
        """Say on disk how many images are safely there."""
        assert self._file is not None
        self._file.flush()
        os.fsync(self._file.fileno())
        write_text(self._note, json.dumps(asdict(self._tally)))
        self._noted = time.monotonic()

    def _write_statistics(self) -> None:
        tally = self._tally
        pixels = float(np.prod(self._shape, dtype=np.float64))
        mean = tally.sum / pixels
        with mrcfile.mmap(self._temporary, mode="r+") as stack:
            stack.header.dmin, stack.header.dmax, stack.header.dmean = tally.lowest, tally.highest, mean
            stack.header.rms = np.sqrt(max(tally.sum_of_squares / pixels - mean**2, 0.0))

    def _close(self) -> None:
        if self._file is not None:
            self._file.close()

    def _discard(self) -> None:
        self._close()
        for path in (self._temporary, self._note):
            if path.exists():
                path.unlink()


def _reserve_space(file: BufferedRandom) -> None:
    """Claim the file's space on disk now, so that a full disk is met before the work and not in the middle of it."""
    if hasattr(os, "posix_fallocate"):
        os.posix_fallocate(file.fileno(), 0, os.fstat(file.fileno()).st_size)
