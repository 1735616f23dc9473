"""Memory orders: transposition in place, and chunks as bytes."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import product
from typing import Any

import _chunkpyramid_labels as kernels
import numpy as np

from chunkpyramid.errors import ArgumentError
from chunkpyramid.labels.arrays.in_memory import Array, Order, check_kind, contiguous
from chunkpyramid.storage.transpose import c_contiguous

__all__ = ["ascontiguousarray", "asfortranarray", "tobytes", "transpose"]

# fastremap transposes arrays of more axes out of place
MOST_AXES = 4


def asfortranarray(arr: Array) -> Array:
    """Return an array in Fortran order, in its own memory where that is possible.

    The memory of arrays in C order of two to four axes is transposed in place: afterwards only the result may be used.

    Parameters
    ----------
    arr : ndarray
        Integers, bool, float32, float64 or complex numbers; writable, unless it is in Fortran order.

    Returns
    -------
    ndarray
        The array itself if it is in Fortran order.

    Raises
    ------
    TypeError
        If the array is of another dtype.
    ArgumentError
        If the array is read-only, or bytes are in the other order.

    Examples
    --------
    >>> import numpy as np
    >>> asfortranarray(np.ones((3, 4))).flags.f_contiguous
    True
    """
    if arr.flags.f_contiguous:
        return arr
    if not arr.flags.c_contiguous:
        return c_contiguous(arr.T, arr.dtype).T
    _check(arr)
    if arr.ndim > MOST_AXES:
        return c_contiguous(arr.T, arr.dtype).T
    _reverse_axes(arr)
    return arr.reshape(-1).reshape(arr.shape[::-1]).T


def ascontiguousarray(arr: Array) -> Array:
    """Return an array in C order, in its own memory where that is possible.

    The memory of arrays in Fortran order of two to four axes is transposed in place: afterwards only the result may be
    used.

    Parameters
    ----------
    arr : ndarray
        Integers, bool, float32, float64 or complex numbers; writable, unless it is in C order.

    Returns
    -------
    ndarray
        The array itself if it is in C order.

    Raises
    ------
    TypeError
        If the array is of another dtype.
    ArgumentError
        If the array is read-only, or bytes are in the other order.

    Examples
    --------
    >>> import numpy as np
    >>> ascontiguousarray(np.ones((3, 4), order="F")).flags.c_contiguous
    True
    """
    if arr.flags.c_contiguous:
        return arr
    if not arr.flags.f_contiguous:
        return c_contiguous(arr, arr.dtype)
    _check(arr)
    if arr.ndim > MOST_AXES:
        return c_contiguous(arr, arr.dtype)
    shape = arr.shape
    _reverse_axes(arr.T)
    return arr.T.reshape(-1).reshape(shape)


def transpose(arr: Array) -> Array:
    """Return an array whose items are those of the transposed array, in the shape and the strides of the one given.

    The memory of contiguous arrays of two to four axes is transposed in place. For what is more convenient see
    `asfortranarray` and `ascontiguousarray`. Of more axes, the transposed array is returned.

    Parameters
    ----------
    arr : ndarray
        Integers, bool, float32, float64 or complex numbers; writable. If it is in neither order a copy in C order is
        transposed.

    Returns
    -------
    ndarray
        In the same memory, unless there was a copy.

    Raises
    ------
    TypeError
        If the array is of another dtype.
    ArgumentError
        If the array is read-only, or bytes are in the other order.
    IndexError
        If it is empty and has several axes.

    Examples
    --------
    >>> import numpy as np
    >>> transpose(np.array([[0, 1, 2], [3, 4, 5]]))
    array([[0, 3, 1],
           [4, 2, 5]])
    """
    memory, order = contiguous(arr)
    if memory.ndim > MOST_AXES:
        return memory.T
    _check(memory)
    if memory.ndim < 2:
        return memory[...]
    if memory.size == 0:
        raise IndexError("an empty array cannot be transposed")
    _reverse_axes(memory if order == "C" else memory.T)
    return memory[...]


def _check(arr: Array) -> None:
    dtype = arr.dtype
    if dtype.kind not in "biufc" or dtype == np.float16 or dtype.itemsize > 16 or dtype == np.longdouble:
        raise TypeError(f"arrays must be of integers, floats or complex numbers, but it is {dtype}")
    if not dtype.isnative:
        raise ArgumentError(f"values are {dtype.str}: convert them to the byte order of this machine first")
    if not arr.flags.writeable:
        raise ArgumentError("the array is read-only, so that it cannot be transposed in place")


def _reverse_axes(arr: Array) -> None:
    """Put the items of an array in C order where they are in Fortran order, in its memory."""
    lengths = [length for length in arr.shape if length > 1]
    if len(lengths) < 2:
        return
    squeezed = arr.reshape(lengths)
    if lengths == lengths[::-1] and len(lengths) <= 3:
        kernels.swap_axes(squeezed.reshape(lengths[0], -1, lengths[-1]))
        return
    turned = c_contiguous(squeezed.T, arr.dtype)
    arr.reshape(-1)[...] = turned.reshape(-1)


def tobytes(image: Array, chunk_size: Sequence[int], order: Order = "C") -> list[bytes]:
    """Return the chunks of an image as bytes, the grid of chunks in Fortran order.

    Parameters
    ----------
    image : ndarray of three axes
        Integers, bool, float32 or float64.
    chunk_size : three int
        Every axis has to have a multiple of it.
    order : {"C", "F"}, default "C"
        The order of voxels in the bytes.

    Returns
    -------
    list of bytes

    Raises
    ------
    ArgumentError
        If the chunks do not fit, the order is another one, or bytes are in the other order.
    TypeError
        If the image is of another dtype, or has another number of axes, or the sizes are no sequence.

    Examples
    --------
    >>> import numpy as np
    >>> tobytes(np.arange(4, dtype=np.uint8).reshape(1, 2, 2), (1, 1, 2))
    [b'\\x00\\x01', b'\\x02\\x03']
    """
    if not isinstance(image, np.ndarray) or image.ndim != 3:
        raise TypeError("an image of three axes is needed")
    check_kind(image, "biuf", "values")
    sizes = _checked_sizes(image.shape, chunk_size)
    if order not in ("C", "F"):
        raise ArgumentError(f'order must be "C" or "F", but it is {order!r}')
    if image.size == 0 or min(sizes) < 0:
        return []
    corners = (range(0, length, size) for length, size in zip(image.shape[::-1], sizes[::-1], strict=True))
    chunks = (image[x : x + sizes[0], y : y + sizes[1], z : z + sizes[2]] for z, y, x in product(*corners))
    return [c_contiguous(chunk if order == "C" else chunk.T, image.dtype).tobytes() for chunk in chunks]


def _checked_sizes(shape: tuple[int, ...], chunk_size: Any) -> list[int]:
    if chunk_size is None:
        raise ArgumentError("chunk_size must be three integers, not None")
    sizes = list(chunk_size)
    if len(sizes) != len(shape):
        raise ArgumentError(f"chunk_size must have {len(shape)} entries, but it has {len(sizes)}")
    if any(size == 0 or length % size for length, size in zip(shape, sizes, strict=True)):
        raise ArgumentError(f"chunk_size {tuple(sizes)} must divide the shape {shape}")
    return [int(size) for size in sizes]
