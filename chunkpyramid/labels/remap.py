"""`remap`, `remap_from_array` and `remap_from_array_kv`: other labels for those of an array, or of a volume."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Unpack

import numpy as np
import numpy.typing as npt

from chunkpyramid.arguments import true_or_false
from chunkpyramid.errors import ArgumentError, MissingLabelError
from chunkpyramid.labels import arrays
from chunkpyramid.labels.first_voxels import first_voxels
from chunkpyramid.labels.label_map import LabelMap, MapLabels, read_table
from chunkpyramid.labels.label_source import open_labels
from chunkpyramid.labels.label_statistics import count_volume
from chunkpyramid.labels.map_volume import Change, check_place, map_volume
from chunkpyramid.labels.volumes_or_arrays import holding, is_in_memory
from chunkpyramid.sources.volume import Volume
from chunkpyramid.volumes.options import VolumeOptions

__all__ = ["remap", "remap_from_array", "remap_from_array_kv", "remap_volume"]


def remap(
    arr: Any,
    table: Any,
    preserve_missing_labels: bool = False,
    in_place: bool = False,
    *,
    threads: int = 1,
    target: Any = None,
    **options: Unpack[VolumeOptions],
) -> npt.NDArray[Any] | Volume:
    """Replace labels by others, as a table tells.

    Parameters
    ----------
    arr : numpy.ndarray, or a volume: zarr.Array, dask array, xarray.DataArray, path, URL or store
        Integers. What is larger than memory goes block by block, on whatever Dask scheduler is active.
    table : dict, or for volumes also an array of two columns, a pair of arrays, or a path
        Labels, and what each becomes. A path is that of a Parquet or CSV file of two columns, or with columns "old" or
        "label" and "new", of a zarr array of two columns, or of a group with the arrays "old" and "new". Tables of
        10**8 labels are no problem: the tasks of a process share one copy.
    preserve_missing_labels : bool
        Whether labels that are not in the table stay what they are; by default they are an error.
    in_place : bool
        Change the array, or the volume, itself. That of a volume can be killed at any time: the same call finishes it,
        and no label is replaced twice. Until then other operations refuse to read it. The same call once more does
        nothing, for it may be that of a script that was killed when all was done: ``overwrite=True`` replaces again.
    threads : int
        How many threads rewrite an array in memory; volumes go by the Dask scheduler.
    target : path, URL, zarr store or zarr.Group, optional
        Where the result goes if it is to be a volume: an OME-Zarr image of one level, with the coordinates of the
        source.
    **options
        For volumes: axes, voxel_size, translation, unit, chunks, shards, compressors, zarr_format, ome_version, name,
        storage_options, memory_limit, resume, overwrite, progress, as for `build_pyramid`.

    Returns
    -------
    numpy.ndarray or Volume
        Of the dtype of the source, or of a wider one of its kind that holds all labels of the table.

    Raises
    ------
    KeyError
        If a label is not in the table. For volumes it is a `MissingLabelError`, which names label, voxel and block.
    ArgumentError
        If an argument is malformed, or the new labels do not fit a volume that is changed in place.
    SourceNotFoundError, TargetExistsError, PlanError, BuildError
        As `build_pyramid` does.

    Examples
    --------
    >>> import numpy as np, zarr
    >>> import chunkpyramid as cp
    >>> labels = np.array([[0, 7, 7], [0, 9, 7]], np.uint8)
    >>> cp.labels.remap(labels, {7: 1}, preserve_missing_labels=True)
    array([[0, 1, 1],
           [0, 9, 1]], dtype=uint8)
    >>> cp.labels.remap(labels, {0: 0, 7: 1, 9: 2}, target=zarr.storage.MemoryStore())[:].tolist()
    [[0, 1, 1], [0, 2, 1]]
    """
    if is_in_memory(arr, target, options):
        if not isinstance(table, Mapping):
            table = read_table(table)
            table = dict(zip(table.old.tolist(), table.new.tolist(), strict=True))
        return arrays.remap(arr, table, preserve_missing_labels, in_place, threads=threads)
    return remap_volume(
        "labels.remap", arr, read_table(table), target, in_place, options, keeps_missing=preserve_missing_labels
    )


def remap_from_array(
    arr: Any,
    vals: Any,
    in_place: bool = True,
    *,
    threads: int = 1,
    target: Any = None,
    **options: Unpack[VolumeOptions],
) -> npt.NDArray[Any] | Volume:
    """Replace every label by the entry of an array that it is the index of.

    Parameters
    ----------
    arr : numpy.ndarray, or a volume
        As for `remap`. Labels that are negative, or beyond the end of ``vals``, stay what they are.
    vals : numpy.ndarray
        The new labels.
    in_place : bool
        As for `remap`, but the default is True; with a target it has no meaning.
    threads, target, **options
        As for `remap`.

    Returns
    -------
    numpy.ndarray or Volume

    Raises
    ------
    KeyError, ArgumentError, SourceNotFoundError, TargetExistsError, PlanError, BuildError
        As `remap` does.

    Examples
    --------
    >>> import numpy as np
    >>> import chunkpyramid as cp
    >>> cp.labels.remap_from_array(np.array([0, 2, 1], np.uint8), np.array([0, 5, 6], np.uint8)).tolist()
    [0, 6, 5]
    """
    if is_in_memory(arr, target, options):
        return arrays.remap_from_array(arr, vals, in_place, threads=threads)
    new = np.asarray(vals)
    if new.ndim != 1:
        raise ArgumentError(f"vals must have one axis, but it has {new.ndim}")
    labels = LabelMap.of(np.arange(len(new)), new, "vals")
    return remap_volume("labels.remap", arr, labels, target, in_place and target is None, options, keeps_missing=True)


def remap_from_array_kv(
    arr: Any,
    keys: Any,
    vals: Any,
    preserve_missing_labels: bool = True,
    in_place: bool = True,
    *,
    threads: int = 1,
    target: Any = None,
    **options: Unpack[VolumeOptions],
) -> npt.NDArray[Any] | Volume:
    """Replace labels by others, as two arrays tell.

    Parameters
    ----------
    arr : numpy.ndarray, or a volume
        As for `remap`.
    keys, vals : numpy.ndarray
        Labels, and what each becomes; of a label that is there twice, the last.
    preserve_missing_labels, in_place : bool
        As for `remap`, but the defaults are True; with a target ``in_place`` has no meaning.
    threads, target, **options
        As for `remap`.

    Returns
    -------
    numpy.ndarray or Volume

    Raises
    ------
    KeyError, ArgumentError, SourceNotFoundError, TargetExistsError, PlanError, BuildError
        As `remap` does.

    Examples
    --------
    >>> import numpy as np
    >>> import chunkpyramid as cp
    >>> old, new = np.array([7], np.uint8), np.array([1], np.uint8)
    >>> cp.labels.remap_from_array_kv(np.array([0, 7, 9], np.uint8), old, new).tolist()
    [0, 1, 9]
    """
    if is_in_memory(arr, target, options):
        return arrays.remap_from_array_kv(arr, keys, vals, preserve_missing_labels, in_place, threads=threads)
    return remap_volume(
        "labels.remap",
        arr,
        LabelMap.of(*_last_of_each(np.asarray(keys), np.asarray(vals)), "keys and vals"),
        target,
        in_place and target is None,
        options,
        keeps_missing=preserve_missing_labels,
    )


def _last_of_each(keys: npt.NDArray[Any], vals: npt.NDArray[Any]) -> tuple[npt.NDArray[Any], npt.NDArray[Any]]:
    if keys.ndim != 1 or keys.shape != vals.shape:
        raise ArgumentError(f"keys and vals must be of one length, but their shapes are {keys.shape} and {vals.shape}")
    labels, last = np.unique(keys[::-1], return_index=True)
    return labels, vals[::-1][last]


def remap_volume(
    name: str,
    given: Any,
    labels: LabelMap,
    target: Any,
    in_place: bool,
    options: VolumeOptions,
    *,
    keeps_missing: bool,
) -> Volume:
    """Replace the labels of a volume as a map tells."""
    true_or_false(keeps_missing, "preserve_missing_labels")
    check_place(target, in_place, options)
    opened = open_labels(given, options.get("axes"), options.get("storage_options"), writable=in_place)
    dtype = holding(opened.dtype, labels.new, "the table", in_place=in_place)
    if in_place and dtype != opened.dtype.newbyteorder("="):
        raise ArgumentError(
            f"the new labels need {dtype}, but the volume that is to be changed in place holds {opened.dtype}: give "
            "target="
        )
    change = Change(
        name=name,
        told={"keeps_missing": keeps_missing},
        make=lambda known, made: MapLabels(known, made, keeps_missing),
    )

    def refuse_missing() -> None:
        """Refuse what would fail when some blocks have been changed already."""
        counted = count_volume(opened, options.get("memory_limit"), options.get("progress", False))
        _, found = labels.find(counted.label)
        if not found.all():
            label = counted.label[~found][0]
            met, voxels = first_voxels(opened, options)
            voxel = np.unravel_index(int(voxels[met == label][0]), opened.shape)
            block = tuple(int(at // n) for at, n in zip(voxel, opened.read_chunks or opened.shape, strict=True))
            raise MissingLabelError(
                f"the label {label} of the voxel {tuple(map(int, voxel))} in the chunk {block} is not in the table: "
                "nothing was changed; add it, or pass preserve_missing_labels=True"
            )

    # of large tables it takes a while to tell
    is_idempotent = in_place and keeps_missing and labels.is_idempotent
    check = None if keeps_missing else refuse_missing
    return map_volume(change, opened, target, dtype, labels, options, is_idempotent=is_idempotent, check=check)[0]
