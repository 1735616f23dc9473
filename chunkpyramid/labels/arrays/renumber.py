"""New labels 1, 2, ... in the order in which the old ones are met."""

from __future__ import annotations

from typing import Any

import _chunkpyramid_labels as kernels
import numpy as np
import numpy.typing as npt

from chunkpyramid.errors import ArgumentError
from chunkpyramid.labels.arrays.dtypes import fit_dtype, refit, widen_dtype
from chunkpyramid.labels.arrays.in_memory import Array, Order, as_bits, check_kind, contiguous, flat, shaped

__all__ = ["renumber"]

BITS_OF_LONG = 64


def renumber(
    arr: npt.ArrayLike, start: int = 1, preserve_zero: bool = True, in_place: bool = False
) -> tuple[Array, dict[Any, Any]]:
    """Return an array with the labels 1, 2, ..., in the smallest dtype that holds them, and what has become of which.

    Labels are numbered in the order in which they are met in memory, if the array is in C or in Fortran order; else in
    C order.

    Parameters
    ----------
    arr : array_like
        Integers, bool, float32 or float64.
    start : int, default 1
        The first new label.
    preserve_zero : bool, default True
        Whether zero stays zero, and is not counted.
    in_place : bool, default False
        Whether the memory of the array is written to, which is done if it is contiguous and writable. The result is
        another array if a smaller dtype does.

    Returns
    -------
    renumbered : ndarray
        In Fortran order if the array is, else in C order. Bool whose zero is preserved is returned as it is.
    mapping : dict
        The new label of each old one; zero is among them whenever it is preserved.

    Raises
    ------
    TypeError
        If the array is of another dtype, or ``start`` is no integer.
    OverflowError
        If ``start`` has more than 64 bits.
    ArgumentError
        If ``start`` is negative and the dtype unsigned, or bytes are in the other order, or the array has no axes.

    Examples
    --------
    >>> import numpy as np
    >>> renumber(np.array([700, 0, 700, 20]))
    (array([1, 0, 1, 2], dtype=int8), {0: 0, 700: 1, 20: 2})
    """
    array = np.asarray(arr)
    if array.size == 0:
        return array, {}
    first = _as_long(start)
    check_kind(array, "biuf", "labels")
    if array.dtype.kind == "b":
        # False is zero, and True stays the only other label
        return (array, {0: 0, 1: first}) if preserve_zero else renumber(array.view("u1"), first, False, in_place)
    if array.ndim == 0:
        raise ArgumentError("an array without axes cannot be renumbered")
    memory, order = contiguous(array)
    items = flat(memory, order)
    is_ours = memory is not array
    if is_ours or (in_place and array.flags.writeable):
        target = items
    elif array.dtype.kind == "f" or first < 0:
        target = np.empty_like(items)
    else:
        return _renumber_narrow(array, items, order, first, preserve_zero)
    labels, new = _renumber_into(items, target, first, preserve_zero)
    mapping = dict(zip(labels.tolist(), new.tolist(), strict=True))
    last = _next_label(new, first, preserve_zero, array.dtype)
    return shaped(refit(target, _farther(first, last)), array.shape, order), mapping


def _as_long(start: Any) -> int:
    if isinstance(start, str | bytes | complex) or not hasattr(start, "__int__"):
        raise TypeError(f"start must be an integer, not {start!r}")
    number = int(start)
    if not -(1 << BITS_OF_LONG - 1) <= number < 1 << BITS_OF_LONG - 1:
        raise OverflowError(f"start must have {BITS_OF_LONG} bits, but it is {number}")
    return number


def _farther(start: int, last: Any) -> Any:
    return last if abs(last) >= abs(start) else start


def _new_labels(first: int, count: int, dtype: np.dtype[Any]) -> Array:
    """Return as many labels counted from the first one, wrapped around where the dtype is too small."""
    if dtype.kind == "f":
        counted: Array = dtype.type(first) + np.arange(count, dtype=dtype)
        return counted.astype(dtype)
    counted = np.arange(count, dtype=np.uint64) + np.uint64(first & (1 << BITS_OF_LONG) - 1)
    return counted.astype(dtype)


def _next_label(new: Array, first: int, preserve_zero: bool, dtype: np.dtype[Any]) -> Any:
    """Return the label that the next one would have had, in the dtype of the labels."""
    return _new_labels(first, len(new) - preserve_zero + 1, dtype)[-1].item()


def _renumber_into(items: Array, target: Array, first: int, preserve_zero: bool) -> tuple[Array, Array]:
    """Write new labels in the dtype of the old ones, and return old and new labels."""
    if items.dtype.kind == "f":
        return _renumber_floats(items, target, first, preserve_zero)
    bits = first & (1 << BITS_OF_LONG) - 1
    job = kernels.Renumberer(as_bits(items), bits, preserve_zero)
    job.run(as_bits(target), items.size)
    return _told(job, first, preserve_zero, items.dtype)


def _told(job: Any, first: int, preserve_zero: bool, dtype: np.dtype[Any]) -> tuple[Array, Array]:
    labels = np.frombuffer(job.labels(), np.uint64).astype(f"u{dtype.itemsize}").view(dtype)
    new = _new_labels(first, len(labels) - preserve_zero, dtype)
    return labels, np.concatenate([np.zeros(int(preserve_zero), dtype), new])


def _renumber_narrow(
    array: Array, items: Array, order: Order, first: int, preserve_zero: bool
) -> tuple[Array, dict[Any, Any]]:
    """Write to the smallest dtype that may do, and go on in the next larger one where there are more labels."""
    dtype = array.dtype
    fitted = np.dtype(fit_dtype(dtype, first))
    fitted = dtype if fitted.itemsize > dtype.itemsize else fitted
    job = kernels.Renumberer(as_bits(items), first, preserve_zero)
    target = np.empty(items.shape, fitted)
    while True:
        is_widest = fitted.itemsize == dtype.itemsize
        # the label that the next one would have has to fit, too
        most = items.size if is_widest else int(np.iinfo(fitted).max) - first
        done = job.run(as_bits(target), most)
        if done == items.size:
            break
        fitted = np.dtype(widen_dtype(fitted))
        wider = np.empty(items.shape, fitted)
        wider[:done] = target[:done]
        target = wider
    labels, new = _told(job, first, preserve_zero, dtype)
    last = _next_label(new, first, preserve_zero, dtype)
    mapping = dict(zip(labels.tolist(), new.tolist(), strict=True))
    return shaped(refit(target, _farther(first, last)), array.shape, order), mapping


def _renumber_floats(items: Array, target: Array, first: int, preserve_zero: bool) -> tuple[Array, Array]:
    # every NaN is a label of its own, and -0.0 is 0.0
    labels, places, inverse = np.unique(items, return_index=True, return_inverse=True, equal_nan=False)
    by_place = np.argsort(places, kind="stable")
    if preserve_zero:
        by_place = by_place[labels[by_place] != 0]
    new = np.zeros(len(labels), items.dtype)
    new[by_place] = _new_labels(first, len(by_place), items.dtype)
    target[...] = new[inverse.reshape(items.shape)]
    zero = np.zeros(int(preserve_zero), items.dtype)
    return np.concatenate([zero, labels[by_place]]), np.concatenate([zero, new[by_place]])
