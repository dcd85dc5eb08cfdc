"""The cache holds what preprocessing gives, is found again, and is never taken for complete when it is not."""

from __future__ import annotations

import os
import pickle
import shutil
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import replace

import numpy as np
import pytest
import torch

from cryosphere import fourier
from cryosphere.errors import ImageStackError, InputError
from cryosphere.locking import held
from cryosphere.particles import cache as cache_module
from cryosphere.particles import checked_array
from cryosphere.particles.cache import CacheFolders, build_cache
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


@pytest.mark.parametrize(("box", "smaller"), [(12, 8), (13, 10)])
def test_images_are_handed_out_cropped_in_fourier_space(stacks, tmp_path, box, smaller):
    prepared = build_cache(stacks.table, stacks, replace(SETTINGS, box=box), tmp_path / "cache")
    rows = np.array([2, 0])
    whole, cropped = prepared.spectra(rows), prepared.spectra(rows, smaller)
    expected = fourier.crop(whole, prepared.box, smaller)
    kept = fourier.up_to(smaller, 1.0, 2.0).bool()  # on the Nyquist lines a shift and an average do not commute
    torch.testing.assert_close(cropped[:, kept], expected[:, kept])
    assert prepared.spectra(rows, prepared.box).equal(whole)


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


def stop_at(call, error, monkeypatch):
    """Let the given call for images fail; returns a list of the rows that were read."""
    original, calls = ImageStacks.read, []

    def read(self, rows):
        calls.append(rows)
        if len(calls) == call:
            raise error
        return original(self, rows)

    monkeypatch.setattr(ImageStacks, "read", read)
    return calls


def hidden(folder):
    return sorted(path.name for path in folder.iterdir() if path.name.startswith("."))


@pytest.mark.parametrize(("call", "error"), [(1, KeyboardInterrupt), (2, ImageStackError), (2, OSError(28, "full"))])
def test_a_build_that_has_nothing_to_keep_leaves_nothing(stacks, tmp_path, monkeypatch, call, error):
    stop_at(call, error, monkeypatch)
    with pytest.raises((KeyboardInterrupt, InputError)):
        build_cache(stacks.table, stacks, SETTINGS, tmp_path / "cache")
    assert list((tmp_path / "cache").iterdir()) == []


@pytest.mark.parametrize("error", [KeyboardInterrupt, MemoryError])
def test_an_interrupted_build_goes_on_where_it_stood(stacks, tmp_path, monkeypatch, error):
    whole = build_cache(stacks.table, stacks, SETTINGS, tmp_path / "whole").path.read_bytes()
    with monkeypatch.context() as patched, pytest.raises(error, match="4 of 9" if error is KeyboardInterrupt else None):
        stop_at(2, error, patched)
        build_cache(stacks.table, stacks, SETTINGS, tmp_path / "cache")
    assert len(hidden(tmp_path / "cache")) == 1
    reports, calls = Reports(), stop_at(0, None, monkeypatch)
    prepared = build_cache(stacks.table, stacks, SETTINGS, tmp_path / "cache", reports)
    assert sum(map(len, calls)) == 5
    assert reports.done == 9
    assert prepared.path.read_bytes() == whole
    assert not hidden(tmp_path / "cache")


def test_what_fits_its_checksum_no_more_is_made_again(stacks, tmp_path, monkeypatch):
    """As after a power cut, when some of what was written never reached the disk."""
    whole = build_cache(stacks.table, stacks, SETTINGS, tmp_path / "whole").path.read_bytes()
    with monkeypatch.context() as patched, pytest.raises(MemoryError):
        stop_at(3, MemoryError, patched)
        build_cache(stacks.table, stacks, SETTINGS, tmp_path / "cache")
    [part] = (tmp_path / "cache").iterdir()
    content = bytearray(part.read_bytes())
    content[130] ^= 1  # in row 0, just behind the file's head of 128 bytes
    part.write_bytes(content)
    calls = stop_at(0, None, monkeypatch)
    prepared = build_cache(stacks.table, stacks, SETTINGS, tmp_path / "cache")
    assert sum(map(len, calls)) == 5  # one of the two batches of four, and the last image
    assert prepared.path.read_bytes() == whole


def test_a_flipped_bit_is_found_when_the_image_is_read_and_mended_at_the_next_start(stacks, tmp_path, monkeypatch):
    prepared = build_cache(stacks.table, stacks, SETTINGS, tmp_path / "cache")
    whole = prepared.path.read_bytes()
    content = bytearray(whole)
    content[128 + 4 * (12 * 7 * 2 * 2) + 5] ^= 0x10  # in row 4, of 12 by 7 pairs of two bytes each
    prepared.path.write_bytes(content)
    fresh = build_cache(stacks.table, stacks, SETTINGS, tmp_path / "cache")  # its length and its head are right
    fresh.spectra(np.array([8, 3, 5]))
    with pytest.raises(ImageStackError, match=rf"{prepared.path}: row 4 .* the same command .* again"):
        fresh.spectra(np.array([2, 4]))
    calls = stop_at(0, None, monkeypatch)
    mended = build_cache(stacks.table, stacks, SETTINGS, tmp_path / "cache")
    assert len(calls) == 1
    assert mended.path.read_bytes() == whole
    mended.spectra(slice(None))
    assert not hidden(tmp_path / "cache")


