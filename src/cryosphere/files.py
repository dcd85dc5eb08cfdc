"""Files that are whole or absent: written under another name, and renamed when complete."""

from __future__ import annotations

import errno
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryFile

from cryosphere.errors import DiskFullError

_FULL = {getattr(errno, name) for name in ("ENOSPC", "EDQUOT", "EFBIG") if hasattr(errno, name)}
_REFUSED = {errno.EACCES, errno.EPERM, errno.EROFS, errno.ENOENT}  # the last where a system shows itself, as in /proc
_FULL_WORDS = ("No space left on device", "Disk quota exceeded", "requested and")  # the last is NumPy's


@contextmanager
def replacing(path: str | Path, *, durable: bool = False) -> Iterator[Path]:
    """A temporary name beside `path` to write to; at the end of the block the file takes the place of `path`.

    If the block fails, the temporary file vanishes and what was at `path` stays. `durable` waits until the content is
    on the disk, so that it also outlives a power cut.

    Raises:
        DiskFullError: if the disk has no room for it.
    """
    path = Path(path)
    temporary = path.with_name(f".{path.name}.{os.getpid()}.part")
    try:
        with saying_where_the_disk_is_full(path):
            yield temporary
            if durable:
                with temporary.open("rb+") as file:
                    os.fsync(file.fileno())
            temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)


def write_text(path: str | Path, text: str) -> None:
    """Write a text file, whole or not at all."""
    with replacing(path) as temporary:
        temporary.write_text(text, encoding="utf-8")


def is_disk_full(error: BaseException) -> bool:
    """Whether a failure to write, of whatever library, means that disk, quota or a limit on files is used up."""
    if isinstance(error, OSError) and error.errno is not None:
        return error.errno in _FULL
    return any(words in str(error) for words in _FULL_WORDS)


@contextmanager
def saying_where_the_disk_is_full(path: Path) -> Iterator[None]:
    """A full disk met in this block is reported with the name of what was being written.

    Raises:
        DiskFullError: instead of the library's own error.
    """
    try:
        yield
    except DiskFullError:
        raise
    except Exception as error:
        if not is_disk_full(error):
            raise
        reason = error.strerror if isinstance(error, OSError) and error.strerror else str(error)
        raise DiskFullError(
            f"{path}: the disk or quota is full ({reason}); what was there before is still whole. Make room and give "
            "the command again (a training goes on with --resume)"
        ) from error


def can_hold_files(folder: Path) -> bool:
    """Whether files can be made in a folder, or in the one that could be made at this place; nothing is made."""
    place = folder.absolute()
    try:
        while not place.exists():
            place = place.parent
    except OSError:  # a name that is too long, or lies in a folder that must not be looked into
        return False
    return place.is_dir() and is_writable(place)


def is_writable(folder: Path) -> bool:
    """Whether files can be made in a folder, which is made itself if it is not there: tried, for no flag tells it."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with TemporaryFile(dir=folder):
            return True
    except OSError as error:
        if error.errno not in _REFUSED:
            raise
        return False
