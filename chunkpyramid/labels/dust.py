"""`dust`: small labels become background."""

from __future__ import annotations

from typing import Any, Unpack

import numpy as np
import numpy.typing as npt

from chunkpyramid.arguments import whole_number
from chunkpyramid.errors import ArgumentError
from chunkpyramid.labels import arrays
from chunkpyramid.labels.label_map import LabelMap, MapLabels
from chunkpyramid.labels.label_source import open_labels
from chunkpyramid.labels.label_statistics import count_volume
from chunkpyramid.labels.map_volume import Change, check_place, map_volume
from chunkpyramid.labels.table import LabelTable
from chunkpyramid.labels.volumes_or_arrays import is_in_memory
from chunkpyramid.sources.source import Source
from chunkpyramid.sources.volume import Volume
from chunkpyramid.volumes.options import VolumeOptions

__all__ = ["dust"]


def dust(
    source: Any,
    target: Any = None,
    *,
    threshold: int,
    in_place: bool = False,
    table: LabelTable | None = None,
    **options: Unpack[VolumeOptions],
) -> npt.NDArray[Any] | Volume:
    """Replace labels of fewer than ``threshold`` voxels by the background, 0.

    A label is counted wherever it is. To remove small parts that hang together use the ``dust`` of
    `connected_components`.

    Parameters
    ----------
    source : numpy.ndarray, or a volume: zarr.Array, dask array, xarray.DataArray, path, URL or store
        Integers. A volume is read twice, or once if there is a ``table``.
    target : path, URL, zarr store or zarr.Group, optional
        Where the result goes if it is to be a volume: an OME-Zarr image of one level, with the coordinates of the
        source.
    threshold : int
        The fewest voxels that a label needs to stay.
    in_place : bool
        Change the array, or the volume, itself.
    table : LabelTable, optional
        What `statistics` has told of the source.
    **options
        For volumes, as for `remap`.

    Returns
    -------
    numpy.ndarray or Volume

    Raises
    ------
    ArgumentError, SourceNotFoundError, TargetExistsError, PlanError, BuildError
        As `remap` does.

    Examples
    --------
    >>> import numpy as np
    >>> import chunkpyramid as cp
    >>> cp.labels.dust(np.array([[5, 7, 7], [7, 0, 9]]), threshold=2).tolist()
    [[0, 7, 7], [7, 0, 0]]
    """
    least = whole_number(threshold, "threshold", least=0)
    if table is not None and not isinstance(table, LabelTable):
        raise ArgumentError(f"table must be what statistics returns, but {type(table).__name__} was given")
    if is_in_memory(source, target, options):
        array = np.asarray(source)
        labels, counts = arrays.unique(array, return_counts=True) if table is None else (table.label, table.count)
        masked: npt.NDArray[Any] = arrays.mask(array, labels[counts < least], in_place)
        return masked
    check_place(target, in_place, options)
    opened = open_labels(source, options.get("axes"), options.get("storage_options"), writable=in_place)

    def small() -> LabelMap:
        labels = _small_labels(opened, least, table, options)
        return LabelMap.of(labels, np.zeros(len(labels), np.int64))

    change = Change(
        name="labels.dust",
        told={"threshold": least},
        make=lambda known, made: MapLabels(known, made, keeps_missing=True),
        keeps_labels=True,
    )
    dtype = opened.dtype.newbyteorder("=") if opened.dtype.kind != "b" or in_place else np.dtype(np.uint8)
    return map_volume(change, opened, target, dtype, small, options, is_idempotent=True)[0]


def _small_labels(source: Source, threshold: int, table: LabelTable | None, options: VolumeOptions) -> npt.NDArray[Any]:
    if table is None:
        counted = count_volume(source, options.get("memory_limit"), options.get("progress", False))
        return counted.label[counted.count < threshold]
    return table.label[table.count < threshold]
