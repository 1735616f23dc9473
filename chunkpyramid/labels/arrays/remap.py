"""Labels that become others, by a dictionary or by arrays."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from typing import Any, Literal

import _chunkpyramid_labels as kernels
import numpy as np

from chunkpyramid.errors import ArgumentError
from chunkpyramid.labels.arrays.dtypes import refit
from chunkpyramid.labels.arrays.in_memory import (
    Array,
    as_bits,
    check_kind,
    checked_scalar,
    contiguous,
    flat,
    in_threads,
    shaped,
)

__all__ = ["as_keys", "remap", "remap_from_array", "remap_from_array_kv", "rewrite"]

Missing = Literal["keep", "fill", "stop"]


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


def as_keys(values: Iterable[Any], dtype: np.dtype[Any]) -> Array:
    """Return numbers as an array of a dtype, bool as 0 and 1.

    Raises
    ------
    TypeError
        If there is one that is no number.
    OverflowError
        If there is one that does not fit.
    """
    native = np.dtype("u1") if dtype.kind == "b" else dtype
    if isinstance(values, np.ndarray) and values.dtype == native and values.ndim == 1:
        return values
    listed = list(values)
    # what NumPy converts by itself does not depend on the value
    if not set(map(type, listed)) <= {int, bool}:
        listed = [checked_scalar(value, native) for value in listed]
    return np.fromiter(listed, native, len(listed))


def _missing(array: Array, place: int, what: str) -> KeyError:
    label = flat(*contiguous(array))[place].item()
    return KeyError(f"{label} was not in the remap {what}.")


def rewrite(
    array: Array,
    keys: Array,
    values: Array,
    missing: Missing,
    *,
    fill: Any = 0,
    in_place: bool = False,
    threads: int = 1,
    what: str = "table",
) -> Array:
    """Return an array whose labels have become others, all of one dtype.

    Raises
    ------
    KeyError
        If a label is not among the keys, and missing ones stop the work.
    ArgumentError
        If the array has no axes.
    """
    memory, order = contiguous(array)
    items = as_bits(flat(memory, order))
    if memory is not array or (in_place and array.flags.writeable and array.ndim):
        target = items
    else:
        target = np.empty_like(items)
    fill_bits = int(as_bits(np.array([fill], array.dtype))[0])
    table = kernels.LabelLookup(*_table(keys, values), array.itemsize, missing, fill_bits)
    source, is_float = items, array.dtype.kind == "f"
    if is_float:
        source = _positive_zeros(items.view(array.dtype))
    bounds: list[tuple[int, int]] = []

    def work(begin: int, end: int) -> int:
        done: int = table.apply(source, target, begin, end)
        bounds.append((done, end))
        return done

    in_threads(work, items.size, threads)
    stopped = [done for done, end in bounds if done < end]
    if stopped:
        raise KeyError(f"{source.view(array.dtype)[min(stopped)].item()} was not in the remap {what}.")
    if array.ndim == 0:
        raise ArgumentError("an array without axes cannot be rewritten")
    return shaped(target.view(array.dtype), array.shape, order)


def _table(keys: Array, values: Array) -> tuple[Array, Array]:
    """Return keys and values as bits of 8 bytes. No label equals NaN, and -0.0 is 0.0."""
    if keys.dtype.kind == "f":
        numbers = ~np.isnan(keys)
        keys, values = _positive_zeros(keys[numbers]), values[numbers]
    wide_keys = as_bits(np.ascontiguousarray(keys)).astype(np.uint64, copy=False)
    return wide_keys, as_bits(np.ascontiguousarray(values)).astype(np.uint64, copy=False)


def _positive_zeros(values: Array) -> Array:
    """Return the bits of floats, those of -0.0 as those of 0.0, in the memory of the values if there are none."""
    bits = as_bits(values)
    negative = bits == 1 << (8 * values.itemsize - 1)
    return np.where(negative, bits.dtype.type(0), bits) if negative.any() else bits


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
