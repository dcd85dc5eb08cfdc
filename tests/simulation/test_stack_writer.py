"""Stacks appear whole or not at all, and other programs can read them."""

from __future__ import annotations

import mrcfile
import numpy as np
import pytest

from cryosphere.errors import ImageStackError
from cryosphere.simulation.stack_writer import StackWriter

IMAGES = np.random.default_rng(0).normal(3.0, 2.0, (5, 7, 7)).astype(np.float32)


def test_mrcfile_reads_back_what_was_written_in_pieces(tmp_path):
    path = tmp_path / "new folder" / "stack.mrcs"
    with StackWriter(path, count=5, box=7, pixel_size=1.25) as writer:
        writer.write(IMAGES[:2])
        writer.write(IMAGES[2:])
    with mrcfile.open(path) as stack:
        assert np.array_equal(stack.data, IMAGES)
        assert stack.is_image_stack()
        assert stack.voxel_size.x == stack.voxel_size.y == np.float32(1.25)
        header = stack.header
        assert (header.dmin, header.dmax) == (IMAGES.min(), IMAGES.max())
        assert (header.dmean, header.rms) == pytest.approx((IMAGES.mean(), IMAGES.std()), rel=1e-5)
    assert [p.name for p in path.parent.iterdir()] == ["stack.mrcs"]


def test_a_failure_leaves_nothing_and_an_old_stack_untouched(tmp_path):
    path = tmp_path / "stack.mrcs"
    path.write_bytes(b"old")
    with pytest.raises(RuntimeError), StackWriter(path, count=5, box=7, pixel_size=1.0) as writer:
        writer.write(IMAGES[:2])
        raise RuntimeError
    assert path.read_bytes() == b"old"
    assert list(tmp_path.iterdir()) == [path]


def test_a_stack_that_lacks_images_does_not_appear(tmp_path):
    with (
        pytest.raises(ValueError, match="2 images"),
        StackWriter(tmp_path / "stack.mrcs", count=5, box=7, pixel_size=1.0) as w,
    ):
        w.write(IMAGES[:2])
    assert not list(tmp_path.iterdir())


def test_a_folder_that_cannot_be_written_is_named(tmp_path):
    (tmp_path / "file").write_text("")
    with (
        pytest.raises(ImageStackError, match="file"),
        StackWriter(tmp_path / "file" / "s.mrcs", count=1, box=7, pixel_size=1.0),
    ):
        pass
