"""Image stacks out: an MRC file that appears under its name when the last image is in it."""

from __future__ import annotations

import os
from io import BufferedRandom
from pathlib import Path
from types import TracebackType
from typing import Self

import mrcfile
import numpy as np
from numpy.typing import NDArray

from cryosphere.errors import ImageStackError

_FLOAT32 = 2  # the MRC mode
_HEADER_BYTES = 1024


class StackWriter:
    """Writes images one batch after the other to an MRC stack (mode 2, 32-bit floats), in bounded memory.

    Used in a `with` block. The images go to a temporary file beside `path`, whose space is reserved at the start; when
    all `count` images are written it takes the name `path`, and if the block fails it is removed.
    """

    def __init__(self, path: Path, *, count: int, box: int, pixel_size: float) -> None:
        self._path = path
        self._temporary = path.with_name(f".{path.name}.{os.getpid()}.part")
        self._shape = (count, box, box)
        self._pixel_size = pixel_size
        self._written = 0
        self._sum = self._sum_of_squares = 0.0
        self._lowest, self._highest = np.inf, -np.inf
        self._file: BufferedRandom | None = None

    def __enter__(self) -> Self:
        if self._path.is_dir():
            raise ImageStackError(f"cannot write the stack {self._path}: it is a folder")
        try:
            self._path.parent.mkdir(parents=True, exist_ok=True)
            with mrcfile.new_mmap(self._temporary, shape=self._shape, mrc_mode=_FLOAT32, overwrite=True) as stack:
                stack.set_image_stack()
                stack.voxel_size = self._pixel_size
            self._file = self._temporary.open("r+b")
            _reserve_space(self._file)
            self._file.seek(_HEADER_BYTES)
        except OSError as error:
            self._discard()
            size = 4 * np.prod(self._shape, dtype=np.float64) / 2**30
            raise ImageStackError(
                f"cannot write {self._path}, which takes {size:.2g} GiB: {error.strerror or error}"
            ) from error
        return self

    def write(self, images: NDArray[np.float32]) -> None:
        """Append images, (m, box, box)."""
        end = self._written + len(images)
        if images.shape[1:] != self._shape[1:] or end > self._shape[0]:
            raise ValueError(f"images {images.shape} do not fit a stack {self._shape} holding {self._written} already")
        assert self._file is not None, "used in a `with` block"
        self._file.write(np.ascontiguousarray(images, dtype=np.float32).data)
        self._written = end
        self._sum += float(images.sum(dtype=np.float64))
        self._sum_of_squares += float(np.square(images, dtype=np.float64).sum())
        self._lowest = min(self._lowest, float(images.min()))
        self._highest = max(self._highest, float(images.max()))

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        if kind is not None:
            self._discard()
            return
        if self._written != self._shape[0]:
            self._discard()
            raise ValueError(f"{self._written} images were written to a stack of {self._shape[0]}")
        assert self._file is not None
        self._file.close()
        try:
            self._write_statistics()
            self._temporary.replace(self._path)
        finally:
            self._discard()

    def _write_statistics(self) -> None:
        pixels = float(np.prod(self._shape, dtype=np.float64))
        mean = self._sum / pixels
        with mrcfile.mmap(self._temporary, mode="r+") as stack:
            stack.header.dmin, stack.header.dmax, stack.header.dmean = self._lowest, self._highest, mean
            stack.header.rms = np.sqrt(max(self._sum_of_squares / pixels - mean**2, 0.0))

    def _discard(self) -> None:
        if self._file is not None:
            self._file.close()
        if self._temporary.exists():
            self._temporary.unlink()


def _reserve_space(file: BufferedRandom) -> None:
    """Claim the file's space on disk now, so that a full disk is met before the work and not in the middle of it."""
    if hasattr(os, "posix_fallocate"):
        os.posix_fallocate(file.fileno(), 0, os.fstat(file.fileno()).st_size)
