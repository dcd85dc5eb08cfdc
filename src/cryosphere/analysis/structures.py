"""One structure per image, or per given latent: all-atom files in a folder, or coordinates in one .npz."""

from __future__ import annotations

import logging
import re
import zipfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from tokenize import TokenError
from typing import Literal
from zipfile import BadZipFile

import numpy as np
from numpy.typing import ArrayLike, NDArray

from cryosphere.analysis.motions import batches
from cryosphere.analysis.movement import images_per_batch
from cryosphere.analysis.run import Run, checked_latents
from cryosphere.analysis.uncertainty import structure_writer
from cryosphere.distribution import World
from cryosphere.errors import InputError
from cryosphere.files import replacing
from cryosphere.progress import SILENT, Progress
from cryosphere.training.spread import residue_sd

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
Member = Literal["coordinates", "sd"]
MEMBERS: dict[Member, str] = {
    "coordinates": "computing structures",
    "sd": "computing standard deviations",
}  # of the archive: what making it is called
_STRUCTURE_SUFFIXES = (".cif", ".pdb", ".mmcif", ".ent", ".gz", ".npy", ".csv", ".zip")


@dataclass(frozen=True)
class Selection:
    """Which structures to make: numbers for the file names (image rows, or rows of z), latents (n, L) and their sd."""

    index: NDArray[np.int64]
    latents: NDArray[np.float32]
    sd: NDArray[np.float32]  # (n, L); 0 where latents were given, which leave nothing open
    of_images: bool

    def piece(self, world: World) -> Selection:
        """Those that one process of a job makes."""
        return self[world.piece(len(self.index))]

    def __getitem__(self, some: slice) -> Selection:
        return Selection(self.index[some], self.latents[some], self.sd[some], self.of_images)


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
    and `name` (residues,) in the frame and order of the input model, `sd` (n, residues) float32 Å, how sure each
    residue's place is, and `index` (n,). Anything else: a folder with one all-atom mmCIF each, structure_000012.cif for
    image row 12 (or row 12 of z), whose B-factor column holds the standard deviation in Å.

    The standard deviation (`analysis.uncertainty`) is the square root of the mean squared distance of a residue from
    where it is shown. For latents `z`, which no image leaves open, it is the error of the structures alone; where
    images were too few to tell it, the archive has NaN and the B-factors stay the input's.

    `indices`: image rows, as numbers or as text: "0:1000:10" (start:stop:step), "0,5,7", a mixture, or "all" (the
    default). `z`: latents (n, L) instead, as an array or the path of a .npy file. `overwrite`: replace an archive, or
    the structure_*.cif files of a folder, all of which are removed first; other files in a folder are left alone.

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
    _ = run.structure_error  # found by all processes together
    with world.together():
        if destination.suffix.lower() != ".npz" and world.is_first:
            for file in old:
                file.unlink()
            destination.mkdir(parents=True, exist_ok=True)
    if destination.suffix.lower() == ".npz":
        _write_archive(run, destination, selection, progress)
        return len(selection.index)
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
            return Selection(np.arange(len(latents), dtype=np.int64), latents, np.zeros_like(latents), of_images=False)
        rows = parse_indices(indices, len(run)) if isinstance(indices, str) else run.row_numbers(indices)
        if len(rows) == 0:
            raise InputError("no image rows were given")
    found = run.model.encode(rows, progress=progress)
    latents, sd = (np.asarray(values, dtype=np.float32) for values in (found.mean, found.sd))
    return Selection(rows, latents, sd, of_images=True)


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
    sure = selection.of_images or run.structure_error is not None
    writer = structure_writer(run, sure=sure)
    size = images_per_batch(len(run.model.atomic_model.positions))
    with progress.track(len(selection.index), "writing structures") as advance:
        for part in batches(len(selection.index), size):
            some = selection[part]
            positions, spread = run.model.atom_positions(some.latents), _sd(run, some)
            for number, one, sd in zip(some.index.tolist(), positions, spread, strict=True):
                writer.write(folder / f"structure_{number:06d}.cif", one, b_factors=sd if sure else None)
                advance(1)


def _sd(run: Run, some: Selection) -> NDArray[np.float32]:
    """Standard deviations (n, R) in Å; NaN where nothing is known."""
    found = residue_sd(run.model, some.latents, some.sd, run.structure_error)
    return found if some.of_images or run.structure_error is not None else np.full_like(found, np.nan)


def _write_archive(run: Run, path: Path, selection: Selection, progress: Progress) -> None:
    if not run.model.world.is_first:
        for what in MEMBERS:  # its share of them goes to the first process
            for _ in _bead_batches(run, selection, what):
                pass
        return
    path.parent.mkdir(parents=True, exist_ok=True)
    with replacing(path) as temporary, zipfile.ZipFile(temporary, "w", zipfile.ZIP_STORED, allowZip64=True) as archive:
        for name, values in _labels(run, selection).items():
            with archive.open(f"{name}.npy", "w") as member:
                np.lib.format.write_array(member, values, allow_pickle=False)
        for what in MEMBERS:
            _stream(run, archive, selection, what, progress)
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


def _stream(run: Run, archive: zipfile.ZipFile, selection: Selection, what: Member, progress: Progress) -> None:
    """Append an array batch by batch, so that memory does not grow with the number of structures."""
    residues = len(run.model.atomic_model.beads.positions)
    shape = (len(selection.index), residues, 3)[: 2 if what == "sd" else 3]
    with (
        archive.open(f"{what}.npy", "w", force_zip64=True) as member,
        progress.track(len(selection.index), MEMBERS[what]) as advance,
    ):
        np.lib.format.write_array_header_1_0(member, {"descr": "<f4", "fortran_order": False, "shape": shape})
        for values in _bead_batches(run, selection, what):
            member.write(np.ascontiguousarray(values, dtype="<f4").tobytes())
            advance(len(values))


def _bead_batches(run: Run, selection: Selection, what: Member) -> Iterator[NDArray[np.float32]]:
    """Coordinates or spreads in order, a bounded number at a time, of which each process computes a share."""
    world, residues = run.model.world, len(run.model.atomic_model.beads.positions)
    for part in batches(len(selection.index), world.size * min(256, images_per_batch(residues))):
        own = selection[part].piece(world)
        found = np.zeros((0, residues, 3)[: 2 if what == "sd" else 3], dtype=np.float32)
        if len(own.index) and what == "sd":
            found = _sd(run, own)
        elif len(own.index):
            found = run.model.bead_positions(own.latents)
        yield world.gather(found)
