"""Arrays on disk whose every row carries a checksum: filled in any order, continued after a kill, checked when read.

The file holds two NumPy arrays, one after the other: the rows, float16, and a CRC-32 of each row (0: not written yet).
`numpy.load` gives the first, and from an open file, called again, the second. Being in one file they cannot be parted.
"""

from __future__ import annotations

import errno
import io
import logging
import os
import shutil
import threading
import zlib
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import AbstractContextManager, ExitStack, closing, contextmanager, suppress
from dataclasses import dataclass
from functools import cached_property
from itertools import compress, pairwise
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
from numpy.typing import NDArray

from cryosphere.distribution import ALONE, World
from cryosphere.errors import DiskFullError, ImageStackError, InputError
from cryosphere.files import is_disk_full, is_writable
from cryosphere.locking import held
from cryosphere.particles.row_numbers import Mask, Rows, row_numbers
from cryosphere.workers import one_by_one

log = logging.getLogger(__name__)

Values = NDArray[np.float16]
Checksums = NDArray[np.uint32]
_AT_ONCE = 1 << 26  # bytes read at a time when rows of an unfinished file are checked


@dataclass(frozen=True)
class CheckedArray:
    """Rows of `shape[1:]` numbers, float16, in a file; each is held to its checksum when it is first read.

    Rows are read, not mapped: mapped pages would count as memory of the process, up to the whole file.
    """

    path: Path
    shape: tuple[int, ...]

    def is_complete(self) -> bool:
        """Whether the file is there with every row in it."""
        layout = _Layout(self.shape)
        try:
            with self.path.open("rb") as file:
                return layout.fits(file) and bool(layout.read_checksums(file).all())
        except OSError:
            return False

    def can_be_built(self) -> bool:
        """Whether this process may write the file, and go on with what another user has perhaps left unfinished."""
        begun = (path for path in (_unfinished(self.path), _lock(self.path)) if path.exists())
        return is_writable(self.path.parent) and all(os.access(path, os.R_OK | os.W_OK) for path in begun)

    def read(self, rows: Rows | Mask | slice) -> Values:
        """The given rows, in that order, chosen as NumPy chooses: by number, from the end if negative, or by a mask.

        Raises:
            IndexError: if there is no such row.
            ImageStackError: if one of them is not what was written. The file is put aside, so that the next start
                makes again what is damaged, and only that.
        """
        index = row_numbers(rows, self.shape[0])
        values = np.empty((len(index), *self.shape[1:]), dtype="<f2")
        self._read_into(values, index)
        unseen = np.flatnonzero(~self._seen[index])
        if len(unseen):
            expected = self._checksums[index]
            for place in unseen.tolist():
                if _checksum(values[place]) != expected[place]:
                    self._put_aside(int(index[place]))
            self._seen[index] = True
        return values

    def _read_into(self, values: Values, index: Rows) -> None:
        """Fill `values` with rows of the file, those that follow each other in one go."""
        file, layout = self._file, _Layout(self.shape)
        bounds = np.flatnonzero(np.diff(index) != 1) + 1
        for start, end in pairwise([0, *bounds.tolist(), len(index)] if len(index) else [0]):
            file.seek(layout.rows_at + int(index[start]) * layout.row_bytes)
            wanted = values[start:end].data.cast("B")
            while len(wanted):
                count = file.readinto(wanted)
                if not count:  # somebody has cut the file off since it was opened
                    self._put_aside(int(index[start]))
                wanted = wanted[count:]

    def _put_aside(self, row: int) -> None:
        found = f"{self.path}: row {row} (from 0) is not what was written there: a disk or a copy has failed. "
        try:
            self.path.rename(_unfinished(self.path))
        except FileNotFoundError:
            pass  # another process met it first
        except OSError as error:
            raise ImageStackError(f"{found}Delete this file ({error.strerror}); it is made again.") from error
        raise ImageStackError(
            f"{found}Nothing is lost: the same command (train: with --resume) makes the damaged part again."
        )

    @property
    def _file(self) -> io.FileIO:
        """The open file, another one for each thread that reads."""
        opened: io.FileIO | None = getattr(self._of_thread, "file", None)
        if opened is None:
            opened = self._of_thread.file = io.FileIO(self.path)
        return opened

    @cached_property
    def _of_thread(self) -> threading.local:
        return threading.local()

    @cached_property
    def _checksums(self) -> Checksums:
        return self._stored_checksums()

    @cached_property
    def _seen(self) -> NDArray[np.bool_]:
        return np.zeros(self.shape[0], dtype=bool)

    def __getstate__(self) -> dict[str, object]:
        """Name and shape only: another process opens the file itself."""
        return {"path": self.path, "shape": self.shape}

    def _stored_checksums(self) -> Checksums:
        with self.path.open("rb") as file:
            return _Layout(self.shape).read_checksums(file)


