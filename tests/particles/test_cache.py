"""The cache holds what preprocessing gives, is found again, and is never taken for complete when it is not."""

from __future__ import annotations

import os
import pickle
import shutil
import socket
import subprocess
import sys
from contextlib import contextmanager
from dataclasses import replace

import numpy as np
import pytest
import torch

from cryosphere.errors import ImageStackError, InputError
from cryosphere.particles import cache as cache_module
from cryosphere.particles.cache import build_cache
from cryosphere.particles.preprocess import PreprocessSettings, preprocess_batch
from cryosphere.particles.stacks import ImageStacks
from cryosphere.particles.star import read_star, write_star

SETTINGS = PreprocessSettings(box=12, contrast="black", background_radius=8.0, soft_edge=0.2)


@pytest.fixture
def stacks(tmp_path, write_stack, noise, table_of, monkeypatch):
    """Nine images in two stacks, in an order that is not that of the files; preprocessed four at a time."""
    monkeypatch.setattr(cache_module, "_PIXELS_PER_BATCH", 4 * 16 * 16)
    write_stack(tmp_path / "a.mrcs", noise(5, 16, seed=1))
    write_stack(tmp_path / "b.mrcs", noise(6, 16, seed=2))
    table = table_of(
        tmp_path / "p.star", ("a.mrcs", "b.mrcs"), [1, 0, 1, 0, 0, 1, 1, 0, 1], [2, 3, 0, 0, 1, 1, 5, 4, 4]
    )
    return ImageStacks(table)


class Reports:
    """Listens to progress."""

    def __init__(self) -> None:
        self.total = self.done = 0

    @contextmanager
    def track(self, total, description):
        self.total = total
        yield self.advance

    def advance(self, steps):
        self.done += steps


def test_the_cache_holds_the_preprocessed_images_in_the_tables_order(stacks, tmp_path):
    prepared = build_cache(stacks.table, stacks, SETTINGS, tmp_path / "cache")
    rows = np.arange(9)
    shifts = torch.from_numpy(stacks.table.shifts).float()
    expected = preprocess_batch(torch.from_numpy(stacks.read(rows)), shifts, 1.5, SETTINGS)
    # float16 has eleven significant bits
    torch.testing.assert_close(prepared.spectra(rows), expected, rtol=2**-11, atol=1e-3)
    torch.testing.assert_close(prepared.spectra(rows[[7, 2]]), prepared.spectra(rows)[[7, 2]])
    assert prepared.spectra(slice(2, 5)).dtype == torch.complex64
    assert prepared.images(rows).shape == (9, 12, 12)
    assert (len(prepared), prepared.box, prepared.pixel_size) == (9, 12, pytest.approx(1.5 * 16 / 12))
    assert prepared.table is stacks.table


def test_a_second_run_reads_no_image(stacks, tmp_path, monkeypatch):
    first = build_cache(stacks.table, stacks, SETTINGS, tmp_path / "cache")
    monkeypatch.setattr(ImageStacks, "read", lambda *_: pytest.fail("images were read again"))
    second = build_cache(stacks.table, stacks, SETTINGS, tmp_path / "cache")
    torch.testing.assert_close(first.spectra(slice(None)), second.spectra(slice(None)))


def test_what_does_not_touch_the_images_does_not_make_a_new_cache(stacks, tmp_path):
    first = build_cache(stacks.table, stacks, SETTINGS, tmp_path / "cache")
    refined = replace(stacks.table, rotations=stacks.table.rotations[::-1], defocus_u=stacks.table.defocus_u + 5)
    assert build_cache(refined, stacks, SETTINGS, tmp_path / "cache").path == first.path


def test_a_table_written_and_read_again_finds_its_cache(stacks, tmp_path):
    first = build_cache(stacks.table, stacks, SETTINGS, tmp_path / "cache")
    (tmp_path / "run").mkdir()
    write_star(tmp_path / "run" / "particles.star", stacks.located())
    again = read_star(tmp_path / "run" / "particles.star")
    assert build_cache(again, ImageStacks(again), SETTINGS, tmp_path / "cache").path == first.path


