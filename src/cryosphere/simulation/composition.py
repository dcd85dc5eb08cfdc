"""Compositional heterogeneity: which residues are in which images."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from cryosphere.errors import ConfigError
from cryosphere.simulation.conformations import select_beads
from cryosphere.simulation.motion_config import AbsentResidues
from cryosphere.structures.beads import Beads

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Composition:
    """S sets of residues that come and go, and in which of n images each set is."""

    sets: NDArray[np.bool_]  # (S, R)
    presence: NDArray[np.bool_]  # (n, S)

    def present(self, rows: NDArray[np.int64] | slice) -> NDArray[np.bool_]:
        """Which residues the images `rows` hold, (m, R)."""
        lacking = (~self.presence[rows]).astype(np.float32) @ self.sets.astype(np.float32)
        return np.asarray(lacking == 0)


def draw_composition(
    beads: Beads, absent: Sequence[AbsentResidues], images: int, generator: np.random.Generator
) -> Composition:
    """Each set is taken from `fraction` of the images (rounded), chosen at random and for each set on its own.

    Raises:
        ConfigError: for residues that do not exist, or where images would be left without any residue.
    """
    sets = np.zeros((len(absent), len(beads)), dtype=np.bool_)
    presence = np.ones((images, len(absent)), dtype=np.bool_)
    for number, part in enumerate(absent):
        sets[number] = select_beads(beads, part.residues)
        lacking = generator.permutation(images)[: round(part.fraction * images)]
        presence[lacking, number] = False
        log.info("absent: %d of %d images lack %d residues", len(lacking), images, sets[number].sum())
    if len(absent) and sets.any(axis=0).all():
        raise ConfigError("absent: together the sets name all residues of the model; some must be in every image")
    return Composition(sets, presence)
