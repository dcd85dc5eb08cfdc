"""A segment hidden from the model: does its density come back, and does it come back where it moves to?

A model that never heard of a segment cannot have put it into the images' latents, nor into density that is made of
the images alone. Where the segment appears all the same, the images show it; and where its density follows the motion
that the remaining residues tell of, it moves with them.
"""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from cryosphere.analysis.run import Run
from cryosphere.analysis.segments import Segmentation
from cryosphere.analysis.traversal import traverse
from cryosphere.errors import InputError, RunError
from cryosphere.progress import SILENT, Progress
from cryosphere.structures.model import AtomicModel, model_from_structure, read_model
from cryosphere.structures.write import write_model
from cryosphere.training.run_directory import RunDirectory
from cryosphere.training.trained import TrainedModel
from cryosphere.validation.going_on import train_or_go_on
from cryosphere.volumes.bandwidth import epanechnikov
from cryosphere.volumes.bias import images_drawn
from cryosphere.volumes.distances import structure_distances
from cryosphere.volumes.findings import Conformations, compare_with_density
from cryosphere.volumes.kernel import KernelSettings, KernelVolume, regress_states

log = logging.getLogger(__name__)
Float = NDArray[np.float64]
Mask = NDArray[np.bool_]

FOLDER = "omitted"
SHORTEST = 8  # residues: less is not seen by itself
LARGEST = 0.4  # of all residues: the rest must still tell the motion
PLACED_BY = 500  # images whose structures say where the hidden segment should be, at most


@dataclass(frozen=True)
class Omitted:
    """What came back of a segment that a model was not told of; amplitudes: 1 is as much as of the other residues."""

    segment: str
    residues: tuple[str, ...]
    count: int
    support: float  # mean amplitude of its residues in the density of both ends of the motion
    error: float
    others: float  # the same of all other residues
    elsewhere: float  # where the segment is at the other end of the motion
    verdict: str  # supported (here, and more than elsewhere), weak or absent


def segment_to_hide(segmentation: Segmentation, moves: Float) -> int | None:
    """The segment whose residues move furthest, of those that are neither too short nor most of the molecule.

    moves (R,) Å. None where there is none, or nothing moves.
    """
    sizes = segmentation.residues
    fit = [s for s in segmentation.used if SHORTEST <= sizes[s] <= LARGEST * len(moves)]
    length = {int(s): float(moves[segmentation.assignment == s].mean()) for s in fit}
    best = max(length, key=lambda s: length[s], default=None)
    return best if best is not None and length[best] > 0 else None


def without(model: AtomicModel, hidden: Mask) -> AtomicModel:
    """The model without the residues of some beads (R,)."""
    beads = model.beads
    gone = {
        (str(beads.chain[i]), int(beads.number[i]), str(beads.insertion[i]).strip()) for i in np.flatnonzero(hidden)
    }
    structure = model.structure.clone()
    for chain in structure[0]:
        for place in reversed(range(len(chain))):
            number = chain[place].seqid
            if (chain.name, number.num, number.icode.strip()) in gone:
                del chain[place]
    return model_from_structure(structure, f"{model.name} without a segment")


def train_without(half: TrainedModel, hidden: Mask, outdir: Path, progress: Progress = SILENT) -> TrainedModel:
    """Train a model of a half's images that lacks the hidden residues, in OUT/omitted; or go on with it.

    Raises:
        RunError: if one without other residues lies there.
        KeyboardInterrupt: if training was told to stop.
    """
    folder, path = outdir / FOLDER, outdir / f"{FOLDER}.cif"
    world = half.world
    is_begun = RunDirectory(folder).is_occupied()
    with world.together():
        if world.is_first:
            remaining = without(half.atomic_model, hidden)
            if is_begun and not _same_residues(read_model(RunDirectory(folder).model_path), remaining):
                raise RunError(f"{folder} was trained without other residues: remove it, or choose another --outdir")
            if not is_begun:
                if path.exists() and not _same_residues(read_model(path), remaining):
                    raise InputError(f"{path} is no model without these residues and would be lost: move it away")
                write_model(path, remaining)
    training = half.config.training.model_copy(
        update={"seed": (half.config.training.seed + 7) % 2**63, "device": half.device.type}
    )
    config = half.config.model_copy(update={"model": path.absolute(), "training": training})
    log.info("%s: a model without %d residues", folder, int(hidden.sum()))
    return train_or_go_on(config, folder, progress)


