"""Threads on each of which PyTorch computes alone.

PyTorch shares every operation among its threads; where operations are small they then wait for each other all the time,
most of all on a busy machine. Work that falls into independent pieces goes faster with one piece per thread.
"""

from __future__ import annotations

import itertools
import os
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from functools import lru_cache
from typing import TypeVar

import torch

Result = TypeVar("Result")


@lru_cache(maxsize=2)
def lone_workers(count: int) -> ThreadPoolExecutor:
    """`count` threads; in each of them an operation stays on that thread. The caller's number of threads is kept."""
    together = threading.Barrier(count)

    def settle(_: int) -> None:
        together.wait()  # no thread takes two of these tasks, so all threads exist
        torch.set_num_threads(1)
        torch.get_num_threads()  # only now the number holds for this thread, whatever others set later

    before = torch.get_num_threads()
    pool = ThreadPoolExecutor(count, thread_name_prefix="lone")
    list(pool.map(settle, range(count)))
    torch.set_num_threads(before)  # what the last `settle` left holds for the whole process
    return pool


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=lone_workers.cache_clear)  # a forked process has the pool, but not its threads


def on_all_cores(function: Callable[[slice], Result], count: int) -> list[Result]:
    """What the function gives for slices of `count` things, one slice for each of PyTorch's threads."""
    threads = max(1, min(torch.get_num_threads(), count))
    ends = [count * k // threads for k in range(threads + 1)]
    pieces = [slice(start, end) for start, end in itertools.pairwise(ends)]
    return [function(pieces[0])] if threads == 1 else list(lone_workers(threads).map(function, pieces))
