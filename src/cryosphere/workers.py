"""Threads on each of which PyTorch computes alone.

PyTorch shares every operation among its threads; where operations are small they then wait for each other all the time,
most of all on a busy machine. Work that falls into independent pieces goes faster with one piece per thread.
"""

from __future__ import annotations

import itertools
import os
import threading
from collections import deque
from collections.abc import Callable, Generator, Iterable
from concurrent.futures import Future, ThreadPoolExecutor
from functools import lru_cache
from typing import TypeVar

import torch

Item = TypeVar("Item")
Result = TypeVar("Result")

_here = threading.local()


@lru_cache(maxsize=2)
def lone_workers(count: int) -> ThreadPoolExecutor:
    """`count` threads; in each of them an operation stays on that thread. The caller's number of threads is kept."""
    together = threading.Barrier(count)

    def settle(_: int) -> None:
        _here.alone = True
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


def _is_alone() -> bool:
    """Whether this is one of the `lone_workers`: it does its own work, and waits for no other."""
    return bool(getattr(_here, "alone", False))


def on_all_cores(function: Callable[[slice], Result], count: int) -> list[Result]:
    """What the function gives for slices of `count` things, one slice for each of PyTorch's threads.

    On a thread of `lone_workers` a single slice, done there.
    """
    threads = 1 if _is_alone() else torch.get_num_threads()
    parts = max(1, min(threads, count))
    ends = [count * k // parts for k in range(parts + 1)]
    pieces = [slice(start, end) for start, end in itertools.pairwise(ends)]
    return [function(pieces[0])] if parts == 1 else list(lone_workers(threads).map(function, pieces))


def one_by_one(function: Callable[[Item], Result], items: Iterable[Item]) -> Generator[Result, None, None]:
    """What the function gives for each item, in their order; as many at once as PyTorch has threads, and some ahead."""
    if _is_alone():
        yield from map(function, items)
        return
    threads = torch.get_num_threads()
    waiting: deque[Future[Result]] = deque()
    try:
        for item in items:
            waiting.append(lone_workers(threads).submit(function, item))
            if len(waiting) > 2 * threads:
                yield waiting.popleft().result()
        while waiting:
            yield waiting.popleft().result()
    finally:
        for future in waiting:
            future.cancel()
