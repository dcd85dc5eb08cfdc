"""A validation made up: motions with given gains, told of by two models of a protein of two chains."""

from __future__ import annotations

from dataclasses import fields

import numpy as np

from cryosphere.structures.beads import Beads
from cryosphere.validation.agreement import ResidueAgreement, SegmentOverlap
from cryosphere.validation.gains import Gain, Gains, MotionGains
from cryosphere.validation.motions import Common
from cryosphere.validation.results import Places, Sets, Validation
from cryosphere.validation.verdict import judge

RESIDUES, IMAGES = 100, 300


def beads() -> Beads:
    """Two chains of fifty residues along a line."""
    number = np.tile(np.arange(1, RESIDUES // 2 + 1), 2)
    return Beads(
        positions=3.8 * np.arange(RESIDUES)[:, None] * np.array([1.0, 0.0, 0.0]),
        amplitudes=np.full(RESIDUES, 50.0),
        chain=np.repeat(["A", "B"], RESIDUES // 2),
        number=number,
        insertion=np.full(RESIDUES, ""),
        name=np.full(RESIDUES, "ALA"),
        kind=np.full(RESIDUES, "protein"),
        bonded=np.zeros((0, 2), dtype=np.int64),
    )


def validation(*each: tuple[float, float], over_base: tuple[float, float] = (15.4, 0.25)) -> Validation:
    """Motions that gain so many nats, with their errors, over each alternative; none: the models have no motion.

    All of them move three stretches of residues, so that their names are long.
    """
    generator, count = np.random.default_rng(0), len(each)
    moves = np.zeros((count, RESIDUES, 3))
    moves[:, [*range(3), *range(20, 26), *range(60, 75), 98]] = 4.0
    places = [generator.normal(size=(IMAGES, count)) for _ in range(2)]
    common = Common(
        (places[0], places[1]), np.full(count, 0.4), np.abs(generator.normal(0.05, 0.02, 500 * bool(count)))
    )
    found = [MotionGains(*[Gain(*one)] * len(fields(MotionGains))) for one in each]
    gains = Gains(Gain(*over_base), Gain(0.7, 0.07), Gain(-0.015, 0.04), tuple(found))
    values = generator.uniform(0, 1, (4, RESIDUES))
    return Validation(
        sets=Sets("run", 20_000, (10_000, 10_000), IMAGES, "half-sets: drawn with seed 0", 5),
        motions=judge(common, gains, (moves, moves), beads()),
        gains=gains,
        residues=ResidueAgreement(values[0], values[1], (values[2], values[3])),
        overlap=SegmentOverlap(0.9, 0.8, (3, 3)),
        distance_correlation=0.5,
        amplitudes=((1.0,), (1.0,)),
        null=common.null if count else np.zeros(1),
        places=Places(places[0], places[1]),
        moves=np.linalg.norm(moves, axis=-1),
        beads=beads(),
    )
