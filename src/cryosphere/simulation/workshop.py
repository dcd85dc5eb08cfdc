"""The hidden folder in which a simulation is made, and from which a stopped one goes on."""

from __future__ import annotations

import hashlib
import json
import logging
import shutil
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from importlib.metadata import version
from pathlib import Path
from typing import Any, BinaryIO

from cryosphere import __version__
from cryosphere.errors import ConfigError, InputError, RunError
from cryosphere.files import write_text
from cryosphere.simulation.config import SimulationConfig

if sys.platform != "win32":
    import fcntl

log = logging.getLogger(__name__)

FOLDER = ".simulation.part"
RENDERING = 2  # raised whenever the same settings give other images, if only by rounding
_FINGERPRINT, _LOCK = "fingerprint", "lock"


def fingerprint(config: SimulationConfig) -> str:
    """What decides every byte of a simulation: the configuration, the contents of its files, the software.

    Raises:
        ConfigError: if a file that the configuration names cannot be read.
    """
    versions = [__version__, RENDERING, *map(version, ("numpy", "scipy", "torch", "numba"))]
    described = {"config": _with_contents(config.model_dump()), "versions": versions}
    return hashlib.sha256(json.dumps(described, sort_keys=True).encode()).hexdigest()


def _with_contents(value: Any) -> Any:
    """Settings as JSON, each path replaced by a digest of the file."""
    if isinstance(value, dict):
        return {key: _with_contents(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_with_contents(item) for item in value]
    if not isinstance(value, Path):
        return value
    try:
        with value.open("rb") as file:
            return hashlib.file_digest(file, "blake2b").hexdigest()
    except OSError as error:
        raise ConfigError(f"cannot read {value}: {error.strerror or error}") from None


@contextmanager
def workshop(outdir: Path, mark: str) -> Iterator[Path]:
    """A hidden folder in `outdir` to build in. What an earlier attempt with the same `mark` left in it is kept.

    It goes when the work is done or the input is found wrong, and so does an `outdir` made for it and left empty. When
    the work is stopped otherwise and has left images, it stays, and the next attempt may go on from them.

    Raises:
        RunError: if the folder cannot be written to, or another process works in it.
    """
    made = not outdir.exists()
    folder = outdir / FOLDER
    try:
        folder.mkdir(parents=True, exist_ok=True)
        lock = (folder / _LOCK).open("wb")
    except OSError as error:
        raise RunError(f"cannot write to {outdir}: {error.strerror or error}") from error
    with lock:
        _take(lock, outdir)
        _prepare(folder, mark)
        keep = False
        try:
            yield folder
        except InputError:
            raise
        except BaseException:
            keep = any(".mrcs" in path.name for path in folder.iterdir())
            raise
        finally:
            if not keep:
                shutil.rmtree(folder, ignore_errors=True)
                if made and not any(outdir.iterdir()):
                    outdir.rmdir()


def _take(lock: BinaryIO, outdir: Path) -> None:
    """Hold the folder against other processes, as long as the file is open (not on Windows)."""
    if sys.platform == "win32":
        return
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        raise RunError(
            f"another simulation is being written to {outdir}; wait for it or choose another folder"
        ) from None
    except OSError as error:
        log.debug("%s: cannot be locked: %s", lock.name, error)


def _prepare(folder: Path, mark: str) -> None:
    """Empty the folder unless it holds work of the same mark."""
    marked = folder / _FINGERPRINT
    if marked.is_file() and marked.read_text(encoding="utf-8") == mark:
        return
    for path in folder.iterdir():
        if path.name != _LOCK:
            path.unlink()
    write_text(marked, mark)
