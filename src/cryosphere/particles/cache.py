"""Preprocessed images on disk: made once, opened at once thereafter, never held in memory as a whole."""

from __future__ import annotations

import hashlib
import json
import logging
import time
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import asdict, dataclass
from functools import cached_property
from pathlib import Path

import numpy as np
import torch
from jaxtyping import Complex, Float
from numpy.typing import NDArray
from torch import Tensor

from cryosphere import fourier
from cryosphere.distribution import ALONE, World
from cryosphere.errors import ImageStackError, InputError
from cryosphere.particles.checked_array import CheckedArray, build
from cryosphere.particles.preprocess import PreprocessSettings, preprocess_batch
from cryosphere.particles.stacks import ImageStacks
from cryosphere.particles.table import Integer, ParticleTable
from cryosphere.progress import SILENT, Progress

log = logging.getLogger(__name__)

_ABANDONED = 7 * 86400.0  # seconds without a change, after which an unfinished file is taken to be forgotten
_VERSION = 2  # raise it whenever preprocessing gives other values: older caches are then not taken for current ones
_PIXELS_PER_BATCH = 1 << 20  # 4 MiB of float32: larger batches fall out of the processor's cache and are slower


@dataclass(frozen=True)
class ParticleImages:
    """n preprocessed images, as half-spectra in a file of float16 (real, imaginary) pairs, read when asked for.

    Every image is held to its checksum the first time it is read (`CheckedArray`).

    pixel_size: Å, after downsampling to `box` pixels. The images are centred: the table's shifts are already applied.
    """

    table: ParticleTable
    box: int
    pixel_size: float
    path: Path

    def __len__(self) -> int:
        return len(self.table)

    def is_complete(self) -> bool:
        """Whether the file is there and whole."""
        return self._stored.is_complete()

    def spectra(self, rows: Integer | slice, box: int | None = None) -> Complex[Tensor, "n box half"]:
        """Half-spectra of the given rows, complex64, in that order, with the frequencies of a `box` of fewer pixels.

        Raises:
            ImageStackError: if the file is damaged.
        """
        return self.unpacked(self.packed(rows, box), box)

    def packed(self, rows: Integer | slice, box: int | None = None) -> Float[Tensor, "n kept half 2"]:
        """What `unpacked` makes half-spectra of `box` pixels from: float16, as stored, the frequencies they need."""
        pairs, half = torch.from_numpy(self._stored.read(rows)), (box or self.box) // 2
        if box is None or box == self.box:
            return pairs
        return torch.cat([pairs[:, : half + 1, : half + 1], pairs[:, -half:, : half + 1]], dim=1)

    def unpacked(self, packed: Float[Tensor, "n kept half 2"], box: int | None = None) -> Complex[Tensor, "n box half"]:
        """Half-spectra, complex64, on whatever device the packed ones lie."""
        spectra = torch.view_as_complex(packed.float())
        if box is None or box == self.box:
            return spectra
        half, between = box // 2, packed.shape[1]
        if offset := half / box - (self.box // 2) / self.box:  # an odd box has its centre elsewhere
            spectra = fourier.shift(spectra, between, torch.full((2,), offset * between, device=packed.device))
        return fourier.truncate(spectra, between, box) * (between / self.box)

    def images(self, rows: Integer | slice) -> Float[Tensor, "n box box"]:
        """The given rows as real images, float32."""
        return fourier.from_spectrum(self.spectra(rows), self.box)

    @cached_property
    def _stored(self) -> CheckedArray:
        return CheckedArray(self.path, _shape(len(self), self.box))


@dataclass(frozen=True)
class CacheFolders:
    """Where caches may lie, the best place first; the later ones serve where an earlier one cannot be written to.

    features: a file of lifted features made before, under whatever name it was given then.
    """

    folders: tuple[Path, ...]
    features: Path | None = None

    def place(self, name: str, shape: tuple[int, ...]) -> CheckedArray:
        """The complete array of that name wherever it lies, or else where it can be made.

        Raises:
            InputError: if none of the folders can be written to.
        """
        arrays = [CheckedArray(folder / name, shape) for folder in self.folders]
        for array in arrays:
            if array.is_complete():
                return array
        for array in arrays:
            if array.can_be_built():
                if array is not arrays[0]:
                    log.info("%s cannot be written to: caches go to %s", self.folders[0], array.path.parent)
                return array
        raise InputError(f"no permission to write preprocessed images to {' or '.join(map(str, self.folders))}")


def build_cache(
    table: ParticleTable,
    stacks: ImageStacks,
    settings: PreprocessSettings,
    folders: str | Path | CacheFolders,
    progress: Progress = SILENT,
    world: World = ALONE,
) -> ParticleImages:
    """Preprocess all images into a file in one of `folders`, or open that file if it is already there.

    The file's name is derived from all that decides its content: which images of which stacks (path, size, time of last
    change), shifts, pixel size and settings. It is written under another name and renamed when complete; what a killed
    process has done of it is kept and not done again. The processes of a job share the images.
    table: the particles, row by row those of `stacks`.
    Raises ImageStackError for unusable images, InputError if the disk is too small.
    """
    if len(table) != len(stacks):
        raise ValueError(f"{len(table)} particles, but {len(stacks)} images: the table must be that of the stacks")
    places = folders if isinstance(folders, CacheFolders) else CacheFolders((Path(folders),))
    box = settings.output_box(stacks.box)
    with world.together():
        name = f"spectra-{_key(table, stacks, settings, box)}.npy"
        stored = places.place(name, _shape(len(table), box))
    prepared = ParticleImages(table, box, table.pixel_size * stacks.box / box, stored.path)
    if not world.agree(on=not stored.is_complete()):
        log.info("%s: preprocessed images found", stored.path)
        return prepared
    if world.is_first:
        _remove_abandoned(stored.path)
    tracking = progress.track(len(prepared), "preprocessing images")
    build(stored, _batches(stacks), lambda rows: _prepare(table, rows, stacks, settings), tracking, world)
    return prepared


def _shape(count: int, box: int) -> tuple[int, int, int, int]:
    return (count, box, box // 2 + 1, 2)


def _batches(stacks: ImageStacks) -> Iterator[Integer]:
    """Rows in the order in which their images lie on disk, some at a time."""
    order = np.lexsort((stacks.table.image_index, stacks.table.stack_index))
    size = max(1, _PIXELS_PER_BATCH // stacks.box**2)
    for start in range(0, len(order), size):
        yield order[start : start + size]


def _prepare(
    table: ParticleTable, rows: Integer, stacks: ImageStacks, settings: PreprocessSettings
) -> NDArray[np.float16]:
    images = torch.from_numpy(stacks.read(rows))
    shifts = torch.from_numpy(table.shifts[rows].astype(np.float32))
    spectra = preprocess_batch(images, shifts, table.pixel_size, settings)
    pairs = torch.view_as_real(spectra).to(torch.float16)
    broken = ~pairs.flatten(1).isfinite().all(dim=1)
    if broken.any():
        where = stacks.describe(int(rows[int(broken.int().argmax())]))
        raise ImageStackError(f"{where} has values far beyond its background's noise; remove this particle.")
    return pairs.numpy().astype("<f2", copy=False)


def _key(table: ParticleTable, stacks: ImageStacks, settings: PreprocessSettings, box: int) -> str:
    """Short hash of all that decides the preprocessed images, and of nothing else (such as the order of the stacks)."""
    files = [(str(f.path.absolute()), f.offset, f.count, f.modified_ns) for f in stacks.files]
    order = sorted(range(len(files)), key=files.__getitem__)
    described = {
        "version": _VERSION,
        "files": [files[k] for k in order],
        "pixel_size": table.pixel_size,
        **asdict(settings),
        "box": box,
    }
    digest = hashlib.sha256(json.dumps(described, sort_keys=True).encode())
    shifts = np.round(table.shifts, 6) + 0.0  # Å: the last bits may be lost in a text file; + 0.0 turns -0 into 0
    for column in (shifts, np.argsort(order)[stacks.file_of_row], table.image_index):
        digest.update(np.ascontiguousarray(column).tobytes())
    return digest.hexdigest()[:20]


def _remove_abandoned(current: Path) -> None:
    """Delete unfinished files of other images that nobody has gone on with for long; what is begun again stays."""
    for pattern in (".spectra-*.part", ".lifted-*.part", ".spectra-*.lock", ".lifted-*.lock"):
        for path in current.parent.glob(pattern):
            with suppress(OSError):  # another process removes it, or finishes it
                if current.name not in path.name and time.time() - path.stat().st_mtime > _ABANDONED:
                    path.unlink()
                    log.info("%s: left behind by an interrupted run, removed", path)
