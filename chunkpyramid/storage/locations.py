"""Where things are: what a path, URL or store stands for, and which places are the same."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any
from urllib.parse import unquote
from zipfile import is_zipfile

import zarr
from zarr.abc.store import Store
from zarr.storage import FsspecStore, LocalStore, MemoryStore, ZipStore

from chunkpyramid.errors import ArgumentError, SourceNotFoundError
from chunkpyramid.internals import place_of, unwrapped

__all__ = [
    "check_deletes",
    "is_in_memory",
    "is_local_path",
    "path_id",
    "plain_path",
    "store_id",
    "unpacked",
    "url_options",
]


def is_in_memory(store: Any) -> bool:
    """Whether the store lives in the memory of this process, where no other process can write."""
    store = unwrapped(store)
    return "memory" in place_of(store)[0] if isinstance(store, FsspecStore) else isinstance(store, MemoryStore)


def is_local_path(location: object) -> bool:
    return isinstance(location, os.PathLike) or (isinstance(location, str) and "://" not in location)


def plain_path(location: Any) -> Any:
    """Return the path that a file:// URL or a ``~`` stands for, and anything else as it is.

    fsspec, to which zarr leaves URLs, creates no directories on its own.
    """
    if isinstance(location, str) and location.startswith("file://"):
        path = location.removeprefix("file://").removeprefix("localhost")
        # as Path.as_uri() quotes it; but who puts "file://" before a path quotes nothing
        return path if os.path.exists(path) else unquote(path)
    is_home = is_local_path(location) and os.fspath(location)[:1] in ("~", b"~")
    return os.path.expanduser(location) if is_home else location


def url_options(location: Any, storage_options: Mapping[str, Any] | None) -> dict[str, Any] | None:
    """Return the storage options for a location: only URLs take any."""
    is_url = isinstance(location, str) and "://" in location
    return dict(storage_options) if storage_options and is_url else None


def unpacked(location: Any) -> tuple[Any, str | None]:
    """Return the store of a zip file and a path in it for a path into one; else the location as it is, and None."""
    if is_local_path(location):
        path = Path(os.fspath(location))
        for file in (path, *path.parents):
            if file.suffix == ".zip" and file.is_file():
                if not is_zipfile(file):
                    raise SourceNotFoundError(f"{str(file)!r} is no zip file, though it is named as one")
                return ZipStore(file, mode="r"), path.relative_to(file).as_posix().removeprefix(".")
    return location, None


def check_deletes(store: Any) -> None:
    """Raise `ArgumentError` for a store that keeps all it is given: builds and updates leave things only for a time."""
    if isinstance(store, Store) and not store.supports_deletes:
        raise ArgumentError(
            f"nothing can be built in the store {store}, in which nothing can be deleted: give a folder or URL as "
            "target, and pack it when it is finished"
        )


def store_id(node: zarr.Array[Any] | zarr.Group) -> str:
    """Return a string that is the same for two openings of one place, and different for two places.

    A place in a folder is where symbolic links lead, those below the root of the store too.
    """
    store = unwrapped(node.store)
    if isinstance(store, LocalStore):
        return path_id(store.root / node.path)
    if isinstance(store, ZipStore):
        return f"{path_id(store.path)}/{node.path}".rstrip("/")
    if isinstance(store, FsspecStore):
        protocols, path = place_of(store)
        if {"file", "local"} & set(protocols):
            return path_id(f"{path}/{node.path}")
        root = f"{'/'.join(protocols[:1])}://{path}"
    else:
        root = str(store)
    return f"{root.rstrip('/')}/{node.path}".rstrip("/")


def path_id(path: str | os.PathLike[str]) -> str:
    """Return the `store_id` that a node at a local path has."""
    return "file://" + os.path.realpath(path)
