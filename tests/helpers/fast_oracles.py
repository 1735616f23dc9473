"""The references of `oracles`, on whole arrays at a time: fast enough for arrays that vectors, tiles and slabs cut.

Independent of the package, like those; `test_kernels` compares the two.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np

from helpers.oracles import Array, Factor, coarser_shape, cumulative


def fast_levels(
    array: Array,
    factors: Sequence[Factor],
    method: str,
    sparse: bool = False,
    background: Any = 0,
    rounding: str = "nearest",
) -> list[Array]:
    """The levels below `array`; entry k of `factors` leads from level k to level k + 1."""
    array = np.array(array, array.dtype.newbyteorder("="), order="C")
    if method == "mean":
        if array.dtype.kind == "f":
            return _float_means(array, factors, sparse, background)
        return [_integer_mean(array, factor, sparse, background, rounding) for factor in cumulative(factors)]
    if method == "exact_mode":
        return [_exact_mode(array, factor, sparse, background) for factor in cumulative(factors)]
    one = {"mode": _mode, "min": _extreme, "max": _extreme, "stride": _extreme}[method]
    levels = [array]
    for factor in factors:
        levels.append(one(levels[-1], factor, method, sparse, background))
    return levels[1:]


def _parts(array: Array, factor: Factor) -> Iterator[Array]:
    """The voxels at each place of the footprint, in scan order; at the edges some of them are missing."""
    for place in itertools.product(*map(range, np.minimum(factor, array.shape))):
        yield array[tuple(slice(start, None, step) for start, step in zip(place, factor, strict=True))]


def _accumulate(array: Array, factor: Factor, combine: Any = np.add) -> Array:
    """Combine the voxels of each footprint in scan order."""
    total = np.zeros(coarser_shape(array.shape, factor), array.dtype)
    for index, part in enumerate(_parts(array, factor)):
        # The first place of a footprint is never missing.
        inside = total[tuple(map(slice, part.shape))]
        inside[...] = combine(inside, part) if index else part
    return total


def _exact_sums(array: Array, factor: Factor) -> Array:
    """Axis by axis: exact sums do not depend on the order."""
    for axis, step in enumerate(factor):
        array = np.add.reduceat(array, range(0, array.shape[axis], step), axis=axis)
    return array


def _is_background(array: Array, background: Any) -> Array:
    value = np.array(background, array.dtype)
    return np.isnan(array) if value != value else array == value


def _integer_mean(array: Array, factor: Factor, sparse: bool, background: Any, rounding: str) -> Array:
    counted = ~_is_background(array, background) if sparse else np.ones(array.shape, bool)
    # What fits into 64 bits is left to NumPy's integers, the rest to Python's.
    exact = np.int64 if array.dtype.itemsize <= 4 else object
    sums = _exact_sums(np.where(counted, array, np.zeros((), array.dtype)).astype(exact), factor)
    counts = _exact_sums(counted.astype(np.int64), factor)
    divisors = np.where(counts == 0, 1, counts)
    quotients = sums // divisors
    rests = sums - quotients * divisors
    if rounding == "nearest":
        quotients += (2 * rests > divisors) | ((2 * rests == divisors) & (quotients % 2 == 1))
    else:
        quotients += (sums < 0) & (rests > 0)
    return np.where(counts == 0, int(background), quotients).astype(array.dtype)


def _float_means(array: Array, factors: Sequence[Factor], sparse: bool, background: Any) -> list[Array]:
    empty = _is_background(array, background) if sparse else np.zeros(array.shape, bool)
    sums = np.where(empty, 0.0, array.astype(np.float64))
    counts = (~empty).astype(np.float64)
    levels = []
    with np.errstate(all="ignore"):
        for factor in factors:
            sums, counts = _accumulate(sums, factor), _accumulate(counts, factor)
            means = (sums / counts).astype(array.dtype)
            levels.append(np.where(counts == 0, np.array(background, array.dtype), means))
    return levels


def _mode(array: Array, factor: Factor, method: str, sparse: bool, background: Any) -> Array:
    missing = [(0, -size % step) for size, step in zip(array.shape, factor, strict=True)]
    votes = np.stack(list(_parts(np.pad(array, missing, mode="edge"), factor)))
    empty = _is_background(votes, background) if sparse else np.zeros(votes.shape, bool)
    if sorted(step for step in factor if step > 1) == [2, 2]:
        a, b, c, d = votes
        pairs = [(a == b) & ~empty[0], (a == c) & ~empty[0], (b == c) & ~empty[1]]
        alone = [~empty[3], ~empty[0], ~empty[2], ~empty[1]]
        return np.select([*pairs, *alone], [a, a, b, d, a, c, b], np.array(background, array.dtype))
    # A NaN equals nothing, but it has one vote. argmax takes the first of the most frequent.
    counts = np.stack(
        [np.where(no, 0, np.maximum(1, (votes == vote).sum(0))) for vote, no in zip(votes, empty, strict=True)]
    )
    winner = np.take_along_axis(votes, counts.argmax(0)[None], 0)[0]
    return np.where(counts.max(0) == 0, np.array(background, array.dtype), winner)


def _exact_mode(array: Array, factor: Factor, sparse: bool, background: Any) -> Array:
    """The label with most votes of level 0, the smallest of them at a tie; beyond the edge there are no votes."""
    voting = ~_is_background(array, background) if sparse else np.ones(array.shape, bool)
    best = np.full(coarser_shape(array.shape, factor), np.array(background, array.dtype))
    most = np.zeros(best.shape, np.int64)
    for label in np.unique(array):
        votes = _exact_sums((voting & (array == label)).astype(np.int64), factor)
        best, most = np.where(votes > most, label, best), np.maximum(votes, most)
    return best


def _extreme(array: Array, factor: Factor, method: str, sparse: bool, background: Any) -> Array:
    if method == "stride":
        return array[tuple(slice(None, None, step) for step in factor)]
    return _accumulate(array, factor, np.minimum if method == "min" else np.maximum)
