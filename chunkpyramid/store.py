"""Zarr groups and arrays: finding, opening and creating them."""

from __future__ import annotations

import os
import warnings
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import zarr
from zarr.abc.store import Store
from zarr.core.sync import sync
from zarr.storage import FsspecStore, LocalStore, MemoryStore, WrapperStore

from chunkpyramid.errors import ArgumentError, SourceNotFoundError, TargetExistsError
from chunkpyramid.grid import Shape

__all__ = [
    "array_name",
    "check_deletes",
    "consolidate",
    "create_level",
    "default_compressors",
    "empty_group",
    "entries",
    "existing_group",
    "group_around",
    "is_in_memory",
    "is_local_path",
    "level_array",
    "open_node",
    "parent_group",
    "path_id",
    "plain_path",
    "store_id",
]

METADATA_FILES = {"zarr.json", ".zarray", ".zattrs", ".zgroup", ".zmetadata"}


def is_in_memory(store: Any) -> bool:
    """Whether the store lives in the memory of this process, where no other process can write."""
    while isinstance(store, WrapperStore):
        store = store._store
    if isinstance(store, FsspecStore):
        fs: Any = store.fs
        protocol = getattr(getattr(fs, "sync_fs", fs), "protocol", ())
        return "memory" in ((protocol,) if isinstance(protocol, str) else protocol)
    return isinstance(store, MemoryStore)


def is_local_path(location: object) -> bool:
    return isinstance(location, os.PathLike) or (isinstance(location, str) and "://" not in location)


def plain_path(location: Any) -> Any:
    """Return the path of a file:// URL, and anything else as it is: fsspec creates no directories on its own."""
    is_file_url = isinstance(location, str) and location.startswith("file://")
    return location.removeprefix("file://") if is_file_url else location


def open_node(location: Any, mode: Any = "r") -> zarr.Array[Any] | zarr.Group:
    """Open the array or group at a path, URL or store.

    Raises
    ------
    SourceNotFoundError
        If there is none.
    """
    if isinstance(location, zarr.Array | zarr.Group):
        return location
    location = plain_path(location)
    if is_local_path(location) and not os.path.exists(location):
        raise SourceNotFoundError(f"there is nothing at {os.fspath(location)!r}")
    try:
        return zarr.open(location, mode=mode)
    except FileNotFoundError as error:
        raise SourceNotFoundError(f"there is no zarr array or group at {location!r}") from error
    except OSError as error:
        raise SourceNotFoundError(f"{location!r} cannot be opened: {error}") from error
    except (TypeError, ValueError, KeyError, AttributeError, ImportError) as error:
        # damaged metadata make zarr raise any of these
        raise ArgumentError(f"{location!r} cannot be opened as a path, URL or zarr store: {error}") from error


def array_name(array: zarr.Array[Any]) -> str:
    """Return the name of an array in its group."""
    store: Any = array.store
    return str(array.path.rpartition("/")[2] or (store.root.name if isinstance(store, LocalStore) else "0"))


def check_deletes(store: Any) -> None:
    """Raise `ArgumentError` for a store that keeps all it is given: builds and updates leave things only for a time."""
    if isinstance(store, Store) and not store.supports_deletes:
        raise ArgumentError(
            f"nothing can be built in the store {store}, in which nothing can be deleted: give a folder or URL as "
            "target, and pack it when it is finished"
        )


def parent_group(array: zarr.Array[Any]) -> zarr.Group:
    """Return the group that holds an array, open for writing.

    Raises
    ------
    ArgumentError
        If the array is not in a group, or the group cannot be written.
    """
    check_deletes(array.store)
    if group_around(array) is None:
        raise ArgumentError(
            f"the source {array} is not in a zarr group, so the levels cannot go beside it: give target="
        )
    if array.store.read_only:
        raise ArgumentError(
            f"the source {array} was opened read-only, so the levels cannot go beside it: open it with mode='r+' "
            "or give target="
        )
    store, path = _place_around(array)
    return zarr.open_group(store, path=path, mode="r+", zarr_format=array.metadata.zarr_format)


def group_around(array: zarr.Array[Any]) -> zarr.Group | None:
    """Return the group that holds an array, or None if there is none."""
    store, path = _place_around(array)
    try:
        # not every store can be had read-only
        mode: Any = "r" if store is None or store.read_only else "r+"
        return store and zarr.open_group(store, path=path, mode=mode, zarr_format=array.metadata.zarr_format)
    except FileNotFoundError:
        return None


def _place_around(array: zarr.Array[Any]) -> tuple[Any, str]:
    """Return the store and path where the group that holds an array should be; the store is None if that is nowhere."""
    store: Any = array.store
    if array.path:
        return store, array.path.rpartition("/")[0]
    if isinstance(store, LocalStore):
        # an array opened by its own path is the root of its store; its group is the folder above
        return LocalStore(store.root.parent, read_only=store.read_only), ""
    return None, ""


