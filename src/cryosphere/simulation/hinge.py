"""Hinge motion: domains of the protein turn about axes through their attachments."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from scipy.spatial.transform import Rotation

from cryosphere.errors import ConfigError
from cryosphere.simulation.config import HingeDomain, HingeMotion, NormalMixture, UniformAngles
from cryosphere.simulation.conformations import Conformations, select_beads
from cryosphere.structures.beads import Beads
from cryosphere.structures.model import AtomicModel


def hinge_conformations(
    model: AtomicModel, motion: HingeMotion, count: int, generator: np.random.Generator
) -> Conformations:
    """`count` conformations: each domain turned about its axis by one angle drawn for the conformation.

    Raises:
        ConfigError: if a domain's residues do not exist, belong to two domains, or hang on nothing to turn about.
    """
    angles = draw_angles(motion.angles, count, generator)
    beads = model.beads
    domain = np.zeros(len(beads), dtype=np.int64)
    positions = np.repeat(beads.positions[None].astype(np.float32), count, axis=0)
    for number, part in enumerate(motion.domains, start=1):
        moving = select_beads(beads, part.residues)
        if np.any(domain[moving]):
            raise ConfigError(f"motion.domains: domain {number} shares residues with domain {domain[moving].max()}")
        domain[moving] = number
        pivot = _pivot(beads, moving, part, number)
        positions[:, moving] = turned(beads.positions[moving], np.asarray(part.axis), pivot, angles)
    return Conformations(
        model=model, positions=positions, parameter_names=("angle",), parameters=angles[:, None], domain=domain
    )


def draw_angles(
    distribution: NormalMixture | UniformAngles, count: int, generator: np.random.Generator
) -> NDArray[np.float64]:
    """Angles in radians, (count,), drawn from the distribution."""
    if isinstance(distribution, UniformAngles):
        degrees = generator.uniform(distribution.low_degrees, distribution.high_degrees, count)
        return np.asarray(np.deg2rad(degrees))
    means = np.asarray(distribution.means_degrees)
    weights = np.ones(len(means)) if distribution.weights is None else np.asarray(distribution.weights)
    component = generator.choice(len(means), size=count, p=weights / weights.sum())
    spreads = np.asarray(distribution.standard_deviations_degrees)
    return np.asarray(np.deg2rad(means[component] + spreads[component] * generator.standard_normal(count)))


def turned(
    points: NDArray[np.float64], axis: NDArray[np.float64], pivot: NDArray[np.float64], angles: NDArray[np.float64]
) -> NDArray[np.float64]:
    """Points (m, 3) turned right-handedly about an axis through `pivot` by each angle (k,) in radians: (k, m, 3)."""
    direction = axis / np.linalg.norm(axis)
    matrices = Rotation.from_rotvec(angles[:, None] * direction).as_matrix()
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
