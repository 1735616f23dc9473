"""Axes, voxel sizes, translations and units of a level, and the arguments that set them."""

from __future__ import annotations

import math
import numbers
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from chunkpyramid.arguments import per_axis
from chunkpyramid.boxes import Shape
from chunkpyramid.errors import ArgumentError
from chunkpyramid.metadata.physical_units import canonical_unit

__all__ = ["Axis", "Coordinates", "axes_in_order", "axis_type", "check_axes", "named_axes", "with_arguments"]

DEFAULT_AXES = "tczyx"
# in the order that OME-Zarr wants
AXIS_TYPES = ("time", "channel", "space")
TIME_NAMES = {"t", "time"}
CHANNEL_NAMES = {"c", "channel", "channels", "band"}


@dataclass(frozen=True, slots=True)
class Axis:
    """An axis: its name, its type ("space", "time" or "channel") and its unit."""

    name: str
    type: str
    unit: str | None = None


@dataclass(frozen=True, slots=True)
class Coordinates:
    """Where the voxels of a level lie: centre of voxel ``i`` at ``translation + i * scale`` along each axis.

    ``known`` tells whether the scale was stated by the source or the user, or is the default of 1.
    """

    axes: tuple[Axis, ...]
    scale: tuple[float, ...]
    translation: tuple[float, ...]
    known: bool = field(default=False, compare=False, repr=False)

    @property
    def names(self) -> tuple[str, ...]:
        return tuple(axis.name for axis in self.axes)

    @property
    def spatial(self) -> tuple[bool, ...]:
        return tuple(axis.type == "space" for axis in self.axes)

    def at(self, cumulative: Sequence[int], *, centre_moves: bool) -> Coordinates:
        """Return the coordinates of the level with this cumulative factor."""
        moved = tuple(
            t + (f - 1) / 2 * s if centre_moves else t
            for t, s, f in zip(self.translation, self.scale, cumulative, strict=True)
        )
        scale = tuple(s * f for s, f in zip(self.scale, cumulative, strict=True))
        return replace(self, scale=scale, translation=moved)


def axis_type(name: str) -> str:
    """Return the type that an axis of this name has by convention."""
    if name.lower() in TIME_NAMES:
        return "time"
    return "channel" if name.lower() in CHANNEL_NAMES else "space"


def named_axes(axes: str | Sequence[str] | None, ndim: int) -> tuple[Axis, ...]:
    """Return the axes of these names, in any order, or the last ``ndim`` of "tczyx".

    Raises
    ------
    ArgumentError
        If the number of names does not match, names repeat, or OME-Zarr does not allow such axes.
    """
    if axes is None:
        if not 2 <= ndim <= len(DEFAULT_AXES):
            raise ArgumentError(f"the source has {ndim} axes, but an OME-Zarr image has 2 to 5")
        axes = DEFAULT_AXES[-ndim:]
    if not isinstance(axes, str | Sequence) or not all(isinstance(name, str) and name for name in axes):
        raise ArgumentError(f"axes must be a string such as 'zyx' or a sequence of names, but {axes!r} was given")
    names = list(axes)
    if len(names) != ndim:
        raise ArgumentError(f"axes={axes!r} names {len(names)} axes, but the source has {ndim}")
    if len(set(names)) != len(names):
        raise ArgumentError(f"axes={axes!r} names an axis twice")
    result = tuple(Axis(name, axis_type(name)) for name in names)
    check_axes([result[axis] for axis in axes_in_order(result)])
    return result


def axes_in_order(axes: Sequence[Axis]) -> Shape:
    """Return the indices of the axes in the order of OME-Zarr: time, channel, space."""
    return tuple(sorted(range(len(axes)), key=lambda axis: AXIS_TYPES.index(axes[axis].type)))


def check_axes(axes: Sequence[Axis]) -> None:
    """Raise `ArgumentError` unless OME-Zarr allows these axes: time, then channel, then 2 or 3 of space."""
    ranks = [AXIS_TYPES.index(axis.type) for axis in axes]
    if ranks != sorted(ranks) or ranks.count(0) > 1 or ranks.count(1) > 1 or not 2 <= ranks.count(2) <= 3:
        described = ", ".join(f"{axis.name} ({axis.type})" for axis in axes)
        raise ArgumentError(
            "OME-Zarr allows at most one time axis, then at most one channel axis, then 2 or 3 spatial axes, but "
            f"the axes are {described}: transpose the source, select along an axis, or name the axes with axes="
        )


def with_arguments(
    coordinates: Coordinates, voxel_size: Any = None, translation: Any = None, unit: Any = None
) -> Coordinates:
    """Return the coordinates with the user's arguments in place of what the source told.

    Each argument is one value for all spatial axes, a sequence with one value per spatial axis (or per axis),
    or a dict by axis name.
    """
    scale = _per_axis(coordinates, voxel_size, "voxel_size", coordinates.scale)
    moved = _per_axis(coordinates, translation, "translation", coordinates.translation)
    units = _per_axis(coordinates, unit, "unit", [axis.unit for axis in coordinates.axes])
    for value, old in zip(scale, coordinates.scale, strict=True):
        _check_number(value, "voxel_size")
        if value <= 0 and value != old:
            raise ArgumentError(f"voxel_size must be greater than 0, but {value!r} was given")
    for value in moved:
        _check_number(value, "translation")
    for value in units:
        if value is not None and not isinstance(value, str):
            raise ArgumentError(f"unit must be a string such as 'nanometer', but {value!r} was given")
    axes = tuple(
        replace(axis, unit=None if value is None else canonical_unit(value))
        for axis, value in zip(coordinates.axes, units, strict=True)
    )
    return Coordinates(
        axes,
        tuple(map(float, scale)),
        tuple(map(float, moved)),
        known=coordinates.known or voxel_size is not None,
    )


def _check_number(value: Any, argument: str) -> None:
    is_number = isinstance(value, numbers.Real) and not isinstance(value, bool)
    try:
        finite = is_number and math.isfinite(float(value))
    except OverflowError:
        finite = False
    if not finite:
        raise ArgumentError(f"{argument} must be finite numbers, but {value!r} was given")


def _per_axis(coordinates: Coordinates, value: Any, argument: str, default: Sequence[Any]) -> list[Any]:
    if value is None:
        return list(default)
    entries = per_axis(value, argument, coordinates.names, coordinates.spatial, not_named=default, not_spatial=default)
    return [entry.item() if hasattr(entry, "item") else entry for entry in entries]
