"""Image stacks: found wherever they lie, read whatever their byte order and mode, refused when they cannot be right."""

from __future__ import annotations

import gzip
import logging
import re
import resource
from pathlib import Path

import mrcfile
import numpy as np
import pytest
from numpy.testing import assert_array_equal

from cryosphere.errors import ImageStackError
from cryosphere.particles.mrc_stacks import read_stack_file
from cryosphere.particles.stacks import ImageStacks
from cryosphere.particles.table import OpticsGroup


@pytest.fixture
def job(tmp_path, write_stack, noise):
    """A project folder with one stack of five images and a particle file two folders down."""
    images = noise(5, 16)
    stack = write_stack(tmp_path / "project" / "Extract" / "job2" / "a.mrcs", images)
    source = tmp_path / "project" / "Refine3D" / "job5" / "run_data.star"
    source.parent.mkdir(parents=True)
    return source, stack, images


NAME = "Extract/job2/a.mrcs"


def test_images_come_in_the_order_asked_for(tmp_path, write_stack, noise, table_of):
    first, second = noise(4, 16, seed=1), noise(3, 16, seed=2)
    write_stack(tmp_path / "a.mrcs", first)
    write_stack(tmp_path / "b.mrcs", second)
    table = table_of(tmp_path / "p.star", ("a.mrcs", "b.mrcs"), [1, 0, 1, 0, 0], [2, 3, 0, 0, 1])
    stacks = ImageStacks(table)
    assert len(stacks) == 5
    assert stacks.box == 16
    expected = np.stack([second[2], first[3], second[0], first[0], first[1]])
    assert_array_equal(stacks.read(np.arange(5)), expected)
    assert_array_equal(stacks.read(np.array([4, 0, 4])), expected[[4, 0, 4]])
    assert stacks.read(np.array([], dtype=int)).shape == (0, 16, 16)


def test_stacks_are_found_relative_to_the_project_folder(job, table_of):
    source, _, images = job
    assert_array_equal(ImageStacks(table_of(source, (NAME,), [0], [3])).read(np.array([0])), images[[3]])


@pytest.mark.parametrize("folder", ["", "Extract", "Extract/job2"])
def test_datadir_may_be_any_folder_along_the_path(job, tmp_path, table_of, folder):
    table = table_of(tmp_path / "elsewhere" / "p.star", (NAME,), [0], [3])
    stacks = ImageStacks(table, tmp_path / "project" / folder)
    assert stacks.files[0].path == job[1]


def test_datadir_goes_before_an_absolute_path_that_has_moved(job, tmp_path, table_of):
    table = table_of(tmp_path / "p.star", (f"/gone/{NAME}",), [0], [0])
    assert ImageStacks(table, job[1].parent).files[0].path == job[1]
    assert ImageStacks(table_of(tmp_path / "p.star", (str(job[1]),), [0], [0])).files[0].path == job[1]


def test_located_stacks_can_be_used_from_anywhere(job, table_of):
    source, stack, _ = job
    assert ImageStacks(table_of(source, (NAME,), [0], [3])).located().stacks == (str(stack),)


def test_the_error_for_missing_stacks_names_their_number_and_every_place(job, tmp_path, table_of):
    source = job[0]
    (tmp_path / "data").mkdir()
    table = table_of(source, (NAME, "Extract/x.mrcs", "Extract/y.mrcs"), [0, 1, 2], [0, 0, 0])
    with pytest.raises(ImageStackError, match="2 of 3") as error:
        ImageStacks(table, tmp_path / "data")
    for place in ("data/Extract/x.mrcs", "data/x.mrcs", "job5/Extract/x.mrcs", "project/Extract/x.mrcs"):
        assert place in str(error.value)


def test_a_datadir_that_is_no_folder_is_refused_even_where_the_stacks_lie_elsewhere(job, tmp_path, table_of):
    table = table_of(job[0], (NAME,), [0], [0])
    with pytest.raises(ImageStackError, match=r"\(--datadir\), .*/gone, does not exist"):
        ImageStacks(table, tmp_path / "gone")
    with pytest.raises(ImageStackError, match="is not a folder"):
        ImageStacks(table, job[1])


def test_two_stacks_of_one_name_are_not_mixed_up(tmp_path, write_stack, noise, table_of):
    write_stack(tmp_path / "data" / "a.mrcs", noise(2, 16))
    table = table_of(tmp_path / "p.star", ("day1/a.mrcs", "day2/a.mrcs"), [0, 1], [0, 0])
    with pytest.raises(ImageStackError, match="different stacks"):
        ImageStacks(table, tmp_path / "data")


def test_stacks_that_no_row_needs_are_not_looked_for(job, table_of):
    table = table_of(job[0], ("gone.mrcs", NAME), [1, 0], [2, 0])
    assert len(ImageStacks(table[np.array([0])])) == 1


@pytest.mark.parametrize("dtype", ["i1", "i2", "f4", "u2", "f2"])
@pytest.mark.parametrize("order", ["<", ">"])
def test_all_real_modes_and_both_byte_orders_are_read(tmp_path, write_stack, table_of, dtype, order):
    images = np.random.default_rng(0).integers(0, 100, (3, 16, 16)).astype(order + dtype)
    path = write_stack(tmp_path / "a.mrcs", images)
    read = ImageStacks(table_of(tmp_path / "p.star", ("a.mrcs",), [0] * 3, [0, 1, 2])).read(np.arange(3))
    assert_array_equal(read, images.astype(np.float32))
    spoiled = bytearray(path.read_bytes())
    spoiled[208:216] = bytes(8)  # MAP stamp and machine stamp, as some programs leave them
    path.write_bytes(bytes(spoiled))
    if dtype != "i1" or order == "<":  # mode 0 is 0 in either order: without a stamp it cannot be known
        read = ImageStacks(table_of(tmp_path / "p.star", ("a.mrcs",), [0] * 3, [0, 1, 2])).read(np.arange(3))
        assert_array_equal(read, images.astype(np.float32))


