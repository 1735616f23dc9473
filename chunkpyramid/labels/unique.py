"""`unique`: the labels of an array, or of a volume larger than memory."""

from __future__ import annotations

from typing import Any, Unpack

import numpy as np

from chunkpyramid.errors import ArgumentError
from chunkpyramid.labels import arrays
from chunkpyramid.labels.first_voxels import first_voxels
from chunkpyramid.labels.label_map import LabelMap, MapLabels
from chunkpyramid.labels.label_source import open_labels
from chunkpyramid.labels.label_statistics import count_volume
from chunkpyramid.labels.map_volume import Change, map_volume
from chunkpyramid.labels.volumes_or_arrays import holding, is_in_memory, refuse_options
from chunkpyramid.volumes.options import VolumeOptions, check_options

__all__ = ["unique"]

# of those of volumes, the options that say nothing of a target
READING = {"axes", "storage_options", "memory_limit", "progress"}


def unique(
    labels: Any,
    return_index: bool = False,
    return_inverse: bool = False,
    return_counts: bool = False,
    axis: int | None = None,
    *,
    equal_nan: bool = True,
    sorted: bool = True,
    threads: int = 1,
    target: Any = None,
    **options: Unpack[VolumeOptions],
) -> Any:
    """Return the labels, in ascending order.

    Parameters
    ----------
    labels : numpy.ndarray or sequence, or a volume: zarr.Array, dask array, xarray.DataArray, path, URL or store
        Of volumes every chunk is read once, on whatever Dask scheduler is active, and once more for the inverse.
    return_index : bool
        Whether to return the index of the first voxel of each label too, in C order.
    return_inverse : bool
        Whether to return for each voxel which of the labels it has; that of a volume goes to ``target``.
    return_counts : bool
        Whether to return how many voxels each label has, too.
    axis, equal_nan, sorted
        For arrays in memory, as for `numpy.unique`.
    threads : int
        How many threads look at an array in memory; volumes go by the Dask scheduler.
    target : path, URL, zarr store or zarr.Group, optional
        Where the inverse of a volume goes: an OME-Zarr image of one level, with the coordinates of the source.
    **options
        For volumes: axes, storage_options, memory_limit and progress, and with a target all that `remap` takes.

    Returns
    -------
    labels : numpy.ndarray
        In the dtype of the source. They have to fit in memory, beside what the limit allows.
    index : numpy.ndarray
        Only with ``return_index``.
    inverse : numpy.ndarray or Volume
        Only with ``return_inverse``.
    counts : numpy.ndarray
        Only with ``return_counts``.

    Raises
    ------
    SourceNotFoundError, ArgumentError, TargetExistsError, PlanError, BuildError
        As `statistics` and `remap` do.

    Examples
    --------
    >>> import numpy as np
    >>> import chunkpyramid as cp
    >>> labels, counts = cp.labels.unique(np.array([[0, 7, 7], [0, 0, 7]]), return_counts=True)
    >>> labels.tolist(), counts.tolist()
    ([0, 7], [3, 3])
    """
    if is_in_memory(labels, target, options):
        return arrays.unique(
            labels,
            return_index,
            return_inverse,
            return_counts,
            axis,
            equal_nan=equal_nan,
            sorted=sorted,
            threads=threads,
        )
    if axis is not None:
        raise ArgumentError(f"axis is for arrays in memory, but axis={axis!r} was given for a volume")
    if return_inverse and target is None:
        raise ArgumentError("target is needed for the inverse of a volume, which is as large as that")
    check_options(options, VolumeOptions)
    if not return_inverse:
        if target is not None:
            raise ArgumentError("target= is where the inverse goes: pass return_inverse=True, or leave it out")
        refuse_options({name: told for name, told in options.items() if name not in READING}, "without inverse")
    opened = open_labels(labels, options.get("axes"), options.get("storage_options"))
    counted = count_volume(opened, options.get("memory_limit"), options.get("progress", False))
    found: list[Any] = [counted.label]
    if return_index:
        met, first = first_voxels(opened, options)
        found.append(first[np.argsort(met)])
    if return_inverse:
        numbers = np.arange(len(counted.label))
        change = Change(
            name="labels.unique", told={}, make=lambda known, made: MapLabels(known, made, keeps_missing=False)
        )
        dtype = holding(np.dtype(np.uint8), numbers, "the inverse")
        volume, _ = map_volume(change, opened, target, dtype, LabelMap.of(counted.label, numbers), options)
        found.append(volume)
    if return_counts:
        found.append(counted.count)
    return found[0] if len(found) == 1 else tuple(found)
