"""Rows are chosen as NumPy chooses them; processes of a job fill one file, or say that they do not see the same."""

from __future__ import annotations

import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest

from cryosphere.distribution import World
from cryosphere.errors import CryosphereError, FailedElsewhereError, InputError
from cryosphere.particles import checked_array
from cryosphere.particles.checked_array import CheckedArray, build
from cryosphere.progress import SILENT

COUNT = 11
VALUES = np.arange(COUNT * 3, dtype=np.float16).reshape(COUNT, 3)
BATCHES = np.array_split(np.arange(COUNT), 4)  # of three rows, the last of two: two for each of two processes


def fill(array: CheckedArray, world: World | None = None, values_of=VALUES.__getitem__) -> None:
    build(array, BATCHES, values_of, SILENT.track(COUNT, "filling"), world or World())


@pytest.fixture
def array(tmp_path: Path) -> CheckedArray:
    made = CheckedArray(tmp_path / "rows.npy", VALUES.shape)
    fill(made)
    return made


@pytest.mark.parametrize(
    "rows",
    [
        np.array([3, 0, 10, 3]),
        np.array([-1, 2, -11]),
        np.array([], dtype=np.int64),
        [],
        [4, 5],
        np.array([4, 5], dtype=np.uint8),
        np.arange(COUNT) % 3 == 1,
        np.zeros(COUNT, dtype=bool),
        slice(None),
        slice(-3, None),
        slice(8, 2, -2),
    ],
    ids=str,
)
def test_rows_are_chosen_as_numpy_chooses(array: CheckedArray, rows) -> None:
    chosen = np.asarray(rows, dtype=np.int64) if isinstance(rows, list) else rows
    assert np.array_equal(array.read(rows), VALUES[chosen])


@pytest.mark.parametrize(
    "rows",
    [
        np.array([0, 11]),
        np.array([-12]),
        np.array([1000]),
        np.array([-1000]),
        np.ones(2, dtype=bool),
        np.array([1.0]),
        np.array([[1]]),
    ],
    ids=str,
)
def test_a_row_that_is_not_there_is_the_callers_mistake_and_not_the_disks(array: CheckedArray, rows) -> None:
    with pytest.raises(IndexError, match="11"):
        array.read(rows)
    assert array.is_complete()


class Meeting(World):
    """A process that is a thread: it exchanges numbers with the other by a barrier."""

    def _exchange(self, number: int) -> list[int]:
        barrier, numbers = self._hosts
        numbers[self.rank] = number
        barrier.wait()
        found = list(numbers)
        barrier.wait()
        return found


def by_two(first: CheckedArray, second: CheckedArray) -> list[CryosphereError | None]:
    """Two processes build what each takes for the job's array; how each of them ends."""
    meeting = (threading.Barrier(2, timeout=20), [0, 0])

    def one(rank: int) -> CryosphereError | None:
        try:
            fill((first, second)[rank], Meeting(rank, 2, rank, 2, meeting))
        except CryosphereError as error:
            return error
        return None

    with ThreadPoolExecutor(2) as pool:
        return list(pool.map(one, (0, 1)))


def on_two_machines(tmp_path: Path) -> list[CheckedArray]:
    folders = [tmp_path / name for name in ("one", "two")]
    for folder in folders:
        folder.mkdir()
    return [CheckedArray(folder / "rows.npy", VALUES.shape) for folder in folders]


def stop_after(calls: int):
    """Values of so many batches, then a failure."""
    done: list[int] = []

    def values_of(rows):
        done.append(1)
        if len(done) > calls:
            raise MemoryError
        return VALUES[rows]

    return values_of


def test_two_processes_fill_one_file(tmp_path: Path) -> None:
    array = CheckedArray(tmp_path / "rows.npy", VALUES.shape)
    assert by_two(array, array) == [None, None]
    assert np.array_equal(array.read(slice(None)), VALUES)


def test_machines_that_do_not_share_the_folder_are_told_so_before_the_work(tmp_path: Path) -> None:
    ours, theirs = on_two_machines(tmp_path)
    first, second = by_two(ours, theirs)
    assert isinstance(first, FailedElsewhereError)
    assert isinstance(second, InputError)
    assert f"{theirs.path.parent}: " in str(second)
    assert "folder that all machines share" in str(second)
    assert not list(theirs.path.parent.iterdir())


def test_a_file_that_only_the_first_machine_has_is_not_taken_for_everyones(tmp_path: Path) -> None:
    ours, theirs = on_two_machines(tmp_path)
    fill(ours)
    first, second = by_two(ours, theirs)
    assert isinstance(first, FailedElsewhereError)
    assert "folder that all machines share" in str(second)
    assert ours.is_complete()


def test_an_unfinished_file_of_another_machine_is_not_taken_for_the_jobs(tmp_path: Path) -> None:
    ours, theirs = on_two_machines(tmp_path)
    with pytest.raises(MemoryError):
        fill(theirs, values_of=stop_after(2))
    assert list(theirs.path.parent.glob(".*.part"))
    first, second = by_two(ours, theirs)
    assert "folder that all machines share" in str(first)
    assert isinstance(second, FailedElsewhereError)


def test_going_on_each_process_checks_its_own_rows_only(tmp_path: Path, monkeypatch) -> None:
    array = CheckedArray(tmp_path / "rows.npy", VALUES.shape)
    fill(array)
    array.path.rename(tmp_path / ".rows.npy.part")
    seen: list[bytes] = []
    original = checked_array._checksum
    monkeypatch.setattr(checked_array, "_checksum", lambda row: seen.append(bytes(row)) or original(row))
    assert by_two(array, array) == [None, None]
    assert sorted(seen) == sorted(row.tobytes() for row in VALUES)
    assert array.is_complete()
