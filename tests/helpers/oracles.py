"""Slow and obvious references for every method, one voxel at a time, straight from the definitions.

Independent of the package: nothing here imports it.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterator, Sequence
from fractions import Fraction
from typing import Any

import numpy as np

Array = np.ndarray[Any, Any]
Factor = tuple[int, ...]


def oracle_levels(
    array: Array,
    factors: Sequence[Factor],
    method: str,
    sparse: bool = False,
    background: Any = 0,
    rounding: str = "nearest",
) -> list[Array]:
    """The levels below `array`; entry k of `factors` leads from level k to level k + 1."""
    array = np.asarray(array)
    array = array.astype(array.dtype.newbyteorder("="))
    if method == "mean":
        if array.dtype.kind == "f":
            return float_means(array, factors, sparse, background)
        return integer_means(array, factors, sparse, background, rounding)
    if method == "exact_mode":
        return [from_footprints(array, f, lambda v: most_frequent(v, sparse, background)) for f in cumulative(factors)]
    levels = [array]
    for factor in factors:
        finer = levels[-1]
        if method == "mode":
            level = from_footprints(finer, factor, lambda v, f=factor: majority(v, f, sparse, background), True)
        elif method in ("min", "max"):
            level = from_footprints(finer, factor, lambda voxels: extreme(voxels, method))
        elif method == "stride":
            level = from_footprints(finer, factor, lambda voxels: voxels[0])
        else:
            raise AssertionError(method)
        levels.append(level)
    return levels[1:]


def coarser_shape(shape: Sequence[int], factor: Factor) -> tuple[int, ...]:
    return tuple(math.ceil(size / step) for size, step in zip(shape, factor, strict=True))


def footprint(shape: Sequence[int], factor: Factor, index: Sequence[int], replicate: bool) -> Iterator[tuple[int, ...]]:
    """Indices under a voxel of the next level, the last axis fastest."""
    ranges = []
    for size, step, position in zip(shape, factor, index, strict=True):
        wanted = range(position * step, (position + 1) * step)
        ranges.append([min(i, size - 1) for i in wanted] if replicate else [i for i in wanted if i < size])
    return itertools.product(*ranges)


def from_footprints(array: Array, factor: Factor, reduce: Any, replicate: bool = False) -> Array:
    level = np.empty(coarser_shape(array.shape, factor), array.dtype)
    for index in np.ndindex(level.shape):
        level[index] = reduce([array[under] for under in footprint(array.shape, factor, index, replicate)])
    return level


def is_background(voxel: Any, background: Any) -> bool:
    return bool(voxel == background or (voxel != voxel and background != background))


def cumulative(factors: Sequence[Factor]) -> Iterator[Factor]:
    return itertools.accumulate(factors, lambda a, b: tuple(x * y for x, y in zip(a, b, strict=True)))


def integer_means(array: Array, factors: Sequence[Factor], sparse: bool, background: Any, rounding: str) -> list[Array]:
    """Every level from level 0, in integers of any size."""

    def mean(voxels: list[Any]) -> int:
        counted = [int(v) for v in voxels if not (sparse and is_background(v, background))]
        if not counted:
            return int(background)
        exact = Fraction(sum(counted), len(counted))
        return round(exact) if rounding == "nearest" else math.trunc(exact)

    return [from_footprints(array, factor, mean) for factor in cumulative(factors)]


def float_means(array: Array, factors: Sequence[Factor], sparse: bool, background: Any) -> list[Array]:
    """Sums in float64, level by level, in scan order; each level divides its sums once."""
    counted = np.ones(array.shape, np.float64)
    sums = array.astype(np.float64)
    if sparse:
        for index in np.ndindex(array.shape):
            if is_background(array[index], np.array(background, array.dtype)[()]):
                counted[index] = sums[index] = 0.0

    def in_order(voxels: list[Any]) -> Any:
        total = voxels[0]
        for voxel in voxels[1:]:
            total = total + voxel
        return total

    levels = []
    with np.errstate(all="ignore"):
        for factor in factors:
            sums = from_footprints(sums, factor, in_order)
            counted = from_footprints(counted, factor, in_order)
            means = np.where(counted == 0, np.array(background, array.dtype), (sums / counted).astype(array.dtype))
            levels.append(means.astype(array.dtype))
    return levels


def majority(voxels: list[Any], factor: Factor, sparse: bool, background: Any) -> Any:
    if sorted(step for step in factor if step > 1) == [2, 2]:
        return majority_of_four(*voxels, sparse=sparse, background=background)
    distinct: list[Any] = []
    counts: list[int] = []
    for voxel in voxels:
        if sparse and is_background(voxel, background):
            continue
        for i, known in enumerate(distinct):
            if known == voxel:
                counts[i] += 1
                break
        else:
            distinct.append(voxel)
            counts.append(1)
    if not distinct:
        return background
    return distinct[counts.index(max(counts))]


def most_frequent(voxels: list[Any], sparse: bool, background: Any) -> Any:
    """The smallest of the most frequent labels; all NaNs are one, larger than all numbers."""
    counted = ["NaN" if v != v else v for v in voxels if not (sparse and is_background(v, background))]
    if not counted:
        return background
    counts = {label: counted.count(label) for label in counted}
    candidates = [label for label, count in counts.items() if count == max(counts.values())]
    numbers = [label for label in candidates if label != "NaN"]
    return min(numbers) if numbers else math.nan


def majority_of_four(a: Any, b: Any, c: Any, d: Any, *, sparse: bool, background: Any) -> Any:
    if not sparse:
        if a == b or a == c:  # noqa: SIM109 (an identical NaN is in a tuple, but equal to nothing)
            return a
        return b if b == c else d
    for one, other in ((a, b), (a, c), (b, c)):
        if one == other and not is_background(one, background):
            return one
    if not is_background(d, background):
        return d
    for voxel in (a, c, b):
        if not is_background(voxel, background):
            return voxel
    return background


def extreme(voxels: list[Any], method: str) -> Any:
    for voxel in voxels:
        if voxel != voxel:  # NaN and NaT win
            return voxel
    return min(voxels) if method == "min" else max(voxels)
