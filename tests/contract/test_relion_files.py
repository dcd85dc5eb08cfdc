"""Particle files written by RELION and by programs that write for it; expected values are read off the files."""

from __future__ import annotations

import logging
from pathlib import Path

import numpy as np
import pytest
import starfile
from numpy.testing import assert_allclose, assert_array_equal
from scipy.spatial.transform import Rotation

from cryosphere.errors import ImageStackError, ParticleError
from cryosphere.particles.read import read_particles
from cryosphere.particles.stacks import ImageStacks
from cryosphere.particles.star import write_star


def raw(path: Path, block: str | int = "particles"):
    """A block as the starfile package reads it."""
    blocks = starfile.read(path, always_dict=True)
    return list(blocks.values())[block] if isinstance(block, int) else blocks[block]


def test_relion_projections_of_a_point_mass(shared_data):
    path = shared_data / "relion" / "pointmass" / "relion_proj_batch_pfac2.star"
    table, columns = read_particles(path), raw(path)
    assert len(table) == 24
    (group,) = table.optics
    assert (group.voltage_kv, group.spherical_aberration_mm, group.pixel_size, group.box) == (200, 1.4, 3.54, 64)
    assert_allclose(table.shifts, columns[["rlnOriginXAngst", "rlnOriginYAngst"]], rtol=1e-12)
    angles = columns[["rlnAngleRot", "rlnAngleTilt", "rlnAnglePsi"]].to_numpy()
    assert_allclose(
        table.rotations, Rotation.from_euler("ZYZ", angles, degrees=True).as_matrix().swapaxes(1, 2), atol=1e-12
    )
    assert ImageStacks(table).read(np.arange(24)).shape == (24, 64, 64)


def test_relion_3_0_layout_with_pixel_size_from_the_magnification(shared_data):
    path = shared_data / "relion" / "aspire" / "sample_particles_relion30.star"
    table, columns = read_particles(path), raw(path, 0)
    assert len(table) == 17
    assert table.pixel_size == pytest.approx(1.338, abs=1e-6)  # the figure that the data set's authors state
    assert_allclose(table.shifts, columns[["rlnOriginX", "rlnOriginY"]] * table.pixel_size, rtol=1e-12)
    assert_array_equal(table.optics_column("voltage_kv"), columns["rlnVoltage"])
    assert len(table.optics) == 2  # one row is of another voltage than the rest
    assert_array_equal(table.half_set, columns["rlnRandomSubset"])
    assert ImageStacks(table).read(np.arange(17)).shape == (17, 200, 200)


def test_relion_3_1_stack_without_map_stamp_whose_header_has_another_pixel_size(shared_data, caplog):
    path = shared_data / "relion" / "cryodrgn" / "relion31.star"
    table = read_particles(path)
    with caplog.at_level(logging.INFO):
        stacks = ImageStacks(table)
    assert (len(table), table.pixel_size, stacks.box) == (5, 2.806, 256)
    assert "1 Å per pixel; 2.806 Å" in caplog.text
    assert stacks.read(np.arange(5)).std() > 0


def test_relion_2_layout_with_origins_in_pixels(shared_data):
    path = shared_data / "relion" / "topaz_EMPIAR-10025_particles.star"
    table, columns = read_particles(path), raw(path, 0)
    assert len(table) == 1500
    pixel_size = 1e4 * columns["rlnDetectorPixelSize"] / columns["rlnMagnification"]
    assert_allclose(table.optics_column("pixel_size"), pixel_size, rtol=1e-12)
    assert_allclose(table.shifts[:, 0], columns["rlnOriginX"] * pixel_size, rtol=1e-12)
    assert_array_equal(table.defocus_u, columns["rlnDefocusU"])
    number, stack = columns["rlnImageName"].iloc[-1].split("@")
    assert table.image_index[-1] == int(number) - 1
    assert table.stacks[table.stack_index[-1]] == stack


def test_relion_3_1_layout_without_its_images(shared_data):
    table = read_particles(shared_data / "relion" / "compSPI_test.star")
    assert len(table) == 452
    assert (table.pixel_size, table.optics[0].box) == (1.911, 128)
    with pytest.raises(ImageStackError, match=r"6 of 6 image stack\(s\) not found"):
        ImageStacks(table)


def test_subtomograms_are_refused(shared_data):
    with pytest.raises(ParticleError, match="tomography"):
        read_particles(shared_data / "relion" / "cryoCAT_relion_3.0.star")


@pytest.mark.parametrize("name", ["empiar_10076_7.star", "toy_projections.star"])
def test_files_without_poses_are_refused(shared_data, name):
    with pytest.raises(ParticleError, match=r"rlnAngleRot, rlnAngleTilt, rlnAnglePsi.*Poses are missing"):
        read_particles(shared_data / "relion" / "cryodrgn" / name)


@pytest.mark.parametrize(
    "name",
    [
        "pointmass/relion_proj_batch_pfac2.star",
        "aspire/sample_particles_relion30.star",
        "cryodrgn/relion31.star",
        "topaz_EMPIAR-10025_particles.star",
        "compSPI_test.star",
    ],
)
def test_real_files_survive_being_written_again(shared_data, tmp_path, name):
    table = read_particles(shared_data / "relion" / name)
    write_star(tmp_path / "again.star", table)
    again = read_particles(tmp_path / "again.star")
    assert again.stacks == table.stacks
    assert [group.name for group in again.optics] == [group.name for group in table.optics]
    assert_allclose(again.optics_column("pixel_size"), table.optics_column("pixel_size"), rtol=1e-6)
    assert_allclose(again.rotations, table.rotations, atol=1e-6)
    for field in ("shifts", "defocus_u", "defocus_v", "defocus_angle", "phase_shift", "b_factor", "ctf_scale"):
        assert_allclose(getattr(again, field), getattr(table, field), rtol=1e-6, atol=1e-9, err_msg=field)
    for field in ("stack_index", "image_index", "optics_index", "half_set"):
        assert_array_equal(getattr(again, field), getattr(table, field))