def build(
    array: CheckedArray,
    batches: Iterable[Rows],
    values_of: Callable[[Rows], Values],
    tracking: AbstractContextManager[Callable[[int], None]],
    world: World = ALONE,
) -> None:
    """Fill an array batch by batch under another name, and give it its name when it is complete.

    Several batches are made at once, each on a thread of its own. Rows that a killed process has written are kept if
    they fit their checksums; a batch that lacks any is made again as a whole, so that it has the same bits. What is
    left when the work stops in between stays for the next attempt, unless the input is wrong or the disk full. If
    another process builds the same array, it is waited for. The processes of a job share the batches: each writes its
    rows into the one file.

    Raises:
        DiskFullError: if there is no room; it is claimed before the work begins.
        InputError: if a process of the job does not see the file that the first one has made.
    """
    with ExitStack() as lock:
        with world.together():
            if world.is_first:
                lock.enter_context(held(_lock(array.path), "preprocessing", wait=True))
        if not world.agree(on=world.is_first and not array.is_complete()):
            with world.together():
                if world.size > 1 and not array.is_complete():
                    raise _not_shared(array.path)
            return  # another job has made it meanwhile
        if array.path.exists():
            log.warning("%s: is damaged and is made again", array.path)
        every = list(batches)
        own = every[world.piece(len(every))]
        with _building(array, own, world) as builder, tracking as advance, ExitStack() as steps:
            missing = [bool(builder.missing[rows].any()) for rows in own]
            made = steps.enter_context(closing(one_by_one(values_of, compress(own, missing))))
            for number, (rows, is_missing) in enumerate(zip(own, missing, strict=True)):
                if is_missing:
                    builder.write(rows, next(made))
                # the others are about as far
                advance(_part(array.shape[0], number + 1, len(own)) - _part(array.shape[0], number, len(own)))


def _part(total: int, done: int, of: int) -> int:
    """How many of all rows are done when so many of this process's batches are."""
    return total * done // of


class _Layout:
    """Where in the file what lies."""

    def __init__(self, shape: tuple[int, ...]) -> None:
        self.count = shape[0]
        self.head = _header(shape, "<f2")
        self.second_head = _header(shape[:1], "<u4")
        self.row_bytes = 2 * int(np.prod(shape[1:], dtype=np.int64))
        self.rows_at = len(self.head)
        self.second_head_at = self.rows_at + self.count * self.row_bytes
        self.checksums_at = self.second_head_at + len(self.second_head)
        self.size = self.checksums_at + 4 * self.count

    def fits(self, file: BinaryIO) -> bool:
        """Whether the file has this layout."""
        if os.fstat(file.fileno()).st_size != self.size:
            return False
        file.seek(0)
        first = file.read(len(self.head))
        file.seek(self.second_head_at)
        return first == self.head and file.read(len(self.second_head)) == self.second_head

    def read_checksums(self, file: BinaryIO) -> Checksums:
        file.seek(self.second_head_at)
        return np.asarray(np.lib.format.read_array(file, allow_pickle=False), dtype=np.uint32)


@contextmanager
def _building(array: CheckedArray, own: Sequence[Rows], world: World) -> Iterator[_Builder]:
    """An array to write to; afterwards it is complete under its name, or what there is of it is kept for the next."""
    builder = _Builder(array)
    try:
        with world.first_ahead():
            if world.is_first:
                builder.begin(own)
            else:
                builder.go_along(own)
        with world.together():
            yield builder
            builder.to_disk()
        with world.first_ahead():
            if world.is_first:
                builder.finish()
            else:
                builder.close()
    except BaseException as error:
        with suppress(OSError, ValueError):  # the file could not be opened
            builder.look()
        builder.close()
        full = is_disk_full(error)
        if full or isinstance(error, InputError) or builder.missing.all():
            builder.part.unlink(missing_ok=True)
        elif isinstance(error, KeyboardInterrupt):
            done, count = int((~builder.missing).sum()), len(builder.missing)
            kept = f"{done} of {count} images are done and kept: the same command goes on"
            raise KeyboardInterrupt(f"{str(error) or 'interrupted'}; {kept}") from error
        if full and not isinstance(error, DiskFullError):
            raise DiskFullError(
                f"{array.path}: the disk or quota is full, or a file may not grow so large; "
                f"{builder.layout.size / 1e9:.3g} GB are needed. Make room, or choose a smaller box."
            ) from error
        raise


