"""A folder that appears whole or not at all."""

from __future__ import annotations

import os
import shutil
from collections.abc import Collection, Iterator
from contextlib import contextmanager
from pathlib import Path

from cryosphere.errors import RunError
from cryosphere.files import can_hold_files, saying_where_the_disk_is_full


def require_free_place(folder: Path, known: Collection[str], *, overwrite: bool) -> None:
    """Make sure, before any work, that a folder can appear at this place.

    known: names of files of an earlier preparation, which may be replaced if `overwrite` says so, and nothing else.

    Raises:
        RunError: where something is there that must not be lost, or no folder can be made.
    """
    if folder.is_symlink() or (folder.exists() and not folder.is_dir()):
        raise RunError(f"{folder} is not a folder, and one is needed for what is prepared; choose another name")
    content = {path.name for path in folder.iterdir()} if folder.exists() else set()
    if content and not overwrite:
        raise RunError(f"{folder} is not empty; choose another folder, or allow it to be replaced (--overwrite)")
    foreign = sorted(content - set(known))
    if foreign:
        raise RunError(
            f"{folder} also holds {', '.join(foreign[:3])}{', …' if len(foreign) > 3 else ''}, which a preparation "
            "does not write and must not replace; move that away, or choose another folder"
        )
    if not can_hold_files(folder.absolute().parent):
        raise RunError(f"{folder}: no folder can be made there; choose another place")


@contextmanager
def appearing(folder: Path) -> Iterator[Path]:
    """A hidden folder beside `folder` to write into; at the end of the block it takes that place.

    If the block fails, everything vanishes, and what was at `folder` stays.

    Raises:
        DiskFullError: if the disk has no room.
    """
    made = _make_parents(folder.absolute().parent)
    hidden = folder.absolute().with_name(f".{folder.name}.{os.getpid()}.part")
    former = hidden.with_suffix(".former")
    try:
        with saying_where_the_disk_is_full(folder):
            hidden.mkdir()
            yield hidden
            if folder.exists():
                folder.rename(former)
            hidden.rename(folder)
    except BaseException:
        if former.exists() and not folder.exists():
            former.rename(folder)
        shutil.rmtree(hidden, ignore_errors=True)
        for parent in made:
            parent.rmdir()
        raise
    shutil.rmtree(former, ignore_errors=True)


def _make_parents(folder: Path) -> list[Path]:
    """Make a folder and those above it that are missing; which were made, the innermost first."""
    missing = []
    while not folder.exists():
        missing.append(folder)
        folder = folder.parent
    for one in reversed(missing):
        one.mkdir()
    return missing
