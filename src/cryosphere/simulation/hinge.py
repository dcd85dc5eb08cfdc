"""Hinge motion: domains of the protein turn about axes through their attachments."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from scipy.spatial.transform import Rotation

from cryosphere.errors import ConfigError
from cryosphere.simulation.conformations import Conformations, label_domains
from cryosphere.simulation.motion_config import DiscreteAngles, HingeDomain, HingeMotion, NormalMixture, UniformAngles
from cryosphere.simulation.populations import drawn_mixture
from cryosphere.structures.beads import Beads
from cryosphere.structures.model import AtomicModel

_AT_ONCE = 256  # conformations in double precision


def hinge_conformations(
    model: AtomicModel, motion: HingeMotion, count: int, generator: np.random.Generator
) -> Conformations:
    """`count` conformations: each domain turned about its axis by its scale times one angle drawn for it.

    Of discrete angles, one conformation each, with their weights.

    Raises:
        ConfigError: if a domain's residues do not exist, belong to two domains, or hang on nothing to turn about.
    """
    angles = draw_angles(motion.angles, count, generator)
    beads = model.beads
    labels = label_domains(beads, [part.residues for part in motion.domains])
    positions = np.repeat(beads.positions[None].astype(np.float32), len(angles), axis=0)
    turns = np.tile(np.eye(3), (len(angles), len(motion.domains) + 1, 1, 1))
    for number, part in enumerate(motion.domains, start=1):
        moving = labels == number
        pivot = _pivot(beads, moving, part, number)
        axis, turned_by = np.asarray(part.axis), part.scale * angles
        for start in range(0, len(angles), _AT_ONCE):
            rows = slice(start, start + _AT_ONCE)
            positions[rows, moving] = turned(beads.positions[moving], axis, pivot, turned_by[rows])
        turns[:, number] = rotations_about(axis, turned_by)
    shares = motion.angles.weights if isinstance(motion.angles, DiscreteAngles) else None
    return Conformations(
        model=model,
        positions=positions,
        parameter_names=("angle",),
        parameters=angles[:, None],
        domain=labels,
        turns=turns,
        weights=None if shares is None else np.asarray(shares),
    )


def draw_angles(
    distribution: NormalMixture | UniformAngles | DiscreteAngles, count: int, generator: np.random.Generator
) -> NDArray[np.float64]:
    """Angles in radians, (count,), drawn from the distribution; of discrete ones all of them, once."""
    if isinstance(distribution, DiscreteAngles):
        return np.deg2rad(np.asarray(distribution.angles_degrees, dtype=np.float64))
    if isinstance(distribution, UniformAngles):
        degrees = generator.uniform(distribution.low_degrees, distribution.high_degrees, count)
        return np.asarray(np.deg2rad(degrees))
    means, spreads = distribution.means_degrees, distribution.standard_deviations_degrees
    return np.asarray(np.deg2rad(drawn_mixture(means, spreads, distribution.weights, count, generator)))


def rotations_about(axis: NDArray[np.float64], angles: NDArray[np.float64]) -> NDArray[np.float64]:
    """Matrices (k, 3, 3) of right-handed turns about an axis of any length by angles (k,) in radians."""
    direction = axis / np.linalg.norm(axis)
    return np.asarray(Rotation.from_rotvec(angles[:, None] * direction).as_matrix())


def turned(
    points: NDArray[np.float64], axis: NDArray[np.float64], pivot: NDArray[np.float64], angles: NDArray[np.float64]
) -> NDArray[np.float64]:
    """Points (m, 3) turned right-handedly about an axis through `pivot` by each angle (k,) in radians: (k, m, 3)."""
    matrices = rotations_about(axis, angles)
    return np.asarray((points - pivot) @ matrices.swapaxes(-1, -2) + pivot)


def _pivot(beads: Beads, moving: NDArray[np.bool_], part: HingeDomain, number: int) -> NDArray[np.float64]:
    """The point the domain turns about: the given one, or the middle of the bonds that join it to the rest."""
    if part.pivot != "attachment":
        return np.asarray(part.pivot, dtype=np.float64)
    first, second = beads.bonded.reshape(-1, 2).T
    crossing = moving[first] != moving[second]
    if not crossing.any():
        raise ConfigError(
            f"motion.domains: domain {number} is bonded to nothing outside it, so it has no attachment to turn about; "
            "give `pivot` as [x, y, z]"
        )
    return np.asarray(beads.positions[beads.bonded[crossing]].mean(axis=(0, 1)))
