"""One structure per image, or per given latent: all-atom files in a folder, or coordinates in one .npz."""

from __future__ import annotations

import logging
import re
import zipfile
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from tokenize import TokenError
from zipfile import BadZipFile

import numpy as np
from numpy.typing import ArrayLike, NDArray

from cryosphere.analysis.motions import batches
from cryosphere.analysis.movement import images_per_batch
from cryosphere.analysis.run import Run, checked_latents
from cryosphere.distribution import World
from cryosphere.errors import InputError
from cryosphere.files import replacing
from cryosphere.progress import SILENT, Progress

_LOG = logging.getLogger(__name__)
_UNREADABLE = (
    OSError,
    ValueError,
    EOFError,
    SyntaxError,
    TypeError,
    MemoryError,
    OverflowError,
    TokenError,
    BadZipFile,
)
_OURS = re.compile(r"structure_[0-9]+\.cif")
_STRUCTURE_SUFFIXES = (".cif", ".pdb", ".mmcif", ".ent", ".gz", ".npy", ".csv", ".zip")


@dataclass(frozen=True)
class Selection:
    """Which structures to make: numbers for the file names (image rows, or rows of z) and their latents (n, L)."""

    index: NDArray[np.int64]
    latents: NDArray[np.float32]

    def piece(self, world: World) -> Selection:
        """Those that one process of a job makes."""
        own = world.piece(len(self.index))
        return Selection(self.index[own], self.latents[own])


def export_structures(
    run: Run,
    output: str | Path,
    *,
    indices: str | ArrayLike | None = None,
    z: str | Path | ArrayLike | None = None,
    progress: Progress = SILENT,
    overwrite: bool = False,
) -> int:
    """Write structures and return how many.

    `output` ending in .npz: one file with `coordinates` (n, residues, 3) float32 Å, `chain`, `residue`, `insertion`
    and `name` (residues,) in the frame and order of the input model, and `index` (n,). Anything else: a folder with
    one all-atom mmCIF each, structure_000012.cif for image row 12 (or row 12 of z).

    `indices`: image rows, as numbers or as text: "0:1000:10" (start:stop:step), "0,5,7", a mixture, or "all" (the
    default). `z`: latents (n, L) instead, as an array or the path of a .npy file.

    `overwrite`: replace an archive, or the structure_*.cif files of a folder, all of which are removed first; other
    files in a folder are left alone.

    The processes of a job share the structures: each writes its files of a folder, the first one writes an archive.

    Raises:
        InputError: for rows that do not exist, latents of another shape or not finite, an output that cannot be, or
            one that is there already (unless `overwrite`).
    """
    world = run.model.world
    with world.together():
        destination = _checked_output(Path(output))
        old = _earlier_output(destination)
        if old and not overwrite:
            raise InputError(_already_there(destination, old))
    selection = _select(run, indices, z, progress)
    with world.together():
        if destination.suffix.lower() != ".npz" and world.is_first:
            for file in old:
                file.unlink()
            destination.mkdir(parents=True, exist_ok=True)
    if destination.suffix.lower() == ".npz":
        _write_archive(run, destination, selection, progress)
    else:
        with world.together():
            _write_folder(run, destination, selection.piece(world), progress)
        _LOG.info("wrote %d structures to %s", len(selection.index), destination)
    return len(selection.index)


def parse_indices(text: str, count: int) -> NDArray[np.int64]:
    """Image rows of "0:1000:10", "0,5,7", "0:10,50" or "all", for a data set of `count` images.

    As in Python, a range ends with the data at the latest; a single row or a start beyond the data is refused.

    >>> parse_indices("0:10:4,1", 10)
    array([0, 4, 8, 1])
    """
    if text.strip().lower() == "all":
        return np.arange(count, dtype=np.int64)
    rows: list[NDArray[np.int64]] = []
    for part in text.split(","):
        numbers = re.fullmatch(r"([0-9]{0,15})(?::([0-9]{0,15})(?::([0-9]{0,15}))?)?", part.strip())
        if numbers is None or not part.strip():
            raise InputError(
                f"indices {text!r}: cannot understand {part.strip()!r}; write rows like 0,5,7, a range like "
                "0:1000:10 (start:stop:step, without the stop), or all"
            )
        rows.append(_expand(part.strip(), numbers, count))
    found = np.concatenate(rows)
    if len(found) == 0:
        raise InputError(f"indices {text!r} select no image: the run has {count} images, 0 to {count - 1}")
    return found


def _expand(part: str, numbers: re.Match[str], count: int) -> NDArray[np.int64]:
    start = int(numbers[1] or 0)
    stop = int(numbers[2] or count) if ":" in part else start + 1
    step = int(numbers[3] or 1)
    if step == 0:
        raise InputError(f"indices {part!r}: the step must be at least 1")
    if start >= count:
        raise InputError(f"indices {part!r} go beyond the data: the run has {count} images, 0 to {count - 1}")
    return np.arange(start, min(stop, count), step, dtype=np.int64)


def read_latents(path: Path, latent_dim: int) -> NDArray[np.float32]:
    """Latents (n, L) of a .npy file.

    Raises:
        InputError: if the file is missing, not .npy, of another shape, or holds values that are not finite.
    """
    try:
        values = np.load(path, allow_pickle=False)
    except FileNotFoundError:
        raise InputError(
            f"{path}: no such file (expected latents written by numpy.save, such as analysis/z.npy)"
        ) from None
    except _UNREADABLE as error:
        reason = f" ({error.strerror})" if isinstance(error, OSError) and error.strerror else ""
        raise InputError(
            f"{path}: cannot be read as latents{reason}; they are expected as a .npy file, one array of numbers "
            f"(n, {latent_dim}) as numpy.save writes it, such as analysis/z.npy (not text or CSV)"
        ) from error
    if not isinstance(values, np.ndarray):
        raise InputError(f"{path}: holds several arrays (.npz); expected one array of latents (.npy)")
    return checked_latents(values, latent_dim, str(path))


