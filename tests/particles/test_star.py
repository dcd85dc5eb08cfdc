"""RELION STAR files: every layout that RELION has had, and every way in which one can be wrong."""

from __future__ import annotations

import dataclasses
import logging
import re

import numpy as np
import pytest
import starfile
from numpy.testing import assert_allclose, assert_array_equal
from scipy.spatial.transform import Rotation

from cryosphere.errors import ParticleError
from cryosphere.particles.read import read_particles
from cryosphere.particles.star import read_star, write_star
from cryosphere.particles.table import OpticsGroup

REQUIRED = (
    "rlnImageName",
    "rlnVoltage",
    "rlnSphericalAberration",
    "rlnAmplitudeContrast",
    "rlnImagePixelSize",
    "rlnDefocusU",
    "rlnDefocusV",
    "rlnDefocusAngle",
    "rlnAngleRot",
    "rlnAngleTilt",
    "rlnAnglePsi",
)


def test_each_particle_gets_the_settings_of_its_own_optics_group(star, optics, particles):
    table = read_star(star(optics=optics(), particles=particles()))
    assert_array_equal(table.optics_column("voltage_kv"), [300, 300, 200, 300])
    assert_array_equal(table.optics_column("spherical_aberration_mm"), [2.7, 2.7, 1.4, 2.7])
    assert_array_equal(table.optics_column("amplitude_contrast"), [0.1, 0.1, 0.07, 0.1])
    assert [group.name for group in table.optics] == ["krios", "glacios"]
    assert {group.box for group in table.optics} == {16}


def test_units_become_ours(star, optics, particles):
    table = read_star(star(optics=optics(), particles=particles()))
    assert_array_equal(table.shifts, [[1.5, 0], [-3, 6], [0, -1.5], [4.5, 0.75]])
    assert_array_equal(table.defocus_u, [15000, 16000, 17000, 18000])
    assert_allclose(table.defocus_angle, np.radians([10, 20, 30, 40]), rtol=1e-15)
    assert_allclose(table.phase_shift, [0, np.pi / 2, 0, 0], rtol=1e-15)
    assert_array_equal(table.half_set, [1, 2, 1, 2])
    expected = Rotation.from_euler("ZYZ", [10, 40, 70], degrees=True).as_matrix().T
    assert_allclose(table.rotations[0], expected, atol=1e-15)


def test_images_are_found_by_stack_and_number_from_zero(star, optics, particles):
    table = read_star(star(optics=optics(), particles=particles()))
    assert table.stacks == ("a.mrcs", "b.mrcs")
    assert_array_equal(table.stack_index, [0, 0, 1, 0])
    assert_array_equal(table.image_index, [0, 2, 1, 1])


def test_names_that_look_like_numbers_stay_text(star, optics, particles):
    columns = particles() | {"rlnImageName": ["0001@0012", "2@0012", "000003@0012", "4@12"]}
    assert read_star(star(optics=optics(), particles=columns)).stacks == ("0012", "12")


@pytest.mark.parametrize("label", ["rlnCtfDataAreCtfPremultiplied", "rlnCtfDataArePhaseFlipped"])
def test_images_that_were_corrected_for_their_ctf_are_refused(label, star, optics, particles):
    groups = len(next(iter(optics().values())))
    with pytest.raises(ParticleError, match=label):
        read_star(star(optics=optics() | {label: ["1"] * groups}, particles=particles()))
    with pytest.raises(ParticleError, match=label):
        read_star(star(optics=optics(), particles=particles() | {label: ["0", "0", "1", "0"]}))
    assert len(read_star(star(optics=optics() | {label: ["0"] * groups}, particles=particles()))) == 4


def test_a_name_without_number_is_a_file_of_one_image(star, optics, particles):
    columns = particles() | {"rlnImageName": ["one.mrc", "two.mrc", "3@a.mrcs", "2@a.mrcs"]}
    table = read_star(star(optics=optics(), particles=columns))
    assert table.stacks == ("one.mrc", "two.mrc", "a.mrcs")
    assert_array_equal(table.image_index, [0, 0, 2, 1])


def same(first, second):
    """Whether two tables say the same of all particles."""
    for field in dataclasses.fields(first):
        a, b = getattr(first, field.name), getattr(second, field.name)
        if isinstance(a, np.ndarray):
            assert_allclose(a, b, atol=1e-12, err_msg=field.name)
        elif field.name != "source":
            assert a == b, field.name


