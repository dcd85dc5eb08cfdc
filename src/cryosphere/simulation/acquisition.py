"""How the images are taken: poses, shifts, microscopes, defocus, and the errors of the poses that are given away."""

from __future__ import annotations

from dataclasses import replace
from enum import IntEnum
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from scipy.spatial.transform import Rotation

from cryosphere.geometry.poses import random_rotations
from cryosphere.particles.table import OpticsGroup, ParticleTable
from cryosphere.simulation.config import SimulationConfig
from cryosphere.simulation.image_config import DistributedCtf, FixedCtf, ImageSettings, OpticsSettings, PoseErrors
from cryosphere.simulation.populations import assigned


class Stream(IntEnum):
    """What randomness is used for. Each use has a stream of its own, so that a change of one leaves the others."""

    CONFORMATIONS = 1
    ASSIGNMENT = 2
    ROTATIONS = 3
    SHIFTS = 4
    CTF = 5
    NOISE = 6
    JITTER = 7
    ABSENT = 8
    OPTICS = 9
    POSE_ERRORS = 10


def generator(seed: int, stream: Stream) -> np.random.Generator:
    """The random numbers of one stream."""
    return np.random.default_rng([seed, int(stream)])


def image_generator(seed: int, image: int) -> np.random.Generator:
    """The random numbers of one image's noise: the same however many images are made at a time."""
    return np.random.Generator(np.random.Philox(key=[seed, int(Stream.NOISE)], counter=[0, 0, 0, image]))


def acquire(config: SimulationConfig, stack: str, source: Path) -> ParticleTable:
    """The particles as they truly are: poses uniform on SO(3), shifts uniform, microscopes and defocus as configured.

    stack: name of the image stack, as the STAR file will give it.
    """
    images, seed = config.images, config.seed
    count = images.count
    defocus_u, defocus_v, angle = _defocus(config.ctf, count, generator(seed, Stream.CTF))
    shares = [group.share for group in config.optics]
    return ParticleTable(
        rotations=random_rotations(count, generator(seed, Stream.ROTATIONS)),
        shifts=generator(seed, Stream.SHIFTS).uniform(-images.shift, images.shift, (count, 2)),
        defocus_u=defocus_u,
        defocus_v=defocus_v,
        defocus_angle=angle,
        phase_shift=np.zeros(count),
        b_factor=np.full(count, config.ctf.b_factor),
        ctf_scale=np.ones(count),
        optics_index=assigned(count, len(shares), shares, generator(seed, Stream.OPTICS)),
        stack_index=np.zeros(count, dtype=np.int64),
        image_index=np.arange(count, dtype=np.int64),
        half_set=np.zeros(count, dtype=np.int64),
        optics=_optics_groups(config.optics, images),
        stacks=(stack,),
        source=source,
    )


def with_pose_errors(table: ParticleTable, errors: PoseErrors, generator: np.random.Generator) -> ParticleTable:
    """The particles as a refinement that errs would report them.

    Each pose is turned about an axis of uniformly random direction by an angle from N(0, rotation_degrees²), so that
    `rotation_degrees` is the root mean square angle of the error and its median is 0.674 times that. To each coordinate
    of the shifts a number from N(0, shift_angstrom²) is added.
    """
    count = len(table)
    axes = generator.standard_normal((count, 3))
    angles = np.deg2rad(errors.rotation_degrees) * generator.standard_normal((count, 1))
    off = errors.shift_angstrom * generator.standard_normal((count, 2))
    if not (errors.rotation_degrees or errors.shift_angstrom):
        return table
    turns = Rotation.from_rotvec(angles * axes / np.linalg.norm(axes, axis=1, keepdims=True)).as_matrix()
    return replace(table, rotations=turns @ table.rotations, shifts=table.shifts + off)


def _optics_groups(settings: tuple[OpticsSettings, ...], images: ImageSettings) -> tuple[OpticsGroup, ...]:
    return tuple(
        OpticsGroup(
            name=f"simulated{number}" if len(settings) > 1 else "simulated",
            voltage_kv=group.voltage_kv,
            spherical_aberration_mm=group.spherical_aberration_mm,
            amplitude_contrast=group.amplitude_contrast,
            pixel_size=images.pixel_size,
            box=images.box,
        )
        for number, group in enumerate(settings, start=1)
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
