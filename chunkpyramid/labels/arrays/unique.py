"""The labels that there are, with counts, first places and the inverse."""

from __future__ import annotations

from typing import Any

import _chunkpyramid_labels as kernels
import numpy as np
import numpy.typing as npt

from chunkpyramid.errors import ArgumentError
from chunkpyramid.labels.arrays.in_memory import Array, as_bits, contiguous, flat, in_threads, shaped

__all__ = ["tally", "unique"]

# From this share of neighbours that are the same on, fastremap (whose dtypes of results these are) takes another way.
MANY_PAIRS = 0.66


def unique(
    labels: npt.ArrayLike,
    return_index: bool = False,
    return_inverse: bool = False,
    return_counts: bool = False,
    axis: int | None = None,
    *,
    equal_nan: bool = True,
    sorted: bool = True,
    threads: int = 1,
) -> Any:
    """Return the sorted labels of an array.

    Integers and bool are counted by a kernel in one pass, in C and Fortran order alike, and so are rows of two integers
    of up to 4 bytes; what else there is, and ``axis``, is left to NumPy.

    Parameters
    ----------
    labels : array_like
        Of any dtype that NumPy can sort.
    return_index : bool, default False
        Whether to tell where each label is first, in C order of the voxels or, if the array is in Fortran order, in
        that one; told as the index in C order.
    return_inverse : bool, default False
        Whether to tell which of the labels each voxel has.
    return_counts : bool, default False
        Whether to tell how many voxels each label has.
    axis : int, optional
        Along which subarrays are compared; by default all voxels are.
    equal_nan : bool, default True
        Whether all NaN are one label.
    sorted : bool, default True
        Labels are sorted anyway.
    threads : int, default 1
        How many threads make the inverse.

    Returns
    -------
    unique : ndarray of shape (n,)
        In the dtype of the labels.
    index : ndarray of shape (n,)
        Only if asked for. It and the next two are uint64 or int64, as fastremap has it.
    inverse : ndarray of the shape of the labels
        Only if asked for.
    counts : ndarray of shape (n,)
        Only if asked for.

    Raises
    ------
    ArgumentError
        If the bytes are in the other order, or an inverse is asked for of an array of integers without axes.

    Examples
    --------
    >>> import numpy as np
    >>> values, counts = unique(np.array([[0, 7, 7], [0, 0, 3]]), return_counts=True)
    >>> values, counts.tolist()
    (array([0, 3, 7]), [3, 1, 2])
    """
    array = np.asarray(labels)
    if array.dtype.kind in "iuf" and not array.dtype.isnative and axis is None:
        raise ArgumentError(f"labels are {array.dtype.str}: convert them to the byte order of this machine first")
    if axis == 0 and _is_pairs(array) and not (return_index or return_inverse or return_counts):
        return _unique_pairs(array)
    if axis is not None or array.dtype.kind not in "biu":
        return _by_numpy(array, return_index, return_inverse, return_counts, axis, equal_nan)
    if return_inverse and array.ndim == 0 and array.dtype.kind != "b":
        raise ArgumentError("labels of an array without axes have no inverse")
    memory, order = contiguous(array)
    items = flat(memory, order)
    uniques, counts, firsts, pairs = tally(items, with_firsts=return_index)
    told: list[Array] = [uniques]
    index_dtype, inverse_dtype, counts_dtype = _dtypes(uniques, items.size, pairs, return_index or return_inverse)
    if return_index:
        if order == "F" and index_dtype == np.int64:
            firsts = tally(np.ravel(array), with_firsts=True)[2]
        elif order == "F":
            firsts = np.ravel_multi_index(np.unravel_index(firsts, array.shape, order="F"), array.shape)
        is_fortran = array.flags.f_contiguous and array.ndim > 1
        told.append(firsts.astype(np.int64 if is_fortran else index_dtype, copy=False))
    if return_inverse:
        inverse = np.empty(items.shape, inverse_dtype)
        places = kernels.LabelLookup(_wide(uniques), np.arange(len(uniques), dtype=np.uint64), 8, "fill", 0, items.size)
        bits, written = as_bits(items), as_bits(inverse)
        in_threads(lambda begin, end: places.apply(bits, written, begin, end), items.size, threads)
        shaped_inverse = shaped(inverse, array.shape, order)
        is_c_order = order == "F" and counts_dtype == np.int64
        told.append(np.ascontiguousarray(shaped_inverse) if is_c_order else shaped_inverse)
    if return_counts:
        told.append(counts.astype(counts_dtype, copy=False))
    return tuple(told) if len(told) > 1 else uniques


