"""Rows chosen as NumPy chooses them, as numbers."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

Rows = NDArray[np.int64]
Mask = NDArray[np.bool_]


def row_numbers(rows: Rows | Mask | slice, count: int) -> Rows:
    """The numbers, from 0, of the rows that NumPy would choose of `count` rows.

    Raises:
        IndexError: if there is no such row, or the mask is of another length.

    >>> row_numbers(np.array([4, -1, 0]), 6)
    array([4, 5, 0])
    """
    if isinstance(rows, slice):
        return np.arange(*rows.indices(count))
    given = np.asarray(rows)
    if given.dtype == bool and given.shape == (count,):
        return np.flatnonzero(given)
    if given.ndim != 1 or (len(given) and not np.issubdtype(given.dtype, np.integer)):
        raise IndexError(f"rows are whole numbers in a list, or a mask of {count}; found {given.dtype}{given.shape}")
    index: Rows = given.astype(np.int64, copy=False)
    outside = (index < -count) | (index >= count)
    if outside.any():
        raise IndexError(f"there is no row {index[outside][0]}: there are {count} rows, numbered from 0")
    return np.where(index < 0, index + count, index)
