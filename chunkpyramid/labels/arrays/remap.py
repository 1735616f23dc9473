"""Labels that become others by a dictionary."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import Any

import numpy as np

from chunkpyramid.labels.arrays.dtypes import refit
from chunkpyramid.labels.arrays.in_memory import Array, check_kind, contiguous, flat
from chunkpyramid.labels.arrays.rewrite import Missing, as_keys, rewrite

__all__ = ["remap"]


def remap(
    arr: Any,
    table: Mapping[Any, Any],
    preserve_missing_labels: bool = False,
    in_place: bool = False,
    *,
    threads: int = 1,
) -> Array:
    """Return an array in which every label has become another one.

    Parameters
    ----------
    arr : ndarray or list
        Integers, float32 or float64; float16 becomes float32. No NaN is in any table.
    table : dict
        What each label becomes. If the dtype is too small for that, the next larger one that fits is taken.
    preserve_missing_labels : bool, default False
        Whether labels that are not in the table stay what they are.
    in_place : bool, default False
        Whether the memory of the array is written to, which is done if it is contiguous, writable and of the dtype of
        the result.
    threads : int, default 1
        How many threads rewrite the array.

    Returns
    -------
    ndarray
        In Fortran order if the array is, else in C order.

    Raises
    ------
    KeyError
        If a label is not in the table; an array that is rewritten in place then is so in part.
    OverflowError
        If a label of the table does not fit the dtype, or a new one is negative and the dtype unsigned.
    ArgumentError
        If no dtype of the same kind fits, or bytes are in the other order, or the array has no axes.
    TypeError
        If the array is of another dtype, or the table has something else than numbers.

    Examples
    --------
    >>> import numpy as np
    >>> remap(np.array([1, 2, 2]), {1: 10, 2: 30})
    array([10, 30, 30])
    >>> remap(np.array([1, 2, 2]), {1: 10}, preserve_missing_labels=True)
    array([10,  2,  2])
    """
    array: Array = np.array(arr) if isinstance(arr, list) else arr
    if len(table) == 0:
        if not preserve_missing_labels:
            check_kind(array, "biuf", "labels")
        if preserve_missing_labels or array.size == 0:
            return array if in_place and _is_rewritable(array) else _copied(array)
        raise _missing(array, 0, "table")
    wide = _widened(array, table.values())
    if preserve_missing_labels and all(label == new for label, new in table.items()):
        return wide if (in_place and _is_rewritable(wide)) or wide is not array else _copied(wide)
    check_kind(wide, "iuf", "labels")
    if wide.size == 0:
        return wide if wide is not array else _copied(wide)
    keys, values = as_keys(table.keys(), wide.dtype), as_keys(table.values(), wide.dtype)
    missing: Missing = "keep" if preserve_missing_labels else "stop"
    return rewrite(wide, keys, values, missing, in_place=in_place or wide is not array, threads=threads)


def _is_rewritable(array: Array) -> bool:
    return bool(array.flags.forc and array.flags.writeable)


def _copied(array: Array) -> Array:
    return np.copy(array, order="F" if array.flags.f_contiguous and not array.flags.c_contiguous else "C")


def _widened(array: Array, values: Collection[Any]) -> Array:
    """Return an array in a dtype that holds the value that is farthest from zero."""
    low, high = min(values), max(values)
    return refit(array, low if abs(low) > abs(high) else high, increase_only=True)


def _missing(array: Array, place: int, what: str) -> KeyError:
    label = flat(*contiguous(array))[place].item()
    return KeyError(f"{label} was not in the remap {what}.")
