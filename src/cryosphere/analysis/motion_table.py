"""motions.csv: millions of rows of short numbers, formatted by array arithmetic instead of one by one."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import BinaryIO

import numpy as np
from numpy.typing import NDArray

from cryosphere.analysis.motions import RigidMotions, angles_axes

COLUMNS = (
    "image", "segment", "angle", "axis_x", "axis_y", "axis_z", "translation_x", "translation_y", "translation_z",
)  # fmt: skip
_DECIMALS = (0, 0, 3, 4, 4, 4, 3, 3, 3)


class MotionTable:
    """Writes one row per image and segment: rotation angle in degrees, axis, displacement of the segment's centre in Å.

    Image rows count from 0 in the order of the input, segments from 1 as in segments.csv.
    """

    def __init__(self, path: Path) -> None:
        self._file: BinaryIO = path.open("wb")
        self._file.write((",".join(COLUMNS) + "\n").encode())

    def __enter__(self) -> MotionTable:
        return self

    def __exit__(self, *_: object) -> None:
        self._file.close()

    def append(self, motions: RigidMotions, rows: NDArray[np.int64]) -> None:
        """Add the motions of the images `rows` (n,)."""
        count, segments = motions.quaternions.shape[:2]
        angles, axes = angles_axes(motions.quaternions)
        columns = [
            np.repeat(rows.astype(np.float64), segments),
            np.tile(np.arange(1, segments + 1, dtype=np.float64), count),
            angles.ravel(),
            *axes.reshape(-1, 3).T,
            *motions.translations.reshape(-1, 3).T,
        ]
        self._file.write(fixed_point_rows(columns, _DECIMALS))


def fixed_point_rows(columns: Sequence[NDArray[np.floating]], decimals: Sequence[int]) -> bytes:
    r"""Comma-separated lines of the columns, each (n,), with the given number of decimals each.

    Digits are laid out in a fixed-width array of characters, blanks where a number is shorter; the blanks are removed
    from the finished text. About twenty times faster than formatting number by number.

    >>> fixed_point_rows([np.array([1.0, 20.0]), np.array([-0.5, 3.25])], [0, 2])
    b'1,-0.50\n20,3.25\n'
    """
    fields: list[NDArray[np.uint8]] = []
    for position, (column, places) in enumerate(zip(columns, decimals, strict=True)):
        fields.append(_characters(np.asarray(column, dtype=np.float64), places))
        separator = b"\n" if position == len(columns) - 1 else b","
        fields.append(np.full((len(column), 1), separator[0], dtype=np.uint8))
    return np.concatenate(fields, axis=1).tobytes().replace(b" ", b"")


def _characters(values: NDArray[np.float64], decimals: int) -> NDArray[np.uint8]:
    """(n, width) characters of the values: sign, digits, point, digits, padded with blanks."""
    if not np.isfinite(values).all():
        raise ValueError("a motion is not a finite number")
    scaled = np.rint(np.abs(values) * 10**decimals)
    whole = scaled.astype(np.uint32 if scaled.max(initial=0.0) < 2**32 else np.uint64)
    digits = max(len(str(int(whole.max(initial=0)))), decimals + 1)
    width = 1 + digits + (decimals > 0)
    text = np.full((len(values), width), ord(" "), dtype=np.uint8)
    text[(values < 0) & (whole > 0), 0] = ord("-")
    place = width - 1
    for digit in range(digits):
        if digit == decimals and decimals > 0:
            text[:, place] = ord(".")
            place -= 1
        quotient = whole // 10
        character = (whole - quotient * 10).astype(np.uint8) + np.uint8(ord("0"))
        text[:, place] = character if digit <= decimals else np.where(whole > 0, character, np.uint8(ord(" ")))
        whole = quotient
        place -= 1
    return text
