"""Targets and sources that lie inside of each other: one would write over the other."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import zarr

from chunkpyramid.errors import ArgumentError
from chunkpyramid.sources.source import Source
from chunkpyramid.storage.locations import is_local_path, path_id, store_id

__all__ = ["refuse_around", "refuse_inside"]


def refuse_inside(target: Any, arrays: Iterable[zarr.Array[Any]]) -> None:
    """Raise `ArgumentError` for a target, a path or group, that is inside one of the arrays that are read."""
    there = _folder_id(target)
    for array in arrays:
        if there is not None and there.startswith(store_id(array) + "/"):
            raise ArgumentError(f"the target {target} lies inside the source array {array}: give another target")


def refuse_around(target: Any, source: Source, arrays: Iterable[zarr.Array[Any]]) -> None:
    """Raise `ArgumentError` for a target that contains what a source reads, which would be deleted."""
    there = _folder_id(target)
    if there is None:
        return
    mapped = source.mapped_file
    if mapped is not None and path_id(mapped).startswith(there):
        raise ArgumentError(
            f"the target {target} contains the file {mapped!r}, which the source is mapped from: give another target"
        )
    for array in arrays:
        if (store_id(array) + "/").startswith(there):
            raise ArgumentError(
                f"the target {target} contains the source {array}: give another target"
                + (", or target=None to build beside the source" if source.is_zarr else "")
            )


def _folder_id(target: Any) -> str | None:
    if isinstance(target, zarr.Group):
        return store_id(target) + "/"
    return path_id(target) + "/" if is_local_path(target) else None
