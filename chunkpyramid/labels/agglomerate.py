"""`agglomerate`: labels that belong together become one."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Unpack

import numpy as np
import numpy.typing as npt

from chunkpyramid.labels import arrays
from chunkpyramid.labels.label_groups import groups_of_pairs
from chunkpyramid.labels.label_map import LabelMap, read_columns
from chunkpyramid.labels.remap import remap_volume
from chunkpyramid.labels.volumes_or_arrays import is_in_memory
from chunkpyramid.sources.volume import Volume
from chunkpyramid.volumes.options import VolumeOptions

__all__ = ["agglomerate"]


def agglomerate(
    source: Any,
    pairs: Any,
    target: Any = None,
    *,
    in_place: bool = False,
    **options: Unpack[VolumeOptions],
) -> npt.NDArray[Any] | Volume:
    """Join labels: those of a group of which each leads to another by pairs become the smallest of them.

    Parameters
    ----------
    source : numpy.ndarray, or a volume: zarr.Array, dask array, xarray.DataArray, path, URL or store
        Integers.
    pairs : array_like of integers of shape (n, 2), or as the table of `remap`
        Labels that belong together, in any order. Those that are in no pair stay what they are.
    target : path, URL, zarr store or zarr.Group, optional
        Where the result goes if it is to be a volume: an OME-Zarr image of one level, with the coordinates of the
        source.
    in_place : bool
        Change the array, or the volume, itself.
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
    >>> cp.labels.agglomerate(np.array([[5, 7, 8], [9, 0, 3]]), [(9, 7), (5, 9)]).tolist()
    [[5, 5, 8], [5, 0, 3]]
    """
    if is_in_memory(source, target, options):
        array = np.asarray(source)
        known = _groups(pairs, None)
        at, found = known.find(arrays.unique(array))
        used = np.unique(at[found])
        table = dict(zip(known.old[used].tolist(), known.new[used].tolist(), strict=True))
        joined: npt.NDArray[Any] = arrays.remap(array, table, True, in_place)
        return joined
    known = _groups(pairs, options.get("storage_options"))
    return remap_volume("labels.agglomerate", source, known, target, in_place, options, keeps_missing=True)


def _groups(pairs: Any, storage_options: Mapping[str, Any] | None) -> LabelMap:
    """Return the map of labels to the smallest of their group."""
    first, second = read_columns(pairs, "pairs", storage_options)
    if first.dtype.kind != second.dtype.kind and len(first):
        # of signed and unsigned numbers NumPy would make floats
        wide = np.int64 if min(first.min(), second.min()) < 0 else np.uint64
        first, second = first.astype(wide), second.astype(wide)
    labels, smallest = groups_of_pairs(np.stack([first, second], axis=1))
    return LabelMap.of(labels, smallest, "pairs")
