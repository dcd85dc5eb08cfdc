"""Particle tables without files, for tests that need poses and CTFs but no images."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from cryosphere.geometry.poses import random_rotations
from cryosphere.particles.table import OpticsGroup, ParticleTable


def particle_table(
    count: int, seed: int = 0, *, half_set: np.ndarray | None = None, defocus: np.ndarray | None = None
) -> ParticleTable:
    """Images of one stack, seen from all sides; half-sets and defocus (n,) where they matter."""
    ones, whole = np.ones(count), np.zeros(count, dtype=np.int64)
    away = 15_000.0 * ones if defocus is None else defocus
    return ParticleTable(
        rotations=random_rotations(count, np.random.default_rng(seed)),
        shifts=np.zeros((count, 2)),
        defocus_u=away,
        defocus_v=away,
        defocus_angle=0.0 * ones,
        phase_shift=0.0 * ones,
        b_factor=0.0 * ones,
        ctf_scale=ones,
        optics_index=whole,
        stack_index=whole,
        image_index=np.arange(count),
        half_set=whole if half_set is None else half_set,
        optics=(OpticsGroup("one", 300.0, 2.7, 0.1, 3.0, 48),),
        stacks=("particles.mrcs",),
        source=Path("particles.star"),
    )
