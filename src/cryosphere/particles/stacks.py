"""The images of a particle table, read from their stacks by memory map, a few files open at a time."""

from __future__ import annotations

import logging
import threading
from collections import OrderedDict
from dataclasses import replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from cryosphere.errors import ImageStackError
from cryosphere.particles.mrc_stacks import StackFile, locate_stacks, read_stack_file
from cryosphere.particles.table import Integer, ParticleTable

log = logging.getLogger(__name__)

_MOST_OPEN_FILES = 64
_PIXEL_SIZE_TOLERANCE = 1e-2


class ImageStacks:
    """The images of n particles.

    All stacks that the table needs are found and their headers checked at once; images are read on demand.

    table: the particles.
    datadir: folder in which to look for the stacks first; see `locate_stacks`.
    Attributes: `files`, the stacks that are needed; `file_of_row` (n,), which of them each row is in; `box`, pixels.
    Raises ImageStackError for a stack that is missing, truncated, too short for its particles, or of another size.
    """

    def __init__(self, table: ParticleTable, datadir: str | Path | None = None) -> None:
        self.table = table
        self._used, self.file_of_row = np.unique(table.stack_index, return_inverse=True)
        names = [table.stacks[k] for k in self._used]
        paths = locate_stacks(names, table.source, Path(datadir) if datadir is not None else None)
        self.files: tuple[StackFile, ...] = tuple(map(read_stack_file, paths))
        self._open: OrderedDict[int, NDArray[np.generic]] = OrderedDict()
        self._opening = threading.Lock()  # several threads read
        self.box: int = self.files[0].box
        self._check_boxes()
        self._check_image_numbers()
        self._report_pixel_sizes()

    def __len__(self) -> int:
        return len(self.table)

    def read(self, rows: Integer) -> NDArray[np.float32]:
        """Images of the given rows of the table, (m, box, box), in that order.

        Raises ImageStackError naming row, file and image for an image that is constant or not finite.
        """
        rows = np.asarray(rows, dtype=np.int64)
        images = np.empty((len(rows), self.box, self.box), dtype=np.float32)
        order = np.lexsort((self.table.image_index[rows], self.file_of_row[rows]))
        file_of_sorted = self.file_of_row[rows[order]]
        starts = np.flatnonzero(np.diff(file_of_sorted, prepend=-1))
        for group in np.split(order, starts[1:]) if len(order) else []:
            mapped = self._mapped(int(self.file_of_row[rows[group[0]]]))
            images[group] = mapped[self.table.image_index[rows[group]]]
        self._check_usable(images, rows)
        return images

    def located(self) -> ParticleTable:
        """The table with absolute stack paths, so that it can be used or written elsewhere."""
        stacks = list(self.table.stacks)
        for k, file in zip(self._used, self.files, strict=True):
            stacks[k] = str(file.path.absolute())
        return replace(self.table, stacks=tuple(stacks))

    def describe(self, row: int) -> str:
        """Where a particle's image is, in words: its row (from 1), file and image number (from 1)."""
        file = self.files[self.file_of_row[row]]
        return f"particle row {row + 1} (image {self.table.image_index[row] + 1} of {file.path})"

    def _mapped(self, number: int) -> NDArray[np.generic]:
        """Memory map of a file; the least recently used one is closed when too many are open."""
        with self._opening:
            if number in self._open:
                self._open.move_to_end(number)
            else:
                self._open[number] = self.files[number].images()
                if len(self._open) > _MOST_OPEN_FILES:
                    self._open.popitem(last=False)
            return self._open[number]

    def _check_boxes(self) -> None:
        stated = next((group.box for group in self.table.optics if group.box is not None), None)
        expected, author = (stated, self.table.source) if stated is not None else (self.box, self.files[0].path)
        for file in self.files:
            if file.box != expected:
                raise ImageStackError(
                    f"{file.path}: images are of {file.box} x {file.box} pixels, but {expected} according to {author}. "
                    "Are these the stacks that belong to this particle file?"
                )

    def _check_image_numbers(self) -> None:
        count = np.array([file.count for file in self.files])[self.file_of_row]
        beyond = np.flatnonzero((self.table.image_index >= count) | (self.table.image_index < 0))
        if len(beyond):
            row = int(beyond[0])
            raise ImageStackError(
                f"{self.table.source}: {self.describe(row)} does not exist: the stack holds {count[row]} images "
                f"({len(beyond)} such row(s)). Is the stack complete, and the one that belongs to this file?"
            )

    def _report_pixel_sizes(self) -> None:
        expected = self.table.pixel_size
        others = [
            file
            for file in self.files
            if file.pixel_size is not None and abs(file.pixel_size - expected) > _PIXEL_SIZE_TOLERANCE * expected
        ]
        if others:
            log.info(
                "%d stack header(s), such as that of %s, state %.4g Å per pixel; %.4g Å of %s is used",
                len(others),
                others[0].path,
                others[0].pixel_size,
                expected,
                self.table.source,
            )

    def _check_usable(self, images: NDArray[np.float32], rows: Integer) -> None:
        lowest, highest = images.min(axis=(1, 2)), images.max(axis=(1, 2))
        for what, broken in (
            ("holds values that are not finite", ~(np.isfinite(lowest) & np.isfinite(highest))),
            ("is constant", lowest == highest),
        ):
            if broken.any():
                raise ImageStackError(
                    f"{self.table.source}: {self.describe(int(rows[broken.argmax()]))} {what}. "
                    "Remove this particle, or write the stack again."
                )