@pytest.mark.parametrize(
    "change",
    [
        pytest.param(lambda t: t.replace("\n", "\r\n"), id="Windows line ends"),
        pytest.param(lambda t: t.replace(" ", "\t"), id="tabs"),
        pytest.param(lambda t: t + "\n \n\t\n\n", id="blank lines at the end"),
        pytest.param(lambda t: t.rstrip(), id="no line end at the end"),
        pytest.param(lambda t: "\ufeff" + t.lstrip(), id="byte order mark"),
        pytest.param(lambda t: re.sub(r"000003@a.mrcs", r'"000003@a.mrcs"', t), id="double quotes"),
        pytest.param(lambda t: re.sub(r"000003@a.mrcs", r"'000003@a.mrcs'", t), id="single quotes"),
        pytest.param(lambda t: re.sub(r" #\d+ ", "", t), id="labels without numbers"),
        pytest.param(lambda t: t.replace("mic1.mrc", "mic#1.mrc"), id="a number sign inside a name"),
        pytest.param(lambda t: t.replace(" 2 \n", " 2 # a comment\n"), id="comments after values"),
        pytest.param(lambda t: t.replace("\n000", "\n# a comment\n000"), id="comment lines"),
        pytest.param(lambda t: t.replace("data_p", "data_P").replace("data_optics", "data_OPTICS"), id="capitals"),
        pytest.param(lambda t: t.replace("data_particles", "data_"), id="no block name"),
        pytest.param(lambda t: t.replace("mic1.mrc", "data_1.mrc"), id="a value that begins like a block"),
        pytest.param(lambda t: t.replace("100.0", "_100"), id="a value that begins like a label"),
        pytest.param(lambda t: t.replace("mrc 2 17", "mrc 2.000 17"), id="an optics group written as a decimal"),
        pytest.param(lambda t: t + "\ndata_general\n\n_rlnComment  'two words'\n_rlnOther 3\n", id="a further block"),
    ],
)  # fmt: skip
def test_spelling_does_not_matter(star, optics, particles, block, change):
    text = block("optics", optics()) + block("particles", particles())
    plain = read_star(star(text))
    same(plain, read_star(star(change(text))))


def test_optics_may_follow_the_particles(star, optics, particles):
    same(
        read_star(star(optics=optics(), particles=particles())), read_star(star(particles=particles(), optics=optics()))
    )


def test_a_single_optics_group_may_be_written_without_a_loop(star, optics, particles, block):
    pairs = "".join(f"_{label} {values[0]}\n" for label, values in optics().items())
    columns = particles() | {"rlnOpticsGroup": ["1"] * 4}
    table = read_star(star("data_optics\n\n" + pairs + block("particles", columns)))
    assert [group.name for group in table.optics] == ["krios"]


@pytest.mark.parametrize("name", ["", "images", "model_class_1"])
def test_one_block_files_have_pixel_size_from_magnification_and_origins_in_pixels(star, one_block, name):
    table = read_star(star(**{name: one_block()}))
    assert table.pixel_size == pytest.approx(1.5)
    assert_allclose(table.shifts, [[1.5, 0], [-3, 6], [0, -1.5], [4.5, 0.75]])
    assert_array_equal(table.optics_column("voltage_kv"), [300] * 4)


def test_rows_of_one_block_with_different_microscopes_become_optics_groups(star, one_block):
    table = read_star(star(images=one_block() | {"rlnVoltage": ["300", "200", "300", "200"]}))
    assert_array_equal(table.optics_column("voltage_kv"), [300, 200, 300, 200])
    assert len(table.optics) == 2
    assert len({group.name for group in table.optics}) == 2


def test_origins_in_angstrom_are_preferred_to_pixels(star, optics, particles):
    columns = particles() | {"rlnOriginX": ["99.0"] * 4, "rlnOriginY": ["99.0"] * 4}
    assert_array_equal(read_star(star(optics=optics(), particles=columns)).shifts[0], [1.5, 0])


def test_an_image_pixel_size_is_preferred_to_the_magnification(star, one_block):
    table = read_star(star(images=one_block() | {"rlnPixelSize": ["2.0"] * 4}))
    assert table.pixel_size == 2.0


def test_absent_optional_columns_mean_no_effect(star, optics, particles, caplog):
    columns = {k: v for k, v in particles().items() if not re.search("Phase|Subset|Origin", k)}
    with caplog.at_level(logging.WARNING):
        table = read_star(star(optics=optics(), particles=columns))
    for field, value in (("phase_shift", 0), ("b_factor", 0), ("ctf_scale", 1), ("half_set", 0), ("shifts", 0)):
        assert_array_equal(getattr(table, field), np.full_like(getattr(table, field), value))
    assert "no origins" in caplog.text


