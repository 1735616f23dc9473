"""Labels that become others by arrays of keys and values."""

from __future__ import annotations

from typing import Any

import numpy as np

from chunkpyramid.errors import ArgumentError
from chunkpyramid.labels.arrays.in_memory import Array, check_kind
from chunkpyramid.labels.arrays.rewrite import Missing, rewrite

__all__ = ["remap_from_array", "remap_from_array_kv"]


def remap_from_array(arr: Array, vals: Array, in_place: bool = True, *, threads: int = 1) -> Array:
    """Return an array in which label ``i`` has become ``vals[i]``; larger ones stay what they are.

    Parameters
    ----------
    arr : ndarray of shape (n,)
        Unsigned integers or bool; writable.
    vals : ndarray of shape (m,)
        In the same dtype.
    in_place : bool, default True
        Whether the memory of the array is written to.
    threads : int, default 1
        How many threads rewrite the array.

    Returns
    -------
    ndarray of shape (n,)
        The array itself if it was rewritten in place.

    Raises
    ------
    TypeError
        If the array is of another dtype, or has another number of axes, or something is no array.
    ArgumentError
        If the dtypes differ, the array is read-only, or bytes are in the other order.

    Examples
    --------
    >>> import numpy as np
    >>> remap_from_array(np.array([2, 0, 2, 7], np.uint8), np.array([5, 6, 9], np.uint8))
    array([9, 5, 9, 7], dtype=uint8)
    """
    _check_row(arr, "bu")
    _check_table(arr, vals)
    # bool can have no other labels
    keys = np.arange(min(len(vals), 2 if arr.dtype.kind == "b" else len(vals)), dtype=np.uint64)
    limit = np.iinfo("u1" if arr.dtype.kind == "b" else arr.dtype).max
    keys = keys[: limit + 1] if limit < len(keys) else keys
    return _rewrite_row(arr, keys, vals[: len(keys)], "keep", in_place, threads)


def remap_from_array_kv(
    arr: Array,
    keys: Array,
    vals: Array,
    preserve_missing_labels: bool = True,
    in_place: bool = True,
    *,
    threads: int = 1,
) -> Array:
    """Return an array in which label ``keys[i]`` has become ``vals[i]``; of equal keys the last one counts.

    Parameters
    ----------
    arr : ndarray of shape (n,)
        Integers or bool; writable.
    keys, vals : ndarray of shape (m,)
        In the same dtype.
    preserve_missing_labels : bool, default True
        Whether labels that are not among the keys stay what they are.
    in_place : bool, default True
        Whether the memory of the array is written to.
    threads : int, default 1
        How many threads rewrite the array.

    Returns
    -------
    ndarray of shape (n,)
        The array itself if it was rewritten in place.

    Raises
    ------
    KeyError
        If a label is not among the keys, and missing ones are not preserved.
    AssertionError
        If there are not as many keys as values.
    TypeError
        If the array is of another dtype, or has another number of axes, or something is no array.
    ArgumentError
        If the dtypes differ, the array is read-only, or bytes are in the other order.

    Examples
    --------
    >>> import numpy as np
    >>> labels = np.array([3, 0, 3, 7])
    >>> remap_from_array_kv(labels, np.array([3, 7]), np.array([1, 2]))
    array([1, 0, 1, 2])
    """
    _check_row(arr, "biu")
    _check_table(arr, keys)
    _check_table(arr, vals)
    if len(keys) != len(vals):
        raise AssertionError(f"there are {len(keys)} keys, but {len(vals)} values")
    missing: Missing = "keep" if preserve_missing_labels else "stop"
    return _rewrite_row(arr, keys, vals, missing, in_place, threads)


def _check_row(arr: Any, kinds: str) -> None:
    if not isinstance(arr, np.ndarray) or arr.ndim != 1:
        raise TypeError("labels must be an array of one axis")
    check_kind(arr, kinds, "labels")
    if not arr.flags.writeable:
        raise ArgumentError("the array of labels is read-only")


def _check_table(arr: Array, table: Any) -> None:
    if not isinstance(table, np.ndarray):
        raise TypeError(f"keys and values must be arrays, not {type(table).__name__}")
    if table.ndim != 1 or table.dtype != arr.dtype:
        raise ArgumentError(
            f"keys and values must have one axis and the dtype of the labels, {arr.dtype}, "
            f"but one has {table.ndim} and {table.dtype}"
        )


def _rewrite_row(arr: Array, keys: Array, vals: Array, missing: Missing, in_place: bool, threads: int) -> Array:
    if arr.size == 0:
        return arr if in_place else arr.copy()
    told = rewrite(arr, keys, vals, missing, in_place=in_place, threads=threads, what="keys")
    if not in_place:
        return told
    if not np.may_share_memory(told, arr):
        arr[...] = told
    return arr
