"""Every kind of source, made one: what the planner and the tasks have to know of it."""

from __future__ import annotations

import os
import zlib
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field, replace
from typing import Any

import cloudpickle
import numpy as np
import numpy.typing as npt
import zarr

from chunkpyramid import ome
from chunkpyramid.coordinates import Axis, Coordinates, axis_type, canonical_unit, check_axes, named_axes
from chunkpyramid.errors import ArgumentError, SourceNotFoundError
from chunkpyramid.grid import Shape
from chunkpyramid.store import entries, is_local_path, open_node, store_id

__all__ = ["Source", "coordinates_of_dataarray", "open_source"]


class ZarrSearch(cloudpickle.Pickler):  # type: ignore[misc]
    """Walks over an object as pickle does, and keeps the zarr arrays that it meets."""

    def __init__(self) -> None:
        super().__init__(self)
        self.found: list[zarr.Array[Any]] = []

    def write(self, data: bytes) -> int:
        return len(data)

    def persistent_id(self, obj: Any) -> str | None:
        if isinstance(obj, zarr.Array):
            self.found.append(obj)
        return "not walked into" if isinstance(obj, zarr.Array | np.ndarray) else None


@dataclass(frozen=True)
class Source:
    """A source: its array (zarr or dask) and what is known of it.

    ``in_memory`` is the NumPy array that a dask array was made of, if it was; ``dimension_coordinates`` holds the
    coordinate variables of a DataArray by axis.
    """

    array: Any
    coordinates: Coordinates
    in_memory: npt.NDArray[Any] | None = None
    name: str | None = None
    is_labels: bool = False
    kept: Mapping[str, Any] = field(default_factory=dict)
    attributes: Mapping[str, Any] = field(default_factory=dict)
    dimension_coordinates: Mapping[str, Any] = field(default_factory=dict)

    @property
    def is_zarr(self) -> bool:
        return isinstance(self.array, zarr.Array)

    def identity(self) -> str:
        """Return what tells the source from others in the fingerprint of a build; NumPy arrays are read for it."""
        if self.is_zarr:
            return store_id(self.array)
        if self.in_memory is not None:
            return f"numpy {zlib.adler32(np.ascontiguousarray(self.in_memory).view(np.uint8).data)}"
        return f"dask {self.array.name}"

    def zarr_arrays(self) -> list[zarr.Array[Any]]:
        """Return the zarr arrays that are read, also those that a dask graph reads."""
        if self.is_zarr:
            return [self.array]
        search = ZarrSearch()
        with suppress(Exception):  # what cannot be pickled is searched as far as that goes
            search.dump(self.array.dask)
        return search.found

    @property
    def shape(self) -> Shape:
        return tuple(map(int, self.array.shape))

    @property
    def dtype(self) -> np.dtype[Any]:
        dtype: np.dtype[Any] = np.dtype(self.array.dtype)
        return dtype

    @property
    def read_chunks(self) -> Shape | None:
        """Chunks of a zarr source; None for a source of in-memory blocks."""
        return tuple(map(int, self.array.chunks)) if self.is_zarr else None

    @property
    def read_shards(self) -> Shape | None:
        """Shards of a zarr source that has them."""
        return tuple(map(int, self.array.shards)) if self.is_zarr and self.array.shards else None

    @property
    def lazy_chunks(self) -> Shape | None:
        """The largest chunk of a dask array that is not in memory."""
        if self.is_zarr or self.in_memory is not None:
            return None
        return tuple(map(max, self.array.chunks))

    @property
    def fill_value(self) -> Any:
        return self.array.fill_value if self.is_zarr else None


def open_source(source: Any, axes: str | Sequence[str] | None, *, writable: bool = False) -> Source:
    """Open a source of any kind.

    Parameters
    ----------
    source : zarr.Array, dask array, xarray.DataArray, numpy array, path, URL or store
        The source, or where a zarr array or an OME-Zarr image is.
    axes : str or sequence of str, optional
        Names of the axes; default from the source, else the last of "tczyx".
    writable : bool
        Open paths for writing too, because the levels go beside the source.

    Raises
    ------
    SourceNotFoundError
        If there is nothing at the path.
    ArgumentError
        If the source is of no kind that can be read, has a size of zero, or does not fit ``axes``.
    """
    import dask.array as da
    import xarray as xr

    if isinstance(source, xr.DataArray):
        opened = _from_dataarray(source, axes)
    elif isinstance(source, da.Array):
        opened = Source(source, Coordinates((), (), ()))
    elif isinstance(source, np.ndarray):
        opened = _from_numpy(source)
    elif isinstance(source, zarr.Array):
        opened = _from_zarr(source)
    elif isinstance(source, zarr.Group):
        opened = _from_group(source)
    elif is_local_path(source) or isinstance(source, str) or hasattr(source, "supports_writes") or type(source) is dict:
        node = open_node(source, "r+" if writable else "r")
        opened = _from_group(node) if isinstance(node, zarr.Group) else _from_zarr(node)
        if isinstance(node, zarr.Array) and is_local_path(source):
            opened = _with_parent_metadata(opened, os.fspath(source))
    else:
        raise ArgumentError(
            "source must be a zarr.Array, dask array, xarray.DataArray, numpy array, or the path, URL or store of a "
            f"zarr array or OME-Zarr image, but {type(source).__name__} was given"
        )
    _check(opened)
    if axes is None and opened.coordinates.axes:
        return opened
    known = {axis.name: axis for axis in opened.coordinates.axes}
    named = tuple(known.get(axis.name, axis) for axis in named_axes(axes, len(opened.shape)))
    if opened.coordinates.axes:
        return replace(opened, coordinates=replace(opened.coordinates, axes=named))
    ones, zeros = (1.0,) * len(named), (0.0,) * len(named)
    return replace(opened, coordinates=Coordinates(named, ones, zeros))


