"""`map_blocks`: a user's own function on every block of a volume larger than memory."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from chunkpyramid.arguments import per_axis, reordered, whole_number
from chunkpyramid.boxes import Box, Halo
from chunkpyramid.engine.progress import Progress
from chunkpyramid.errors import ArgumentError
from chunkpyramid.sources.open import open_source
from chunkpyramid.sources.volume import Volume
from chunkpyramid.volumes.function_digest import function_digest
from chunkpyramid.volumes.write_volume import BlockFunction, write_volume

__all__ = ["map_blocks"]


def map_blocks(
    function: Callable[[npt.NDArray[Any]], Any],
    source: Any,
    target: Any,
    *,
    dtype: Any = None,
    halo: Any = 0,
    bytes_per_voxel: int = 16,
    axes: str | Sequence[str] | None = None,
    voxel_size: Any = None,
    translation: Any = None,
    unit: Any = None,
    chunks: Any = None,
    shards: Any = None,
    compressors: Any = "auto",
    zarr_format: int = 3,
    ome_version: str | None = None,
    name: str = "image",
    storage_options: Mapping[str, Any] | None = None,
    memory_limit: int | str | None = None,
    resume: bool = True,
    overwrite: bool = False,
    progress: Progress = False,
) -> Volume:
    """Write what a function makes of the voxels of a volume larger than memory.

    The function is called with one part of the volume after the other, on whatever Dask scheduler is active, within the
    memory limit. If it is killed, the same call goes on where it stopped.

    Parameters
    ----------
    function : callable
        Returns an array of the shape of the one it is given. The parts are disjoint boxes that together fill the
        volume, each with ``halo`` voxels of its neighbours around it, of which the results are cut off; where the
        volume ends there are none. Which boxes they are depends on chunks and memory, so a voxel of the result must not
        depend on voxels farther away than that. The array it is given cannot be written to. A rerun knows the function
        by its code, and by what it encloses.
    source : zarr.Array, dask array, xarray.DataArray, numpy array, path, URL or store
        As for `build_pyramid`.
    target : path, URL, zarr store or zarr.Group
        Where the result goes: an OME-Zarr image of one level, with the coordinates of the source.
    dtype : dtype, optional
        Of the result; default that of the source. What the function returns must be castable to it ("same_kind",
        so that integers wrap around).
    halo : int, sequence or dict
        Voxels along all spatial axes, one entry per axis, or a dict by axis.
    bytes_per_voxel : int
        What ``function`` takes at most for each voxel it is given, what it returns included: part of the memory
        promise.
    axes, voxel_size, translation, unit, chunks, shards, compressors, zarr_format, ome_version, name, storage_options
        As for `build_pyramid`.
    memory_limit, resume, overwrite, progress
        As for `build_pyramid`.

    Returns
    -------
    Volume

    Raises
    ------
    SourceNotFoundError
        If there is no source.
    ArgumentError
        If an argument is malformed.
    TargetExistsError
        If there is something else at the target.
    PlanError
        If the memory limit is too small, with the least that would do.
    BuildError
        If a block fails, or the function returns another shape or dtype; what is done so far is kept.

    Examples
    --------
    A Gaussian filter is that of the whole array if the halo is as wide as the filter reaches:

    >>> import numpy as np, zarr
    >>> import chunkpyramid as cp
    >>> image = np.random.default_rng(0).normal(size=(40, 50)).astype(np.float32)
    >>> def smooth(part):
    ...     padded = np.pad(part, 1, mode="edge")
    ...     return (padded[:-2, 1:-1] + 2 * padded[1:-1, 1:-1] + padded[2:, 1:-1]) / 4
    >>> smoothed = cp.map_blocks(smooth, image, zarr.storage.MemoryStore(), halo=1, chunks=16)
    >>> bool((smoothed[:] == smooth(image)).all())
    True
    """
    if not callable(function):
        raise ArgumentError(f"function must be callable, but {function!r} was given")
    each = whole_number(bytes_per_voxel, "bytes_per_voxel", least=0)
    opened = open_source(source, axes, storage_options=storage_options)
    try:
        made = (opened.dtype if dtype is None else np.dtype(dtype)).newbyteorder("=")
    except TypeError as error:
        raise ArgumentError(f"dtype must be one of NumPy's, but {dtype!r} was given") from error
    ndim = len(opened.shape)
    if opened.order is not None:
        halo = reordered(halo, opened.order)
    around = tuple(
        whole_number(entry, "halo", least=0)
        for entry in per_axis(
            halo,
            "halo",
            opened.coordinates.names,
            opened.coordinates.spatial,
            not_named=(0,) * ndim,
            not_spatial=(0,) * ndim,
        )
    )
    written = BlockFunction(
        name="map_blocks",
        make=WithoutBox(function),
        dtype=made,
        told={"function": function_digest(function), "halo": list(around)},
        bytes_per_voxel=each,
        halo=Halo.around(around) if any(around) else None,
    )
    return write_volume(
        written,
        opened,
        target,
        {
            "voxel_size": voxel_size,
            "translation": translation,
            "unit": unit,
            "chunks": chunks,
            "shards": shards,
            "compressors": compressors,
            "zarr_format": zarr_format,
            "ome_version": ome_version,
            "name": name,
            "storage_options": storage_options,
            "memory_limit": memory_limit,
            "resume": resume,
            "overwrite": overwrite,
            "progress": progress,
        },
    )


@dataclass(frozen=True)
class WithoutBox:
    """A function of voxels alone."""

    function: Callable[[npt.NDArray[Any]], Any]

    def __call__(self, values: npt.NDArray[Any], box: Box) -> Any:
        return self.function(values)