@pytest.mark.parametrize("label", REQUIRED)
def test_a_missing_column_is_named_with_its_file(star, optics, particles, label):
    first = {k: v for k, v in optics().items() if k != label}
    second = {k: v for k, v in particles().items() if k != label}
    path = star(optics=first, particles=second)
    with pytest.raises(ParticleError, match=f"{path}.*{label}"):
        read_star(path)


def test_all_missing_columns_are_named_at_once(star, optics, particles):
    columns = {k: v for k, v in particles().items() if k not in ("rlnDefocusU", "rlnAngleRot")}
    with pytest.raises(ParticleError, match=r"rlnDefocusU, rlnAngleRot.*refinement"):
        read_star(star(optics=optics(), particles=columns))


def test_poses_may_be_ignored_where_only_images_and_ctf_matter(star, optics, particles):
    columns = {k: v for k, v in particles().items() if not re.search("Angle(Rot|Tilt|Psi)|Origin", k)}
    table = read_star(star(optics=optics(), particles=columns), poses="ignored")
    assert np.isnan(table.rotations).all()
    assert_array_equal(table.shifts, 0)


@pytest.mark.parametrize(
    "name",
    ["not-a-number@x.mrcs", "0@x.mrcs", "-1@x.mrcs", "1.5@x.mrcs", "@x.mrcs", "000001@", "99999999999999999999@x"],
)
def test_a_bad_image_name_is_reported_with_its_row(star, optics, particles, name):
    columns = particles()
    columns["rlnImageName"][2] = name
    with pytest.raises(ParticleError, match=f"row 3 is '{re.escape(name)}'"):
        read_star(star(optics=optics(), particles=columns))


@pytest.mark.parametrize("value", ["nan", "-nan", "inf", "1.#IND", "abc", "0x10", "1,5"])
@pytest.mark.parametrize("label", ["rlnAngleRot", "rlnDefocusU", "rlnOriginYAngst"])
def test_a_value_that_is_no_finite_number_is_reported_with_row_and_column(star, optics, particles, label, value):
    columns = particles()
    columns[label][1] = value
    with pytest.raises(ParticleError, match=f"{label} of particle row 2"):
        read_star(star(optics=optics(), particles=columns))


@pytest.mark.parametrize(
    ("label", "value"),
    [("rlnVoltage", "0"), ("rlnImagePixelSize", "-1"), ("rlnImageSize", "0"), ("rlnAmplitudeContrast", "7")],
)
def test_impossible_optics_are_refused(star, optics, particles, label, value):
    columns = optics()
    columns[label][0] = value
    with pytest.raises(ParticleError, match="row 1"):
        read_star(star(optics=columns, particles=particles()))


@pytest.mark.parametrize("label", ["rlnCtfImage", "rlnTomoName", "rlnTomoParticleId", "rlnCoordinateZ"])
def test_tomography_is_refused(star, optics, particles, label):
    with pytest.raises(ParticleError, match=f"tomography.*{label}"):
        read_star(star(optics=optics(), particles=particles() | {label: ["1"] * 4}))


def test_three_dimensional_images_are_refused(star, optics, particles):
    with pytest.raises(ParticleError, match="rlnImageDimensionality"):
        read_star(star(optics=optics() | {"rlnImageDimensionality": ["3", "3"]}, particles=particles()))


def test_a_file_without_particles_is_refused(star, optics, particles):
    with pytest.raises(ParticleError, match="no particles"):
        read_star(star(optics=optics(), particles={k: [] for k in particles()}))


@pytest.mark.parametrize(
    "text", ["", "\n\n", "hello\n", "data_optics\n", "data_\nloop_\n", "data_\nloop_\n_rlnImageName\n"]
)
def test_what_is_no_particle_file_is_refused(star, text):
    with pytest.raises(ParticleError):
        read_star(star(text))


def test_an_optics_group_that_does_not_exist_is_reported_with_its_row(star, optics, particles):
    with pytest.raises(ParticleError, match="row 4 is of rlnOpticsGroup 3"):
        read_star(star(optics=optics(), particles=particles() | {"rlnOpticsGroup": ["1", "1", "2", "3"]}))


