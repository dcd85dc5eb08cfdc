"""Files written by cryoSPARC, against what another program (cryoDRGN) reads in them."""

from __future__ import annotations

import importlib
import pickle
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal

from cryosphere.errors import ParticleError
from cryosphere.particles.read import read_particles
from cryosphere.particles.stacks import ImageStacks


class ArraysOnly(pickle.Unpickler):
    """Loads NumPy arrays and refuses whatever else a pickle may ask for."""

    allowed = frozenset({"_reconstruct", "ndarray", "dtype"})

    def find_class(self, module: str, name: str) -> Any:
        if module.split(".", maxsplit=1)[0] != "numpy" or name not in self.allowed:
            raise pickle.UnpicklingError(f"{module}.{name} is not part of an array")
        return getattr(importlib.import_module(module.replace("numpy.core", "numpy._core")), name)


def arrays(path: Path) -> Any:
    with path.open("rb") as file:
        return ArraysOnly(file).load()


REFINED = "cryosparc_P12_J24_001_particles.cs"
BOX = 180


def test_poses_and_shifts_are_those_that_another_program_reads(shared_data):
    table = read_particles(shared_data / "cryosparc" / REFINED)
    rotations, shifts = arrays(shared_data / "cryosparc" / "pose.cs.pkl")  # A, and fractions of the box
    assert len(table) == 2019
    assert_allclose(table.rotations, rotations, atol=1e-5)
    assert_allclose(table.shifts / (BOX * table.pixel_size), shifts, atol=1e-5)


def test_ctf_parameters_are_those_that_another_program_reads(shared_data):
    table = read_particles(shared_data / "cryosparc" / REFINED)
    expected = arrays(shared_data / "cryosparc" / "ctf2.pkl")
    ours = np.stack(
        [
            np.full(len(table), table.optics[0].box),
            table.optics_column("pixel_size"),
            table.defocus_u,
            table.defocus_v,
            np.degrees(table.defocus_angle),
            table.optics_column("voltage_kv"),
            table.optics_column("spherical_aberration_mm"),
            table.optics_column("amplitude_contrast"),
            np.degrees(table.phase_shift),
        ],
        axis=1,
    )
    assert_allclose(ours, expected, rtol=1e-6, atol=1e-5)


def test_a_newer_schema_is_read(shared_data):
    table = read_particles(shared_data / "cryosparc" / "cryospax_test_csfile.cs")
    assert (len(table), table.stacks, table.pixel_size, table.optics[0].box) == (3, ("000000.mrcs",), 12.0, 16)
    assert_array_equal(table.ctf_scale, [2.0] * 3)
    assert_array_equal(table.b_factor, [1.0] * 3)
    assert_allclose(table.shifts[0], np.array([2.671336, -1.7970374]) * 12, rtol=1e-6)


def test_the_same_particles_from_star_and_cs_have_the_same_pixels_and_ctf(shared_data):
    relion = shared_data / "relion" / "cryodrgn"
    star = read_particles(relion / "empiar_10076_7.star", poses="ignored")
    cs = read_particles(shared_data / "cryosparc" / "empiar_10076_7.cs", poses="ignored")
    for field in ("defocus_u", "defocus_v", "defocus_angle", "phase_shift", "b_factor", "ctf_scale"):
        assert_allclose(getattr(cs, field), getattr(star, field), rtol=1e-6, err_msg=field)  # .cs holds float32
    for name in ("voltage_kv", "spherical_aberration_mm", "amplitude_contrast", "pixel_size"):
        assert_allclose(cs.optics_column(name), star.optics_column(name), rtol=1e-6, err_msg=name)
    rows = np.arange(7)
    pixels = ImageStacks(star).read(rows)
    assert pixels.shape == (7, 320, 320)
    assert_array_equal(ImageStacks(cs, relion).read(rows), pixels)


def test_a_file_without_poses_is_refused(shared_data):
    with pytest.raises(ParticleError, match="no 3D poses"):
        read_particles(shared_data / "cryosparc" / "empiar_10076_7.cs")
