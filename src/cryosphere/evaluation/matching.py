"""Whether a run and a truth are of the same images of the same protein."""

from __future__ import annotations

import logging

import numpy as np

from cryosphere.errors import InputError
from cryosphere.evaluation.measures import aligned_deviation, deviation
from cryosphere.simulation.truth import Truth
from cryosphere.training.trained import TrainedModel

log = logging.getLogger(__name__)

ELSEWHERE = 2.0  # Å; the model on the disk is rounded to 0.001 Å
UNRELATED_POSES = 45.0  # degrees, median difference from the true poses; any refinement that worked is far better


def require_same_data(model: TrainedModel, truth: Truth) -> None:
    """Refuse a truth of other images than the run's, or in another order, or of another protein.

    Raises:
        InputError: saying what differs.
    """
    images, residues = len(model.table), len(model.atomic_model.beads)
    if images != len(truth.conformation_index) or residues != len(truth.amplitudes):
        raise InputError(
            f"{model.run.root} has {images} images of {residues} residues, the truth {len(truth.conformation_index)} "
            f"of {len(truth.amplitudes)}: they do not belong together"
        )
    beads = model.atomic_model.beads
    differs = (beads.chain != truth.chain) | (beads.number != truth.residue_number)
    other = np.flatnonzero(differs | (beads.insertion != truth.insertion) | (beads.name != truth.residue_name))
    if len(other):
        i = int(other[0])
        raise InputError(
            f"{model.run.root} and the truth are of different proteins: residue {i + 1} of the model is "
            f"{beads.chain[i]}:{beads.number[i]}{beads.insertion[i]} {beads.name[i]} in one, {truth.chain[i]}:"
            f"{truth.residue_number[i]}{truth.insertion[i]} {truth.residue_name[i]} in the other"
        )
    traces = np.einsum("nij,nij->n", model.table.rotations, truth.rotations)
    turned = float(np.median(np.degrees(np.arccos(np.clip((traces - 1.0) / 2.0, -1.0, 1.0)))))
    if turned > UNRELATED_POSES:
        raise InputError(
            f"the poses of {model.run.root} differ from the true ones by {turned:.0f} degrees (median): these are "
            "other images, or in another order"
        )
    _tell_of_another_frame(model, truth)


def _tell_of_another_frame(model: TrainedModel, truth: Truth) -> None:
    """Warn where the run's model is the simulation's, but lies elsewhere: structures are compared as they lie."""
    own, base = model.atomic_model.beads.positions[None], truth.base_positions[None]
    apart, alike = float(deviation(own, base)[0]), float(aligned_deviation(own, base)[0])
    if apart > ELSEWHERE and alike < 0.5 * apart:
        log.warning(
            "the model of %s lies %.1f Å (RMSD) from where the simulation had it, and only %.1f Å after superposition; "
            "train with the model.cif that lies beside the simulated images",
            model.run.root,
            apart,
            alike,
        )
