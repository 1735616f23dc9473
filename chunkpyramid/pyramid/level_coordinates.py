"""Coordinate variables of the levels: what becomes of those of level 0, or what scale and translation tell."""

from __future__ import annotations

from collections.abc import Hashable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt
import zarr
from zarr.storage import MemoryStore

from chunkpyramid.boxes import Shape
from chunkpyramid.errors import ArgumentError
from chunkpyramid.metadata.coordinates import Coordinates
from chunkpyramid.metadata.missing import with_finite_numbers
from chunkpyramid.pyramid.plan import Level
from chunkpyramid.sources.coordinate_values import regular_step, values_of

if TYPE_CHECKING:
    import xarray as xr

__all__ = [
    "dimension_coordinates",
    "dropped_coordinates",
    "level_variables",
    "rehearse_coordinates",
    "write_coordinates",
]

# Of how a variable was stored only this says what its values mean; the rest belongs to the file it came from.
KEPT_ENCODING = ("units", "calendar", "dtype", "scale_factor", "add_offset", "_FillValue", "missing_value")

FINER = {"D": "h", "h": "m", "m": "s", "s": "ms", "ms": "us", "us": "ns"}


def dimension_coordinates(coordinates: Coordinates, shape: tuple[int, ...]) -> dict[str, Any]:
    """Return the coordinate variables of a level: the centre of every voxel along each axis."""
    return {
        axis.name: (axis.name, t + s * np.arange(n), {"units": axis.unit} if axis.unit else {})
        for axis, s, t, n in zip(coordinates.axes, coordinates.scale, coordinates.translation, shape, strict=True)
    }


def level_variables(
    variables: Mapping[str, xr.Variable], dims: Sequence[Hashable], cumulative: Shape, *, is_first: bool
) -> dict[str, xr.Variable]:
    """Return what becomes of coordinate variables in the level with this cumulative factor.

    Along axes that are not downsampled they stay as they are. Those with one axis have the mean of each footprint, or
    its first value if the level has first voxels (``is_first``) or values have no mean. Those with several are left out
    (see `dropped_coordinates`).
    """
    factors = dict(zip(dims, cumulative, strict=True))
    result = {}
    for name, variable in variables.items():
        total = [factors[dim] for dim in variable.dims]
        if all(factor == 1 for factor in total):
            result[name] = variable
        elif len(total) == 1:
            known = values_of(variable)
            values = variable.data[:: total[0]] if known is None else _of_footprints(known, total[0], is_first=is_first)
            result[name] = _variable(variable, values)
    return result


def dropped_coordinates(variables: Mapping[str, xr.Variable], dims: Sequence[Hashable], cumulative: Shape) -> list[str]:
    """Return the names of the coordinates that `level_variables` leaves out."""
    return sorted(set(variables) - set(level_variables(variables, dims, cumulative, is_first=True)))


def _variable(like: xr.Variable, values: Any) -> xr.Variable:
    import xarray as xr

    # the units of times are for the values of level 0
    encoding = {key: like.encoding[key] for key in ("calendar",) if key in like.encoding}
    return xr.Variable(like.dims, values, like.attrs, encoding)


def _of_footprints(values: npt.NDArray[Any], factor: int, *, is_first: bool) -> npt.NDArray[Any]:
    """Return the mean of each footprint along one axis, or its first value."""
    starts = np.arange(0, values.size, factor)
    if is_first or values.dtype.kind not in "iufmM":
        return values[starts]
    if values.dtype.kind in "mM":
        return values[starts] if np.isnat(values).any() else _mean_times(values, factor, starts)
    regular = regular_step(values)
    if regular is not None and regular[1] > 0:
        # centres that go on evenly beyond the edge, as scale and translation have them
        first, step = regular
        centres: npt.NDArray[Any] = first + (factor - 1) / 2 * step + factor * step * np.arange(starts.size)
        return centres
    counts = np.diff([*starts, values.size])
    means: npt.NDArray[Any] = np.add.reduceat(values.astype(np.float64), starts) / counts
    return means.astype(values.dtype) if values.dtype.kind == "f" else means


def _mean_times(values: npt.NDArray[Any], factor: int, starts: npt.NDArray[Any]) -> npt.NDArray[Any]:
    numbers = values.astype(np.int64)
    steps = np.diff(numbers)
    if steps.size and (steps == steps[0]).all():
        unit = np.datetime_data(values.dtype)[0]
        if (factor - 1) * int(steps[0]) % 2 and unit in FINER:
            # the centre of two lies between two times of this unit
            return _mean_times(values.astype(f"{values.dtype.kind}8[{FINER[unit]}]"), factor, starts)
        centres: npt.NDArray[Any] = (
            numbers[0] + (factor - 1) * steps[0] // 2 + factor * steps[0] * np.arange(starts.size)
        )
        return centres.astype(values.dtype)
    counts = np.diff([*starts, values.size])
    first = numbers[starts]
    # differences from the first one, so that the sum of many does not overflow
    offsets = numbers - np.repeat(first, counts)
    means: npt.NDArray[Any] = first + np.round(np.add.reduceat(offsets, starts) / counts).astype(np.int64)
    return means.astype(values.dtype)


def write_coordinates(group: zarr.Group, levels: Sequence[Level], variables: Sequence[Mapping[str, Any]]) -> None:
    """Write the coordinate variables of every level beside its array."""
    for level, own in zip(levels, variables, strict=True):
        path = "/".join(filter(None, [group.path, level.path.rpartition("/")[0]]))
        _write(own, group.store, path, group.metadata.zarr_format)


def rehearse_coordinates(variables: Sequence[Mapping[str, Any]], zarr_format: int) -> None:
    """Write the coordinate variables of every level to memory, so that what cannot be written is refused beforehand.

    Raises
    ------
    ArgumentError
        If xarray refuses a coordinate.
    """
    for own in variables:
        for name, variable in own.items():
            if getattr(variable, "level_names", None):
                raise ArgumentError(
                    f"the coordinate {name!r} cannot be written to zarr, because it is a MultiIndex: take it apart "
                    f"with source.reset_index({name!r})"
                )
            try:
                _write({name: variable}, MemoryStore(), "", zarr_format)
            except Exception as error:  # xarray, pandas and zarr raise what they like
                raise ArgumentError(
                    f"the coordinate {name!r} cannot be written to zarr format {zarr_format} ({error}): drop it with "
                    f"source.drop_vars({name!r}), or turn it into numbers, times or strings with source.assign_coords"
                ) from error


def _write(variables: Mapping[str, Any], store: Any, path: str, zarr_format: Any) -> None:
    import xarray as xr

    coords = {}
    for name, variable in variables.items():
        coords[name] = _as_stored(variable) if isinstance(variable, xr.Variable) else variable
    xr.Dataset(coords=coords).to_zarr(store, group=path, mode="a", zarr_format=zarr_format, consolidated=False)


def _as_stored(variable: xr.Variable) -> Any:
    """Return a variable without what belongs to the file that it came from."""
    if variable.ndim < 2:
        variable = variable.compute()
    if variable.dtype.kind == "U":
        # fixed-length strings have no specification in zarr format 3, those of variable length have one
        variable = variable.astype(object)
    kept = KEPT_ENCODING[:2] if variable.dtype.kind == "O" else KEPT_ENCODING
    stored = variable.copy(deep=False)
    # xarray has its own way to store a fill value
    stored.attrs = {
        name: value if name == "_FillValue" else with_finite_numbers(value) for name, value in variable.attrs.items()
    }
    stored.encoding = {key: variable.encoding[key] for key in kept if key in variable.encoding}
    return stored
