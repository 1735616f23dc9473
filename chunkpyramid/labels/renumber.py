"""`renumber` and `refit`: labels as small as they can be."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Unpack

import numpy as np
import numpy.typing as npt

from chunkpyramid.arguments import true_or_false
from chunkpyramid.boxes import Box
from chunkpyramid.errors import ArgumentError
from chunkpyramid.labels import arrays
from chunkpyramid.labels.first_voxels import first_voxels
from chunkpyramid.labels.label_map import LabelMap, MapLabels
from chunkpyramid.labels.label_source import open_labels
from chunkpyramid.labels.map_volume import Change, check_place, map_volume
from chunkpyramid.labels.points import extremes
from chunkpyramid.labels.renumbering import Renumbering
from chunkpyramid.labels.volumes_or_arrays import (
    holding,
    is_in_memory,
)
from chunkpyramid.sources.volume import Volume
from chunkpyramid.volumes.options import VolumeOptions
from chunkpyramid.volumes.write_volume import BlockFunction, write_volume

__all__ = ["refit", "renumber"]


def renumber(
    arr: Any,
    start: int = 1,
    preserve_zero: bool = True,
    in_place: bool = False,
    *,
    target: Any = None,
    **options: Unpack[VolumeOptions],
) -> tuple[npt.NDArray[Any], dict[Any, Any]] | tuple[Volume, Renumbering]:
    """Give labels the numbers from ``start`` on, in the order in which they are met.

    Parameters
    ----------
    arr : numpy.ndarray, or a volume
        As for `remap`. A volume is read twice, and its labels have to fit in memory, beside what the limit allows.
    start : int
        The first number.
    preserve_zero : bool
        Whether zero stays zero.
    in_place : bool
        Change the array, or the volume, itself.
    target, **options
        As for `remap`.

    Returns
    -------
    labels : numpy.ndarray or Volume
        Of the narrowest dtype that holds them; that of the source if it is changed in place.
    mapping : dict or Renumbering
        Which label has become which: for volumes a table of old and new labels. Of what was renumbered in place before,
        it has each number as it is now.

    Raises
    ------
    ArgumentError, SourceNotFoundError, TargetExistsError, PlanError, BuildError
        As `remap` does.

    Examples
    --------
    >>> import numpy as np, zarr
    >>> import chunkpyramid as cp
    >>> labels = np.array([[0, 70, 70], [0, 9, 70]], np.uint32)
    >>> cp.labels.renumber(labels)[0].tolist()
    [[0, 1, 1], [0, 2, 1]]
    >>> volume, table = cp.labels.renumber(labels, target=zarr.storage.MemoryStore())
    >>> volume.dtype, table[70], table.new.tolist()
    (dtype('uint8'), 1, [0, 2, 1])
    """
    if is_in_memory(arr, target, options):
        renumbered: tuple[npt.NDArray[Any], dict[Any, Any]] = arrays.renumber(arr, start, preserve_zero, in_place)
        return renumbered
    check_place(target, in_place, options)
    if isinstance(start, bool) or not isinstance(start, int | np.integer):
        raise ArgumentError(f"start must be a whole number, but {start!r} was given")
    keeps_zero = true_or_false(preserve_zero, "preserve_zero")
    opened = open_labels(arr, options.get("axes"), options.get("storage_options"), writable=in_place)
    change = Change(
        name="labels.renumber",
        told={"start": int(start), "preserve_zero": keeps_zero},
        make=lambda known, made: MapLabels(known, made, keeps_missing=False),
    )
    kind = opened.dtype.newbyteorder("=") if in_place else np.dtype(np.uint8 if opened.dtype.kind in "ub" else np.int8)

    def numbers() -> LabelMap:
        labels, _ = first_voxels(opened, options)
        counted = ~((labels == 0) & keeps_zero)
        # Python's numbers do not wrap around
        last = int(start) + int(counted.sum()) - 1
        number = np.uint64 if last > np.iinfo(np.int64).max else np.int64
        ends = np.array([0, int(start), last], dtype=object)
        held = holding(kind, ends, "the result", in_place=in_place)
        if in_place and held != kind:
            raise ArgumentError(
                f"the numbers from {start} to {last} do not fit in a volume of {kind}, which is to be changed in "
                "place: give target="
            )
        new = np.zeros(len(labels), number)
        new[counted] = np.arange(int(counted.sum()), dtype=number) + number(start)
        if keeps_zero and counted.all():
            labels, new = np.append(labels, labels.dtype.type(0)), np.append(new, number(0))
        return LabelMap.of(labels, new)

    if in_place:
        volume, known = map_volume(change, opened, None, kind, numbers, options)
        # renumbered before, each label has its number
        return volume, Renumbering(known or numbers())
    known = numbers()
    volume, _ = map_volume(change, opened, target, holding(kind, known.new, "the numbers"), known, options)
    return volume, Renumbering(known)


def refit(
    arr: Any,
    value: Any = None,
    increase_only: bool = False,
    exotics: bool = False,
    *,
    target: Any = None,
    **options: Unpack[VolumeOptions],
) -> npt.NDArray[Any] | Volume:
    """Store labels in the narrowest dtype of their kind that holds them, or another value.

    Parameters
    ----------
    arr : numpy.ndarray, or a volume
        As for `remap`. A volume is read twice, if no ``value`` is given.
    value : number, optional
        What the dtype has to hold; default: all labels.
    increase_only : bool
        Whether the dtype is to be no narrower than that of the source.
    exotics : bool
        Whether dtypes are allowed that not all processors know, such as float16.
    target, **options
        As for `remap`; a volume is not refitted in place.

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
    >>> cp.labels.refit(np.array([0, 700], np.uint64)).dtype
    dtype('uint16')
    """
    if is_in_memory(arr, target, options):
        return arrays.refit(arr, value, increase_only, exotics)
    check_place(target, False, options)
    opened = open_labels(arr, options.get("axes"), options.get("storage_options"))
    dtype = np.dtype(np.uint8) if opened.dtype.kind == "b" else opened.dtype.newbyteorder("=")
    if value is None:
        least, most = extremes(opened, options)
        held = arrays.refit(np.array([least, most], dtype), None, increase_only, exotics).dtype
    else:
        held = np.dtype(arrays.refit(np.zeros(1, dtype), value, increase_only, exotics).dtype)
    return write_volume(
        BlockFunction(name="labels.refit", make=Cast(held), dtype=held, bytes_per_voxel=held.itemsize),
        opened,
        target,
        options,
    )


@dataclass(frozen=True)
class Cast:
    """The same labels in another dtype, which holds them all."""

    dtype: np.dtype[Any]

    def __call__(self, values: npt.NDArray[Any], box: Box) -> npt.NDArray[Any]:
        return values.astype(self.dtype)
