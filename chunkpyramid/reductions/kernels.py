"""The NumPy face of the compiled kernels: memory orders, output arrays and dtypes, but no meaning.

The kernels want unit stride along the last axis. An array in reversed (Fortran) order is passed transposed, with the
scan order reversed as well, so that it needs no copy and gives the same values. Any other order is copied.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any, Literal

import _chunkpyramid_reduce as kernels
import numpy as np
import numpy.typing as npt

from chunkpyramid.boxes import AxisFootprint, ceil_shape
from chunkpyramid.errors import ArgumentError
from chunkpyramid.reductions.cache_boxes import box_shape

__all__ = [
    "INT128",
    "UINT128",
    "Array",
    "Factor",
    "Footprints",
    "Order",
    "Reduced",
    "Step",
    "check_out",
    "checked_background",
    "coarser_footprints",
    "largest_footprint",
    "memory_order",
    "narrow",
    "reduce_levels",
    "widen",
]

Array = npt.NDArray[Any]
Factor = tuple[int, ...]
Footprints = tuple[AxisFootprint, ...]
Order = Literal["C", "F"]


# NumPy has no integers of 128 bits: these fields are one, on a little-endian machine.
UINT128 = np.dtype([("low", "u8"), ("high", "u8")])
INT128 = np.dtype([("low", "u8"), ("high", "i8")])

# Several levels are made of boxes of about this size, so that sums are still in a cache when the next level reads them.
# Smaller boxes would stay in the second level, but to begin with a new stretch of memory so often takes longer.
BOX_BYTES = 2**22

_KERNEL_DTYPES = {UINT128: "uint128", INT128: "int128", np.dtype(bool): "uint8"} | {
    np.dtype(name): name for name in kernels.DTYPE_CODES if not name.endswith("128")
}


@dataclass(frozen=True)
class Step:
    """How a level is made from what the step before it folded.

    method
        Name of a kernel ("sum", "sparse_sum", "mode", "sparse_mode", "min", "max"), or None to render the input as
        it is.
    factor
        One entry per axis; all 1 if `method` is None.
    sum_dtype
        The dtype of what is folded.
    keep
        Whether the folded values (and counts) are wanted, beyond being read by the next step.
    rendered_dtype, footprints
        Round the sums, divided by the level-0 voxels of their footprints, to this dtype. Not rendered if None.
    out
        Where the result goes: the rendered array, or else the folded one.
    """

    method: str | None
    factor: Factor
    sum_dtype: np.dtype[Any]
    keep: bool = False
    rendered_dtype: np.dtype[Any] | None = None
    footprints: Footprints | None = None
    out: Array | None = None


@dataclass(frozen=True)
class Reduced:
    """The arrays a step wrote; those not asked for are None."""

    values: Array | None = None
    counts: Array | None = None
    rendered: Array | None = None


@dataclass(frozen=True)
class _KernelStep:
    """A step with all its arrays, as the kernels take it: the last axis the fastest."""

    method: str | None
    factor: Factor
    sum_dtype: str
    rendered_dtype: str | None
    footprints: Footprints | None
    kept: Array | None
    kept_counts: Array | None
    rendered: Array | None


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


def reduce_levels(
    values: Array,
    steps: Sequence[Step],
    *,
    counts: Array | None = None,
    sparse: bool = False,
    background: Array | None = None,
    truncate: bool = False,
) -> list[Reduced]:
    """Make one level after the other from an array of native byte order that is neither empty nor 0-d.

    The kernels take a box of `values` through all steps before the next, so that what one step folds is still in the
    caches when the next one reads it.

    Parameters
    ----------
    values, counts
        Inputs of the first step; `counts` are the counts beside sums, of the same dtype.
    steps
        Finest level first.
    sparse, background, truncate
        The rules for all steps; `background` is a 0-d array of the dtype of the voxels.
    """
    order = memory_order(values)
    if order is None:
        values, order = np.ascontiguousarray(values), "C"
    if counts is not None:
        counts = _in_order(counts, order)
    turn = slice(None, None, -1) if order == "F" else slice(None)

    def oriented(array: Array | None) -> Array | None:
        if array is None:
            return None
        if array.dtype == bool:
            array = array.view(np.uint8)
        return array.T if order == "F" else array

    shape = values.shape
    results, kernel_steps = [], []
    for step in steps:
        shape = ceil_shape(shape, step.factor)
        target = _target(step, shape, order)
        with_counts = step.keep and sparse and (counts is not None or steps[0].method == "sparse_sum")
        kept_counts = np.empty(shape, step.sum_dtype, order=order) if with_counts else None
        if step.rendered_dtype is None:
            result = Reduced(target, kept_counts)
        else:
            kept = np.empty(shape, step.sum_dtype, order=order) if step.keep else None
            result = Reduced(kept, kept_counts, target)
        results.append(result)
        kernel_steps.append(
            _KernelStep(
                step.method,
                tuple(step.factor)[turn],
                _KERNEL_DTYPES[step.sum_dtype],
                None if step.rendered_dtype is None else _KERNEL_DTYPES[step.rendered_dtype],
                None if step.footprints is None else step.footprints[turn],
                oriented(result.values),
                oriented(kept_counts),
                oriented(result.rendered),
            )
        )
    kernels.reduce(
        oriented(values),
        oriented(counts),
        dtype=_KERNEL_DTYPES[values.dtype],
        steps=kernel_steps,
        box=box_shape(values.shape[turn], [step.factor for step in kernel_steps], BOX_BYTES // values.dtype.itemsize),
        background=b"" if background is None else background.tobytes(),
        truncate=truncate,
        sparse=sparse,
        reversed=order == "F",
    )
    return [_delivered(result, step) for result, step in zip(results, steps, strict=True)]


def check_out(out: Array, shape: tuple[int, ...], dtype: np.dtype[Any]) -> None:
    """Raise `ArgumentError` unless a result of this shape and dtype can be written to `out`."""
    if out.shape != shape or out.dtype != dtype or not out.flags.writeable:
        raise ArgumentError(
            f"out: a writable array of shape {shape} and dtype {dtype} is needed, "
            f"not one of shape {out.shape} and dtype {out.dtype}"
        )


def _target(step: Step, shape: tuple[int, ...], order: Order) -> Array:
    """The array for the result of a step: `step.out` if the kernels can write it, else a new one."""
    out, dtype = step.out, step.sum_dtype if step.rendered_dtype is None else step.rendered_dtype
    if out is not None:
        check_out(out, shape, dtype)
    if out is None or not _has_unit_stride(out, order) or not out.dtype.isnative:
        return np.empty(shape, dtype, order=order)
    return out


def _delivered(result: Reduced, step: Step) -> Reduced:
    """The result, copied to `step.out` where the kernels could not write that."""
    target = result.values if step.rendered_dtype is None else result.rendered
    assert target is not None
    if step.out is None or step.out is target:
        return result
    np.copyto(step.out, target)
    if step.rendered_dtype is None:
        return replace(result, values=step.out)
    return replace(result, rendered=step.out)


def coarser_footprints(footprints: Footprints, shape: Sequence[int], factor: Factor) -> Footprints:
    """The footprints of the next level of one of this shape."""
    return tuple(axis.coarser(size, step) for axis, size, step in zip(footprints, shape, factor, strict=True))


def largest_footprint(footprints: Footprints) -> int:
    """The largest number of level-0 voxels under one voxel."""
    return math.prod(map(max, footprints))


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
    try:
        if isinstance(background, str | bytes):
            raise ValueError("text")
        if dtype.kind == "f":
            number = float(background)
            with np.errstate(over="ignore"):
                value = dtype.type(number).item()
            if math.isinf(value) and not math.isinf(number):
                raise OverflowError("too large")
            return value
        whole = int(background)
        if whole != background:
            raise ValueError("not whole")
        return np.array(whole, dtype).item() if dtype.kind != "b" else (False, True)[whole]
    except (TypeError, ValueError, OverflowError, IndexError) as error:
        raise ArgumentError(f"background must be a voxel of dtype {dtype}, but {background!r} was given") from error
