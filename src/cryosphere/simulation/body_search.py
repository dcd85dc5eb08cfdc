"""Rigid bodies found in two structures of one protein: groups of residues that a single motion carries across."""

from __future__ import annotations

import logging

import numpy as np
from numpy.typing import NDArray

from cryosphere.simulation.superposition import superposition
from cryosphere.structures.beads import Beads

log = logging.getLogger(__name__)

Array = NDArray[np.float64]

_TOLERANCE = 2.0  # Å by which a residue of a body may miss its place after the body's motion
_SEED = 20  # consecutive residues from which a body grows
_MOST_SEEDS = 150
_ROUNDS = 20
_SMALLEST = 20  # residues of a body
_MOST_BODIES = 12
_WINDOW = 9  # residues; the majority in it decides, so that no body has splinters


def find_bodies(beads: Beads, start: Array, end: Array) -> NDArray[np.int64]:
    """Label of each residue's rigid body, (R,): 0 for the largest, then 1, 2, … in the order of size.

    Bodies are found one after the other. Each grows from short stretches of the chain: the stretch's motion from
    `start` to `end`, (R, 3) each, is applied to all residues not yet taken, those that arrive within 2 Å define the
    next motion, and so on; of all stretches the one that gathers most residues gives the body. Residues left over join
    the body whose motion suits them best.
    """
    free = np.ones(len(start), dtype=np.bool_)
    motions: list[tuple[Array, Array]] = []
    while free.sum() >= _SMALLEST and len(motions) < _MOST_BODIES:
        members = _largest_body(start, end, free)
        if members.sum() < min(_SMALLEST, len(start)):
            break
        motions.append(superposition(start[members], end[members]))
        free &= ~members
    if not motions:
        return np.zeros(len(start), dtype=np.int64)
    misses = np.stack([np.linalg.norm(start @ turn.T + shift - end, axis=1) for turn, shift in motions])
    labels = _without_splinters(beads, misses)
    sizes = np.bincount(labels, minlength=len(motions))
    rank = np.argsort(np.argsort(-sizes, kind="stable"))
    ordered: NDArray[np.int64] = rank[labels]
    log.info("rigid bodies found between the structures: %s residues", ", ".join(map(str, np.bincount(ordered))))
    return ordered


def _largest_body(start: Array, end: Array, free: NDArray[np.bool_]) -> NDArray[np.bool_]:
    index = np.flatnonzero(free)
    places = np.linspace(0, max(len(index) - _SEED, 0), min(_MOST_SEEDS, max(1, len(index) // 4))).astype(np.int64)
    chosen = np.zeros((len(places), len(index)))
    for row, place in enumerate(places):
        chosen[row, place : place + _SEED] = 1.0
    points, goal = start[index], end[index]
    for _ in range(_ROUNDS):
        turns, shifts = superposition(np.broadcast_to(points, (len(chosen), *points.shape)), goal, chosen)
        misses = np.linalg.norm(points @ turns.swapaxes(-1, -2) + shifts[:, None] - goal, axis=2)
        grown = (misses < _TOLERANCE).astype(np.float64)
        grown[grown.sum(axis=1) < 3] = 1.0  # a stretch that nothing follows: never the largest for long
        if np.array_equal(grown, chosen):
            break
        chosen = grown
    fits = np.where((misses < _TOLERANCE), 1, 0).sum(axis=1)
    members = np.zeros(len(start), dtype=np.bool_)
    members[index[misses[fits.argmax()] < _TOLERANCE]] = True
    return members


def _without_splinters(beads: Beads, misses: Array) -> NDArray[np.int64]:
    """The body that suits each residue and its neighbours along the chain best, from misses (bodies, R) in Å."""
    labels = np.zeros(misses.shape[1], dtype=np.int64)
    capped = np.minimum(misses, 2 * _TOLERANCE)
    kernel = np.ones(_WINDOW)
    for chain in dict.fromkeys(beads.chain.tolist()):
        inside = np.flatnonzero(beads.chain == chain)
        sums = np.stack([np.convolve(row[inside], kernel, mode="full") for row in capped])
        middle = _WINDOW // 2
        labels[inside] = sums[:, middle : middle + len(inside)].argmin(axis=0)
    return labels
