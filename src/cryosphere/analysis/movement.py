"""How far residues and segments move over the images, and between the ends of a traversal."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from cryosphere.analysis.bodies import Body
from cryosphere.analysis.motions import (
    RigidMotions,
    about_centres,
    angles_axes,
    batches,
    change,
    in_frame_of,
    relative_to,
)
from cryosphere.analysis.segments import Segmentation
from cryosphere.geometry.rigid_bodies import rigid_bodies

if TYPE_CHECKING:
    from cryosphere.training.trained import TrainedModel

Float = NDArray[np.float64]
_NUMBERS_PER_BATCH = 30_000_000  # coordinates held at once


@dataclass(frozen=True)
class SegmentMovement:
    """Motion of every segment relative to the reference, between the two ends of a traversal."""

    angles: Float  # (N,) degrees
    axes: Float  # (N, 3)
    displacements: Float  # (N,) Å, of the segment's centre
    residue_rms: Float  # (N,) Å: root mean square displacement of the segment's residues; 0 for an empty segment


def images_per_batch(points: int) -> int:
    """How many structures of that many points are held in memory at once."""
    return int(np.clip(_NUMBERS_PER_BATCH // (3 * max(points, 1)), 1, 1024))


def segment_motions(model: TrainedModel, segmentation: Segmentation, z: NDArray[np.floating]) -> RigidMotions:
    """Absolute motions of the segments about their own centres at the latents z (n, L)."""
    return about_centres(model.motions(np.asarray(z, dtype=np.float32)), segmentation.centres)


def bodies_between_ends(
    model: TrainedModel, segmentation: Segmentation, z: NDArray[np.floating], tolerance: float
) -> tuple[tuple[int, ...], ...]:
    """Segments that move as one between the latents of each pair z (P, 2, L), largest body first; -1: held fixed.

    Segments that move against each other by less than `tolerance` Å (RMS) count as one body.
    """
    start, end = (model.bead_positions(np.asarray(z[:, i], dtype=np.float32)).astype(np.float64) for i in (0, 1))
    return tuple(rigid_bodies(start, end, segmentation.assignment, tolerance))


def between_ends(
    model: TrainedModel, segmentation: Segmentation, reference: Body, z: NDArray[np.floating]
) -> SegmentMovement:
    """How every segment moves from the first to the last of the latents z (points, L), seen from the reference."""
    relative = relative_to(segment_motions(model, segmentation, z[[0, -1]]), reference)
    first, last = (
        RigidMotions(relative.quaternions[[i]], relative.translations[[i]], relative.centres) for i in (0, 1)
    )
    moved = change(first, last)
    angles, axes = angles_axes(moved.quaternions[0])
    start, end = bead_frames(model, segmentation, reference, z[[0, -1]]).astype(np.float64)
    squared = ((end - start) ** 2).sum(axis=-1) @ (segmentation.assignment[:, None] == np.arange(segmentation.count))
    rms = np.sqrt(squared / np.maximum(segmentation.residues, 1))
    return SegmentMovement(angles, axes, moved.displacements[0], rms)


def residue_movement(
    model: TrainedModel, segmentation: Segmentation, reference: Body, z: NDArray[np.floating], *, limit: int = 2000
) -> Float:
    """RMS displacement (R,) in Å of each residue about its mean position over the images.

    Structures are first brought to coincide on the reference. z (n, L); at most `limit` images, evenly spread
    through the data set, are used: the figure does not get more precise with more.
    """
    rows = np.unique(np.linspace(0, len(z) - 1, min(limit, len(z))).round().astype(np.int64))
    residues = len(segmentation.assignment)
    base = np.asarray(segmentation.beads.positions, dtype=np.float64)
    total, squared = np.zeros((residues, 3)), np.zeros((residues, 3))
    for part in batches(len(rows), min(128, images_per_batch(residues))):
        latents = np.asarray(z[rows[part]], dtype=np.float32)
        motions = segment_motions(model, segmentation, latents)
        offset = in_frame_of(model.bead_positions(latents), motions, reference) - base
        total += offset.sum(axis=0)
        squared += (offset**2).sum(axis=0)
    variance = squared / len(rows) - (total / len(rows)) ** 2
    return np.asarray(np.sqrt(np.clip(variance, 0.0, None).sum(axis=-1)))


def superposed_atom_frames(
    model: TrainedModel, segmentation: Segmentation, reference: Body, z: NDArray[np.floating]
) -> Iterator[NDArray[np.float32]]:
    """All-atom structures (n_atoms, 3) Å at the latents z, brought to coincide on the reference."""
    for index, frame in enumerate(atom_frames(model, z)):
        motions = segment_motions(model, segmentation, z[index : index + 1])
        yield in_frame_of(frame[None], motions, reference)[0]


def atom_frames(model: TrainedModel, z: NDArray[np.floating]) -> Iterator[NDArray[np.float32]]:
    """All-atom structures (n_atoms, 3) Å at the latents z (points, L), one after another, where the images see them."""
    for part in batches(len(z), images_per_batch(len(model.atomic_model.positions))):
        yield from model.atom_positions(np.asarray(z[part], dtype=np.float32))


def bead_frames(
    model: TrainedModel, segmentation: Segmentation, reference: Body, z: NDArray[np.floating]
) -> NDArray[np.float32]:
    """Residue positions (points, R, 3) Å at the latents z, brought to coincide on the reference."""
    latents = np.asarray(z, dtype=np.float32)
    motions = segment_motions(model, segmentation, latents)
    return in_frame_of(model.bead_positions(latents), motions, reference)


def summarise(values: Float, percentiles: Sequence[float] = (5, 25, 50, 75, 95)) -> Float:
    """Percentiles (len(percentiles), N) over the images of values (n, N)."""
    return np.asarray(np.percentile(values, percentiles, axis=0))