def test_a_file_that_becomes_shorter_while_it_is_used_is_noticed(stacks, tmp_path):
    prepared = build_cache(stacks.table, stacks, SETTINGS, tmp_path / "cache")
    prepared.spectra(slice(None))
    os.truncate(prepared.path, 1000)
    with pytest.raises(ImageStackError, match="is not what was written"):
        prepared.spectra(np.array([8]))


def test_an_image_is_checked_once(stacks, tmp_path, monkeypatch):
    prepared = build_cache(stacks.table, stacks, SETTINGS, tmp_path / "cache")
    checked, original = [], checked_array._checksum
    monkeypatch.setattr(checked_array, "_checksum", lambda row: checked.append(1) or original(row))
    for rows in (np.array([1, 2]), np.array([2, 3]), slice(0, 4), slice(None), np.array([8])):
        prepared.spectra(rows)
    assert len(checked) == 9


def test_two_processes_share_the_work(stacks, tmp_path, caplog):
    """The second waits, and finds what the first has made."""
    folder = tmp_path / "cache"
    prepared = build_cache(stacks.table, stacks, SETTINGS, folder)
    made = prepared.path.rename(tmp_path / "made")
    lock = prepared.path.with_name(f".{prepared.path.name}.lock")
    with caplog.at_level("INFO"), ThreadPoolExecutor(1) as pool:
        with held(lock, "preprocessing"):
            waiting = pool.submit(build_cache, stacks.table, stacks, SETTINGS, folder)
            while "waiting for another process: preprocessing, by process" not in caplog.text:
                time.sleep(0.01)
            stamp = made.rename(prepared.path).stat().st_mtime_ns
        waiting.result(timeout=30)
    assert prepared.path.stat().st_mtime_ns == stamp
    assert not hidden(folder)


def test_what_nobody_went_on_with_for_a_week_is_removed(stacks, tmp_path):
    folder = tmp_path / "cache"
    folder.mkdir()
    day = 86400
    forgotten, recent = folder / ".spectra-x.npy.part", folder / ".lifted-y.npy.part"
    for part, days in ((forgotten, 8), (recent, 6)):
        part.write_bytes(b"half")
        os.utime(part, (time.time() - days * day,) * 2)
    build_cache(stacks.table, stacks, SETTINGS, folder)
    assert not forgotten.exists()
    assert recent.exists()


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
    assert len(sent) < 10_000  # the table and a name; the file has nine images of 336 bytes, a map would be 3 kB
    torch.testing.assert_close(pickle.loads(sent).spectra(slice(None)), expected)


def test_a_table_of_other_length_is_refused(stacks, tmp_path):
    with pytest.raises(ValueError, match="4 particles, but 9 images"):
        build_cache(stacks.table[np.arange(4)], stacks, SETTINGS, tmp_path)


def test_where_the_first_folder_cannot_be_written_to_the_second_serves(stacks, tmp_path, monkeypatch, caplog):
    shared, own = tmp_path / "shared", tmp_path / "own"
    original = checked_array.is_writable
    monkeypatch.setattr(checked_array, "is_writable", lambda folder: folder != shared and original(folder))
    with caplog.at_level("INFO"):
        prepared = build_cache(stacks.table, stacks, SETTINGS, CacheFolders((shared, own)))
    assert prepared.path.parent == own
    assert f"{shared} cannot be written to: caches go to {own}" in caplog.text
    assert not shared.exists()
    monkeypatch.setattr(checked_array, "is_writable", lambda folder: False)
    assert build_cache(stacks.table, stacks, SETTINGS, CacheFolders((shared, own))).path == prepared.path
    prepared.path.unlink()
    with pytest.raises(InputError, match="no permission to write"):
        build_cache(stacks.table, stacks, SETTINGS, CacheFolders((shared, own)))


def test_a_complete_cache_in_a_folder_that_cannot_be_written_to_is_used(stacks, tmp_path, monkeypatch):
    shared = build_cache(stacks.table, stacks, SETTINGS, tmp_path / "shared")
    monkeypatch.setattr(checked_array, "is_writable", lambda folder: False)
    found = build_cache(stacks.table, stacks, SETTINGS, CacheFolders((tmp_path / "shared", tmp_path / "own")))
    assert found.path == shared.path
