"""Which column of a particle file means what: one table of names for RELION and cryoSPARC, and the checks both need."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from math import radians
from pathlib import Path
from typing import Literal

import numpy as np
import pandas as pd

from cryosphere.errors import ParticleError
from cryosphere.particles.table import Float, Integer, OpticsGroup

Program = Literal["relion", "cryosparc"]


@dataclass(frozen=True)
class Column:
    """One number per particle under its three names. `relion_unit`: what 1 in the STAR file is in our unit."""

    field: str
    relion: str
    cryosparc: str
    relion_unit: float = 1.0
    default: float | None = None  # None: the file must have it

    def name(self, program: Program) -> str:
        """The column's name in the files of that program."""
        return self.relion if program == "relion" else self.cryosparc

    def unit(self, program: Program) -> float:
        """Factor from the file's unit to ours; cryoSPARC writes radians and Å as we do."""
        return self.relion_unit if program == "relion" else 1.0


OPTICS_COLUMNS = (
    Column("voltage_kv", "rlnVoltage", "ctf/accel_kv"),
    Column("spherical_aberration_mm", "rlnSphericalAberration", "ctf/cs_mm"),
    Column("amplitude_contrast", "rlnAmplitudeContrast", "ctf/amp_contrast"),
)
CTF_COLUMNS = (
    Column("defocus_u", "rlnDefocusU", "ctf/df1_A"),
    Column("defocus_v", "rlnDefocusV", "ctf/df2_A"),
    Column("defocus_angle", "rlnDefocusAngle", "ctf/df_angle_rad", relion_unit=radians(1)),
    Column("phase_shift", "rlnPhaseShift", "ctf/phase_shift_rad", relion_unit=radians(1), default=0.0),
    Column("b_factor", "rlnCtfBfactor", "ctf/bfactor", default=0.0),
    Column("ctf_scale", "rlnCtfScalefactor", "ctf/scale", default=1.0),
)

# Aberrations that other programs can refine and that our CTF leaves out; their presence is worth a word in the log.
UNMODELLED = {
    "relion": ("rlnBeamTiltX", "rlnBeamTiltY", "rlnOddZernike", "rlnEvenZernike", "rlnMagMat00"),
    "cryosparc": ("ctf/shift_A", "ctf/tilt_A", "ctf/trefoil_A", "ctf/tetra_A", "ctf/anisomag"),
}


def missing_columns(columns: Sequence[Column], program: Program, present: Collection[str]) -> list[str]:
    """Names of the columns that the file must have and has not."""
    return [c.name(program) for c in columns if c.default is None and c.name(program) not in present]


def translate(
    columns: Sequence[Column], program: Program, values: Mapping[str, Float], source: Path
) -> dict[str, Float]:
    """Our fields in our units, each (n,) float64, from a program's columns; absent optional ones get their default.

    Raises ParticleError naming row and column for a value that is not finite.
    """
    check_finite({c.name(program): values[c.name(program)] for c in columns if c.name(program) in values}, source)
    count = len(next(iter(values.values())))
    result: dict[str, Float] = {}
    for column in columns:
        found = values.get(column.name(program))
        filler = 0.0 if column.default is None else column.default
        result[column.field] = np.full(count, filler) if found is None else found * column.unit(program)
    return result


def check_finite(values: Mapping[str, Float], source: Path) -> None:
    """Raise ParticleError naming the first row (from 1) and column whose value is NaN or infinite."""
    for name, column in values.items():
        broken = np.flatnonzero(~np.isfinite(column.reshape(len(column), -1)).all(axis=1))
        if len(broken):
            raise ParticleError(
                f"{source}: {name} of particle row {broken[0] + 1} is {column[broken[0]]}, and {len(broken)} row(s) in "
                "all are like it; a finite number is needed. Remove these particles or repair the file."
            )


def check_positive(values: Mapping[str, Float], source: Path) -> None:
    """Raise ParticleError naming the first row and column whose value is not a finite number above zero."""
    check_finite(values, source)
    for name, column in values.items():
        broken = np.flatnonzero(column <= 0)
        if len(broken):
            raise ParticleError(
                f"{source}: {name} of particle row {broken[0] + 1} is {column[broken[0]]}; a number above 0 is needed."
            )


def group_optics(
    settings: Mapping[str, Float], group: Integer, names: Sequence[str], source: Path
) -> tuple[tuple[OpticsGroup, ...], Integer]:
    """Gather particles with equal microscope settings into optics groups.

    settings: one (n,) array per numeric property of OpticsGroup; a box of NaN means that the file does not say.
    group: (n,) the file's own grouping, which is kept apart; names: what the file calls those groups.
    Returns the groups and each particle's position in them, (n,). Raises ParticleError for impossible settings.
    """
    check_positive({name: settings[name] for name in ("voltage_kv", "pixel_size")}, source)
    contrast = settings["amplitude_contrast"]
    if np.any(outside := ~((contrast >= 0) & (contrast <= 1))):
        row = int(np.flatnonzero(outside)[0])
        raise ParticleError(
            f"{source}: the amplitude contrast of particle row {row + 1} is {contrast[row]}; it lies between 0 and 1."
        )
    frame = pd.DataFrame({"group": group, **settings})
    index: Integer = np.asarray(frame.groupby(list(frame.columns), sort=True, dropna=False).ngroup(), dtype=np.int64)
    first = np.unique(index, return_index=True)[1]
    labels = [names[group[row]] for row in first] if len(names) else []
    if len(set(labels)) < len(first):  # the file has no names, or one of its groups holds different settings
        labels = [f"opticsGroup{number + 1}" for number in range(len(first))]
    return tuple(_optics_group(label, frame.iloc[row]) for label, row in zip(labels, first, strict=True)), index


def _optics_group(name: str, row: pd.Series[float]) -> OpticsGroup:
    box = float(row["box"])
    return OpticsGroup(
        name=name,
        voltage_kv=float(row["voltage_kv"]),
        spherical_aberration_mm=float(row["spherical_aberration_mm"]),
        amplitude_contrast=float(row["amplitude_contrast"]),
        pixel_size=float(row["pixel_size"]),
        box=None if np.isnan(box) else int(box),
    )
