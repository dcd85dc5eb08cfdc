"""The memory of the machine: how much there is for the asking, and keeping what was freed for the next step."""

from __future__ import annotations

import ctypes
import sys
from pathlib import Path

_TRIM_THRESHOLD, _MMAP_THRESHOLD = -1, -3  # glibc's names for what is set, from its malloc.h
_KEEP = 2**31 - 1  # bytes: the largest these parameters take
_LEAST = 2**25  # bytes: what every glibc takes for the second


def keep_freed_memory() -> bool:
    """Let the C library keep what tensors free; whether it could be told so (only glibc, on Linux, can).

    A training step on a CPU allocates the same large tensors again and again. glibc hands each back to the system and
    gets it anew, page by page: that was a sixth of the step's time (48 of 299 ms for 1,006 residues and boxes of 64).
    """
    if not sys.platform.startswith("linux"):
        return False
    try:
        mallopt = ctypes.CDLL(None).mallopt
    except (OSError, AttributeError):
        return False
    mallopt.argtypes, mallopt.restype = (ctypes.c_int, ctypes.c_int), ctypes.c_int
    kept = bool(mallopt(_TRIM_THRESHOLD, _KEEP))
    return bool(mallopt(_MMAP_THRESHOLD, _KEEP) or mallopt(_MMAP_THRESHOLD, _LEAST)) and kept


def available_memory() -> int | None:
    """Bytes that this process can still take: what the system and the process's control group leave; None: unknown."""
    found = [_available_of_system(), _available_of_group()]
    return min((free for free in found if free is not None), default=None)


def _available_of_system() -> int | None:
    """What Linux estimates to be available without swapping."""
    for line in _text("/proc/meminfo").splitlines():
        name, _, value = line.partition(":")
        if name == "MemAvailable":
            return int(value.split()[0]) * 1024
    return None


def _available_of_group() -> int | None:
    """What a container's limit leaves (control groups, version 2 and 1)."""
    for folder, limit, used in (
        ("/sys/fs/cgroup", "memory.max", "memory.current"),
        ("/sys/fs/cgroup/memory", "memory.limit_in_bytes", "memory.usage_in_bytes"),
    ):
        numbers = [_text(f"{folder}/{name}").strip() for name in (limit, used)]
        if all(number.isdigit() for number in numbers):
            return max(0, int(numbers[0]) - int(numbers[1]) + _reclaimable(folder))
    return None


def _reclaimable(folder: str) -> int:
    """Bytes of files in a group's memory that make room when it is needed."""
    for line in _text(f"{folder}/memory.stat").splitlines():
        name, _, value = line.partition(" ")
        if name == "inactive_file":
            return int(value)
    return 0


def _text(path: str) -> str:
    try:
        return Path(path).read_text(encoding="ascii")
    except (OSError, UnicodeDecodeError):
        return ""
