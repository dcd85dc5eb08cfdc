"""Compiling loops for the processor with Numba."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from typing import Any

import numba
import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.floating[Any]]


def compiled(function: Callable[..., Any]) -> Any:
    """The function, compiled when it is first called, and then kept on disk where that can be written.

    It releases the interpreter's lock, so that several threads can run it at once. NaN stays NaN.

    What is kept on disk is made anew when the file of the function changes: not when a constant does that it takes from
    another file, or these settings. Then remove `__pycache__`.
    """
    plain = inspect.unwrap(function)  # without what the tests' type checks wrap around it
    settings: Any = {"nogil": True, "fastmath": {"contract", "reassoc", "nsz"}, "error_model": "numpy"}
    try:
        return numba.njit(cache=True, **settings)(plain)
    except RuntimeError:  # no folder that can be written
        return numba.njit(**settings)(plain)
