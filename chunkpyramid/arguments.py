"""Arguments of users: whole numbers, regions, and what has entries per axis, per level or both."""

from __future__ import annotations

import operator
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from chunkpyramid.boxes import Box, Shape
from chunkpyramid.errors import ArgumentError

__all__ = [
    "is_per_level",
    "one_of",
    "per_axis",
    "per_level",
    "region_box",
    "reordered",
    "true_or_false",
    "whole_number",
    "whole_numbers_per_axis",
]


def whole_number(value: Any, argument: str, *, least: int, integral_floats: bool = False) -> int:
    """Return ``value`` as an int, or raise `ArgumentError` if it is no whole number >= ``least``."""
    is_integral = isinstance(value, float | np.floating) and float(value).is_integer()
    try:
        number = operator.index(int(value) if is_integral and integral_floats else value)
    except TypeError:
        number = least - 1
    if number < least or isinstance(value, bool):
        raise ArgumentError(f"{argument} must be a whole number of at least {least}, but {value!r} was given")
    return number


def true_or_false(value: Any, argument: str) -> bool:
    """Return ``value`` as a bool, or raise `ArgumentError` if it is none."""
    if not isinstance(value, bool | np.bool_):
        raise ArgumentError(f"{argument} must be True or False, but {value!r} was given")
    return bool(value)


def one_of(value: Any, argument: str, allowed: Sequence[str], *, default: str | None = None) -> str:
    """Return ``value``, or raise `ArgumentError` if it is neither one of the words ``allowed`` nor the ``default``."""
    if not isinstance(value, str) or (value not in allowed and value != default):
        words = ", ".join(map(repr, allowed)) if default is None else f"{default!r}, {', '.join(allowed)}"
        raise ArgumentError(f"{argument} must be one of {words}, but {value!r} was given")
    return value


def per_axis(
    value: Any,
    argument: str,
    axes: Sequence[str],
    spatial: Sequence[bool],
    *,
    not_named: Sequence[Any],
    not_spatial: Sequence[Any],
) -> list[Any]:
    """Return an argument as a list with one entry per axis.

    Parameters
    ----------
    value : one value, dict or sequence
        One for all spatial axes, a dict by axis, or one entry per axis or per spatial axis.
    argument : str
        Its name, for messages.
    axes, spatial : sequences with one entry per axis
        Axis names, and whether an axis is spatial.
    not_named, not_spatial : sequences with one entry per axis
        What counts for axes that a dict does not name, and for those that are not spatial where only the others are
        told.

    Raises
    ------
    ArgumentError
        If a dict names other axes, or there are more or fewer entries.

    Examples
    --------
    >>> axes, spatial, ones = "cyx", (False, True, True), (1, 1, 1)
    >>> [per_axis(v, "factor", axes, spatial, not_named=ones, not_spatial=ones) for v in (2, {"x": 3}, (2, 4))]
    [[1, 2, 2], [1, 1, 3], [1, 2, 4]]
    """
    if isinstance(value, Mapping):
        unknown = sorted(set(value) - set(axes), key=str)
        if unknown:
            raise ArgumentError(f"{argument} names the axes {unknown}, but the axes are {list(axes)}")
        return [value.get(axis, other) for axis, other in zip(axes, not_named, strict=True)]
    if isinstance(value, bytes | set | frozenset):
        raise ArgumentError(f"{argument} must be one value, a sequence or a dict by axis, but {value!r} was given")
    if isinstance(value, str) or not hasattr(value, "__len__"):
        return [value if is_space else other for is_space, other in zip(spatial, not_spatial, strict=True)]
    entries = list(value)
    if len(entries) == len(axes):
        return entries
    if len(entries) == sum(spatial):
        given = iter(entries)
        return [next(given) if is_space else other for is_space, other in zip(spatial, not_spatial, strict=True)]
    raise ArgumentError(
        f"{argument} {value!r} has {len(entries)} entries, but there are {len(axes)} axes {list(axes)}, {sum(spatial)} "
        "of them spatial: give one value, one entry per axis, one per spatial axis, or a dict by axis"
    )


