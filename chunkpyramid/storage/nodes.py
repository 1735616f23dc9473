"""Groups and arrays that are there: opening them, and finding those around them."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import zarr
from zarr.abc.store import Store
from zarr.storage import FsspecStore, LocalStore

from chunkpyramid.boxes import Shape
from chunkpyramid.errors import ArgumentError, SourceNotFoundError
from chunkpyramid.internals import unwrapped, wait_for
from chunkpyramid.storage.locations import check_deletes, is_local_path, plain_path, unpacked, url_options
from chunkpyramid.storage.staging import SCRATCH

__all__ = [
    "DIMENSIONS",
    "METADATA_FILES",
    "array_name",
    "as_it_is",
    "as_stored",
    "dimension_names",
    "entries",
    "group_around",
    "groups_around",
    "level_array",
    "open_node",
    "parent_group",
    "plain_files",
    "shape_in",
    "writable_group",
]

# the attribute in which xarray keeps the names of the dimensions in zarr format 2
DIMENSIONS = "_ARRAY_DIMENSIONS"

METADATA_FILES = {"zarr.json", ".zarray", ".zattrs", ".zgroup", ".zmetadata"}


def open_node(
    location: Any, mode: Any = "r", storage_options: Mapping[str, Any] | None = None
) -> zarr.Array[Any] | zarr.Group:
    """Open the array or group at a path, URL or store; a group with the metadata that are there, consolidated or not.

    Raises
    ------
    SourceNotFoundError
        If there is none.
    """
    if isinstance(location, zarr.Array):
        return as_stored(location)
    if isinstance(location, zarr.Group):
        return as_it_is(location)
    location, path = unpacked(plain_path(location))
    if is_local_path(location) and not os.path.exists(location):
        raise SourceNotFoundError(f"there is nothing at {os.fspath(location)!r}")
    if path is not None:
        mode = "r"
    try:
        return zarr.open(
            location,
            path=path,
            mode=mode,
            use_consolidated=False,
            storage_options=url_options(location, storage_options),
        )
    except FileNotFoundError as error:
        raise SourceNotFoundError(f"there is no zarr array or group at {location!r}") from error
    except OSError as error:
        raise SourceNotFoundError(f"{location!r} cannot be opened: {error}") from error
    except (TypeError, ValueError, KeyError, AttributeError, ImportError) as error:
        # damaged metadata make zarr raise any of these
        raise ArgumentError(f"{location!r} cannot be opened as a path, URL or zarr store: {error}") from error


def as_it_is(group: zarr.Group) -> zarr.Group:
    """Return a group whose members are those that are there: consolidated metadata are old once anything changes."""
    if group.metadata.consolidated_metadata is None:
        return group
    return _opened(group.store, group.path, group.metadata.zarr_format)


def as_stored(array: zarr.Array[Any]) -> zarr.Array[Any]:
    """Return an array as it is now: it may have been made anew, or have grown, since it was opened.

    Those of which there are no metadata now, or only those that a group above it has, are returned as they were.
    """
    mode: Any = "r" if array.store.read_only else "r+"
    try:
        return zarr.open_array(array.store, path=array.path, mode=mode, zarr_format=array.metadata.zarr_format)
    except (FileNotFoundError, ValueError):
        return array


def _opened(store: Store, path: str, zarr_format: Any) -> zarr.Group:
    # not every store can be had read-only
    mode: Any = "r" if store.read_only else "r+"
    return zarr.open_group(store, path=path, mode=mode, zarr_format=zarr_format, use_consolidated=False)


def level_array(group: zarr.Group, path: str) -> zarr.Array[Any]:
    """Return the array at a path of a group.

    Raises
    ------
    SourceNotFoundError
        If there is none.
    """
    array = group.get(path)
    if not isinstance(array, zarr.Array):
        raise SourceNotFoundError(f"{group} should have the level {path!r}, but there is no such array")
    return array


def shape_in(group: zarr.Group) -> Callable[[str], Shape | None]:
    """Return what tells the shape of the array at a path of a group, None if there is no array."""

    def shape(path: str) -> Shape | None:
        array = group.get(path)
        return tuple(map(int, array.shape)) if isinstance(array, zarr.Array) else None

    return shape


def array_name(array: zarr.Array[Any]) -> str:
    """Return the name of an array in its group."""
    store: Any = array.store
    return str(array.path.rpartition("/")[2] or (store.root.name if isinstance(store, LocalStore) else "0"))


def dimension_names(array: zarr.Array[Any]) -> tuple[str, ...]:
    """Return the names of the dimensions of an array, none unless every one has a name of its own."""
    names: Any = getattr(array.metadata, "dimension_names", None) or array.attrs.get(DIMENSIONS) or ()
    is_named = all(isinstance(name, str) for name in names) and len(set(names)) == len(names) == array.ndim
    return tuple(names) if is_named else ()


def parent_group(array: zarr.Array[Any]) -> zarr.Group:
    """Return the group that holds an array, open for writing.

    Raises
    ------
    ArgumentError
        If the array is not in a group, or the group cannot be written.
    """
    check_deletes(array.store)
    group = group_around(array)
    if group is None:
        raise ArgumentError(
            f"the source {array} is not in a zarr group, so the levels cannot go beside it: give target="
        )
    return writable_group(group)


def writable_group(group: zarr.Group) -> zarr.Group:
    """Return a group open for writing.

    Raises
    ------
    ArgumentError
        If nothing can be written there.
    """
    check_deletes(group.store)
    if group.store.read_only:
        raise ArgumentError(
            f"the group of the source, {group}, was opened read-only, so the levels cannot go beside it: open it with "
            "mode='r+' or give target="
        )
    if isinstance(group.store, LocalStore):
        folder = group.store.root / group.path
        if not os.access(folder, os.W_OK, effective_ids=os.access in os.supports_effective_ids):
            raise ArgumentError(
                f"nothing can be written to the folder {str(folder)!r}, so the levels cannot go beside the source: "
                "give target="
            )
    return group


def group_around(array: zarr.Array[Any]) -> zarr.Group | None:
    """Return the group that holds an array, or None if there is none."""
    for group, name in groups_around(array):
        return group if "/" not in name else None
    return None


def groups_around(node: zarr.Array[Any] | zarr.Group) -> Iterator[tuple[zarr.Group, str]]:
    """Yield the groups that a node is in, the nearest first, each with the path of the node in it.

    They are looked for beyond the root of the node's store too, if that is a folder or on a file system of fsspec: an
    array that was opened by its own path is the root of its store. One folder between may be no group.
    """
    store: Any = node.store
    path, name, gaps = node.path, "", 0
    while gaps < 2:
        if path:
            path, _, last = path.rpartition("/")
        else:
            store, last = _store_above(store)
            if store is None:
                return
        name = f"{last}/{name}".rstrip("/")
        try:
            group = _opened(store, path, node.metadata.zarr_format)
        except (OSError, ValueError):
            gaps += 1
            continue
        gaps = 0
        yield group, name


def _store_above(store: Any) -> tuple[Any, str]:
    """Return a store of the folder above the root of a store, and the root's name in it; None if there is none."""
    if isinstance(store, LocalStore):
        root = Path(os.path.abspath(store.root))
        # a link in a group is part of it; one from elsewhere leads to the group
        if root.is_symlink() and not any((root.parent / name).exists() for name in ("zarr.json", ".zgroup")):
            root = root.resolve()
        if root != root.parent:
            return LocalStore(root.parent, read_only=store.read_only), root.name
    elif isinstance(store, FsspecStore):
        above, _, last = store.path.rstrip("/").rpartition("/")
        if above:
            return FsspecStore(store.fs, read_only=store.read_only, path=above), last
    return None, ""


def entries(group: zarr.Group) -> list[str]:
    """Return the names of everything in a group, be it zarr or not, but for what builds leave there for a time."""

    async def names() -> set[str]:
        return {name.rstrip("/") async for name in group.store.list_dir(group.path)}

    return sorted(name for name in wait_for(names()) - METADATA_FILES if not name.startswith(SCRATCH))


def plain_files(group: zarr.Group) -> set[str]:
    """Return the names of the files in the folder of a group that are none of zarr's."""
    store: Any = unwrapped(group.store)
    folder = store.root / group.path if isinstance(store, LocalStore) else None
    if folder is None or not folder.is_dir():
        return set()
    return {entry.name for entry in folder.iterdir() if entry.is_file()} - METADATA_FILES
