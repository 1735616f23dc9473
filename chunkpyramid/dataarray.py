"""DataArrays as sources: their dimensions are axes, their coordinates scale and translation."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from chunkpyramid.coordinates import Axis, Coordinates, axis_type, check_axes
from chunkpyramid.physical_units import canonical_unit
from chunkpyramid.source import Source

__all__ = ["coordinates_of_dataarray", "regular_step", "source_of_dataarray"]


def source_of_dataarray(source: Any, axes: str | Sequence[str] | None) -> Source:
    """Return a DataArray as a source."""
    coordinates = coordinates_of_dataarray(source, strict=axes is None)
    if source.chunks is None:
        # a lazily opened file is read in its own chunks, an array in memory is one chunk
        source = source.chunk(source.encoding.get("preferred_chunks", {}))
    values = {str(dim): source[dim].variable for dim in source.dims if dim in source.coords}
    return Source(
        source.data,
        coordinates,
        name=str(source.name) if source.name is not None else None,
        attributes={key: value for key, value in source.attrs.items() if _is_plain(value)},
        dimension_coordinates=values,
    )


def _is_plain(value: Any) -> bool:
    if isinstance(value, list | tuple):
        return all(map(_is_plain, value))
    return isinstance(value, str | int | float | bool) or value is None


def coordinates_of_dataarray(source: Any, *, strict: bool = True) -> Coordinates:
    """Return the coordinates that a DataArray's dimensions have; irregular ones get scale 1 and translation 0.

    ``strict`` refuses dimensions that OME-Zarr does not allow.
    """
    axes, scale, translation, known = [], [], [], False
    for dim in map(str, source.dims):
        unit = source[dim].attrs.get("units") if dim in source.coords else None
        kind = axis_type(dim)
        if kind == "space" and dim in source.coords and np.issubdtype(source[dim].dtype, np.datetime64):
            kind = "time"
        axes.append(Axis(dim, kind, canonical_unit(unit) if isinstance(unit, str) else None))
        step = regular_step(source[dim].values) if dim in source.coords else None
        scale.append(1.0 if step is None else step[1])
        translation.append(0.0 if step is None else step[0])
        known = known or step is not None
    if strict:
        check_axes(axes)
    return Coordinates(tuple(axes), tuple(scale), tuple(translation), known)


def regular_step(values: npt.NDArray[Any]) -> tuple[float, float] | None:
    """Return first value and step of evenly spaced numbers, or None if they are none; one number alone has step 1."""
    if values.dtype.kind not in "iuf" or values.ndim != 1 or values.size == 0:
        return None
    numbers = values.astype(np.float64)
    if numbers.size == 1:
        return float(numbers[0]), 1.0
    step = (numbers[-1] - numbers[0]) / (numbers.size - 1)
    ideal = numbers[0] + step * np.arange(numbers.size)
    # single-precision coordinates are regular only up to their own rounding
    precision = np.finfo(values.dtype).eps if values.dtype.kind == "f" else np.finfo(np.float64).eps
    tolerance = 8 * precision * np.max(np.abs(numbers)) + 1e-6 * abs(step)
    if step == 0 or not np.all(np.abs(numbers - ideal) <= tolerance):
        return None
    return float(numbers[0]), float(step)
