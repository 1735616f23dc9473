"""What one look at every value of an array tells."""

from __future__ import annotations

from typing import Any

import _chunkpyramid_labels as kernels
import numpy as np

from chunkpyramid.labels.arrays.in_memory import Array, as_bits, check_kind, checked_scalar, contiguous, flat

__all__ = ["foreground", "indices", "is_solid", "is_sorted", "minmax", "pixel_pairs"]


def _kind(dtype: np.dtype[Any]) -> str:
    return "u" if dtype.kind == "b" else dtype.kind


def _bits_in_memory(arr: Array) -> Array:
    return as_bits(flat(*contiguous(np.asarray(arr))))


def minmax(arr: Array) -> tuple[Any, Any]:
    """Return the smallest and the largest value of an array, found in one pass.

    Parameters
    ----------
    arr : ndarray
        Integers, bool, float32 or float64, in any memory order.

    Returns
    -------
    tuple of two numbers
        Python numbers; two times None if the array is empty. NaN is passed over, unless it is the first value: then
        it is both.

    Raises
    ------
    TypeError
        If the array is of another dtype.
    ArgumentError
        If its bytes are in the other order.

    Examples
    --------
    >>> import numpy as np
    >>> minmax(np.array([[3, -1], [7, 0]]))
    (-1, 7)
    """
    is_empty = arr.size == 0
    check_kind(arr, "biuf", "values")
    if is_empty:
        return None, None
    bits = _bits_in_memory(arr)
    extremes = np.empty(2, bits.dtype)
    kernels.find_extremes(bits, _kind(arr.dtype), extremes)
    low, high = extremes.view("u1" if arr.dtype.kind == "b" else arr.dtype).tolist()
    return low, high


def foreground(arr: Array) -> int:
    """Return how many voxels of an array are not zero.

    Parameters
    ----------
    arr : ndarray
        Integers or bool, in any memory order.

    Returns
    -------
    int

    Raises
    ------
    TypeError
        If the array is of another dtype.
    ArgumentError
        If its bytes are in the other order.

    Examples
    --------
    >>> import numpy as np
    >>> foreground(np.array([[3, 0], [7, 0]]))
    2
    """
    is_empty = arr.size == 0
    check_kind(arr, "biu", "labels")
    return 0 if is_empty else int(kernels.count_nonzero(_bits_in_memory(arr)))


def pixel_pairs(labels: Array) -> int:
    """Return how many voxels have the label of the voxel before them in memory.

    The more there are, the more does an image consist of large objects. Arrays that are neither in C nor in Fortran
    order are looked at in C order.

    Parameters
    ----------
    labels : ndarray
        Integers or bool.

    Returns
    -------
    int

    Raises
    ------
    TypeError
        If the array is of another dtype, and not empty.
    ArgumentError
        If its bytes are in the other order.

    Examples
    --------
    >>> import numpy as np
    >>> pixel_pairs(np.array([3, 3, 3, 7, 7]))
    3
    """
    if labels.size == 0:
        return 0
    check_kind(labels, "biu", "labels")
    return int(kernels.count_pairs(_bits_in_memory(labels)))


def indices(arr: Array, value: Any) -> Array:
    """Return where a value is in an array of one axis.

    Parameters
    ----------
    arr : ndarray of shape (n,)
        Integers, bool, float32 or float64.
    value : number
        What is searched for.

    Returns
    -------
    ndarray of uint64
        Ascending.

    Raises
    ------
    TypeError
        If the array is of another dtype, or has another number of axes, or the value is no number.
    OverflowError
        If the dtype of the array cannot hold the value.
    ArgumentError
        If the bytes are in the other order.

    Examples
    --------
    >>> import numpy as np
    >>> indices(np.array([1, 2, 1]), 1)
    array([0, 2], dtype=uint64)
    """
    if not isinstance(arr, np.ndarray) or arr.ndim != 1:
        raise TypeError("indices are those of an array of one axis")
    check_kind(arr, "biuf", "values")
    wanted = as_bits(np.atleast_1d(checked_scalar(value, arr.dtype)))
    return np.frombuffer(kernels.find_indices(_bits_in_memory(arr), _kind(arr.dtype), wanted), np.uint64)


def is_solid(arr: Array, value: Any = None) -> bool:
    """Return whether all values of an array are the same; it is not read further than to the first that differs.

    Parameters
    ----------
    arr : ndarray
        Integers, bool or floats, in any memory order.
    value : number, optional
        What all values have to be; by default anything.

    Returns
    -------
    bool
        True if the array is empty.

    Raises
    ------
    TypeError
        If the array is of another dtype, or the value is no number.
    OverflowError
        If the dtype of the array, an integer, cannot hold the value.
    ArgumentError
        If the bytes are in the other order.

    Examples
    --------
    >>> import numpy as np
    >>> is_solid(np.ones((2, 2), int)), is_solid(np.ones((2, 2), int), 0)
    (True, False)
    """
    if arr.size == 0:
        return True
    if arr.dtype == np.float16:
        # there is no kernel for their values, and fastremap compares their bits, too
        halves = _bits_in_memory(arr)
        with np.errstate(over="ignore"):
            return is_solid(halves, None if value is None else np.float16(value).view(np.uint16))
    check_kind(arr, "biuf", "values")
    bits = _bits_in_memory(arr)
    wanted = bits[:1] if value is None else as_bits(np.atleast_1d(checked_scalar(value, arr.dtype)))
    return bool(kernels.is_solid(bits, _kind(arr.dtype), wanted))


def is_sorted(arr: Any, asc: bool = True) -> bool:
    """Return whether the values of an array of one axis are in order; equal ones may be neighbours.

    Parameters
    ----------
    arr : array_like of shape (n,)
        Integers, bool, float32 or float64.
    asc : bool, default True
        Whether they have to ascend; else they have to descend.

    Returns
    -------
    bool

    Raises
    ------
    TypeError
        If the array is of another dtype, or has another number of axes.
    ArgumentError
        If the bytes are in the other order.

    Examples
    --------
    >>> is_sorted([1, 2, 2]), is_sorted([1, 2, 2], asc=False)
    (True, False)
    """
    array = np.asarray(arr)
    if array.ndim != 1:
        raise TypeError(f"an array of one axis can be sorted, not one of {array.ndim}")
    check_kind(array, "biuf", "values")
    return bool(kernels.is_sorted(_bits_in_memory(array), _kind(array.dtype), bool(asc)))