def test_particles_without_group_among_several_are_refused(star, optics, particles):
    columns = {k: v for k, v in particles().items() if k != "rlnOpticsGroup"}
    with pytest.raises(ParticleError, match="no column rlnOpticsGroup"):
        read_star(star(optics=optics(), particles=columns))


@pytest.mark.parametrize(("label", "what"), [("rlnImagePixelSize", "pixel sizes"), ("rlnImageSize", "image sizes")])
def test_optics_groups_of_different_geometry_are_refused(star, optics, particles, label, what):
    columns = optics()
    columns[label][1] = "32"
    with pytest.raises(ParticleError, match=what):
        read_particles(star(optics=columns, particles=particles()))


@pytest.mark.parametrize("row", ["1 2 3\n", "1 " * 40 + "\n"])
def test_a_row_of_the_wrong_length_is_reported(star, optics, particles, block, row):
    text = block("optics", optics()) + block("particles", particles()).rstrip() + "\n" + row
    with pytest.raises(ParticleError, match="row 5 of block data_particles has not the 14 values"):
        read_star(star(text))


def test_a_quotation_mark_does_not_swallow_rows(star, optics, particles):
    names = ['"000001@a.mrcs', "000003@a.mrcs", "000002@b.mrcs", '000002@a.mrcs"']
    with pytest.raises(ParticleError):
        read_star(star(optics=optics(), particles=particles() | {"rlnImageName": names}))


def test_a_label_that_occurs_twice_is_refused(star, optics, particles, block):
    text = block("optics", optics()) + block("particles", particles()).replace("_rlnAnglePsi", "_rlnAngleRot")
    with pytest.raises(ParticleError, match="rlnAngle"):
        read_star(star(text))


def test_written_files_read_back_the_same(tmp_path, table_of):
    groups = (
        OpticsGroup("krios", 300.0, 2.7, 0.1, 1.0723, 200),
        OpticsGroup("old one", 200.0, 1.4, 0.07, 1.0723, 200),
    )
    table = table_of(
        tmp_path / "x", ("a.mrcs", "dir/b c.mrcs"), [0, 1, 1, 0, 0], [0, 11, 5, 1234566, 3],
        optics=groups, optics_index=np.array([0, 1, 1, 0, 1]),
    )  # fmt: skip
    write_star(tmp_path / "out.star", table)
    again = read_star(tmp_path / "out.star")
    assert again.stacks == table.stacks
    assert again.optics == table.optics
    for name in ("stack_index", "image_index", "optics_index", "half_set"):
        assert_array_equal(getattr(again, name), getattr(table, name), err_msg=name)
    for name in ("shifts", "defocus_u", "defocus_v", "defocus_angle", "phase_shift", "b_factor", "ctf_scale"):
        assert_allclose(getattr(again, name), getattr(table, name), rtol=1e-15, err_msg=name)
    assert_allclose(again.rotations, table.rotations, atol=1e-12)


def test_written_files_have_the_blocks_and_labels_of_relion(tmp_path, table_of):
    write_star(tmp_path / "out.star", table_of(tmp_path, ("a.mrcs",), [0, 0], [0, 1]))
    blocks = starfile.read(tmp_path / "out.star", always_dict=True)
    assert list(blocks) == ["optics", "particles"]
    assert {"rlnOpticsGroup", "rlnOpticsGroupName", "rlnVoltage", "rlnImagePixelSize"} <= set(blocks["optics"])
    assert {"rlnImageName", "rlnOpticsGroup", "rlnAngleRot", "rlnOriginXAngst"} <= set(blocks["particles"])
    assert list(blocks["particles"]["rlnImageName"]) == ["000001@a.mrcs", "000002@a.mrcs"]


def test_a_failed_write_leaves_the_old_file_and_nothing_else(tmp_path, table_of, monkeypatch):
    path = tmp_path / "out.star"
    path.write_text("precious")

    def fail(*args, **kwargs):
        raise OSError("disk full")

    monkeypatch.setattr(starfile, "write", fail)
    with pytest.raises(OSError, match="disk full"):
        write_star(path, table_of(tmp_path, ("a.mrcs",), [0], [0]))
    assert path.read_text() == "precious"
    assert list(tmp_path.iterdir()) == [path]


def test_several_star_files_at_once_are_refused(star, optics, particles):
    path = star(optics=optics(), particles=particles())
    with pytest.raises(ParticleError, match=r"only \.cs files"):
        read_particles([path, path])


def test_a_missing_file_is_reported(tmp_path):
    with pytest.raises(ParticleError, match="No such file"):
        read_particles(tmp_path / "nothing.star")
