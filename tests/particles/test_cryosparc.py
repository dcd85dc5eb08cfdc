"""cryoSPARC .cs files: refinements, ab-initio classes, passthrough files, and what is wrong with some."""

from __future__ import annotations

import io
import logging
import pickle

import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal
from scipy.spatial.transform import Rotation

from cryosphere.errors import ParticleError
from cryosphere.particles.read import read_particles
from cryosphere.particles.star import read_star, write_star

POSES = ("alignments3D/pose", "alignments3D/shift", "alignments3D/psize_A", "alignments3D/split")


def test_poses_shifts_and_ctf_are_translated(cs, records):
    rows = records()
    table = read_particles(cs(rows))
    expected = Rotation.from_rotvec(rows["alignments3D/pose"].astype(float)).as_matrix().swapaxes(1, 2)
    assert_allclose(table.rotations, expected, atol=1e-12)
    assert_allclose(table.shifts, rows["alignments3D/shift"].astype(float) * 3.0, rtol=1e-7)  # not the image's 1.5 Å
    for field, name in (("defocus_u", "df1_A"), ("defocus_v", "df2_A"), ("defocus_angle", "df_angle_rad")):
        assert_array_equal(getattr(table, field), rows[f"ctf/{name}"].astype(float))
    assert_array_equal(table.half_set, [1, 2, 1, 2, 1])


def test_equal_microscope_settings_become_one_optics_group(cs, records):
    table = read_particles(cs(records()))
    assert_array_equal(table.optics_column("voltage_kv"), [300, 300, 200, 200, 200])
    assert len(table.optics) == 2
    assert len({group.name for group in table.optics}) == 2


def test_paths_lose_their_arrow(cs, records):
    table = read_particles(cs(records()))
    assert table.stacks == ("J1/extract/a.mrcs", "J1/extract/b.mrcs")
    assert_array_equal(table.stack_index, [0, 1, 0, 1, 0])
    assert_array_equal(table.image_index, [0, 0, 1, 1, 2])


def test_shifts_without_their_own_pixel_size_are_in_pixels_of_the_image(cs, records):
    rows = records(without=["alignments3D/psize_A"])
    assert_allclose(read_particles(cs(rows)).shifts, rows["alignments3D/shift"].astype(float) * 1.5, rtol=1e-7)


def test_a_split_that_splits_nothing_is_no_half_set(cs, records):
    assert_array_equal(read_particles(cs(records(alignments3D__split=np.zeros(5, dtype="u4")))).half_set, 0)


def classes(records, count, posterior):
    """Records of an ab-initio job of `count` classes."""
    generator = np.random.default_rng(1)
    fields = {}
    for k in range(count):
        fields[f"alignments_class_{k}__pose"] = generator.uniform(-1, 1, (5, 3)).astype("f4")
        fields[f"alignments_class_{k}__shift"] = generator.uniform(-1, 1, (5, 2)).astype("f4")
        fields[f"alignments_class_{k}__psize_A"] = np.full(5, 1.0 + k, dtype="f4")
        if posterior is not None:
            fields[f"alignments_class_{k}__class_posterior"] = posterior[k].astype("f4")
    return records(without=POSES, **fields)


def test_of_several_classes_the_most_probable_one_is_taken_particle_by_particle(cs, records):
    rows = classes(records, 2, np.array([[0.9, 0.2, 0.6, 0.1, 0.5], [0.1, 0.8, 0.4, 0.9, 0.5]]))
    table = read_particles(cs(rows))
    for row, best in enumerate([0, 1, 0, 1, 0]):
        vector = rows[f"alignments_class_{best}/pose"][row].astype(float)
        assert_allclose(table.rotations[row], Rotation.from_rotvec(vector).as_matrix().T, atol=1e-12)
        shift = rows[f"alignments_class_{best}/shift"][row].astype(float)
        assert_allclose(table.shifts[row], shift * (1 + best), rtol=1e-7)


def test_of_several_classes_without_probabilities_class_0_is_taken_and_said(cs, records, caplog):
    rows = classes(records, 2, None)
    with caplog.at_level(logging.WARNING):
        table = read_particles(cs(rows))
    vector = rows["alignments_class_0/pose"][4].astype(float)
    assert_allclose(table.rotations[4], Rotation.from_rotvec(vector).as_matrix().T, atol=1e-12)
    assert "alignments_class_0" in caplog.text


def test_passthrough_columns_are_joined_by_uid(cs, records):
    whole = records()
    ctf = [name for name in whole.dtype.names if name.startswith("ctf/")]
    lead = cs(records(without=ctf))
    shuffled = np.random.default_rng(0).permutation(5)
    through = cs(whole[["uid", *ctf]][shuffled], "passthrough.cs")
    table, expected = read_particles([lead, through]), read_particles(cs(whole, "whole.cs"))
    assert_array_equal(table.defocus_u, expected.defocus_u)
    assert table.optics == expected.optics


def test_a_missing_passthrough_file_is_suggested(cs, records):
    with pytest.raises(ParticleError, match=r"blob/path, blob/idx.*ctf/df1_A.*passthrough"):
        read_particles(cs(records(without=["blob/path", "blob/idx", "ctf/df1_A"])))


def test_files_of_different_particles_are_not_joined(cs, records):
    lead = cs(records(without=["ctf/df1_A"]))
    other = records()
    other["uid"] += 2
    with pytest.raises(ParticleError, match="lacks 2 of the 5 particles"):
        read_particles([lead, cs(other, "other.cs")])