def whole_numbers_per_axis(
    value: Any,
    argument: str,
    axes: Sequence[str],
    spatial: Sequence[bool],
    *,
    not_named: Shape,
    not_spatial: Shape,
    integral_floats: bool = False,
) -> Shape:
    """Return an argument of `per_axis` whose entries are whole numbers of at least 1.

    Raises
    ------
    ArgumentError
        If they are not, or as `per_axis` does.
    """
    entries = per_axis(value, argument, axes, spatial, not_named=not_named, not_spatial=not_spatial)
    return tuple(
        whole_number(
            entry,
            f"{argument} of axis {axis!r}" if hasattr(value, "__len__") else argument,
            least=1,
            integral_floats=integral_floats,
        )
        for axis, entry in zip(axes, entries, strict=True)
    )


def is_per_level(value: Any, ndim: int) -> bool:
    """Whether a list has one entry per level; one of as many numbers as there are axes is a shape, as for zarr."""
    if not isinstance(value, list):
        return False
    return len(value) != ndim or not all(isinstance(entry, int | np.integer) for entry in value)


def per_level(value: Any, argument: str, count: int, ndim: int) -> list[tuple[str, Any]]:
    """Return a name and an entry for every level: those of a list, or the same ones for all levels.

    Raises
    ------
    ArgumentError
        If a list has more or fewer entries than there are levels.
    """
    if not is_per_level(value, ndim):
        return [(argument, value)] * count
    if len(value) != count:
        raise ArgumentError(
            f"{argument} is a list of {len(value)} entries, but there are {count} levels, level 0 included: give one "
            "entry per level (one entry per axis is a tuple), or change levels"
        )
    return [(f"{argument} of level {level}", entry) for level, entry in enumerate(value)]


def region_box(region: Any, shape: Shape) -> Box:
    """Return the box of a region of an array of this shape: one slice per axis, the last ones may be left out.

    Raises
    ------
    ArgumentError
        If it is something else, or has steps.

    Examples
    --------
    >>> import numpy as np
    >>> region_box(np.s_[2:, -3:], (5, 6, 7))
    Box(start=(2, 3, 0), stop=(5, 6, 7))
    """
    entries = (region,) if isinstance(region, slice) else tuple(region) if isinstance(region, Sequence) else None
    if entries is None or len(entries) > len(shape) or not all(isinstance(entry, slice) for entry in entries):
        raise ArgumentError(
            f"region must be one slice for each of the {len(shape)} axes, such as np.s_[0:64, 128:192], but {region!r} "
            "was given"
        )
    start, stop = [0] * len(shape), list(shape)
    for axis, (entry, n) in enumerate(zip(entries, shape, strict=False)):
        try:
            first, last, step = slice(
                *(None if part is None else operator.index(part) for part in (entry.start, entry.stop, entry.step))
            ).indices(n)
        except (TypeError, ValueError) as error:
            raise ArgumentError(f"region has the slice {entry!r}, which is none of voxels: {error}") from error
        if step != 1:
            raise ArgumentError(f"region has the slice {entry!r}: steps are not allowed, give the box around them")
        start[axis], stop[axis] = first, max(first, last)
    return Box(tuple(start), tuple(stop))


def reordered(value: Any, order: Shape) -> Any:
    """Return an argument with one entry per axis, or a list of such, with its entries in another order of the axes.

    Others stay as they are: one value for all axes, and dicts by axis.

    Examples
    --------
    >>> reordered((1, 2, 3), (2, 0, 1)), reordered([(1, 2, 3), None], (2, 0, 1)), reordered(2, (2, 0, 1))
    ((3, 1, 2), [(3, 1, 2), None], 2)
    """
    if isinstance(value, list) and any(isinstance(entry, Sequence | np.ndarray) for entry in value):
        return [entry if isinstance(entry, str) else reordered(entry, order) for entry in value]
    if isinstance(value, Sequence | np.ndarray) and not isinstance(value, str | bytes) and len(value) == len(order):
        return tuple(value[axis] for axis in order)
    return value
