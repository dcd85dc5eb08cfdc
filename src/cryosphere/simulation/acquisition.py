"""How the images are taken: poses, shifts, defocus, and which conformation each image shows."""

from __future__ import annotations

from enum import IntEnum
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from cryosphere.geometry.poses import random_rotations
from cryosphere.particles.table import OpticsGroup, ParticleTable
from cryosphere.simulation.config import DistributedCtf, FixedCtf, SimulationConfig


class Stream(IntEnum):
    """What randomness is used for. Each use has a stream of its own, so that a change of one leaves the others."""

    CONFORMATIONS = 1
    ASSIGNMENT = 2
    ROTATIONS = 3
    SHIFTS = 4
    CTF = 5
    NOISE = 6


def generator(seed: int, stream: Stream) -> np.random.Generator:
    """The random numbers of one stream."""
    return np.random.default_rng([seed, int(stream)])


def image_generator(seed: int, image: int) -> np.random.Generator:
    """The random numbers of one image's noise: the same however many images are made at a time."""
    return np.random.Generator(np.random.Philox(key=[seed, int(Stream.NOISE)], counter=[0, 0, 0, image]))


def assign_conformations(images: int, conformations: int, seed: int) -> NDArray[np.int64]:
    """Which conformation each image shows, (images,): each equally often, give or take one, in random order."""
    index = np.arange(images, dtype=np.int64) % conformations
    return generator(seed, Stream.ASSIGNMENT).permutation(index)


def acquire(config: SimulationConfig, stack: str, source: Path) -> ParticleTable:
    """The particle table of a simulation: poses uniform on SO(3), shifts uniform, defocus as configured.

    stack: name of the image stack, as the STAR file will give it.
    """
    images, seed = config.images, config.seed
    count = images.count
    defocus_u, defocus_v, angle = _defocus(config.ctf, count, generator(seed, Stream.CTF))
    group = OpticsGroup(
        name="simulated",
        voltage_kv=config.optics.voltage_kv,
        spherical_aberration_mm=config.optics.spherical_aberration_mm,
        amplitude_contrast=config.optics.amplitude_contrast,
        pixel_size=images.pixel_size,
        box=images.box,
    )
    return ParticleTable(
        rotations=random_rotations(count, generator(seed, Stream.ROTATIONS)),
        shifts=generator(seed, Stream.SHIFTS).uniform(-images.shift, images.shift, (count, 2)),
        defocus_u=defocus_u,
        defocus_v=defocus_v,
        defocus_angle=angle,
        phase_shift=np.zeros(count),
        b_factor=np.zeros(count),
        ctf_scale=np.ones(count),
        optics_index=np.zeros(count, dtype=np.int64),
        stack_index=np.zeros(count, dtype=np.int64),
        image_index=np.arange(count, dtype=np.int64),
        half_set=np.zeros(count, dtype=np.int64),
        optics=(group,),
        stacks=(stack,),
        source=source,
    )


def _defocus(
    ctf: FixedCtf | DistributedCtf, count: int, random: np.random.Generator
) -> tuple[NDArray[np.float64], NDArray[np.float64], NDArray[np.float64]]:
    """Principal defoci (Å) and the direction of the first (radians), (count,) each."""
    if isinstance(ctf, FixedCtf):
        values = (ctf.defocus_u, ctf.defocus_v, float(np.deg2rad(ctf.angle_degrees)))
        return tuple(np.full(count, value) for value in values)  # type: ignore[return-value]
    mean = random.uniform(*ctf.defocus, count)
    half_difference = 0.5 * random.uniform(*ctf.astigmatism, count)
    return mean + half_difference, mean - half_difference, random.uniform(0.0, np.pi, count)