def test_an_extended_header_is_skipped(tmp_path, noise, table_of):
    images = noise(3, 16)
    with mrcfile.new(tmp_path / "a.mrcs") as stack:
        stack.set_data(images)
        stack.set_extended_header(np.zeros(500, dtype="V1"))
    assert_array_equal(
        ImageStacks(table_of(tmp_path / "p.star", ("a.mrcs",), [0], [2])).read(np.array([0])), images[[2]]
    )


def test_the_particle_files_pixel_size_wins_and_it_is_said(tmp_path, write_stack, noise, table_of, caplog):
    write_stack(tmp_path / "a.mrcs", noise(3, 16), pixel_size=1.0)
    with caplog.at_level(logging.INFO):
        stacks = ImageStacks(table_of(tmp_path / "p.star", ("a.mrcs",), [0], [2]))
    assert stacks.table.pixel_size == 1.5
    assert re.search(r"1 Å per pixel; 1\.5 Å", caplog.text)


def test_many_stacks_do_not_use_up_file_handles(tmp_path, write_stack, noise, table_of):
    names = [f"{k}.mrcs" for k in range(150)]
    images = noise(150, 8)
    for name, image in zip(names, images, strict=True):
        write_stack(tmp_path / name, image[None])
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (len(list(Path("/dev/fd").iterdir())) + 90, hard))
    try:
        stacks = ImageStacks(table_of(tmp_path / "p.star", names, range(150), [0] * 150))
        read = stacks.read(np.arange(150)[::-1])
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
    assert_array_equal(read, images[::-1])


def spoil(path, position, value):
    """Overwrite a 32-bit integer of the header."""
    content = bytearray(path.read_bytes())
    content[position : position + 4] = int(value).to_bytes(4, "little", signed=True)
    path.write_bytes(bytes(content))


@pytest.mark.parametrize(
    ("position", "value", "message"),
    [
        (0, 8, "8 x 16 pixels; square"),
        (0, -16, "not a usable MRC stack"),
        (8, 0, "not a usable MRC stack"),
        (8, 2**31 - 1, "truncated: 2147483647 images"),
        (12, 4, "mode 4"),
        (12, 77, "mode 77"),
        (92, 10_000, "truncated"),
        (92, -1, "not a usable MRC stack"),
    ],
)
def test_a_header_that_cannot_be_right_is_refused(job, position, value, message):
    spoil(job[1], position, value)
    with pytest.raises(ImageStackError, match=f"{job[1]}.*{message}"):
        read_stack_file(job[1])


@pytest.mark.parametrize("kept", [0, 500, 1024, -1])
def test_a_truncated_stack_is_refused_on_opening(job, table_of, kept):
    source, stack, _ = job
    stack.write_bytes(stack.read_bytes()[:kept])
    with pytest.raises(ImageStackError, match=r"truncated|too short"):
        ImageStacks(table_of(source, (NAME,), [0], [0]))


def test_a_compressed_stack_is_refused(job):
    job[1].write_bytes(gzip.compress(job[1].read_bytes()))
    with pytest.raises(ImageStackError, match=r"gzip.*decompress"):
        read_stack_file(job[1])


def test_an_image_beyond_the_stack_is_reported_with_its_row(job, table_of):
    with pytest.raises(ImageStackError, match=r"row 2 \(image 6 of .*a.mrcs\).*holds 5 images"):
        ImageStacks(table_of(job[0], (NAME,), [0, 0], [4, 5]))


def test_a_stack_of_another_size_than_stated_is_refused(job, table_of):
    optics = (OpticsGroup("x", 300.0, 2.7, 0.1, 1.5, 32),)
    with pytest.raises(ImageStackError, match="16 x 16 pixels, but 32"):
        ImageStacks(table_of(job[0], (NAME,), [0], [0], optics=optics))


def test_stacks_of_different_sizes_are_refused(job, write_stack, noise, table_of):
    write_stack(job[1].with_name("b.mrcs"), noise(2, 32))
    with pytest.raises(ImageStackError, match="32 x 32 pixels, but 16"):
        ImageStacks(table_of(job[0], (NAME, "Extract/job2/b.mrcs"), [0, 1], [0, 0]))


@pytest.mark.filterwarnings("ignore::RuntimeWarning")  # mrcfile warns of what we write here
@pytest.mark.parametrize(("value", "message"), [(3.0, "is constant"), (np.nan, "not finite"), (np.inf, "not finite")])
def test_an_unusable_image_is_named(tmp_path, write_stack, noise, table_of, value, message):
    images = noise(5, 16)
    if message == "is constant":
        images[3] = value
    else:
        images[3, 2, 1] = value
    write_stack(tmp_path / "a.mrcs", images)
    stacks = ImageStacks(table_of(tmp_path / "p.star", ("a.mrcs",), [0] * 3, [1, 3, 2]))
    with pytest.raises(ImageStackError, match=rf"row 2 \(image 4 of .*a.mrcs\).*{message}"):
        stacks.read(np.array([2, 1, 0]))