def _same_residues(first: AtomicModel, second: AtomicModel) -> bool:
    return len(first.beads) == len(second.beads) and bool((first.beads.number == second.beads.number).all())


def look_for(
    segmentation: Segmentation, segment: int, half: TrainedModel, lacking: TrainedModel, progress: Progress = SILENT
) -> Omitted:
    """Make density at both ends of the main motion of a model that lacks the segment, and look for the segment in it.

    half: the model of the same images that has the segment; its structures of the images in a volume say where the
    segment should be. It is looked for there, and for comparison where it is at the other end of the motion.
    """
    run = Run(lacking.run.root, model=lacking, progress=progress)
    ends = traverse(run.latents, run.components, 0).latents[[1, -2]].astype(np.float32)
    volumes = regress_states(run, ends, KernelSettings(), progress)
    distances = structure_distances(run, ends)
    places = [_places(half, distances[:, k], one) for k, one in enumerate(volumes)]
    hidden = segmentation.assignment == segment
    spread = [_spread(half, distances[:, k], one) for k, one in enumerate(volumes)]
    states = [one.state for one in volumes]
    sigma, images = float(half.config.beads.sigma), float(len(half.table))
    found, other = (
        compare_with_density(Conformations(segmentation, np.stack(x), sigma, some), states, images, "", progress)
        for x, some in ((places, spread), (_exchanged(places, hidden), _exchanged(spread, hidden)))
    )
    support = found.joint
    own, error = float(support.amplitude[hidden].mean()), float(support.error[hidden].mean())
    elsewhere = float(other.joint.amplitude[hidden].mean())
    verdict = next(one for one in found.segments if one.name == segmentation.names[segment]).verdict
    return Omitted(
        segment=segmentation.names[segment],
        residues=tuple(one.words for one in segmentation.ranges[segment]),
        count=int(hidden.sum()),
        support=own,
        error=error,
        others=float(support.amplitude[~hidden].mean()),
        elsewhere=elsewhere,
        verdict=verdict if verdict != "supported" or own > elsewhere + 2 * error else "weak",
    )


def _exchanged(places: Sequence[Float], hidden: Mask) -> list[Float]:
    """Places (…, R, 3) at both ends of a motion, with the hidden residues of each where the other end has them."""
    both = [one.copy() for one in places]
    for mine, other in zip(both, reversed(places), strict=True):
        mine[..., hidden, :] = other[..., hidden, :]
    return both


def _spread(half: TrainedModel, distances: NDArray[np.float32], volume: KernelVolume) -> Float:
    """Structures of images that a volume is made of, (m, R, 3) Å, drawn as it weighs them: it shows their mean."""
    assert volume.state.bandwidth is not None
    rows = images_drawn(distances, volume.state.bandwidth)
    assert rows is not None
    return np.asarray(half.bead_positions(half.encode(rows).mean), dtype=np.float64)


def _places(half: TrainedModel, distances: NDArray[np.float32], volume: KernelVolume) -> Float:
    """Where the residues are (R, 3) Å, by the structures of the images that a volume is made of, weighted alike."""
    assert volume.state.bandwidth is not None
    weights = epanechnikov(distances, volume.state.bandwidth)
    rows = np.argsort(-weights, kind="stable")[:PLACED_BY]
    rows = np.sort(rows[weights[rows] > 0])
    structures = half.bead_positions(half.encode(rows).mean)
    return np.asarray(np.average(structures, axis=0, weights=weights[rows]), dtype=np.float64)


def in_words(found: Omitted) -> str:
    """One sentence about what came back."""
    where = ", ".join(found.residues)
    return (
        f"Hidden from a model: {found.segment} ({where}). In density made with that model's latents its residues have "
        f"an amplitude of {found.support:.2f} ± {found.error:.2f} (other residues {found.others:.2f}), and "
        f"{found.elsewhere:.2f} where it stands at the other end of the motion: {found.verdict}."
    )
