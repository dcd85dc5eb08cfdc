"""Whether files can be made in a folder is told before any work is done for them."""

from __future__ import annotations

import errno
from pathlib import Path

import pytest

from cryosphere import files
from cryosphere.files import can_hold_files


def test_a_folder_can_hold_files_whether_it_is_there_or_could_be_made(tmp_path):
    assert can_hold_files(tmp_path)
    assert can_hold_files(tmp_path / "new" / "below")
    assert list(tmp_path.iterdir()) == []


def test_neither_a_file_nor_what_would_lie_in_it_can(tmp_path):
    (tmp_path / "file").write_text("mine")
    assert not can_hold_files(tmp_path / "file")
    assert not can_hold_files(tmp_path / "file" / "below")


@pytest.mark.skipif(not Path("/proc/self").exists(), reason="/proc is Linux's")
@pytest.mark.parametrize("place", ["/proc/x", "/proc/self/x"])
def test_where_a_system_shows_itself_nothing_can_be_made_and_that_is_told_not_raised(place):
    assert not can_hold_files(Path(place))


def test_a_name_that_is_too_long_is_told_of_too(tmp_path):
    assert not can_hold_files(tmp_path / ("a" * 1000))


@pytest.mark.parametrize("reason", [errno.EACCES, errno.EPERM, errno.EROFS, errno.ENOENT])
def test_a_place_that_takes_no_file_cannot_hold_one(tmp_path, monkeypatch, reason):
    monkeypatch.setattr(files, "TemporaryFile", refusing(reason))
    assert not can_hold_files(tmp_path)


@pytest.mark.parametrize("reason", [errno.ENOSPC, errno.EIO])
def test_a_full_or_broken_disk_is_not_taken_for_a_place_without_permission(tmp_path, monkeypatch, reason):
    monkeypatch.setattr(files, "TemporaryFile", refusing(reason))
    with pytest.raises(OSError) as told:
        can_hold_files(tmp_path)
    assert told.value.errno == reason


def refusing(reason: int):
    def refuse(**_):
        raise OSError(reason, "refused")

    return refuse
