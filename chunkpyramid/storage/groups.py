"""Groups that are written to: what is there already, and creating them."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import zarr
from zarr.abc.store import Store
from zarr.storage import FsspecStore, LocalStore, StorePath

from chunkpyramid.errors import ArgumentError, TargetExistsError
from chunkpyramid.internals import unwrapped, wait_for
from chunkpyramid.storage.keys import fetch, put
from chunkpyramid.storage.locations import check_deletes, is_local_path, plain_path, url_options
from chunkpyramid.storage.nodes import as_it_is
from chunkpyramid.storage.staging import SCRATCH

__all__ = ["empty_group", "existing_group", "group_within", "store_and_path"]

# the metadata of a group without attributes
EMPTY_GROUP: dict[int, tuple[str, dict[str, Any]]] = {
    2: (".zgroup", {"zarr_format": 2}),
    3: ("zarr.json", {"zarr_format": 3, "node_type": "group", "attributes": {}}),
}


def existing_group(
    target: Any, storage_options: Mapping[str, Any] | None = None, *, is_new: bool = True
) -> zarr.Group | None:
    """Return the group at the target, or None if nothing is there; ``is_new`` if it has not been looked for before.

    Raises
    ------
    TargetExistsError
        If something else is there: an array, or files that are no zarr.
    """
    check_deletes(target.store if isinstance(target, zarr.Group) else target)
    if isinstance(target, zarr.Group):
        return as_it_is(target)
    if isinstance(target, zarr.Array):
        raise ArgumentError(f"target must be a path, URL, store or group, but the array {target} was given")
    target = plain_path(target)
    if isinstance(target, str) and (not target or "\0" in target):
        raise ArgumentError(f"target must be a path, URL, store or group, but {target!r} was given")
    if is_local_path(target):
        _check_local_target(Path(os.fspath(target)))
        if not os.path.exists(target):
            return None
        # zarr deletes nothing behind a link
        target = os.path.realpath(target) if os.path.islink(target) else target
    try:
        node = zarr.open(
            target, mode="r+", use_consolidated=False, storage_options=url_options(target, storage_options)
        )
    except FileNotFoundError:
        # a build that was killed at its very beginning leaves nothing but its scratch folder
        there = {name for name in _names_at(target, storage_options) if not name.startswith(SCRATCH)}
        if not there:
            return None
        if is_new and there & {"zarr.json", ".zgroup"}:
            # another process has made the group just now
            return existing_group(target, storage_options, is_new=False)
        raise TargetExistsError(
            f"{target!r} holds what is no zarr group ({', '.join(sorted(there)[:3])}, ...); it is never overwritten: "
            "choose another target"
        ) from None
    except (TypeError, ValueError, KeyError, AttributeError, ImportError, OSError) as error:
        raise ArgumentError(f"target {target!r} cannot be opened as a path, URL or zarr store: {error}") from error
    if isinstance(node, zarr.Array):
        raise TargetExistsError(f"there is a zarr array at {target!r}, where a group is to go: choose another target")
    return node


def _names_at(target: Any, storage_options: Mapping[str, Any] | None) -> set[str]:
    """Return the names of what is right below a place, be it zarr or not."""
    if is_local_path(target):
        return set(os.listdir(target))
    store, path = (target.store, target.path) if isinstance(target, StorePath) else (target, "")
    if isinstance(unwrapped(store), LocalStore):
        # beside what is in a folder a group can be made, which leaves it as it is
        return set()
    if isinstance(store, str):
        store = FsspecStore.from_url(store, storage_options=dict(storage_options or {}), read_only=True)
    if not isinstance(store, Store):
        return {key.partition("/")[0] for key in store}

    async def names() -> set[str]:
        return {name.rstrip("/") async for name in store.list_dir(path)}

    return wait_for(names())


def _check_local_target(path: Path) -> None:
    if any(part.suffix == ".zip" for part in (path, *path.parents) if part.is_file() or part == path):
        raise ArgumentError(
            f"the target {str(path)!r} is a zip file, in which nothing can be deleted: give a folder as target, and "
            "pack it when it is finished"
        )
    if path.is_symlink() and not path.exists():
        raise TargetExistsError(
            f"{str(path)!r} is a symbolic link to {os.readlink(path)!r}, where nothing is: give that as target, or "
            "remove the link"
        )
    if path.is_file():
        raise TargetExistsError(f"{str(path)!r} is a file: choose another target")


def empty_group(
    target: Any, zarr_format: Any, *, overwrite: bool = False, storage_options: Mapping[str, Any] | None = None
) -> zarr.Group:
    """Create a group at the target. Only with ``overwrite`` is anything deleted that is there.

    Raises
    ------
    ArgumentError
        If no group can be created there.
    """
    store, path = (target.store, target.path) if isinstance(target, zarr.Group) else (plain_path(target), None)
    try:
        return zarr.open_group(
            store,
            path=path,
            mode="w" if overwrite else "a",
            zarr_format=zarr_format,
            use_consolidated=False,
            storage_options=url_options(store, storage_options),
        )
    except (TypeError, ValueError, OSError) as error:
        raise ArgumentError(f"no group can be created at the target {target!r}: {error}") from error


def store_and_path(
    location: Any, group: zarr.Group | None, zarr_format: Any, storage_options: Mapping[str, Any] | None
) -> tuple[Any, str]:
    """Return the store and path of the group at a location, which is created in stores that are no folders."""
    if group is None:
        if is_local_path(location):
            return LocalStore(os.path.realpath(location)), ""
        if type(location) is LocalStore:
            return location, ""
        group = empty_group(location, zarr_format, storage_options=storage_options)
    return group.store, group.path


def group_within(node: zarr.Group | zarr.Array[Any], path: str) -> zarr.Group:
    """Return the group at a path of the store of a node, created if it is not there, be it in an array.

    zarr itself makes groups in groups only; one that is not to stay may be in an array too.
    """
    name, document = EMPTY_GROUP[node.metadata.zarr_format]
    key = f"{path}/{name}"
    if fetch(node.store, [(key, None)]) == [None]:
        put(node.store, [(key, json.dumps(document).encode())])
    return zarr.open_group(
        node.store, path=path, mode="r+", zarr_format=node.metadata.zarr_format, use_consolidated=False
    )
