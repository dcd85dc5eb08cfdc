"""What can be told without the model: duplicates, optics that no microscope has, images that were not normalised."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from cryosphere.particles.stacks import ImageStacks
from cryosphere.particles.table import ParticleTable
from cryosphere.progress import SILENT, Progress

MOST_FINGERPRINTS = 200_000
_CONFIRMED = 500  # pairs that are compared pixel by pixel

PLAUSIBLE_VOLTAGE = (60.0, 1300.0)  # kV
PLAUSIBLE_ABERRATION = (0.0, 10.0)  # mm
PLAUSIBLE_AMPLITUDE_CONTRAST = (0.0, 0.5)
PLAUSIBLE_DEFOCUS = (500.0, 100_000.0)  # Å, underfocus
PLAUSIBLE_ASTIGMATISM = 10_000.0  # Å


@dataclass(frozen=True)
class Duplicates:
    """Images that a particle file holds more than once."""

    rows: int  # that repeat an earlier one
    looked_at: int
    same_pose: int  # of those rows, with the same pose, too
    example: tuple[int, int] | None  # rows, from 0


def find_duplicates(table: ParticleTable, stacks: ImageStacks, seed: int, progress: Progress = SILENT) -> Duplicates:
    """Rows that name an image named before, and images that are equal to another to the last bit.

    All rows' names are compared, and the middle lines of all images, or of 200,000 where there are more; images whose
    lines agree are then compared whole.
    """
    name = stacks.file_of_row.astype(np.int64) * (int(table.image_index.max()) + 1) + table.image_index
    _, first, inverse = np.unique(name, return_index=True, return_inverse=True)
    original = first[inverse]
    repeated = np.flatnonzero(original != np.arange(len(table)))
    rows = np.sort(first)
    if len(rows) > MOST_FINGERPRINTS:
        rows = np.sort(np.random.default_rng(seed).choice(rows, MOST_FINGERPRINTS, replace=False))
    pairs = _equal_images(table, stacks, rows, progress)
    again = np.concatenate([np.stack([original[repeated], repeated], axis=1), pairs])
    if not len(again):
        return Duplicates(0, len(rows), 0, None)
    same = _same_pose(table, again)
    return Duplicates(len(np.unique(again[:, 1])), len(rows), int(same.sum()), (int(again[0, 0]), int(again[0, 1])))


def _same_pose(table: ParticleTable, pairs: NDArray[np.int64]) -> NDArray[np.bool_]:
    one, other = table.rotations[pairs[:, 0]], table.rotations[pairs[:, 1]]
    return np.asarray(np.abs(one - other).max(axis=(1, 2)) < 1e-3)


def _equal_images(
    table: ParticleTable, stacks: ImageStacks, rows: NDArray[np.int64], progress: Progress
) -> NDArray[np.int64]:
    """Pairs of rows, the earlier one first, whose images are equal."""
    lines = np.empty(len(rows), dtype=np.uint64)
    usable = np.ones(len(rows), dtype=bool)
    files = stacks.file_of_row[rows]
    with progress.track(len(rows), "looking for equal images") as advance:
        for number in np.unique(files):  # file by file
            here = np.flatnonzero(files == number)
            images = stacks.files[number].images()
            middle = np.ascontiguousarray(images[table.image_index[rows[here]], images.shape[1] // 2])
            usable[here] = (middle != middle[:, :1]).any(axis=1)  # simulated images may be empty there
            lines[here] = _digests(middle)
            advance(len(here))
    candidates = np.flatnonzero(usable)
    _, first, inverse = np.unique(lines[candidates], return_index=True, return_inverse=True)
    earlier = candidates[first[inverse]]
    pairs = np.stack([rows[earlier], rows[candidates]], axis=1)[earlier != candidates]
    checked = pairs[:_CONFIRMED]
    if len(checked):
        equal = (stacks.read(checked[:, 0]) == stacks.read(checked[:, 1])).all(axis=(1, 2))
        pairs = np.concatenate([checked[equal], pairs[_CONFIRMED:]]) if equal.any() else pairs[:0]
    found: NDArray[np.int64] = pairs
    return found


def _digests(lines: NDArray[np.generic]) -> NDArray[np.uint64]:
    """A number for each line, equal for equal lines and hardly ever for others."""
    words = np.ascontiguousarray(lines).view(np.uint8).reshape(len(lines), -1).astype(np.uint64)
    factors = np.random.default_rng(0).integers(1, 2**63, words.shape[1], dtype=np.uint64)
    return np.asarray((words * factors).sum(axis=1, dtype=np.uint64))  # modulo 2^64


def implausible_optics(table: ParticleTable) -> list[tuple[str, str]]:
    """What no microscope has: (fault, what was found), empty if all is plausible."""
    found: list[tuple[str, str]] = []
    for group in table.optics:
        for fault, what, value, (low, high), unit in (
            ("voltage", "voltage", group.voltage_kv, PLAUSIBLE_VOLTAGE, "kV"),
            ("optics", "spherical aberration", group.spherical_aberration_mm, PLAUSIBLE_ABERRATION, "mm"),
            ("optics", "amplitude contrast", group.amplitude_contrast, PLAUSIBLE_AMPLITUDE_CONTRAST, ""),
        ):
            if not low <= value <= high:
                found.append((fault, f"optics group {group.name}: {what} {value:g} {unit}".rstrip()))
    mean = 0.5 * (table.defocus_u + table.defocus_v)
    low, high = PLAUSIBLE_DEFOCUS
    outside = (mean < low) | (mean > high)
    if outside.mean() > 0.05:
        unit = " (given in µm?)" if 0 < np.median(mean) < 20 else " (overfocus?)" if np.median(mean) < 0 else ""
        found.append(
            (
                "defocus",
                f"{outside.sum():,} of {len(table):,} rows have a defocus outside {low:g} to {high:g} Å, "
                f"their median is {np.median(mean[outside]):g} Å{unit}",
            )
        )
    astigmatism = np.abs(table.defocus_u - table.defocus_v) > PLAUSIBLE_ASTIGMATISM
    if astigmatism.mean() > 0.05:
        found.append(("defocus", f"{astigmatism.sum():,} rows have an astigmatism above {PLAUSIBLE_ASTIGMATISM:g} Å"))
    return found


@dataclass(frozen=True)
class Normalisation:
    """Grey values in the background of images as they are in the stack."""

    spread: float  # 95th over 5th percentile of the images' standard deviations
    offset: float  # median over images of |mean| / standard deviation
    deviation: float  # median standard deviation
    quiet: float  # median of the background's standard deviation over the whole image's: near 1 where noise prevails


def normalisation(
    mean: NDArray[np.float64], deviation: NDArray[np.float64], whole: NDArray[np.float64]
) -> Normalisation:
    """Of a sample of images, from mean and standard deviation outside the particle, and that of the whole image."""
    steady = np.maximum(deviation, 1e-12 * max(float(whole.max()), 1e-30))
    low, high = np.percentile(steady, [5, 95])
    return Normalisation(
        spread=float(high / low),
        offset=float(np.median(np.abs(mean) / steady)),
        deviation=float(np.median(deviation)),
        quiet=float(np.median(deviation / np.maximum(whole, 1e-30))),
    )
