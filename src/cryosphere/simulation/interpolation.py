"""The way from one structure to another, on which rigid bodies move as screws."""

from __future__ import annotations

import logging

import numpy as np
from numpy.typing import NDArray
from scipy.special import ndtr, ndtri

from cryosphere.errors import ConfigError
from cryosphere.simulation.body_search import find_bodies
from cryosphere.simulation.conformations import Conformations, label_domains, match_residues, polymer, select_beads
from cryosphere.simulation.motion_config import DiscreteStates, InterpolationMotion, NormalMixtureStates, UniformStates
from cryosphere.simulation.superposition import Screw, superposition
from cryosphere.structures.beads import Beads
from cryosphere.structures.model import read_model

log = logging.getLogger(__name__)

Array = NDArray[np.float64]

_AT_ONCE = 256  # conformations in double precision


def interpolated_conformations(
    motion: InterpolationMotion, count: int, generator: np.random.Generator
) -> Conformations:
    """`count` conformations between two structures; of discrete states, one each, with their weights.

    Each body's motion from start to end is a screw, and a conformation at t has gone the fraction t of its turn and its
    shift. What remains inside a body (it is never perfectly rigid) goes along a straight line in the body's own frame,
    so that t = 0 and t = 1 are the given structures.

    Raises:
        ConfigError: for domains that do not exist or overlap.
        StructureError: where a file cannot be read, or the end lacks residues of the start.
    """
    model, other = read_model(motion.start), read_model(motion.end)
    beads = model.beads
    start = beads.positions
    end = other.beads.positions[match_residues(other.beads, beads, str(motion.end))]
    if motion.domains == "auto":
        labels = find_bodies(beads, start, end)
    else:
        labels = label_domains(beads, [domain.residues for domain in motion.domains])
    end = _superposed(beads, end, labels, motion)
    fractions = draw_states(motion.states, count, generator)
    positions = np.empty((len(fractions), len(beads), 3), dtype=np.float32)
    turns = np.tile(np.eye(3), (len(fractions), int(labels.max()) + 1, 1, 1))
    for label in np.unique(labels):
        inside = labels == label
        for begin in range(0, len(fractions), _AT_ONCE):
            rows = slice(begin, begin + _AT_ONCE)
            positions[rows, inside], turns[rows, label] = _along(start[inside], end[inside], fractions[rows])
    shares = motion.states.weights if isinstance(motion.states, DiscreteStates) else None
    return Conformations(
        model=model,
        positions=positions,
        parameter_names=("t",),
        parameters=fractions[:, None],
        domain=labels,
        turns=turns,
        weights=None if shares is None else np.asarray(shares),
    )


def draw_states(
    states: NormalMixtureStates | UniformStates | DiscreteStates, count: int, generator: np.random.Generator
) -> Array:
    """Fractions of the way, (count,), from 0 to 1; of discrete ones all of them, once.

    Of a normal distribution only the part between 0 and 1 is drawn from.
    """
    if isinstance(states, DiscreteStates):
        return np.asarray(states.values, dtype=np.float64)
    if isinstance(states, UniformStates):
        return generator.uniform(states.low, states.high, count)
    means, spreads = np.asarray(states.means), np.asarray(states.standard_deviations)
    weights = np.ones(len(means)) if states.weights is None else np.asarray(states.weights)
    component = generator.choice(len(means), size=count, p=weights / weights.sum())
    mean, spread = means[component], spreads[component]
    width = np.maximum(spread, 1e-12)
    low, high = ndtr((0.0 - mean) / width), ndtr((1.0 - mean) / width)
    standard = ndtri(low + generator.uniform(size=count) * (high - low))
    return np.asarray(np.clip(mean + spread * standard, 0.0, 1.0))


def _superposed(beads: Beads, end: Array, labels: NDArray[np.int64], motion: InterpolationMotion) -> Array:
    """The end structure laid on the start's: by its largest body, by given residues, or left where it is."""
    if motion.superpose is False:
        return end
    if motion.superpose is True:
        counts = np.bincount(labels[polymer(beads)], minlength=1)
        by = polymer(beads) & (labels == int(counts.argmax()))
    else:
        by = select_beads(beads, motion.superpose)
    if by.sum() < 3:
        raise ConfigError(f"motion.superpose: {int(by.sum())} residues cannot fix a superposition; it takes three")
    turn, shift = superposition(end[by], beads.positions[by])
    moved = end @ turn.T + shift
    missed = np.sqrt(np.square(moved[by] - beads.positions[by]).sum(axis=1).mean())
    log.info("%s is laid on %s by %d residues: %.2f Å RMSD", motion.end, motion.start, by.sum(), missed)
    return np.asarray(moved)


def _along(start: Array, end: Array, fractions: Array) -> tuple[Array, Array]:
    """A body's points (k, m, 3) and rotations (k, 3, 3) after these fractions of its way."""
    turn, shift = superposition(start, end)
    inner = (end - shift) @ turn - start  # what is left to go in the body's own frame
    turns, shifts = Screw.of(turn, shift).at(fractions)
    points = start + fractions[:, None, None] * inner
    return points @ turns.swapaxes(-1, -2) + shifts[:, None], turns
