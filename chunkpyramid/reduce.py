"""The NumPy face of the compiled kernels: memory orders, output arrays and dtypes, but no meaning.

The kernels want unit stride along the last axis. An array in reversed (Fortran) order is passed transposed, with the
scan order reversed as well, so that it needs no copy and gives the same values. Any other order is copied.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal

import _chunkpyramid_kernels as kernels
import numpy as np
import numpy.typing as npt

from .errors import ArgumentError

__all__ = [
    "INT128",
    "UINT128",
    "Array",
    "Factor",
    "Order",
    "Reduced",
    "checked_background",
    "footprint_of",
    "memory_order",
    "narrow",
    "reduce_array",
    "reduced_shape",
    "widen",
]

Array = npt.NDArray[Any]
Factor = tuple[int, ...]
Order = Literal["C", "F"]


# NumPy has no integers of 128 bits: these fields are one, on a little-endian machine.
UINT128 = np.dtype([("low", "u8"), ("high", "u8")])
INT128 = np.dtype([("low", "u8"), ("high", "i8")])

_WIDE_NAMES = {UINT128: "uint128", INT128: "int128", np.dtype(bool): "uint8"}


@dataclass(frozen=True)
class Reduced:
    """The arrays a reduction wrote; those not asked for are None."""

    values: Array | None = None
    counts: Array | None = None
    rendered: Array | None = None


def reduced_shape(shape: Sequence[int], factor: Factor) -> tuple[int, ...]:
    return tuple(-(-size // step) for size, step in zip(shape, factor, strict=True))


def _has_unit_stride(array: Array, order: Order) -> bool:
    axes = range(array.ndim) if order == "F" else reversed(range(array.ndim))
    for axis in axes:
        if array.shape[axis] > 1:
            return array.strides[axis] == array.itemsize
    return True


def memory_order(array: Array) -> Order | None:
    """The order in which the kernels can read an array as it is, if there is one."""
    if _has_unit_stride(array, "C"):
        return "C"
    return "F" if _has_unit_stride(array, "F") else None


def _in_order(array: Array, order: Order) -> Array:
    return array if _has_unit_stride(array, order) else np.array(array, order=order)


def _kernel_dtype(dtype: np.dtype[Any]) -> str:
    return _WIDE_NAMES.get(dtype, dtype.name)


def reduce_array(
    values: Array,
    factor: Factor,
    *,
    method: str | None,
    counts: Array | None = None,
    keep: np.dtype[Any] | None = None,
    sum_dtype: np.dtype[Any] | None = None,
    rendered_dtype: np.dtype[Any] | None = None,
    out: Array | None = None,
    weights: tuple[Array, ...] | None = None,
    sparse: bool = False,
    background: Array | None = None,
    truncate: bool = False,
) -> Reduced:
    """Run a kernel over an array of native byte order that is neither empty nor 0-d.

    Parameters
    ----------
    values, counts
        Inputs; `counts` are the counts beside sums, of the same dtype.
    factor
        One entry per axis; all 1 if `method` is None.
    method
        Name of a kernel ("sum", "sum_same", "sparse_sum", "mode", "sparse_mode", "min", "max"), or None to render
        `values` as they are.
    keep
        The dtype of the folded values (and counts), if they are wanted.
    sum_dtype
        The dtype of the sums that are rendered.
    rendered_dtype, weights
        Round the sums, divided by the product of the weights of their indices (int64, one array per axis), to this
        dtype. Not rendered if None.
    out
        Where the result goes: the rendered array, or else the folded one.
    sparse, background, truncate
        The rules for rendering; `background` is a 0-d array of the dtype of `values`, or of `rendered_dtype` if
        `values` are sums.
    """
    order = memory_order(values)
    if order is None:
        values, order = np.ascontiguousarray(values), "C"
    if counts is not None:
        counts = _in_order(counts, order)
    shape = reduced_shape(values.shape, factor)
    out_dtype = rendered_dtype if rendered_dtype is not None else keep
    if out is not None and (out.shape != shape or out.dtype != out_dtype or not out.flags.writeable):
        raise ArgumentError(
            f"out: a writable array of shape {shape} and dtype {out_dtype} is needed, "
            f"not one of shape {out.shape} and dtype {out.dtype}"
        )
    target = out
    if target is None or not _has_unit_stride(target, order) or not target.dtype.isnative:
        target = np.empty(shape, out_dtype, order=order)
    kept = kept_counts = None
    if rendered_dtype is None:
        kept = target
    elif keep is not None:
        kept = np.empty(shape, keep, order=order)
    if keep is not None and (counts is not None or method == "sparse_sum"):
        kept_counts = np.empty(shape, keep, order=order)
    rendered = target if rendered_dtype is not None else None

    def oriented(array: Array | None) -> Array | None:
        if array is None:
            return None
        if array.dtype == bool:
            array = array.view(np.uint8)
        return array.T if order == "F" else array

    turn = slice(None, None, -1) if order == "F" else slice(None)
    kernels.reduce(
        oriented(values),
        oriented(counts),
        dtype=_kernel_dtype(values.dtype),
        method=method,
        factor=tuple(factor)[turn],
        out_values=oriented(kept),
        out_counts=oriented(kept_counts),
        rendered=oriented(rendered),
        sum_dtype=None if sum_dtype is None else _kernel_dtype(sum_dtype),
        rendered_dtype=None if rendered_dtype is None else _kernel_dtype(rendered_dtype),
        weights=None if weights is None else tuple(weights)[turn],
        background=b"" if background is None else background.tobytes(),
        truncate=truncate,
        sparse=sparse,
        reversed=order == "F",
    )
    if out is not None and target is not out:
        np.copyto(out, target)
        target = out
    if rendered_dtype is None:
        return Reduced(values=target, counts=kept_counts)
    return Reduced(values=kept, counts=kept_counts, rendered=target)


def footprint_of(weights: tuple[Array, ...]) -> int:
    """The largest number of level-0 voxels under one index."""
    return math.prod(int(axis.max()) for axis in weights)


def narrow(array: Array, half: str) -> Array:
    """The "low" or "high" half of 128-bit integers; other arrays as they are."""
    return array if array.dtype.names is None else array[half]


def widen(array: Array, dtype: np.dtype[Any]) -> Array:
    """Integers as `dtype`, which may be of 128 bits; floats as `dtype`."""
    if dtype.names is None:
        return array.astype(dtype, copy=False)
    wide = np.empty(array.shape, dtype)
    wide["low"] = array.astype(dtype["high"], copy=False).view(np.uint64)
    wide["high"] = np.where(array < 0, -1, 0) if dtype == INT128 else 0
    return wide


def checked_background(background: Any, dtype: np.dtype[Any]) -> Any:
    """The background as a Python number that is exactly a voxel of this dtype."""
    message = f"background: {background!r} was given, which no voxel of dtype {dtype} can be"
    try:
        if isinstance(background, str | bytes):
            raise ArgumentError(message)
        if dtype.kind == "f":
            number = float(background)
            with np.errstate(over="ignore"):
                value = dtype.type(number).item()
            if math.isinf(value) and not math.isinf(number):
                raise ArgumentError(message)
            return value
        whole = int(background)
        lowest, highest = (0, 1) if dtype.kind == "b" else (np.iinfo(dtype).min, np.iinfo(dtype).max)
        if whole != background or not lowest <= whole <= highest:
            raise ArgumentError(message)
        return bool(whole) if dtype.kind == "b" else whole
    except (TypeError, ValueError, OverflowError) as error:
        raise ArgumentError(message) from error
