"""Data sets with one thing wrong, as they come from other programs, conversions and mishaps: what the doctor must find.

Each is made of a sound one: a particle file, its stack, and a model.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from cryosphere.particles.read import read_particles
from cryosphere.particles.stacks import ImageStacks
from cryosphere.particles.star import write_star
from cryosphere.particles.table import ParticleTable
from cryosphere.simulation.stack_writer import StackWriter
from cryosphere.structures.model import AtomicModel, read_model
from cryosphere.structures.write import write_model

PIXEL_SIZE_ERROR = 1.04
OFFSET = 8.0  # Å
REPEATED = 0.05  # of the rows
SPREAD = 1.0  # of the logarithm of the images' scales
_IMAGES_AT_ONCE = 256
_FLIP = np.diag([1.0, 1.0, -1.0])


@dataclass(frozen=True)
class DataSet:
    """Particles and a model; `scales` multiply the images where these are changed, too."""

    table: ParticleTable
    model: AtomicModel
    scales: np.ndarray | None = None  # (n,)


Planting = Callable[[DataSet, np.random.Generator], DataSet]


def _table(**changes: Callable[[ParticleTable, np.random.Generator], Any]) -> Planting:
    """A change of columns of the particle table."""

    def plant(data: DataSet, random: np.random.Generator) -> DataSet:
        columns = {name: change(data.table, random) for name, change in changes.items()}
        return replace(data, table=replace(data.table, **columns))

    return plant


def _optics(table: ParticleTable, **changes: float) -> Any:
    return tuple(replace(group, **changes) for group in table.optics)  # type: ignore[arg-type]


def _displaced(data: DataSet, random: np.random.Generator) -> DataSet:
    direction = random.standard_normal(3)
    return replace(data, model=data.model.translated(OFFSET * direction / np.linalg.norm(direction)))


def _repeated(data: DataSet, random: np.random.Generator) -> DataSet:
    count = len(data.table)
    again = random.choice(count, max(1, round(REPEATED * count)), replace=False)
    return replace(data, table=data.table[np.sort(np.concatenate([np.arange(count), again]))])


FAULTS: dict[str, tuple[str, str, Planting]] = {
    "dark protein": ("contrast", "all images times -1", lambda d, _: replace(d, scales=np.full(len(d.table), -1.0))),
    "mirrored hand": (
        "hand",
        "poses of the mirror image, z to -z",
        _table(rotations=lambda t, _: _FLIP @ t.rotations @ _FLIP),
    ),
    "mirrored hand, x": (
        "hand",
        "poses of the mirror image, x to -x",
        _table(rotations=lambda t, _: _FLIP @ t.rotations @ np.diag([-1.0, 1.0, 1.0])),
    ),
    "negated shifts": ("shift-sign", "x and y of all shifts times -1", _table(shifts=lambda t, _: -t.shifts)),
    "pixels read as Å": (
        "shift-unit",
        "numbers of pixels in the column of Å",
        _table(shifts=lambda t, _: t.shifts / t.pixel_size),
    ),
    "Å read as pixels": (
        "shift-unit",
        "Å in the column of pixels",
        _table(shifts=lambda t, _: t.shifts * t.pixel_size),
    ),
    "transposed rotations": (
        "rotation-transposed",
        "the inverse of every rotation",
        _table(rotations=lambda t, _: t.rotations.swapaxes(1, 2).copy()),
    ),
    "pixels too large": (
        "pixel-size",
        "4 % above the truth",
        _table(optics=lambda t, _: _optics(t, pixel_size=t.pixel_size * PIXEL_SIZE_ERROR)),
    ),
    "pixels too small": (
        "pixel-size",
        "4 % below the truth",
        _table(optics=lambda t, _: _optics(t, pixel_size=t.pixel_size / PIXEL_SIZE_ERROR)),
    ),
    "model off centre": ("model-offset", "moved by 8 Å, direction at random", _displaced),
    "shuffled images": (
        "image-order",
        "image numbers permuted at random",
        _table(image_index=lambda t, random: random.permutation(t.image_index)),
    ),
    "images off by one": (
        "image-order",
        "every row names the next image",
        _table(image_index=lambda t, _: np.roll(t.image_index, -1)),
    ),
    "wrong voltage": ("voltage", "200 kV instead of 300", _table(optics=lambda t, _: _optics(t, voltage_kv=200.0))),
    "repeated rows": ("duplicates", "5 % of the rows twice", _repeated),
    "mixed scales": (
        "normalisation",
        "each image times a number, logarithm normal with deviation 1",
        lambda d, random: replace(d, scales=np.exp(SPREAD * random.standard_normal(len(d.table)))),
    ),
}
"""By name: the fault that the doctor should report, what was done, and how."""


def plant(name: str, particles: Path, model: Path, outdir: Path, *, seed: int) -> tuple[Path, Path]:
    """Write a data set with one fault of FAULTS into a folder; returns its particle file and its model.

    The images stay where they are, unless the fault is theirs.

    Raises:
        KeyError: for a fault that is not in the list.
    """
    _, _, change = FAULTS[name]
    stacks = ImageStacks(read_particles(particles))
    data = change(DataSet(stacks.located(), read_model(model)), np.random.default_rng(seed))
    outdir.mkdir(parents=True, exist_ok=True)
    table = data.table
    if data.scales is not None:
        _write_scaled(stacks, data.scales, outdir / "particles.mrcs")
        table = replace(
            table,
            stacks=(str((outdir / "particles.mrcs").absolute()),),
            stack_index=np.zeros(len(table), dtype=np.int64),
            image_index=np.arange(len(table)),
        )
    write_star(outdir / "particles.star", table)
    write_model(outdir / "model.cif", data.model)
    return outdir / "particles.star", outdir / "model.cif"


def _write_scaled(stacks: ImageStacks, scales: np.ndarray, path: Path) -> None:
    with StackWriter(path, count=len(stacks), box=stacks.box, pixel_size=stacks.table.pixel_size) as writer:
        for start in range(0, len(stacks), _IMAGES_AT_ONCE):
            rows = np.arange(start, min(start + _IMAGES_AT_ONCE, len(stacks)))
            writer.write((stacks.read(rows) * scales[rows, None, None]).astype(np.float32))