def test_whatever_decides_the_images_makes_a_new_cache(stacks, tmp_path):
    folder = tmp_path / "cache"
    paths = [build_cache(stacks.table, stacks, SETTINGS, folder).path]
    changes = ({"box": 10}, {"contrast": "white"}, {"background_radius": 9.0}, {"soft_edge": 0.0})
    paths += [build_cache(stacks.table, stacks, replace(SETTINGS, **change), folder).path for change in changes]
    moved = replace(stacks.table, shifts=stacks.table.shifts + 1)
    paths.append(build_cache(moved, ImageStacks(moved), SETTINGS, folder).path)
    fewer = stacks.table[np.arange(4)]
    paths.append(build_cache(fewer, ImageStacks(fewer), SETTINGS, folder).path)
    os.utime(tmp_path / "a.mrcs", ns=(1, 1))
    paths.append(build_cache(stacks.table, ImageStacks(stacks.table), SETTINGS, folder).path)
    assert len(set(paths)) == len(paths)


def test_progress_counts_every_image(stacks, tmp_path):
    reports = Reports()
    build_cache(stacks.table, stacks, SETTINGS, tmp_path / "cache", reports)
    assert (reports.total, reports.done) == (9, 9)


@pytest.mark.parametrize("interruption", [KeyboardInterrupt, MemoryError, ImageStackError])
def test_an_interrupted_build_leaves_nothing(stacks, tmp_path, monkeypatch, interruption):
    original, calls = ImageStacks.read, []

    def read(self, rows):
        calls.append(rows)
        if len(calls) == 2:
            raise interruption
        return original(self, rows)

    monkeypatch.setattr(ImageStacks, "read", read)
    with pytest.raises(interruption):
        build_cache(stacks.table, stacks, SETTINGS, tmp_path / "cache")
    assert list((tmp_path / "cache").iterdir()) == []


def test_what_a_killed_build_left_is_removed_but_not_what_a_running_one_writes(stacks, tmp_path):
    folder = tmp_path / "cache"
    folder.mkdir()
    ended = subprocess.Popen([sys.executable, "-c", ""])
    ended.wait()
    dead, alive, elsewhere = (
        folder / f".spectra-x.npy.{host}.{process}.part"
        for host, process in ((socket.gethostname(), ended.pid), (socket.gethostname(), os.getpid()), ("other", 1))
    )
    for part in (dead, alive, elsewhere):
        part.write_bytes(b"half")
    build_cache(stacks.table, stacks, SETTINGS, folder)
    assert not dead.exists()
    assert alive.exists()
    assert elsewhere.exists()


@pytest.mark.parametrize("content", [b"", b"junk", None])
def test_a_damaged_cache_is_made_again(stacks, tmp_path, content):
    prepared = build_cache(stacks.table, stacks, SETTINGS, tmp_path / "cache")
    expected = prepared.spectra(slice(None)).clone()
    prepared.path.write_bytes(prepared.path.read_bytes()[:-2] if content is None else content)
    again = build_cache(stacks.table, stacks, SETTINGS, tmp_path / "cache")
    torch.testing.assert_close(again.spectra(slice(None)), expected)


def test_a_disk_that_is_too_small_is_said_beforehand(stacks, tmp_path, monkeypatch):
    monkeypatch.setattr(shutil, "disk_usage", lambda _: shutil._ntuple_diskusage(10, 10, 0))
    with pytest.raises(InputError, match="GB are free"):
        build_cache(stacks.table, stacks, SETTINGS, tmp_path / "cache")


def test_prepared_images_can_be_sent_to_another_process_without_their_data(stacks, tmp_path):
    prepared = build_cache(stacks.table, stacks, SETTINGS, tmp_path / "cache")
    expected = prepared.spectra(slice(None))
    sent = pickle.dumps(prepared)
    assert b"_pairs" not in sent
    torch.testing.assert_close(pickle.loads(sent).spectra(slice(None)), expected)


def test_a_table_of_other_length_is_refused(stacks, tmp_path):
    with pytest.raises(ValueError, match="4 particles, but 9 images"):
        build_cache(stacks.table[np.arange(4)], stacks, SETTINGS, tmp_path)
