"""The coordinates of a source on the levels, and what cannot be told of them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from chunkpyramid.metadata.coordinates import Coordinates
from chunkpyramid.pyramid.level_coordinates import dimension_coordinates, dropped_coordinates, level_variables
from chunkpyramid.pyramid.plan import Level
from chunkpyramid.sources.source import Source
from chunkpyramid.sources.uneven_axes import given_axes, warn_of_uneven_axes
from chunkpyramid.warn import warn

__all__ = ["variables_of_levels", "warn_of_coordinates"]


def variables_of_levels(
    source: Source,
    base: Coordinates,
    levels: Sequence[Level],
    coordinates: Sequence[Coordinates],
    *,
    is_first: bool,
) -> tuple[Mapping[str, Any], ...]:
    """Return the coordinate variables of every level: those of the source, but along axes with a voxel size given."""
    given = given_axes(source, base)
    own = {name: variable for name, variable in source.variables.items() if name not in given}
    return tuple(
        dimension_coordinates(at, level.shape) | level_variables(own, base.names, level.cumulative, is_first=is_first)
        for level, at in zip(levels, coordinates, strict=True)
    )


def warn_of_coordinates(source: Source, base: Coordinates, levels: Sequence[Level], layout: str) -> None:
    """Warn of coordinates that the metadata, or the levels, do not tell."""
    untold = warn_of_uneven_axes(
        source, base, "which OME-Zarr cannot say: its metadata count array indices along this axis, without unit"
    )
    if layout == "flat" and untold:
        warn(
            f"the layout 'flat' has no place for the coordinates {sorted(untold)}: layout='datatree' keeps those that "
            "zarr can store"
        )
    dropped = dropped_coordinates(source.variables, base.names, levels[-1].cumulative)
    if layout == "datatree" and dropped:
        warn(f"the coordinates {dropped} have several axes and are left out of the levels that are coarser along one")
