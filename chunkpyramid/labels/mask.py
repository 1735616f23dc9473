"""`mask` and `mask_except`: some labels, or all others, become the background."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any, Unpack

import numpy as np
import numpy.typing as npt

from chunkpyramid.boxes import Box
from chunkpyramid.errors import ArgumentError
from chunkpyramid.labels import arrays
from chunkpyramid.labels.label_map import LabelMap, MapLabels, as_integers, integers, replace_labels
from chunkpyramid.labels.label_source import open_labels
from chunkpyramid.labels.map_volume import Change, check_place, map_volume
from chunkpyramid.labels.volumes_or_arrays import holding, is_in_memory
from chunkpyramid.sources.volume import Volume
from chunkpyramid.volumes.options import VolumeOptions

__all__ = ["mask", "mask_except"]


def mask(
    arr: Any,
    labels: Any,
    in_place: bool = False,
    value: int = 0,
    *,
    threads: int = 1,
    target: Any = None,
    **options: Unpack[VolumeOptions],
) -> npt.NDArray[Any] | Volume:
    """Replace some labels by one value, by default the background.

    Parameters
    ----------
    arr : numpy.ndarray, or a volume
        As for `remap`.
    labels : sequence of int
        What is replaced.
    in_place : bool
        Change the array, or the volume, itself.
    value : int
        What they become.
    threads, target, **options
        As for `remap`.

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
    >>> cp.labels.mask(np.array([3, 7, 9], np.uint8), [7, 9]).tolist()
    [3, 0, 0]
    """
    if is_in_memory(arr, target, options):
        return arrays.mask(arr, labels, in_place, value, threads=threads)
    return _masked("labels.mask", arr, labels, in_place, value, target, options, keeps=False)


def mask_except(
    arr: Any,
    labels: Any,
    in_place: bool = False,
    value: int = 0,
    *,
    threads: int = 1,
    target: Any = None,
    **options: Unpack[VolumeOptions],
) -> npt.NDArray[Any] | Volume:
    """Replace all labels but some by one value, by default the background.

    Parameters
    ----------
    arr : numpy.ndarray, or a volume
        As for `remap`.
    labels : sequence of int
        What is kept.
    in_place : bool
        Change the array, or the volume, itself.
    value : int
        What all others become.
    threads, target, **options
        As for `remap`.

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
    >>> cp.labels.mask_except(np.array([3, 7, 9], np.uint8), [7, 9]).tolist()
    [0, 7, 9]
    """
    if is_in_memory(arr, target, options):
        return arrays.mask_except(arr, labels, in_place, value, threads=threads)
    return _masked("labels.mask_except", arr, labels, in_place, value, target, options, keeps=True)


def _masked(
    name: str,
    given: Any,
    labels: Any,
    in_place: bool,
    value: int,
    target: Any,
    options: VolumeOptions,
    *,
    keeps: bool,
) -> Volume:
    check_place(target, in_place, options)
    if isinstance(value, bool) or not isinstance(value, int | np.integer):
        raise ArgumentError(f"value must be a label, but {value!r} was given")
    opened = open_labels(given, options.get("axes"), options.get("storage_options"), writable=in_place)
    if not isinstance(labels, np.ndarray) and not hasattr(labels, "__iter__"):
        raise ArgumentError(f"labels must be a sequence of labels, but {labels!r} was given: put it in a list")
    listed = np.unique(
        labels if isinstance(labels, np.ndarray) else integers(_possible(labels, opened.dtype), "labels")
    )
    if len(listed) and listed.dtype.kind not in "iub":
        raise ArgumentError(f"labels must be integers, but they are {listed.dtype}")
    # of 64 bits without sign, beyond those with one
    wide = np.asarray([value], np.uint64 if value > np.iinfo(np.int64).max else np.int64)
    dtype = holding(opened.dtype, wide, "value", in_place=in_place)
    if in_place and dtype != opened.dtype.newbyteorder("="):
        raise ArgumentError(f"value {value} does not fit into the {opened.dtype} of the volume: give target=")
    new = listed if keeps else np.broadcast_to(wide, listed.shape).copy()
    known = LabelMap.of(listed, new, "labels")

    def make(found: LabelMap, made: np.dtype[Any]) -> Any:
        return MaskExcept(found, made, int(value)) if keeps else MapLabels(found, made, keeps_missing=True)

    change = Change(name=name, told={"value": int(value)}, make=make, keeps_labels=True)
    # masking twice is masking once, unless the value is a label that is masked itself, which it becomes again
    return map_volume(change, opened, target, dtype, known, options, is_idempotent=True)[0]


def _possible(labels: Iterable[Any], dtype: np.dtype[Any]) -> list[Any]:
    """Return those labels that an array of a dtype can have, and what is none, for which there will be an error."""
    limits = np.iinfo(np.uint8 if dtype.kind == "b" else dtype)
    return [
        label for label in labels if not isinstance(label, int | np.integer) or limits.min <= int(label) <= limits.max
    ]


@dataclass(frozen=True)
class MaskExcept:
    """Replaces all labels of a piece that a map has not."""

    map: LabelMap
    dtype: np.dtype[Any]
    value: int

    def __call__(self, values: npt.NDArray[Any], box: Box) -> npt.NDArray[Any]:
        values = as_integers(values)
        labels = arrays.unique(values)
        _, found = self.map.find(labels)
        made = labels.astype(self.dtype)
        made[~found] = self.value
        return replace_labels(values, labels, made)
