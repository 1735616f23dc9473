"""Writing a volume of other labels: to a target, or in place."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import zarr

from chunkpyramid.engine.shared_arrays import SharedArrays
from chunkpyramid.errors import ArgumentError
from chunkpyramid.labels.label_map import LabelMap, MapLabels
from chunkpyramid.sources.source import Source
from chunkpyramid.sources.volume import Volume
from chunkpyramid.volumes.change_in_place import change_in_place
from chunkpyramid.volumes.options import VolumeOptions, check_options
from chunkpyramid.volumes.write_volume import BlockFunction, write_volume

__all__ = ["Change", "check_place", "map_volume"]

# what a piece takes to be mapped: its labels, those that it has in ascending order, and the result
BYTES_PER_VOXEL = 64

# the name of a map in the scratch group that was computed of the labels as they were before
COMPUTED = "computed"


@dataclass(frozen=True, kw_only=True)
class Change:
    """What is to become of the labels of a volume.

    Attributes
    ----------
    name : str
        What messages call it.
    told : mapping
        The arguments that tell it from others, in values that JSON can hold.
    make : callable
        Returns the function of pieces for a map and the dtype of the result.
    keeps_labels : bool
        Whether every label of the result is one of the source, or the background.
    """

    name: str
    told: Mapping[str, Any]
    make: Callable[[LabelMap, np.dtype[Any]], MapLabels]
    keeps_labels: bool = False

    def function(self, labels: LabelMap, dtype: np.dtype[Any]) -> BlockFunction:
        """Return what is made of pieces."""
        return BlockFunction(
            name=self.name,
            make=self.make(labels, dtype),
            dtype=dtype,
            told=self.told,
            bytes_per_voxel=BYTES_PER_VOXEL,
            keeps_labels=self.keeps_labels,
            held_bytes=labels.shared.nbytes,
            share=lambda scratch: self.function(labels.stored(scratch), dtype),
        )


def check_place(target: Any, in_place: bool, options: VolumeOptions) -> None:
    """Raise `ArgumentError` unless a volume is to go to a target, or to be changed in place, and options are known."""
    if not isinstance(in_place, bool | np.bool_):
        raise ArgumentError(
            f"in_place must be True or False, but {in_place!r} was given: if that is where the result is to go, pass "
            "target="
        )
    check_options(options, VolumeOptions)
    if target is None and not in_place:
        raise ArgumentError(
            "target is needed for a volume that is not in memory: give one, or in_place=True to change the volume"
        )
    if target is not None and in_place:
        raise ArgumentError("in_place=True changes the volume itself, and target= writes another one: give one of them")


def map_volume(
    change: Change,
    source: Source,
    target: Any,
    dtype: np.dtype[Any],
    labels: LabelMap | Callable[[], LabelMap],
    options: VolumeOptions,
    *,
    is_idempotent: bool = False,
    check: Callable[[], None] | None = None,
) -> tuple[Volume, LabelMap | None]:
    """Write the labels that a change makes, to a target or, if that is None, in place, and return the map too.

    ``labels`` is the map, or what computes it of a volume that is to be changed in place, before it is changed. There
    is no map if that was changed by an identical call before. In place ``check`` is called before anything is changed.
    """
    if target is not None:
        known = (labels if isinstance(labels, LabelMap) else labels()).within(source.dtype)
        written = change.function(known, dtype)
        written = replace(written, told={**written.told, "table": known.digest})
        return write_volume(written, source, target, options), known
    told = {"operation": change.name, **change.told}
    if isinstance(labels, LabelMap):
        labels = labels.within(source.dtype)
        told["table"] = labels.digest
    used: list[LabelMap] = []

    def function(computed: LabelMap | None, scratch: zarr.Group) -> BlockFunction:
        if isinstance(labels, LabelMap):
            used.append(labels)
        elif computed is not None:
            computed = computed.within(source.dtype)
            computed.shared.save(scratch, COMPUTED)
            used.append(computed)
        else:
            used.append(LabelMap(SharedArrays.load(scratch, COMPUTED)))
        return change.function(used[-1], dtype)

    def prepared() -> LabelMap:
        if check is not None:
            check()
        return labels if isinstance(labels, LabelMap) else labels()

    volume = change_in_place(source, told, prepared, function, options, is_idempotent=is_idempotent)
    return volume, used[-1] if used else None
