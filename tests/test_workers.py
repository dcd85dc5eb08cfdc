"""Worker threads compute alone, and leave the number of everybody else's threads as it was."""

from __future__ import annotations

import subprocess
import sys

import pytest

from cryosphere.workers import on_all_cores, one_by_one

SCRIPT = """
import threading, torch
from cryosphere.workers import lone_workers
torch.set_num_threads(4)
pool = lone_workers(4)
gate = threading.Barrier(4)
def ask(_):
    gate.wait()
    torch.ones(1000, 1000).exp()  # an operation that would be shared
    return torch.get_num_threads()
inside = sorted(pool.map(ask, range(4)))
fresh = []
thread = threading.Thread(target=lambda: fresh.append(torch.get_num_threads()))
thread.start(); thread.join()
print(inside, fresh, torch.get_num_threads())
"""


def test_one_thread_inside_and_as_many_as_before_outside() -> None:
    for _ in range(3):  # what depended on who came first would not be the same each time
        done = subprocess.run([sys.executable, "-c", SCRIPT], capture_output=True, text=True, check=True)
        assert done.stdout.strip() == "[1, 1, 1, 1] [4] 4"


def test_items_are_done_one_by_one_in_order_some_of_them_at_once() -> None:
    begun: list[int] = []

    def square(item: int) -> int:
        begun.append(item)
        return item * item

    results = one_by_one(square, range(20))
    assert next(results) == 0
    assert len(begun) < 20  # it does not run far ahead of who takes the results
    assert list(results) == [k * k for k in range(1, 20)]
    assert list(one_by_one(square, [])) == []


def test_a_failure_comes_out_where_its_item_would() -> None:
    def refuse(item: int) -> int:
        if item == 3:
            raise ValueError("no threes")
        return item

    results = one_by_one(refuse, range(100))
    assert [next(results) for _ in range(3)] == [0, 1, 2]
    with pytest.raises(ValueError, match="no threes"):
        next(results)


def test_a_worker_does_its_own_work_and_waits_for_no_other() -> None:
    def inner(item: int) -> list[int]:
        own = on_all_cores(lambda piece: piece.stop - piece.start, 3)
        return [*own, *one_by_one(lambda x: x + item, [1, 2])]

    assert list(one_by_one(inner, range(3))) == [[3, 1, 2], [3, 2, 3], [3, 3, 4]]