def _by_numpy(
    array: Array, return_index: bool, return_inverse: bool, return_counts: bool, axis: int | None, equal_nan: bool
) -> Any:
    told: Any = np.unique(  # type: ignore[call-overload]
        array, return_index, return_inverse, return_counts, axis, equal_nan=equal_nan
    )
    if not return_inverse or axis is not None:
        return told
    # the first release of NumPy 2 tells an inverse of another shape
    place = 1 + return_index
    return (*told[:place], told[place].reshape(array.shape), *told[place + 1 :])


def _is_pairs(array: Array) -> bool:
    """Tell whether these are rows of two integers that are one of twice as many bytes."""
    is_small = array.dtype.kind in "iu" and array.itemsize <= 4 and array.dtype.isnative
    return is_small and array.ndim == 2 and array.shape[1] == 2 and array.flags.c_contiguous


def _unique_pairs(pairs: Array) -> Array:
    bits, word = 8 * pairs.itemsize, np.dtype(f"u{2 * pairs.itemsize}").type
    # as unsigned integers negative ones come last, unless their sign is turned
    sign = 1 << bits - 1 if pairs.dtype.kind == "i" else 0
    unsigned = as_bits(pairs) ^ as_bits(pairs).dtype.type(sign)
    rows = tally(unsigned[:, 0].astype(word) << word(bits) | unsigned[:, 1])[0]
    columns: Array = np.stack([rows >> word(bits), rows & word((1 << bits) - 1)]).astype(unsigned.dtype)
    turned: Array = (columns ^ unsigned.dtype.type(sign)).view(pairs.dtype)
    return turned.T


def _wide(labels: Array) -> Array:
    """Return the bits of labels as uint64, as the kernels do."""
    return as_bits(labels).astype(np.uint64)


def tally(items: Array, with_firsts: bool = False) -> tuple[Array, Array, Array, int]:
    """Return the labels of flat contiguous items, ascending, the count of each, the first place, and `pixel_pairs`."""
    told, counted, placed, is_ascending, pairs = kernels.tally(as_bits(items), with_firsts)
    bits = np.frombuffer(told, np.uint64).astype(f"u{items.itemsize}")
    labels = bits.view(items.dtype)
    counts = np.frombuffer(counted, np.int64)
    firsts = np.frombuffer(placed, np.int64)
    if not is_ascending:
        ascending: Array = np.argsort(labels, kind="stable")
    elif items.dtype.kind == "i" and len(labels) and labels[0] > labels[-1]:
        # as unsigned bits negative labels come last
        negative = int(np.searchsorted(bits, 1 << (8 * items.itemsize - 1)))
        ascending = np.roll(np.arange(len(labels)), len(labels) - negative)
    else:
        return labels, counts, firsts, pairs
    return labels[ascending], counts[ascending], firsts[ascending] if with_firsts else firsts, pairs


def _dtypes(labels: Array, size: int, pairs: int, has_places: bool) -> tuple[type[Any], type[Any], type[Any]]:
    """Return the dtypes of index, inverse and counts, which in fastremap tell how it has found them."""
    if labels.dtype.kind == "b":
        return np.int64, np.int64, np.int64
    if size <= 1:
        return np.uint64, np.uint64, np.uint32
    if int(labels[-1]) - int(labels[0]) <= size or not has_places:
        return np.uint64, np.uint64, np.uint64
    if pairs / size > MANY_PAIRS:
        return np.uint64, np.int64, np.uint64
    return np.int64, np.int64, np.int64
