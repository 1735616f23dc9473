"""How an array is rewritten by a table from labels to values."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, Literal

import _chunkpyramid_labels as kernels
import numpy as np

from chunkpyramid.errors import ArgumentError
from chunkpyramid.labels.arrays.in_memory import Array, as_bits, checked_scalar, contiguous, flat, in_threads, shaped

__all__ = ["Missing", "as_keys", "rewrite"]

# What becomes of a label that is not in the table.
Missing = Literal["keep", "fill", "stop"]


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
    table = kernels.LabelLookup(*_table(keys, values), array.itemsize, missing, fill_bits, items.size)
    source = items
    if array.dtype.kind == "f" and (keys == 0).any():
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
