"""Damaged files: whatever is cut, flipped or dropped, the readers give a table that makes sense, or one clear error.

Never another exception, never a hang, never memory for what a broken header promises.
"""

from __future__ import annotations

import io
import tempfile
import tracemalloc
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cryosphere.errors import InputError, ParticleError
from cryosphere.particles.mrc_stacks import read_stack_file
from cryosphere.particles.read import read_particles
from cryosphere.particles.stacks import ImageStacks
from cryosphere.particles.table import ParticleTable

DEADLINE_MS = 5000  # far above the 10 ms that these files need, far below a hang

damages = st.lists(
    st.one_of(
        st.tuples(st.just("cut"), st.floats(0, 1)),
        st.tuples(st.just("flip"), st.tuples(st.floats(0, 1), st.integers(1, 255))),
        st.tuples(st.just("insert"), st.tuples(st.floats(0, 1), st.binary(min_size=1, max_size=6))),
        st.tuples(st.just("remove"), st.tuples(st.floats(0, 1), st.integers(1, 40))),
    ),
    min_size=1,
    max_size=4,
)


def damage(content: bytes, what: list) -> bytes:
    """Content with each of the damages done in turn; places are fractions of the length."""
    for kind, detail in what:
        place = int((detail if kind == "cut" else detail[0]) * max(len(content) - 1, 0))
        if kind == "cut":
            content = content[:place]
        elif kind == "flip" and content:
            content = content[:place] + bytes([content[place] ^ detail[1]]) + content[place + 1 :]
        elif kind == "insert":
            content = content[:place] + detail[1] + content[place:]
        elif kind == "remove":
            content = content[:place] + content[place + detail[1] :]
    return content


def read_or_refuse(*contents: bytes, suffix: str) -> ParticleTable | None:
    """Read files of these contents; check that what comes out is usable."""
    with tempfile.TemporaryDirectory() as folder:
        paths = []
        for number, content in enumerate(contents):
            paths.append(Path(folder) / f"{number}{suffix}")
            paths[-1].write_bytes(content)
        try:
            table = read_particles(paths)
        except InputError as error:
            assert str(paths[0]) in str(error) or str(paths[-1]) in str(error)
            return None
    assert len(table) > 0
    assert np.isfinite(table.rotations).all()
    assert np.isfinite(table.shifts).all()
    assert np.isfinite(table.defocus_u).all()
    assert (table.image_index >= 0).all()
    assert (table.stack_index < len(table.stacks)).all()
    assert (table.optics_index < len(table.optics)).all()
    return table


@settings(deadline=DEADLINE_MS, max_examples=150)
@given(what=damages)
def test_damaged_star_files(what, optics, particles, block):
    read_or_refuse(damage((block("optics", optics()) + block("particles", particles())).encode(), what), suffix=".star")


@settings(deadline=DEADLINE_MS, max_examples=75)
@given(what=damages)
def test_damaged_one_block_star_files(what, one_block, block):
    read_or_refuse(damage(block("", one_block()).encode(), what), suffix=".star")


@settings(deadline=DEADLINE_MS, max_examples=75)
@given(data=st.data())
def test_star_files_that_lack_columns(data, optics, particles, block):
    first = {k: v for k, v in optics().items() if data.draw(st.booleans() | st.just(True))}
    second = {k: v for k, v in particles().items() if data.draw(st.booleans() | st.just(True))}
    read_or_refuse((block("optics", first) + block("particles", second)).encode(), suffix=".star")


@settings(deadline=DEADLINE_MS, max_examples=75)
@given(
    content=st.binary(max_size=300)
    | st.text(alphabet="data_loop\n\t #\"'@.0rlnImageName", max_size=200).map(str.encode)
)
def test_files_of_anything(content):
    assert read_or_refuse(content, suffix=".star") is None
    assert read_or_refuse(content, suffix=".cs") is None


def saved(table: np.ndarray) -> bytes:
    file = io.BytesIO()
    np.save(file, table, allow_pickle=False)
    return file.getvalue()


@settings(deadline=DEADLINE_MS, max_examples=150)
@given(what=damages)
def test_damaged_cs_files(what, records):
    read_or_refuse(damage(saved(records()), what), suffix=".cs")


@settings(deadline=DEADLINE_MS, max_examples=100)
@given(place=st.floats(0, 1), value=st.integers(0, 255))
def test_damaged_cs_headers(place, value, records):
    content = bytearray(saved(records()))
    content[int(place * content.index(b"\n"))] = value
    read_or_refuse(bytes(content), suffix=".cs")


@settings(deadline=DEADLINE_MS, max_examples=75)
@given(what=damages)
def test_damaged_passthrough_files(what, records):
    whole = records()
    ctf = [name for name in whole.dtype.names if name.startswith("ctf/")]
    through = np.array(whole[["uid", *ctf]].tolist(), dtype=[(n, whole.dtype[n]) for n in ("uid", *ctf)])
    read_or_refuse(saved(records(without=ctf)), damage(saved(through), what), suffix=".cs")


@settings(deadline=DEADLINE_MS, max_examples=75)
@given(data=st.data())
def test_cs_files_that_lack_columns(data, records):
    names = records().dtype.names
    read_or_refuse(saved(records(without=data.draw(st.lists(st.sampled_from(names), max_size=4)))), suffix=".cs")


@settings(deadline=DEADLINE_MS, max_examples=200)
@given(what=damages, header_only=st.booleans())
def test_damaged_stacks(what, header_only, write_stack, noise, table_of):
    with tempfile.TemporaryDirectory() as folder:
        path = write_stack(Path(folder) / "a.mrcs", noise(4, 16))
        content = path.read_bytes()
        spoiled = damage(content[:256], what) + content[256:] if header_only else damage(content, what)
        path.write_bytes(spoiled)
        try:
            stacks = ImageStacks(table_of(Path(folder) / "p.star", ("a.mrcs",), [0, 0, 0], [0, 3, 1]))
            images = stacks.read(np.arange(3))
        except InputError as error:
            assert str(path) in str(error)
            return
        assert np.isfinite(images).all()
        assert images.nbytes <= 12 * len(spoiled)  # at most int8 spread to float32, three images


def test_no_memory_is_taken_for_what_a_header_only_promises(tmp_path, write_stack, noise, cs, records):
    stack = write_stack(tmp_path / "a.mrcs", noise(2, 16))
    content = bytearray(stack.read_bytes())
    for position, value in ((0, 60_000), (4, 60_000), (8, 2**31 - 1), (92, 2**31 - 1)):
        content[position : position + 4] = value.to_bytes(4, "little")
    stack.write_bytes(bytes(content))
    table = cs(records())
    table.write_bytes(table.read_bytes().replace(b"(5,), }           ", b"(99999999999,), } "))
    tracemalloc.start()
    try:
        with pytest.raises(InputError, match="truncated"):
            read_stack_file(stack)
        with pytest.raises(ParticleError, match="99999999999"):
            read_particles(table)
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert peak < 2_000_000
