"""DataArrays as sources: their dimensions are axes, their coordinates scale and translation."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from chunkpyramid.errors import ArgumentError
from chunkpyramid.metadata.coordinates import Axis, Coordinates, axes_in_order, axis_type, check_axes
from chunkpyramid.metadata.missing import declared_missing, plain_attributes
from chunkpyramid.metadata.physical_units import canonical_unit
from chunkpyramid.sources.coordinate_values import regular_step, values_of
from chunkpyramid.sources.source import Source

__all__ = ["coordinates_of_dataarray", "source_of_dataarray"]


def source_of_dataarray(source: Any, axes: str | Sequence[str] | None) -> Source:
    """Return a DataArray as a source; ``axes`` are other names for its dimensions."""
    if axes is not None and len(axes) == source.ndim and list(axes) != list(source.dims):
        names = dict(zip(source.dims, axes, strict=True))
        clashes = sorted(map(str, set(axes) & {*source.coords, *source.dims} - {d for d, n in names.items() if d == n}))
        if len(set(axes)) < len(names) or clashes:
            raise ArgumentError(
                f"axes={axes!r} cannot be names of the dimensions {source.dims}: {clashes or axes} would be there "
                "twice; rename the dimensions of the source, or transpose it"
            )
        source = source.rename(names)
    coordinates = coordinates_of_dataarray(source, strict=axes is None)
    if source.chunks is None:
        # a lazily opened file is read in its own chunks, an array in memory is one chunk
        source = source.chunk(source.encoding.get("preferred_chunks", {}))
    attributes, missing = attributes_of_dataarray(source)
    return Source(
        source.data,
        coordinates,
        name=str(source.name) if source.name is not None else None,
        attributes=attributes,
        missing=missing,
        variables={str(name): _plain(str(name), source.coords[name].variable) for name in source.coords},
    )


def _plain(name: str, variable: Any) -> Any:
    """Return a coordinate variable with attributes in values that JSON can hold."""
    plain = variable.copy(deep=False)
    plain.attrs = plain_attributes(variable.attrs, variable.dtype, f" of the coordinate {name!r}")
    return plain


def attributes_of_dataarray(source: Any) -> tuple[dict[str, Any], Any]:
    """Return the attributes to be stored with every level, and the value that stands for missing voxels.

    What a DataArray was decoded from stands in its encoding: of that only the grid mapping has to be told again, and
    that voxels which were missing are NaN now.
    """
    dtype = np.dtype(source.dtype)
    attributes = plain_attributes(source.attrs, dtype)
    if "grid_mapping" in source.encoding:
        attributes.setdefault("grid_mapping", str(source.encoding["grid_mapping"]))
    missing = declared_missing(attributes, dtype)
    if missing is not None:
        return attributes, missing
    encoded = {key: source.encoding[key] for key in ("_FillValue", "missing_value") if key in source.encoding}
    if not encoded:
        return attributes, None
    if dtype.kind == "f":
        return attributes, float("nan")
    told = plain_attributes(encoded, dtype)
    missing = declared_missing(told, dtype)
    return attributes if missing is None else {**attributes, **told}, missing


def coordinates_of_dataarray(source: Any, *, strict: bool = True) -> Coordinates:
    """Return the coordinates that a DataArray's dimensions have.

    Those that are not evenly spaced, or descend, count array indices: scale 1, translation 0, no unit. Times and
    durations are seconds, times since 1970. ``strict`` refuses dimensions that OME-Zarr does not allow.
    """
    axes, scale, translation, known = [], [], [], False
    for dim in map(str, source.dims):
        step = regular_step(values_of(source[dim].variable)) if dim in source.coords else None
        is_even = step is not None and step[1] > 0
        is_time = dim in source.coords and source[dim].dtype.kind in "mM" and isinstance(source[dim].dtype, np.dtype)
        unit = source[dim].attrs.get("units") if dim in source.coords else None
        kind = "time" if is_time else axis_type(dim)
        if dim in source.coords and not is_even:
            unit = None
        elif is_time:
            unit = "second"
        axes.append(Axis(dim, kind, canonical_unit(unit) if isinstance(unit, str) else None))
        first, size = step if step is not None and is_even else (0.0, 1.0)
        scale.append(size)
        translation.append(first)
        known = known or is_even
    if strict:
        check_axes([axes[axis] for axis in axes_in_order(axes)])
    return Coordinates(tuple(axes), tuple(scale), tuple(translation), known)
