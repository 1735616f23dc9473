"""`Volume`: an array of any kind of source, with its axes and coordinates."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from chunkpyramid.arguments import whole_number
from chunkpyramid.boxes import Shape
from chunkpyramid.errors import ArgumentError
from chunkpyramid.sources.open import open_source
from chunkpyramid.sources.source import Source
from chunkpyramid.storage.locations import store_id
from chunkpyramid.storage.nodes import level_array

if TYPE_CHECKING:
    import dask.array as da
    import xarray as xr

__all__ = ["Volume", "open_volume"]


class Volume:
    """A volume: voxels that are read when they are asked for, and where they are.

    ``volume[box]`` reads voxels, as NumPy arrays are indexed, in native byte order. Those of an array that is in memory
    are not copied, and cannot be written to.

    Attributes
    ----------
    array : zarr.Array, dask array or numpy.ndarray
        What is read.
    axes : tuple of str
        Names of the axes.
    voxel_size, translation : tuple of float
        Along every axis: the size of a voxel and the centre of the first one.
    unit : tuple of str or None
        Along every axis.
    is_labels : bool
        Whether the metadata say that these are labels.

    Examples
    --------
    >>> import numpy as np
    >>> import chunkpyramid as cp
    >>> volume = cp.open_volume(np.eye(3, dtype=np.uint8), axes="yx")
    >>> volume.axes, volume.shape, volume[1:, 1:].tolist()
    (('y', 'x'), (3, 3), [[1, 0], [0, 1]])
    """

    def __init__(self, source: Source):
        self._source = source
        self.array: Any = source.array if source.in_memory is None else source.in_memory

    @property
    def shape(self) -> Shape:
        return self._source.shape

    @property
    def dtype(self) -> np.dtype[Any]:
        return self._source.dtype.newbyteorder("=")

    @property
    def ndim(self) -> int:
        return len(self.shape)

    @property
    def chunks(self) -> Shape:
        """The chunk shape of a zarr array, the largest chunk of a dask array, or the shape of an array in memory."""
        return self._source.read_chunks or self._source.lazy_chunks or self.shape

    @property
    def axes(self) -> tuple[str, ...]:
        return self._source.coordinates.names

    @property
    def voxel_size(self) -> tuple[float, ...]:
        return self._source.coordinates.scale

    @property
    def translation(self) -> tuple[float, ...]:
        return self._source.coordinates.translation

    @property
    def unit(self) -> tuple[str | None, ...]:
        return tuple(axis.unit for axis in self._source.coordinates.axes)

    @property
    def is_labels(self) -> bool:
        return self._source.is_labels

    def to_source(self) -> Source:
        """Return what the functions of this package that take a source make of the volume."""
        return self._source

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> npt.NDArray[Any]:
        """Return all voxels: ``np.asarray(volume)``."""
        voxels = self[...]
        return np.array(voxels, dtype, copy=copy) if copy is not None else np.asarray(voxels, dtype)

    def __getitem__(self, box: Any) -> npt.NDArray[Any]:
        voxels = np.asarray(self.array[box])
        found = voxels.astype(self.dtype, copy=False)
        if found is voxels and not self._source.is_zarr:
            # what is in memory is the user's own
            found = found.view()
            found.flags.writeable = False
        return found

    def __repr__(self) -> str:
        where = store_id(self._source.array) if self._source.is_zarr else type(self.array).__name__
        sizes = " ".join(f"{axis}={size}" for axis, size in zip(self.axes, self.shape, strict=True))
        return f"<Volume {sizes} {self.dtype} {where}>"

    def to_dask(self) -> da.Array:
        """Return the voxels as a dask array."""
        import dask.array as da

        lazy: da.Array = self.array
        if self._source.is_zarr:
            lazy = da.from_zarr(self.array)
        elif self._source.in_memory is not None:
            lazy = da.from_array(self.array)
        native: da.Array = lazy.astype(self.dtype)
        return native

    def to_xarray(self) -> xr.DataArray:
        """Return the volume as a DataArray of dask's, with the centres of the voxels as coordinates."""
        import xarray as xr

        places = zip(self.axes, self.shape, self.voxel_size, self.translation, self.unit, strict=True)
        coordinates = {
            axis: (axis, start + step * np.arange(size), {} if unit is None else {"units": unit})
            for axis, size, step, start, unit in places
        }
        return xr.DataArray(self.to_dask(), coordinates, self.axes, self._source.name, dict(self._source.attributes))


def open_volume(
    url: Any,
    *,
    axes: str | Sequence[str] | None = None,
    level: int = 0,
    storage_options: Mapping[str, Any] | None = None,
) -> Volume:
    """Open a volume of any kind; nothing is read but metadata.

    Parameters
    ----------
    url : path, URL, zarr store, zarr.Array, dask array, xarray.DataArray, numpy array, Pyramid or Volume
        Where a zarr array or an OME-Zarr image is, or an array.
    axes : str or sequence of str, optional
        Names of the axes; default from the source, else the last of "tczyx".
    level : int
        Which level of an OME-Zarr image, counted from the one that is given: 0 is that itself, or the finest.
    storage_options : dict, optional
        For URLs, as fsspec takes them.

    Returns
    -------
    Volume

    Raises
    ------
    SourceNotFoundError
        If there is nothing.
    ArgumentError
        If it is of no kind that can be read, has no such level, or does not fit ``axes``.

    Examples
    --------
    >>> import numpy as np, zarr
    >>> import chunkpyramid as cp
    >>> store = zarr.storage.MemoryStore()
    >>> pyramid = cp.build_pyramid(np.zeros((64, 64), np.uint8), store, levels=2, voxel_size=4.0)
    >>> cp.open_volume(store, level=2).voxel_size
    (16.0, 16.0)
    """
    source = open_source(url, axes, storage_options=storage_options)
    level = whole_number(level, "level", least=0)
    if level:
        image = source.image
        paths = () if image is None else image.multiscale.paths[image.level :]
        if image is None or level >= len(paths):
            raise ArgumentError(f"level must be below {max(1, len(paths))} for {url!r}, but {level} was given")
        source = open_source(level_array(image.group, paths[level]), axes)
        source = replace(source, name=source.name or image.multiscale.name)
    return Volume(source)