def store_id(node: zarr.Array[Any] | zarr.Group) -> str:
    """Return a string that is the same for two openings of one place, and different for two places."""
    store: Any = node.store
    while isinstance(store, WrapperStore):
        store = store._store
    if isinstance(store, LocalStore):
        root = path_id(store.root)
    elif isinstance(store, FsspecStore):
        filesystem = getattr(store.fs, "sync_fs", store.fs)
        protocol = filesystem.protocol if isinstance(filesystem.protocol, str) else filesystem.protocol[0]
        root = f"{protocol}://{store.path}"
    else:
        root = str(store)
    return f"{root.rstrip('/')}/{node.path}".rstrip("/")


def path_id(path: str | os.PathLike[str]) -> str:
    """Return the `store_id` that a node at a local path has."""
    return "file://" + os.path.realpath(path)


def existing_group(target: Any) -> zarr.Group | None:
    """Return the group at the target, or None if nothing is there.

    Raises
    ------
    TargetExistsError
        If something else is there: an array, or files that are no zarr.
    """
    check_deletes(target.store if isinstance(target, zarr.Group) else target)
    if isinstance(target, zarr.Group):
        return target
    if isinstance(target, zarr.Array):
        raise ArgumentError(f"target must be a path, URL, store or group, but the array {target} was given")
    target = plain_path(target)
    if isinstance(target, str) and (not target or "\0" in target):
        raise ArgumentError(f"target must be a path, URL, store or group, but {target!r} was given")
    if is_local_path(target):
        if not os.path.exists(target):
            return None
        if os.path.isfile(target):
            raise TargetExistsError(f"{os.fspath(target)!r} is a file: choose another target")
    try:
        node = zarr.open(target, mode="r+")
    except FileNotFoundError:
        if is_local_path(target) and os.listdir(target):
            raise TargetExistsError(
                f"{os.fspath(target)!r} holds files that are no zarr group; they are never overwritten: choose "
                "another target"
            ) from None
        return None
    except (TypeError, ValueError, KeyError, AttributeError, ImportError, OSError) as error:
        raise ArgumentError(f"target {target!r} cannot be opened as a path, URL or zarr store: {error}") from error
    if isinstance(node, zarr.Array):
        raise TargetExistsError(f"there is a zarr array at {target!r}, where a group is to go: choose another target")
    return node


def entries(group: zarr.Group) -> list[str]:
    """Return the names of everything in a group, be it zarr or not."""

    async def names() -> set[str]:
        return {name.rstrip("/") async for name in group.store.list_dir(group.path)}

    return sorted(sync(names()) - METADATA_FILES)


def empty_group(target: Any, zarr_format: Any, *, overwrite: bool = False) -> zarr.Group:
    """Create a group at the target. Only with ``overwrite`` is anything deleted that is there.

    Raises
    ------
    ArgumentError
        If no group can be created there.
    """
    store, path = (target.store, target.path) if isinstance(target, zarr.Group) else (plain_path(target), None)
    try:
        return zarr.open_group(store, path=path, mode="w" if overwrite else "a", zarr_format=zarr_format)
    except (TypeError, ValueError, OSError) as error:
        raise ArgumentError(f"no group can be created at the target {target!r}: {error}") from error


def default_compressors(dtype: np.dtype[Any], zarr_format: int, *, labels: bool) -> Any:
    """Return blosc-zstd, with the byte shuffle where values have several bytes and are no labels.

    Labels repeat as a whole, which the shuffle hides: without it a real segmentation of neurons was less than half the
    size (uint64, 64^3 chunks).
    """
    shuffle = dtype.itemsize > 1 and not labels
    if zarr_format == 2:
        from numcodecs import Blosc

        return Blosc(cname="zstd", clevel=3, shuffle=Blosc.SHUFFLE if shuffle else Blosc.NOSHUFFLE)
    from zarr.codecs import BloscCodec

    return BloscCodec(cname="zstd", clevel=3, shuffle="shuffle" if shuffle else "noshuffle", typesize=dtype.itemsize)


def create_level(
    group: zarr.Group,
    path: str,
    shape: Shape,
    dtype: np.dtype[Any],
    *,
    chunks: Shape,
    shards: Shape | None = None,
    compressors: Any,
    fill_value: Any = 0,
    dimension_names: Sequence[str] | None = None,
    attributes: Mapping[str, Any] | None = None,
    overwrite: bool = False,
) -> zarr.Array[Any]:
    """Create an array in a group; ``path`` may lead through groups, which are created too."""
    zarr_format = group.metadata.zarr_format
    attributes = dict(attributes or {})
    options: dict[str, Any] = {}
    if zarr_format == 3:
        options["dimension_names"] = dimension_names
    else:
        options["chunk_key_encoding"] = {"name": "v2", "separator": "/"}
        if dimension_names is not None:
            attributes["_ARRAY_DIMENSIONS"] = list(dimension_names)
    return group.create_array(
        path,
        shape=shape,
        dtype=dtype,
        chunks=chunks,
        shards=shards,
        compressors=compressors,
        fill_value=fill_value,
        attributes=attributes,
        overwrite=overwrite,
        **options,
    )


def consolidate(group: zarr.Group) -> None:
    """Consolidate the metadata of the group, which xarray looks for first."""
    with warnings.catch_warnings():
        # zarr format 3 has no specification of it yet, but zarr and xarray read and write it alike
        warnings.filterwarnings("ignore", message="Consolidated metadata")
        zarr.consolidate_metadata(group.store, path=group.path, zarr_format=group.metadata.zarr_format)


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
