"""The files of a validation, and which files of others they must not replace."""

from __future__ import annotations

import json
from contextlib import ExitStack
from pathlib import Path

from cryosphere.errors import InputError
from cryosphere.files import can_hold_files, replacing
from cryosphere.structures.model import read_model
from cryosphere.training.run_directory import RunDirectory
from cryosphere.training.trained import TrainedModel
from cryosphere.validation.omitted import FOLDER as OMITTED
from cryosphere.validation.page import KIND, render
from cryosphere.validation.pictures import NAMES as PICTURE_NAMES
from cryosphere.validation.pictures import pictures
from cryosphere.validation.results import FIRST_COLUMNS, Validation

VERDICT, TABLE, PAGE, PICTURES = "verdict.json", "validation.csv", "validation.html", "pictures"
_HEAD = 8192  # characters at the beginning of a file that tell what it is, at most; a page says so after its style
_ON_PAGE = f">cryosphere {KIND}<"


def require_place(folder: Path, run: TrainedModel) -> None:
    """Make sure, before any work, that a validation of this run can be written to a folder.

    Raises:
        InputError: for a file of that name, a run, a place that cannot be written to, or a folder with files of others
            or of another run's validation that would be replaced.
    """
    if folder.exists() and not folder.is_dir():
        raise InputError(f"{folder} is a file, and a folder is needed: choose another --outdir")
    if RunDirectory(folder).is_occupied():
        raise InputError(f"{folder} is a run; its files and those of a validation do not mix: choose another --outdir")
    if not can_hold_files(folder):
        raise InputError(f"{folder}: no files can be written there: choose another --outdir")
    name = run.run.root.resolve().name
    validated = _run_of(folder / VERDICT)
    if validated is not None and validated != name:
        raise InputError(
            f"{folder / VERDICT} is the verdict on another run ({validated}, not {name}) and would be replaced: choose "
            "another --outdir"
        )
    foreign = [path for path in _would_be_replaced(folder) if not _is_ours(path, run)]
    if foreign:
        raise InputError(
            f"{foreign[0]} was not written by a validation and would be replaced: move it away, or choose another "
            "--outdir"
        )


def write(found: Validation, folder: Path) -> None:
    """Write verdict, table, pictures and page; the page, which is complete in itself, comes last."""
    (folder / PICTURES).mkdir(parents=True, exist_ok=True)
    drawn = pictures(found)
    page = render(found, drawn)
    for name in set(PICTURE_NAMES) - {picture.name for picture in drawn}:
        (folder / PICTURES / name).unlink(missing_ok=True)
    with ExitStack() as stack:  # the last one here takes its place first
        names = [stack.enter_context(replacing(folder / name)) for name in (PAGE, TABLE)]
        names[0].write_text(page, encoding="utf-8")
        found.table().to_csv(names[1], index=False)
        for picture in drawn:
            stack.enter_context(replacing(folder / PICTURES / picture.name)).write_bytes(picture.png)
        verdict = stack.enter_context(replacing(folder / VERDICT))
        verdict.write_text(json.dumps(found.as_dict(), indent=2) + "\n", encoding="utf-8")


def _would_be_replaced(folder: Path) -> list[Path]:
    names = (VERDICT, TABLE, PAGE, f"{OMITTED}.cif", *(f"{PICTURES}/{name}" for name in PICTURE_NAMES))
    files = [folder / name for name in names if (folder / name).exists()]
    return [folder / PICTURES, *files] if (folder / PICTURES).is_file() else files


def _is_ours(path: Path, run: TrainedModel) -> bool:
    """Whether a file comes from an earlier validation, by what stands in it."""
    if not path.is_file():
        return False
    if path.name == VERDICT:
        return _run_of(path) is not None
    if path.suffix == ".cif":
        return _lacks_residues_of(path, run)
    if path.suffix == ".png":  # which does not say where it comes from
        folder = path.parent.parent
        return _run_of(folder / VERDICT) is not None or _says(folder / PAGE, _ON_PAGE)
    return _says(path, ",".join(FIRST_COLUMNS) if path.name == TABLE else _ON_PAGE)


def _says(path: Path, expected: str) -> bool:
    """Whether a file has a text near its beginning."""
    if not path.is_file():
        return False
    with path.open(encoding="utf-8", errors="replace") as file:
        return expected in file.read(_HEAD)


def _run_of(verdict: Path) -> str | None:
    """Name of the run that a verdict is on; None where there is none, or it is something else."""
    if not verdict.is_file():
        return None
    try:
        run = json.loads(verdict.read_text(encoding="utf-8"))["sets"]["run"]
    except (ValueError, KeyError, TypeError):
        return None
    return run if isinstance(run, str) else None


def _lacks_residues_of(path: Path, run: TrainedModel) -> bool:
    """Whether a model has nothing but some of a run's residues."""
    try:
        beads = read_model(path).beads
    except InputError:
        return False
    ours = run.atomic_model.beads
    known, found = (set(zip(b.chain, b.number, b.insertion, b.name, strict=True)) for b in (ours, beads))
    return found < known
