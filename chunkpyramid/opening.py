"""Every kind of source, opened: zarr arrays, OME-Zarr images, dask and NumPy arrays, DataArrays."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import numpy.typing as npt
import zarr

from chunkpyramid import ome
from chunkpyramid.coordinates import Axis, Coordinates, axis_type, check_axes, named_axes
from chunkpyramid.dataarray import source_of_dataarray
from chunkpyramid.errors import ArgumentError, SourceNotFoundError
from chunkpyramid.source import Source
from chunkpyramid.store import entries, is_local_path, open_node

__all__ = ["open_source"]


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
        opened = source_of_dataarray(source, axes)
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
