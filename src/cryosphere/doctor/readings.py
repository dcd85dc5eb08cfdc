"""Ways to read a particle file: as it is written, or with one thing taken otherwise.

A reading says how poses, shifts, pixel size, optics and the order of the rows are to be understood, and on which side
of the projections the images' contrast lies. Which reading explains the images best tells what is wrong with a file.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Literal

import numpy as np

from cryosphere.particles.table import ParticleTable

Order = Literal["as written", "one before", "one after", "reversed"]
MIRRORS = ((1.0, 1.0, -1.0), (1.0, -1.0, 1.0), (-1.0, 1.0, 1.0), (-1.0, -1.0, -1.0))
"""Mirrored structures that differ by half turns about the axes."""
VOLTAGES = (80.0, 100.0, 120.0, 200.0, 300.0)  # kV, of the microscopes that there are
ORDER_MEND = (
    "the image numbers (rlnImageName, blob/idx) do not fit the stack: write stack and particle file anew together"
)
_SAME_VOLTAGE = 0.05  # of it: as good as equal
_FEW_GROUPS = 4  # of optics: each is then tried by itself
_PIXEL_SIZE_TELLS = 0.1  # from 1 Å: below, pixels and Å cannot be told apart


@dataclass(frozen=True)
class Reading:
    """How the files are understood; the default is as they are written."""

    transposed: bool = False  # each rotation is the other program's inverse
    mirror: tuple[float, float, float] | None = None  # the poses are those of the model mirrored so
    shift_factor: float = 1.0  # shifts are so many times what is written
    scale: float = 1.0  # the images' pixels are the written pixel size over this
    scale_ctf: bool = True  # whether the transfer functions were found with the true pixel size, too
    offset: tuple[float, float, float] = (0.0, 0.0, 0.0)  # Å, where the model should be moved
    voltages: tuple[tuple[int, float], ...] = ()  # kV of optics groups (from 0), instead of what is written
    phases_flipped: bool = False  # the images are already corrected for the transfer function's signs
    order: Order = "as written"  # of the images against the rows

    def row_of_image(self, rows: np.ndarray, count: int) -> np.ndarray:
        """The rows of the table that describe the images of the given rows, of `count` in all."""
        match self.order:
            case "one before":
                return (rows - 1) % count
            case "one after":
                return (rows + 1) % count
            case "reversed":
                return count - 1 - rows
        return rows


@dataclass(frozen=True)
class Alternative:
    """A reading in which one thing differs, the fault that it would mean, and its mend, in words."""

    fault: str
    reading: Reading
    meaning: str
    mend: str


def alternatives(reading: Reading, table: ParticleTable) -> Iterator[Alternative]:
    """The readings that differ from the given one in one thing out of a list; scale and offset are searched apart."""
    if not reading.transposed:
        yield Alternative(
            "rotation-transposed",
            replace(reading, transposed=True),
            "the rotations are the inverse of what they should be",
            "transpose the rotation matrices (for Euler angles: -psi, -tilt, -rot) where the particle file was made",
        )
    if reading.mirror is None:
        for mirror in MIRRORS:
            yield Alternative(
                "hand",
                replace(reading, mirror=mirror),
                "the poses belong to the mirror image of this model",
                "the refinement's map has the wrong hand: flip it and let the refinement give the poses anew "
                "(RELION: relion_image_handler --invert_hand; cryoSPARC: Volume Tools, flip handedness), then fit the "
                "model again",
            )
    yield from _shifts(reading, table)
    yield from _optics(reading, table)
    if reading.order == "as written" and len(table) > 2:
        yield from _orders(reading)


def _shifts(reading: Reading, table: ParticleTable) -> Iterator[Alternative]:
    if reading.shift_factor != 1.0 or not np.any(table.shifts):
        return
    yield Alternative(
        "shift-sign",
        replace(reading, shift_factor=-1.0),
        "the shifts have the opposite sign",
        "change the sign of rlnOriginX/YAngst (alignments3D/shift): a particle lies at the box centre minus its shift",
    )
    size = table.pixel_size
    if abs(size - 1) > _PIXEL_SIZE_TELLS:
        for factor, found, meant in ((size, "Å", "pixels"), (1 / size, "pixels", "Å")):
            yield Alternative(
                "shift-unit",
                replace(reading, shift_factor=factor),
                f"the shifts are read as {found}, but were written in {meant}",
                f"convert the shifts ({meant} to {found}, {size:g} Å per pixel), or use the column whose name says the "
                "unit (rlnOriginX/Y: pixels, rlnOriginX/YAngst: Å)",
            )


def _optics(reading: Reading, table: ParticleTable) -> Iterator[Alternative]:
    if not reading.voltages:
        yield from _voltages(reading, table)
    if not reading.phases_flipped:
        yield Alternative(
            "phases-flipped",
            replace(reading, phases_flipped=True),
            "the images have been corrected for the signs of the CTF already",
            "extract the particles without phase flipping",
        )


def _voltages(reading: Reading, table: ParticleTable) -> Iterator[Alternative]:
    """Another voltage for all groups of which the same is written and, where groups are few, for each by itself."""
    sets: dict[tuple[int, ...], float] = {}
    for written in sorted({group.voltage_kv for group in table.optics}):
        sets[tuple(k for k, group in enumerate(table.optics) if group.voltage_kv == written)] = written
    if len(table.optics) <= _FEW_GROUPS:
        sets |= {(k,): group.voltage_kv for k, group in enumerate(table.optics)}
    for groups, written in sets.items():
        which = "the images" if len(groups) == len(table.optics) else f"those of {_named(groups, table)}"
        for voltage in VOLTAGES:
            if abs(voltage - written) > _SAME_VOLTAGE * written:
                yield Alternative(
                    "voltage",
                    replace(reading, voltages=tuple((k, voltage) for k in groups)),
                    f"{which} fit {voltage:g} kV better than the {written:g} kV that the file says",
                    f"correct the voltage (rlnVoltage, ctf/accel_kv) to {voltage:g} kV, or estimate the CTFs again if "
                    "they were estimated with the wrong one",
                )


def _named(groups: tuple[int, ...], table: ParticleTable) -> str:
    names = ", ".join(table.optics[k].name for k in groups[:3])
    return f"optics group{'s' if len(groups) > 1 else ''} {names}{' and others' if len(groups) > 3 else ''}"


def _orders(reading: Reading) -> Iterator[Alternative]:
    orders: tuple[tuple[Order, str], ...] = (
        ("one before", "each image belongs to the row before its own"),
        ("one after", "each image belongs to the row after its own"),
        ("reversed", "the images stand in the opposite order"),
    )
    for order, words in orders:
        yield Alternative(
            "image-order",
            replace(reading, order=order),
            words,
            ORDER_MEND,
        )
