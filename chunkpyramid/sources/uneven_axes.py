"""Axes along which the coordinates of a source are not what voxel size and translation can tell."""

from __future__ import annotations

from typing import Any

from chunkpyramid.metadata.coordinates import Coordinates
from chunkpyramid.sources.coordinate_values import regular_step, values_of
from chunkpyramid.sources.source import Source
from chunkpyramid.warn import warn

__all__ = ["given_axes", "warn_of_uneven_axes"]


def given_axes(source: Source, base: Coordinates) -> set[str]:
    """Return the axes along which voxel size or translation are not those of the source."""
    told = source.coordinates
    return {
        name
        for axis, name in enumerate(base.names)
        if (base.scale[axis], base.translation[axis]) != (told.scale[axis], told.translation[axis])
    }


def warn_of_uneven_axes(source: Source, base: Coordinates, consequence: str) -> set[str]:
    """Warn of coordinates that descend or are not evenly spaced, and of the consequence.

    Returns
    -------
    set of str
        The coordinates of the source that ``base`` does not tell.
    """
    untold = set(source.variables) - given_axes(source, base)
    for axis in base.axes:
        if axis.name in untold and _is_even(source.variables[axis.name]):
            untold.discard(axis.name)
        elif axis.name in untold and axis.type != "channel":
            warn(f"the coordinate {axis.name!r} descends or is not evenly spaced, {consequence}")
    return untold


def _is_even(variable: Any) -> bool:
    step = regular_step(values_of(variable))
    return step is not None and step[1] > 0
