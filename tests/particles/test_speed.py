"""Benchmarks of the particle files and the cache (`make bench`). They measure; they do not fail."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from cryosphere.particles.cache import build_cache
from cryosphere.particles.preprocess import PreprocessSettings
from cryosphere.particles.stacks import ImageStacks
from cryosphere.particles.star import read_star, write_star


@pytest.mark.slow
def test_reading_300000_particles(benchmark, star, optics, particles):
    count = 300_000
    columns = {label: values * (count // 4) for label, values in particles().items()}
    columns |= {f"rlnJunk{k}": ["12345.678901"] * count for k in range(11)}  # 25 columns
    columns["rlnImageName"] = [f"{i % 300 + 1:06d}@Extract/job012/mic_{i // 300:05d}.mrcs" for i in range(count)]
    path = star(optics=optics(), particles=columns)
    assert len(benchmark.pedantic(read_star, args=(path,), rounds=3)) == count


@pytest.mark.slow
def test_writing_100000_particles(benchmark, tmp_path, table_of):
    table = table_of(tmp_path, ("a.mrcs",), np.zeros(100_000), np.arange(100_000))
    benchmark.pedantic(write_star, args=(tmp_path / "out.star", table), rounds=3)


@pytest.mark.slow
def test_caching_1000_images_of_256_at_128(benchmark, tmp_path, write_stack, noise, table_of):
    write_stack(tmp_path / "a.mrcs", noise(1000, 256))
    stacks = ImageStacks(table_of(tmp_path / "p.star", ("a.mrcs",), [0] * 1000, np.arange(1000)))
    settings = PreprocessSettings(box=128, contrast="white", background_radius=150.0, soft_edge=0.1)
    radii = iter(range(100, 200))  # other settings every round, so that every round builds

    def build():
        changed = replace(settings, background_radius=float(next(radii)))
        build_cache(stacks.table, stacks, changed, tmp_path / "cache").path.unlink()

    benchmark.pedantic(build, rounds=3)
