"""One process at a time: locks that the operating system drops when their holder ends, however it ends."""

from __future__ import annotations

import errno
import json
import logging
import os
import socket
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from datetime import datetime
from pathlib import Path

from filelock import FileLock, Timeout

from cryosphere.errors import OccupiedError
from cryosphere.files import saying_where_the_disk_is_full

log = logging.getLogger(__name__)

_NO_LOCKS = {getattr(errno, name) for name in ("ENOSYS", "ENOLCK", "EOPNOTSUPP") if hasattr(errno, name)}
_ATTEMPTS = 5  # the folder may vanish between its making and the lock's: somebody else tidied it away


@contextmanager
def held(path: Path, doing: str, *, wait: bool = False) -> Iterator[None]:
    """Keep the lock file `path` for the length of the block; it says who holds it, and is gone afterwards.

    What a killed process left behind does not count: the operating system knows that nobody holds it.

    Args:
        path: The file; its folder is made if it is not there.
        doing: What the holder does, for others to read: "training".
        wait: Until the other process is done, instead of failing at once.

    Raises:
        OccupiedError: if another process holds it; the message says which, and since when.
    """
    lock = FileLock(path, fallback_to_soft=False)
    try:
        _take(lock, path, wait=wait)
    except OSError as error:
        if error.errno not in _NO_LOCKS:
            raise
        log.warning("%s: this filesystem knows no locks; see to it that nothing else writes there", path)
        yield
        return
    try:
        _sign(path, doing)
        yield
    finally:
        with suppress(OSError):  # whoever opened it meanwhile sees that it is gone, and makes another
            path.unlink()
        lock.release()


def _take(lock: FileLock, path: Path, *, wait: bool) -> None:
    patience, vanished = 0.1, 0
    while not lock.is_locked:
        path.parent.mkdir(parents=True, exist_ok=True)
        try:
            lock.acquire(timeout=patience, poll_interval=0.02 if patience > 0 else 0.5)
        except FileNotFoundError:
            vanished += 1
            if vanished == _ATTEMPTS:
                raise
        except Timeout:
            if not wait:
                raise OccupiedError(holder(path)) from None
            log.info("waiting for another process: %s", holder(path))
            patience = -1.0


def _sign(path: Path, doing: str) -> None:
    since = datetime.now().astimezone().isoformat(sep=" ", timespec="seconds")
    who = {"doing": doing, "process": os.getpid(), "host": socket.gethostname(), "since": since}
    with saying_where_the_disk_is_full(path):
        path.write_text(json.dumps(who) + "\n", encoding="utf-8")


def holder(path: Path) -> str:
    """Who holds a lock, as its file says: "training, by process 4711 on host a since 2025-01-01 12:00:00+01:00"."""
    try:
        who = json.loads(path.read_text(encoding="utf-8"))
        return f"{who['doing']}, by process {who['process']} on {who['host']} since {who['since']}"
    except (OSError, ValueError, KeyError, TypeError):
        return f"work by another process, which has not said what it does ({path})"