def _check(source: Source) -> None:
    if any(n != n for n in source.array.shape):
        raise ArgumentError("the source has an unknown shape: call its compute_chunk_sizes() first")
    if 0 in source.shape:
        raise ArgumentError(f"the source has shape {source.shape}: an axis of length 0 has no voxels to downsample")
    if isinstance(getattr(source.array, "_meta", None), np.ma.MaskedArray):
        raise ArgumentError("the source is a masked array, and zarr stores no masks: give source.filled(...) instead")
    if source.dtype.kind in "OT":
        raise ArgumentError(f"the source has dtype {source.dtype}, which has no fixed size and cannot be downsampled")


def _from_numpy(array: npt.NDArray[Any]) -> Source:
    import dask.array as da

    if array.dtype.hasobject:
        raise ArgumentError(f"the source has dtype {array.dtype}, which holds Python objects and cannot be stored")
    # a name of its own spares dask from hashing the whole array
    lazy = da.from_array(array, chunks=-1, name=False)
    return Source(lazy, Coordinates((), (), ()), in_memory=array)


def _from_zarr(array: zarr.Array[Any]) -> Source:
    coordinates = Coordinates((), (), ())
    names: Any = getattr(array.metadata, "dimension_names", None) or array.attrs.get("_ARRAY_DIMENSIONS")
    if names and all(isinstance(name, str) for name in names) and len(set(names)) == len(names):
        axes = tuple(Axis(name, axis_type(name)) for name in names)
        try:
            check_axes(axes)
        except ArgumentError:
            axes = ()
        if axes:
            coordinates = Coordinates(axes, (1.0,) * len(axes), (0.0,) * len(axes))
    opened = Source(array, coordinates)
    if array.path:
        path, _, name = array.path.rpartition("/")
        return _with_group_metadata(opened, array.store, path, name)
    return opened


def _with_parent_metadata(opened: Source, path: str) -> Source:
    """Add what an OME-Zarr image around the array at this path tells of it."""
    if opened.array.path:
        return opened
    head, name = os.path.split(os.path.realpath(path))
    return _with_group_metadata(opened, head, "", name)


def _with_group_metadata(opened: Source, store: Any, path: str, name: str) -> Source:
    try:
        group = zarr.open_group(store, path=path, mode="r", zarr_format=opened.array.metadata.zarr_format)
    except (FileNotFoundError, ValueError):
        return opened
    multiscale = ome.read_multiscale(group.attrs.asdict())
    if multiscale is None or multiscale.paths[0] != name:
        return opened
    return _with_multiscale(opened, group, multiscale)


def _with_multiscale(opened: Source, group: zarr.Group, multiscale: ome.Multiscale) -> Source:
    return replace(
        opened,
        coordinates=multiscale.coordinates[0],
        name=multiscale.name,
        is_labels=ome.is_labels(group.attrs.asdict()),
        kept=multiscale.kept,
    )


def _from_group(group: zarr.Group) -> Source:
    multiscale = ome.read_multiscale(group.attrs.asdict())
    if multiscale is None:
        raise ArgumentError(
            f"the source {group} is a group without OME-Zarr multiscales: give the path of an array in it, which has "
            f"{entries(group)}"
        )
    path = multiscale.paths[0]
    if path not in group:
        raise SourceNotFoundError(f"the OME-Zarr image {group} has no array {path!r}, which is its level 0")
    array = group[path]
    if not isinstance(array, zarr.Array):
        raise ArgumentError(f"level 0 of the OME-Zarr image {group} is no array")
    return _with_multiscale(Source(array, Coordinates((), (), ())), group, multiscale)


def _from_dataarray(source: Any, axes: str | Sequence[str] | None) -> Source:
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
