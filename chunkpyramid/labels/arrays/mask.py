"""Labels that become one value, or all but some."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import numpy as np

from chunkpyramid.labels.arrays.in_memory import Array, check_kind, checked_scalar
from chunkpyramid.labels.arrays.remap import remap
from chunkpyramid.labels.arrays.rewrite import as_keys, rewrite

__all__ = ["mask", "mask_except"]


def mask(arr: Any, labels: Iterable[Any], in_place: bool = False, value: Any = 0, *, threads: int = 1) -> Array:
    """Return an array in which some labels have become one value.

    Parameters
    ----------
    arr : ndarray or list
        Integers, float32 or float64; float16 becomes float32.
    labels : iterable of numbers
        Those that go.
    in_place : bool, default False
        Whether the memory of the array is written to, which is done if it is contiguous, writable and of the dtype of
        the result.
    value : number, default 0
        What they become. If the dtype is too small for it, the next larger one that fits is taken.
    threads : int, default 1
        How many threads rewrite the array.

    Returns
    -------
    ndarray
        In Fortran order if the array is, else in C order.

    Raises
    ------
    OverflowError
        If a label does not fit the dtype.
    ArgumentError
        If no dtype of the same kind fits the value, or bytes are in the other order, or the array has no axes.
    TypeError
        If the array is of another dtype, or labels or value are no numbers.

    Examples
    --------
    >>> import numpy as np
    >>> mask(np.array([1, 2, 2, 3]), [2, 3])
    array([1, 0, 0, 0])
    """
    table = dict.fromkeys(labels, value)
    return remap(arr, table, preserve_missing_labels=True, in_place=in_place, threads=threads)


def mask_except(arr: Array, labels: list[Any], in_place: bool = False, value: Any = 0, *, threads: int = 1) -> Array:
    """Return an array in which all labels but some have become one value.

    Parameters
    ----------
    arr : ndarray
        Integers or bool.
    labels : list of numbers
        Those that stay.
    in_place : bool, default False
        Whether the memory of the array is written to, which is done if it is contiguous and writable.
    value : number, default 0
        What the others become.
    threads : int, default 1
        How many threads rewrite the array.

    Returns
    -------
    ndarray
        In the dtype of the array; in Fortran order if the array is, else in C order.

    Raises
    ------
    OverflowError
        If a label or the value does not fit the dtype.
    TypeError
        If the array is of another dtype, the labels are no list, or there is something else than numbers.
    ArgumentError
        If bytes are in the other order, or the array has no axes.

    Examples
    --------
    >>> import numpy as np
    >>> mask_except(np.array([1, 2, 2, 3]), [2])
    array([0, 2, 2, 0])
    """
    if not isinstance(labels, list):
        raise TypeError(f"labels must be a list, not {type(labels).__name__}")
    check_kind(arr, "biu", "labels")
    fill = checked_scalar(value, arr.dtype)
    if arr.size == 0:
        return arr if in_place else arr.copy()
    keys = as_keys(labels, arr.dtype)
    # bool is looked at as what its memory holds
    bits: Array = arr.view("u1") if arr.dtype.kind == "b" else arr
    told = rewrite(bits, keys, keys, "fill", fill=fill, in_place=in_place, threads=threads)
    if arr.dtype.kind == "b":
        return (told != 0).view(np.bool_) if told.size and told.max() > 1 else told.view(np.bool_)
    return told