@pytest.mark.parametrize("without", [["uid"], []])
def test_files_that_cannot_be_joined_are_refused(cs, records, without):
    other = records(without=without)
    if not without:
        other["uid"] = 7
    with pytest.raises(ParticleError, match="uid"):
        read_particles([cs(records()), cs(other, "other.cs")])


def test_a_file_without_3d_poses_is_refused(cs, records):
    with pytest.raises(ParticleError, match="no 3D poses"):
        read_particles(cs(records(without=POSES)))


def test_a_file_of_2d_alignments_is_refused_as_such(cs, records):
    rows = records(without=POSES, alignments2D__pose=np.zeros(5, dtype="f4"))
    with pytest.raises(ParticleError, match="2D alignments only"):
        read_particles(cs(rows))


def test_poses_may_be_ignored(cs, records):
    table = read_particles(cs(records(without=POSES)), poses="ignored")
    assert np.isnan(table.rotations).all()
    assert_array_equal(table.shifts, 0)


@pytest.mark.parametrize("column", ["alignments3D/pose", "alignments3D/shift", "ctf/df1_A", "blob/psize_A"])
@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_a_value_that_is_not_finite_is_reported_with_row_and_column(cs, records, column, value):
    rows = records()
    rows[column][3] = value
    with pytest.raises(ParticleError, match=f"{column} of particle row 4"):
        read_particles(cs(rows))


def test_particles_of_different_sizes_are_refused(cs, records):
    shape = np.full((5, 2), 16, dtype="u4")
    shape[3] = 32
    with pytest.raises(ParticleError, match="image sizes"):
        read_particles(cs(records(blob__shape=shape)))
    shape[3] = (16, 32)
    with pytest.raises(ParticleError, match="square"):
        read_particles(cs(records(blob__shape=shape)))


@pytest.mark.parametrize("column", ["ctf/df1_A", "alignments3D/pose", "alignments3D/shift", "blob/idx", "blob/shape"])
def test_a_column_of_the_wrong_shape_is_refused(cs, records, column):
    changes = {column.replace("/", "__"): np.ones((5, 4), dtype="f4")}
    with pytest.raises(ParticleError, match=f"{column} has the shape"):
        read_particles(cs(records(**changes)))


def test_text_in_place_of_numbers_is_refused(cs, records):
    with pytest.raises(ParticleError, match="ctf/df1_A does not hold numbers"):
        read_particles(cs(records(ctf__df1_A=np.array([b"x"] * 5))))


def test_records_of_the_other_byte_order_are_read(cs, records):
    plain = records()
    swapped = plain.astype(plain.dtype.newbyteorder(">"))
    table, expected = read_particles([cs(swapped), cs(swapped, "b.cs")]), read_particles(cs(plain, "plain.cs"))
    assert_array_equal(table.rotations, expected.rotations)


def test_an_empty_file_is_refused(cs, records):
    with pytest.raises(ParticleError, match="no particles"):
        read_particles(cs(records()[:0]))


def test_a_truncated_file_is_refused(cs, records):
    path = cs(records())
    path.write_bytes(path.read_bytes()[:-10])
    with pytest.raises(ParticleError, match="truncated"):
        read_particles(path)


def test_a_header_that_promises_absurdly_many_particles_allocates_nothing(cs, records):
    path = cs(records())
    header = path.read_bytes()
    path.write_bytes(header.replace(b"'shape': (5,), }" + b" " * 10, b"'shape': (9999999999,), }" + b" "))
    assert path.read_bytes() != header
    with pytest.raises(ParticleError, match="announces 9999999999"):
        read_particles(path)


class _Bomb:
    def __reduce__(self):
        return (pytest.fail, ("a pickle was executed",))


def test_nothing_is_unpickled(tmp_path):
    objects = np.array([_Bomb()], dtype=object)
    file = io.BytesIO()
    np.save(file, objects, allow_pickle=True)
    path = tmp_path / "particles.cs"
    for content in (file.getvalue(), pickle.dumps(_Bomb())):
        path.write_bytes(content)
        with pytest.raises(ParticleError):
            read_particles(path)


def test_the_same_particles_written_as_star_read_back_the_same(cs, records, tmp_path):
    table = read_particles(cs(records()))
    write_star(tmp_path / "out.star", table)
    again = read_star(tmp_path / "out.star")
    for name in ("rotations", "shifts", "defocus_u", "defocus_angle"):
        assert_allclose(getattr(again, name), getattr(table, name), atol=1e-8, rtol=1e-6)
    assert_allclose(again.optics_column("voltage_kv"), table.optics_column("voltage_kv"))


def test_the_sign_hint_is_reported(cs, records, caplog):
    with caplog.at_level(logging.INFO):
        read_particles(cs(records()))
    assert "blob/sign is [-1.0]" in caplog.text


def test_unmodelled_aberrations_are_reported_only_where_they_are(cs, records, caplog):
    unit = np.tile(np.array([1, 0, 0, 1], dtype="f4"), (5, 1))
    with caplog.at_level(logging.WARNING):
        read_particles(cs(records(ctf__tilt_A=np.zeros((5, 2), dtype="f4"), ctf__anisomag=unit)))
    assert "aberrations" not in caplog.text
    with caplog.at_level(logging.WARNING):
        read_particles(cs(records(ctf__tilt_A=np.ones((5, 2), dtype="f4"))))
    assert "ctf/tilt_A" in caplog.text
