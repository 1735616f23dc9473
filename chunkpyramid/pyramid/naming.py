"""Names of what is built, and where levels go in place: names that belong to no other array of the group."""

from __future__ import annotations

import os
import re
from typing import Any

import zarr

from chunkpyramid.engine.journal import Journal
from chunkpyramid.errors import ArgumentError
from chunkpyramid.metadata import ome
from chunkpyramid.pyramid.unfinished import level_paths_of, source_of
from chunkpyramid.sources.source import Image, Source
from chunkpyramid.storage.nodes import (
    METADATA_FILES,
    array_name,
    dimension_names,
    entries,
    parent_group,
    shape_in,
    writable_group,
)

__all__ = ["check_name", "free_paths", "group_of_source", "level_paths", "own_levels"]

# of most file systems
LONGEST_NAME = 255


def check_name(name: Any, *, is_folder: bool) -> None:
    """Raise `ArgumentError` unless this can be the name of an array or, if it ``is_folder``, of a target."""
    if not isinstance(name, str) or not re.fullmatch(r"[^/\\\x00-\x1f\x7f\ud800-\udfff]+", name):
        raise ArgumentError(
            f"name must be a non-empty string without slashes and control characters, but {name!r} was given"
        )
    if name.strip(".") == "" or name[:2] == "__":
        raise ArgumentError(f"name must neither be of dots alone nor begin with '__', but {name!r} was given")
    if name in METADATA_FILES:
        raise ArgumentError(f"name must not be that of a file of zarr's, but {name!r} was given")
    if len(os.fsencode(name)) > LONGEST_NAME:
        raise ArgumentError(f"name has {len(os.fsencode(name))} bytes, and files' names at most {LONGEST_NAME}")
    if is_folder and name.endswith(".zip"):
        raise ArgumentError(f"name={name!r} is that of a zip file, but a folder will be there: give another name")


def group_of_source(source: Source) -> zarr.Group:
    """Return the group that the levels go to in a build in place."""
    image = source.image
    if image is None:
        group = parent_group(source.array)
        # what cannot be read is not written over
        ome.read_multiscale(group.attrs.asdict(), shape_in(group), dataset=array_name(source.array))
        ome.check_version(group.attrs.asdict())
        _refuse_dataset(group, source.array)
        return group
    path = image.multiscale.paths[image.level]
    if image.level > 0:
        raise ArgumentError(
            f"the source is level {image.level} of the image {image.group}, whose levels come from its level 0: give "
            f"the group, or {image.multiscale.paths[0]!r} in it, or target="
        )
    if "/" in path:
        raise ArgumentError(
            f"the source is {path!r} of the image {image.group}, which is a pyramid of its own layout: give target="
        )
    return writable_group(image.group)


def _refuse_dataset(group: zarr.Group, array: zarr.Array[Any]) -> None:
    """Refuse to build in a dataset of xarray's, which it opens only if all of its arrays have the same sizes."""
    sizes = dict(zip(dimension_names(array), array.shape, strict=False))
    coordinates = {name: group.get(name) for name in sizes if "/" not in name}
    found = [n for n, c in coordinates.items() if isinstance(c, zarr.Array) and c.shape == (sizes[n],)]
    if found:
        raise ArgumentError(
            f"the group of the source, {group}, has the coordinates {found} of its dimensions, as datasets of xarray "
            "have them, and xarray opens none with arrays of other sizes beside: give target="
        )


def own_levels(image: Image) -> tuple[str, ...]:
    """Return the paths of the levels below level 0 of an image that no other multiscale of its group has too."""
    others = ome.other_paths(image.group.attrs.asdict(), image.multiscale.index)
    return tuple(path for path in image.multiscale.paths[1:] if path not in others)


def free_paths(count: int, source: Source, group: zarr.Group) -> list[str]:
    """Return the paths of the levels beside a source, none of which belongs to anything else.

    Raises
    ------
    ArgumentError
        If there are no such paths.
    """
    first = array_name(source.array)
    own = set(own_levels(source.image)) if source.image is not None else set()
    journal = Journal.find(group)
    if journal is not None and source_of(journal) in (None, source.identity()):
        own |= set(level_paths_of(journal))
    taken = set(entries(group)) - own
    for paths in (level_paths(count, "flat", "", first), [first, *(f"{first}_{index}" for index in range(1, count))]):
        if not taken & set(paths[1:]):
            return paths
    raise ArgumentError(
        f"the group of the source, {group}, has {sorted(taken & set(paths[1:]))} already, which are no levels of this "
        "source: give target="
    )


def level_paths(count: int, layout: str, name: str, first: str) -> list[str]:
    """Return the paths of the levels; beside an array named "s0" they are called "s1", "s2", ..."""
    if layout == "datatree":
        return [f"s{index}/{name}" for index in range(count)]
    prefix = first[:-1] if re.fullmatch(r"\D*0", first) else ""
    return [first, *(f"{prefix}{index}" for index in range(1, count))]