class _Builder:
    """An unfinished array: which rows are missing, and a way to add some."""

    def __init__(self, array: CheckedArray) -> None:
        self.array = array
        self.layout = _Layout(array.shape)
        self.part = _unfinished(array.path)
        self.missing = np.ones(array.shape[0], dtype=bool)
        self._file: Any = None

    def begin(self, own: Sequence[Rows]) -> None:
        """Find what is there already of the batches to make, or claim the room for a new file."""
        # without a buffer, which could write old content between two rows over what another process has put there
        self._file = self.part.open("r+b" if self.part.exists() else "w+b", buffering=0)
        if self.layout.fits(self._file):
            self._find_written(own)
        else:
            self._claim()

    def go_along(self, own: Sequence[Rows]) -> None:
        """Find what is there already of the batches to make, in the file that the first process of the job has begun.

        Raises:
            InputError: if it is not there: the folder is another one on this machine.
        """
        try:
            self._file = self.part.open("r+b", buffering=0)
        except FileNotFoundError:
            raise _not_shared(self.array.path) from None
        if not self.layout.fits(self._file):
            raise _not_shared(self.array.path)
        self._find_written(own)

    def to_disk(self) -> None:
        """Wait until what this process wrote is on the disk."""
        os.fsync(self._file.fileno())

    def look(self) -> None:
        """Find out which rows are missing now that all processes have written theirs."""
        if self._file is not None and not self._file.closed and self.layout.fits(self._file):
            self.missing = self.layout.read_checksums(self._file) == 0

    def finish(self) -> None:
        """Give the array its name, once its content is on the disk.

        Raises:
            InputError: if what the others wrote is not there: they have found an older file of their own machine.
        """
        self.look()
        if self.missing.any():
            raise _not_shared(self.array.path)
        self._file.close()
        self.part.replace(self.array.path)

    def close(self) -> None:
        """Leave the file as it is."""
        if self._file is not None:
            with suppress(OSError):  # a full disk again, at the attempt to write what is still in memory
                self._file.close()

    def write(self, rows: Rows, values: Values) -> None:
        """Put values, (m, …), in their places."""
        values = np.ascontiguousarray(values, dtype="<f2")
        layout = self.layout
        _write_at(self._file, layout.rows_at, rows, values)
        _write_at(self._file, layout.checksums_at, rows, np.array([_checksum(row) for row in values], dtype="<u4"))
        self.missing[rows] = False

    def _claim(self) -> None:
        """Claim the space, so that a full disk is met before the work and not in the middle of it."""
        self._file.truncate(0)
        needed, free = self.layout.size, shutil.disk_usage(self.part.parent).free
        if needed > free:
            raise DiskFullError(
                f"{self.part.parent}: {self.array.path.name} needs {needed / 1e9:.3g} GB, but {free / 1e9:.3g} GB are "
                "free. Make room, or choose a smaller box."
            )
        if hasattr(os, "posix_fallocate"):
            _reserve(self._file.fileno(), needed)
        for place, content in ((0, self.layout.head), (self.layout.second_head_at, self.layout.second_head)):
            self._file.seek(place)
            _write_whole(self._file, content)
        self._file.truncate(needed)

    def _find_written(self, own: Sequence[Rows]) -> None:
        """Rows of these batches that are there already and fit their checksums."""
        stored = self.layout.read_checksums(self._file)
        is_own = np.zeros(len(stored), dtype=bool)
        for rows in own:
            is_own[rows] = True
        wanted = np.flatnonzero(is_own & (stored != 0))
        size, at_once = self.layout.row_bytes, max(1, _AT_ONCE // self.layout.row_bytes)
        for first in range(0, len(wanted), at_once):
            some = wanted[first : first + at_once]
            for run in np.split(some, np.flatnonzero(np.diff(some) != 1) + 1):
                self._file.seek(self.layout.rows_at + int(run[0]) * size)
                content = memoryview(self._file.read(len(run) * size))
                for place, row in enumerate(run.tolist()):
                    fits = _checksum(content[place * size : (place + 1) * size]) == stored[row]
                    self.missing[row] = not fits
        log.info("%s: %d of %d rows were there already", self.array.path, (~self.missing).sum(), is_own.sum())


def _not_shared(path: Path) -> InputError:
    return InputError(
        f"{path.parent}: one of this job's machines does not see in this folder what another one writes there. Use a "
        "folder that all machines share, or copy the finished files to each of them before"
    )


def _reserve(descriptor: int, size: int) -> None:
    try:
        os.posix_fallocate(descriptor, 0, size)
    except OSError as error:
        if error.errno not in (errno.EINVAL, errno.EOPNOTSUPP, errno.ENOSYS):  # not every filesystem can
            raise


def _write_at(file: BinaryIO, start: int, rows: Rows, values: NDArray[Any]) -> None:
    """Write each row at its place, runs of consecutive rows in one go."""
    bounds = np.flatnonzero(np.diff(rows) != 1) + 1
    for run, block in zip(np.split(rows, bounds), np.split(values, bounds), strict=True):
        file.seek(start + int(run[0]) * values[0].nbytes)
        _write_whole(file, np.ascontiguousarray(block).data)


def _write_whole(file: BinaryIO, content: bytes | memoryview) -> None:
    """Write all of it: a disk that fills up may take a part, and refuse the next."""
    left = memoryview(content).cast("B")
    while len(left):
        left = left[file.write(left) :]


def _unfinished(path: Path) -> Path:
    return path.with_name(f".{path.name}.part")


def _lock(path: Path) -> Path:
    return path.with_name(f".{path.name}.lock")


def _checksum(row: Any) -> int:
    """CRC-32 of a row; never 0, which stands for a row that is not there."""
    return zlib.crc32(row) or 1


def _header(shape: tuple[int, ...], kind: str) -> bytes:
    stream = io.BytesIO()
    np.lib.format.write_array_header_1_0(stream, {"descr": kind, "fortran_order": False, "shape": shape})
    return stream.getvalue()
