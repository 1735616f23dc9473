"""Coordinate variables of the levels, and writing them beside the arrays in the layout "datatree"."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import zarr

from chunkpyramid.coordinates import Coordinates
from chunkpyramid.plan import Level

__all__ = ["dimension_coordinates", "write_coordinates"]


def dimension_coordinates(coordinates: Coordinates, shape: tuple[int, ...]) -> dict[str, Any]:
    """Return the coordinate variables of a level: the centre of every voxel along each axis."""
    return {
        axis.name: (axis.name, t + s * np.arange(n), {"units": axis.unit} if axis.unit else {})
        for axis, s, t, n in zip(coordinates.axes, coordinates.scale, coordinates.translation, shape, strict=True)
    }


def write_coordinates(
    group: zarr.Group, levels: Sequence[Level], coordinates: Sequence[Coordinates], kept: Mapping[str, Any]
) -> None:
    """Write the coordinate variables of every level; those ``kept`` stay as they were where nothing is downsampled."""
    import xarray as xr

    for level, own in zip(levels, coordinates, strict=True):
        variables = dimension_coordinates(own, level.shape)
        for axis, dim in enumerate(own.names):
            if level.cumulative[axis] == 1 and dim in kept:
                # fixed-length strings have no specification in zarr format 3, those of variable length have one
                variables[dim] = kept[dim].astype(object) if kept[dim].dtype.kind == "U" else kept[dim]
        path = "/".join(filter(None, [group.path, level.path.rpartition("/")[0]]))
        xr.Dataset(coords=variables).to_zarr(
            group.store, group=path, mode="a", zarr_format=group.metadata.zarr_format, consolidated=False
        )