def _select(
    run: Run, indices: str | ArrayLike | None, z: str | Path | ArrayLike | None, progress: Progress
) -> Selection:
    with run.model.world.together():
        if z is not None:
            if indices is not None:
                raise InputError("give either indices or z, not both: z already says which structures to make")
            latents = read_latents(Path(z), run.latent_dim) if isinstance(z, str | Path) else run.latents_of(z=z)
            return Selection(np.arange(len(latents), dtype=np.int64), latents)
        rows = parse_indices(indices, len(run)) if isinstance(indices, str) else run.row_numbers(indices)
        if len(rows) == 0:
            raise InputError("no image rows were given")
    return Selection(rows, np.asarray(run.model.encode(rows, progress=progress).mean, dtype=np.float32))


def _checked_output(path: Path) -> Path:
    suffix = path.suffix.lower()
    if suffix == ".npz":
        if path.is_dir():
            raise InputError(f"{path}: is a folder; coordinates go to a file ending in .npz")
        return path
    if suffix in _STRUCTURE_SUFFIXES and not path.is_dir():
        raise InputError(
            f"{path}: the output is either a folder (one mmCIF file per structure) or a file ending in .npz"
        )
    if path.exists() and not path.is_dir():
        raise InputError(f"{path}: exists and is not a folder; structures go to a folder, or to a file ending in .npz")
    return path


def _earlier_output(destination: Path) -> list[Path]:
    """Files of an earlier export that this one would replace or mix with."""
    if destination.suffix.lower() == ".npz":
        return [destination] if destination.exists() else []
    if not destination.is_dir():
        return []
    return sorted(file for file in destination.iterdir() if _OURS.fullmatch(file.name))


def _already_there(destination: Path, old: list[Path]) -> str:
    if old == [destination]:
        return f"{destination} exists already; choose another name, or allow it to be replaced (--overwrite)"
    return (
        f"{destination} already holds {len(old)} structure(s), {old[0].name} to {old[-1].name}; choose another folder, "
        "or allow them to be removed first (--overwrite)"
    )


def _write_folder(run: Run, folder: Path, selection: Selection, progress: Progress) -> None:
    from cryosphere.structures import ModelWriter

    model = run.model.atomic_model
    writer = ModelWriter(replace(model, name=_original_name(run)))
    size = images_per_batch(len(model.positions))
    with progress.track(len(selection.index), "writing structures") as advance:
        for part in batches(len(selection.index), size):
            positions = run.model.atom_positions(selection.latents[part])
            for number, one in zip(selection.index[part].tolist(), positions, strict=True):
                writer.write(folder / f"structure_{number:06d}.cif", one)
                advance(1)


def _original_name(run: Run) -> str:
    """Name of the model file that the run was trained on, without endings; the run keeps it as model.cif."""
    return Path(run.model.config.model.name.removesuffix(".gz")).stem


def _write_archive(run: Run, path: Path, selection: Selection, progress: Progress) -> None:
    if not run.model.world.is_first:
        for _ in _bead_batches(run, selection):  # its share of them goes to the first process
            pass
        return
    path.parent.mkdir(parents=True, exist_ok=True)
    with replacing(path) as temporary, zipfile.ZipFile(temporary, "w", zipfile.ZIP_STORED, allowZip64=True) as archive:
        for name, values in _labels(run, selection).items():
            with archive.open(f"{name}.npy", "w") as member:
                np.lib.format.write_array(member, values, allow_pickle=False)
        _stream_coordinates(run, archive, selection, progress)
    _LOG.info("wrote coordinates of %d structures to %s", len(selection.index), path)


def _labels(run: Run, selection: Selection) -> dict[str, NDArray[np.generic]]:
    beads = run.model.atomic_model.beads
    return {
        "index": selection.index,
        "chain": np.asarray(beads.chain).astype(np.str_),
        "residue": np.asarray(beads.number, dtype=np.int64),
        "insertion": np.char.strip(np.asarray(beads.insertion).astype(np.str_)),
        "name": np.asarray(beads.name).astype(np.str_),
    }


def _stream_coordinates(run: Run, archive: zipfile.ZipFile, selection: Selection, progress: Progress) -> None:
    """Append coordinates.npy batch by batch, so that memory does not grow with the number of structures."""
    residues = len(run.model.atomic_model.beads.positions)
    header = {"descr": "<f4", "fortran_order": False, "shape": (len(selection.index), residues, 3)}
    with (
        archive.open("coordinates.npy", "w", force_zip64=True) as member,
        progress.track(len(selection.index), "computing structures") as advance,
    ):
        np.lib.format.write_array_header_1_0(member, header)
        for positions in _bead_batches(run, selection):
            member.write(np.ascontiguousarray(positions, dtype="<f4").tobytes())
            advance(len(positions))


def _bead_batches(run: Run, selection: Selection) -> Iterator[NDArray[np.float32]]:
    """Coordinates in order, a bounded number at a time, of which each process computes a share."""
    world, residues = run.model.world, len(run.model.atomic_model.beads.positions)
    for part in batches(len(selection.index), world.size * min(256, images_per_batch(residues))):
        own = Selection(selection.index[part], selection.latents[part]).piece(world)
        nothing = np.zeros((0, residues, 3), dtype=np.float32)
        yield world.gather(run.model.bead_positions(own.latents) if len(own.index) else nothing)
