"""Every kind of source, opened: zarr arrays, OME-Zarr images, dask and NumPy arrays, DataArrays."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import replace
from itertools import islice
from typing import Any

import numpy as np
import numpy.typing as npt
import zarr

from chunkpyramid.boxes import Shape
from chunkpyramid.errors import ArgumentError, SourceNotFoundError
from chunkpyramid.metadata import ome
from chunkpyramid.metadata.coordinates import (
    DEFAULT_AXES,
    Axis,
    Coordinates,
    axes_in_order,
    axis_type,
    check_axes,
    named_axes,
)
from chunkpyramid.metadata.missing import check_signs, declared_missing, plain_attributes
from chunkpyramid.sources.dataarray import source_of_dataarray
from chunkpyramid.sources.source import Image, Source
from chunkpyramid.storage.locations import is_local_path, store_id
from chunkpyramid.storage.nodes import DIMENSIONS, dimension_names, entries, groups_around, open_node, shape_in
from chunkpyramid.warn import warn

__all__ = ["open_source"]

# Datasets of a multiscale are at most so many folders below its group.
DEEPEST_DATASET = 3


def open_source(
    source: Any,
    axes: str | Sequence[str] | None,
    *,
    writable: bool = False,
    storage_options: Mapping[str, Any] | None = None,
) -> Source:
    """Open a source of any kind.

    Parameters
    ----------
    source : zarr.Array, dask array, xarray.DataArray, numpy array, Volume, Pyramid, path, URL or store
        The source, or where a zarr array or an OME-Zarr image is.
    axes : str or sequence of str, optional
        Names of the axes, in any order; default from the source, else the last of "tczyx".
    writable : bool
        Open paths for writing too, because the levels go beside the source.
    storage_options : dict, optional
        For URLs, as fsspec takes them.

    Raises
    ------
    SourceNotFoundError
        If there is nothing at the path.
    ArgumentError
        If the source is of no kind that can be read, has a size of zero, or does not fit ``axes``.
    """
    import dask.array as da
    import xarray as xr

    if hasattr(source, "to_source"):
        source = source.to_source()
    if isinstance(source, Source):
        opened = source
    elif isinstance(source, xr.DataArray):
        opened = source_of_dataarray(source, axes)
    elif isinstance(source, da.Array):
        opened = Source(source, Coordinates((), (), ()))
    elif isinstance(source, np.ndarray):
        opened = _from_numpy(source)
    elif isinstance(source, zarr.Array | zarr.Group) or _is_location(source):
        node = open_node(source, "r+" if writable else "r", storage_options)
        opened = _from_group(node) if isinstance(node, zarr.Group) else _from_zarr(node)
    else:
        raise ArgumentError(
            "source must be a zarr.Array, dask array, xarray.DataArray, numpy array, or the path, URL or store of a "
            f"zarr array or OME-Zarr image, but {type(source).__name__} was given"
        )
    _check(opened)
    if axes is None and opened.coordinates.axes:
        return _in_order(opened, writable=writable)
    known = {axis.name: axis for axis in opened.coordinates.axes}
    named = tuple(known.get(axis.name, axis) for axis in named_axes(axes, len(opened.shape)))
    if not opened.coordinates.axes:
        opened = replace(opened, hints=_hints(opened.shape, axes))
        ones, zeros = (1.0,) * len(named), (0.0,) * len(named)
        opened = replace(opened, coordinates=Coordinates(named, ones, zeros))
    return _in_order(replace(opened, coordinates=replace(opened.coordinates, axes=named)), writable=writable)


def _is_location(source: Any) -> bool:
    return (
        is_local_path(source) or isinstance(source, str) or hasattr(source, "supports_writes") or type(source) is dict
    )


def _hints(shape: Shape, axes: Any) -> tuple[str, ...]:
    if axes is None and len(shape) > 2 and shape[-1] in (3, 4) and min(shape[-3:-1]) > 4:
        usual, colours = DEFAULT_AXES[-len(shape) :], f"{'tzyx'[-len(shape) + 1 :]}c"
        return (
            f"the axes were taken for {usual!r}; if the last one, of {shape[-1]} voxels, is one of channels, give "
            f"axes={colours!r}",
        )
    return ()


def _in_order(opened: Source, *, writable: bool) -> Source:
    """Return a source with its axes in the order that OME-Zarr wants: time, channel, space."""
    order = axes_in_order(opened.coordinates.axes)
    if order == tuple(range(len(order))):
        return opened
    if writable:
        names = [opened.coordinates.names[axis] for axis in order]
        raise ArgumentError(
            f"in place, the axes have to be in the order of OME-Zarr, {names}, but they are "
            f"{list(opened.coordinates.names)}: give target="
        )
    coordinates = opened.coordinates
    return replace(
        opened,
        array=_lazy(opened.array).transpose(order),
        in_memory=None if opened.in_memory is None else opened.in_memory.transpose(order),
        coordinates=replace(
            coordinates,
            axes=tuple(coordinates.axes[axis] for axis in order),
            scale=tuple(coordinates.scale[axis] for axis in order),
            translation=tuple(coordinates.translation[axis] for axis in order),
        ),
        order=order,
    )


def _lazy(array: Any) -> Any:
    """Return an array as a dask array of the same name each time, by which a build that is resumed knows it."""
    import dask.array as da

    if not isinstance(array, zarr.Array):
        return array
    chunks = array.shards or array.chunks
    place = hashlib.sha256(store_id(array).encode()).hexdigest()
    return da.from_zarr(array, chunks=chunks, name=f"zarr-{place}-{chunks}")


def _check(source: Source) -> None:
    if any(n != n for n in source.array.shape):
        raise ArgumentError("the source has an unknown shape: call its compute_chunk_sizes() first")
    if 0 in source.shape:
        raise ArgumentError(f"the source has shape {source.shape}: an axis of length 0 has no voxels to downsample")
    if isinstance(getattr(source.array, "_meta", source.array), np.ma.MaskedArray):
        raise ArgumentError("the source is a masked array, and zarr stores no masks: give source.filled(...) instead")
    if source.dtype.kind in "OT":
        raise ArgumentError(f"the source has dtype {source.dtype}, which has no fixed size and cannot be downsampled")
    check_signs(source.attributes, source.dtype)


def _from_numpy(array: npt.NDArray[Any]) -> Source:
    if array.dtype.hasobject:
        raise ArgumentError(f"the source has dtype {array.dtype}, which holds Python objects and cannot be stored")
    return Source(array, Coordinates((), (), ()), in_memory=array)


def _from_zarr(array: zarr.Array[Any]) -> Source:
    opened = _with_attributes(Source(array, Coordinates((), (), ())))
    image = _image_of(array)
    if image is not None:
        return _in_image(opened, image)
    names = dimension_names(array)
    if names:
        axes = tuple(Axis(name, axis_type(name)) for name in names)
        try:
            check_axes(axes)
        except ArgumentError:
            return opened
        return replace(opened, coordinates=Coordinates(axes, (1.0,) * len(axes), (0.0,) * len(axes)))
    return opened


def _image_of(array: zarr.Array[Any]) -> Image | None:
    """Return the OME-Zarr image that an array is a level of, however the array was named."""
    for group, path in islice(groups_around(array), DEEPEST_DATASET):
        try:
            multiscale = ome.read_multiscale(group.attrs.asdict(), shape_in(group), dataset=path)
        except ArgumentError as error:
            # the array itself is there and can be built
            warn(f"what {group} tells of the array {path!r} is left out, its axes and voxel size too: {error}")
            return None
        if multiscale is not None:
            return Image(group, multiscale, multiscale.paths.index(path))
    return None


def _in_image(opened: Source, image: Image) -> Source:
    return replace(
        opened,
        coordinates=image.coordinates,
        name=image.multiscale.name,
        is_labels=ome.is_labels(image.group.attrs.asdict()),
        kept=image.multiscale.kept,
        image=image,
    )


def _from_group(group: zarr.Group) -> Source:
    multiscale = ome.read_multiscale(group.attrs.asdict(), shape_in(group))
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
    return _in_image(_with_attributes(Source(array, Coordinates((), (), ()))), Image(group, multiscale, 0))


def _with_attributes(opened: Source) -> Source:
    """Add the attributes of a zarr array, and the value that they declare to be missing."""
    array = opened.array
    attributes = plain_attributes(array.attrs.asdict(), opened.dtype)
    names = attributes.pop(DIMENSIONS, None)
    fill_value = array.fill_value
    if array.metadata.zarr_format == 2 and names is not None and fill_value is not None and fill_value != 0:
        # so xarray tells of missing values in this format
        attributes.setdefault("_FillValue", np.asarray(fill_value).item())
    return replace(opened, attributes=attributes, missing=declared_missing(attributes, opened.dtype))
