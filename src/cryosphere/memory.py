"""Keeping freed memory for the next step instead of handing it back to the system each time."""

from __future__ import annotations

import ctypes
import sys

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
