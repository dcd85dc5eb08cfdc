"""Atomic models: reading and writing them, their residues, the beads that stand for them, neighbour pairs."""

from cryosphere.structures.beads import Beads
from cryosphere.structures.model import AtomicModel, model_from_structure, read_model
from cryosphere.structures.placement import check_inside_box
from cryosphere.structures.write import ModelWriter, write_model, write_models

__all__ = [
    "AtomicModel",
    "Beads",
    "ModelWriter",
    "check_inside_box",
    "model_from_structure",
    "read_model",
    "write_model",
    "write_models",
]
