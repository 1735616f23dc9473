"""The ``factor`` and ``levels`` arguments, turned into one factor tuple per level."""

from __future__ import annotations

import math
import operator
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np

from chunkpyramid.arguments import whole_number, whole_numbers_per_axis
from chunkpyramid.boxes import Shape, ceil_shape
from chunkpyramid.errors import ArgumentError

__all__ = ["FactorLike", "cumulative_factors", "resolve_factors", "whole_number"]

FactorLike = int | str | Sequence[int] | Mapping[str, int] | Sequence[Sequence[int]]

# An axis of 2**63 voxels halves 63 times; more levels than that can only be a mistake.
MOST_LEVELS = 64


def resolve_factors(
    factor: FactorLike,
    levels: int | None,
    shape: Shape,
    axes: Sequence[str],
    spatial: Sequence[bool],
    scale: Sequence[float] | None,
    chunks: Sequence[int],
) -> list[Shape]:
    """Return the factors from each level to the next, one tuple per level below level 0.

    Parameters
    ----------
    factor : int, tuple, dict, list of tuples or "isotropic"
        As the argument of `build_pyramid`.
    levels : int or None
        How many levels below level 0; None: until a level fits in one chunk along every downsampled axis.
    shape, axes, spatial : sequences with one entry per axis
        Shape of level 0, axis names, and whether an axis is spatial.
    scale : sequence of float or None
        Voxel size per axis, None where unknown; needed by "isotropic".
    chunks : sequence of int
        Chunk shape of the levels.

    Raises
    ------
    ArgumentError
        If ``factor`` or ``levels`` is malformed, or both are given and disagree.
    """
    if levels is not None:
        levels = whole_number(levels, "levels", least=0)
        if levels > MOST_LEVELS:
            raise ArgumentError(f"levels must be at most {MOST_LEVELS}, but {levels} was given")
    if isinstance(factor, str):
        if factor != "isotropic":
            raise ArgumentError(f"factor must be a number, tuple, list or 'isotropic', but {factor!r} was given")
        if scale is None:
            raise ArgumentError(
                "factor='isotropic' needs the voxel sizes, which the source does not tell: give voxel_size="
            )
        return _isotropic(levels, shape, spatial, scale, chunks)
    if isinstance(factor, bytes | set | frozenset):
        raise ArgumentError(f"factor must be a number, tuple, list or 'isotropic', but {factor!r} was given")
    if isinstance(factor, Iterable) and not isinstance(factor, Mapping) and len(list(factor)) == 0:
        raise ArgumentError(f"factor is empty ({factor!r}): give one entry per axis, or levels=0 for level 0 alone")
    if _is_list_of_tuples(factor):
        per_level = [one_factor(entry, axes, spatial) for entry in factor]  # type: ignore[union-attr, arg-type]
        if levels is not None and levels != len(per_level):
            raise ArgumentError(f"levels={levels} does not match the {len(per_level)} factors given in factor")
        return per_level
    if isinstance(factor, list) and all(isinstance(f, int | np.integer) for f in factor) and len({*factor}) > 1:
        raise ArgumentError(
            f"factor is a list of unequal numbers, {factor!r}, which other programs take for one factor per level: "
            f"write factor={tuple(factor)!r} for one per axis, or a list of tuples for one per level"
        )
    same = one_factor(factor, axes, spatial)  # type: ignore[arg-type]
    factors: list[Shape] = []
    while _wants_more(len(factors), levels, shape, same, chunks):
        shape = ceil_shape(shape, same)
        factors.append(same)
    return factors


def one_factor(factor: int | Sequence[int] | Mapping[str, int], axes: Sequence[str], spatial: Sequence[bool]) -> Shape:
    """Return one factor as a tuple per axis; an int counts for the spatial axes, a dict for those it names."""
    ones = (1,) * len(axes)
    return whole_numbers_per_axis(
        factor, "factor", axes, spatial, not_named=ones, not_spatial=ones, integral_floats=True
    )


def cumulative_factors(factors: Sequence[Shape], ndim: int) -> list[Shape]:
    """Return the cumulative factor of every level, level 0 first."""
    cumulative = [(1,) * ndim]
    for factor in factors:
        cumulative.append(tuple(map(operator.mul, cumulative[-1], factor)))
    return cumulative


def _is_list_of_tuples(factor: Any) -> bool:
    if isinstance(factor, Mapping) or not isinstance(factor, Iterable):
        return False
    return all(isinstance(entry, Iterable) and not isinstance(entry, str) for entry in factor)


def _wants_more(done: int, levels: int | None, shape: Shape, factor: Sequence[int], chunks: Sequence[int]) -> bool:
    if levels is not None:
        return done < levels
    # an axis of size 1 can never shrink, whatever its chunk
    return any(f > 1 and n > max(c, 1) for n, f, c in zip(shape, factor, chunks, strict=True))


def _isotropic(
    levels: int | None, shape: Shape, spatial: Sequence[bool], scale: Sequence[float], chunks: Sequence[int]
) -> list[Shape]:
    factors: list[Shape] = []
    sizes = list(scale)
    space = [axis for axis, is_space in enumerate(spatial) if is_space]
    while _wants_more(len(factors), levels, shape, [2 if s else 1 for s in spatial], chunks):
        finest = min(sizes[axis] for axis in space)
        goal = 2 * finest
        factor = [1] * len(shape)
        for axis in space:
            size = sizes[axis]
            if math.isclose(size, finest) or abs(2 * size - goal) < abs(size - goal):
                factor[axis] = 2
        sizes = [size * f for size, f in zip(sizes, factor, strict=True)]
        shape = ceil_shape(shape, factor)
        factors.append(tuple(factor))
    return factors
