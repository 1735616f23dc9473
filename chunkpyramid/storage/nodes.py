"""Zarr groups and arrays: finding, opening and creating them."""

from __future__ import annotations

import os
import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any
from urllib.parse import unquote
from zipfile import is_zipfile

import numpy as np
import zarr
from zarr.abc.store import Store
from zarr.storage import FsspecStore, LocalStore, MemoryStore, StorePath, ZipStore

from chunkpyramid.boxes import Shape
from chunkpyramid.errors import ArgumentError, SourceNotFoundError, TargetExistsError
from chunkpyramid.internals import place_of, unwrapped, wait_for
from chunkpyramid.storage.staging import SCRATCH

__all__ = [
    "DIMENSIONS",
    "array_name",
    "as_it_is",
    "as_stored",
    "check_deletes",
    "consolidate",
    "consolidate_around",
    "create_level",
    "default_compressors",
    "dimension_names",
    "empty_group",
    "entries",
    "existing_group",
    "group_around",
    "groups_around",
    "is_consolidated",
    "is_in_memory",
    "is_local_path",
    "level_array",
    "open_node",
    "parent_group",
    "path_id",
    "plain_files",
    "plain_path",
    "shape_in",
    "store_id",
    "writable_group",
]

# the attribute in which xarray keeps the names of the dimensions in zarr format 2
DIMENSIONS = "_ARRAY_DIMENSIONS"

METADATA_FILES = {"zarr.json", ".zarray", ".zattrs", ".zgroup", ".zmetadata"}


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
    location, path = _unpacked(plain_path(location))
    if is_local_path(location) and not os.path.exists(location):
        raise SourceNotFoundError(f"there is nothing at {os.fspath(location)!r}")
    if path is not None:
        mode = "r"
    try:
        return zarr.open(
            location, path=path, mode=mode, use_consolidated=False, storage_options=_options(location, storage_options)
        )
    except FileNotFoundError as error:
        raise SourceNotFoundError(f"there is no zarr array or group at {location!r}") from error
    except OSError as error:
        raise SourceNotFoundError(f"{location!r} cannot be opened: {error}") from error
    except (TypeError, ValueError, KeyError, AttributeError, ImportError) as error:
        # damaged metadata make zarr raise any of these
        raise ArgumentError(f"{location!r} cannot be opened as a path, URL or zarr store: {error}") from error


def _options(location: Any, storage_options: Mapping[str, Any] | None) -> dict[str, Any] | None:
    """Return the storage options for a location: only URLs take any."""
    is_url = isinstance(location, str) and "://" in location
    return dict(storage_options) if storage_options and is_url else None


def _unpacked(location: Any) -> tuple[Any, str | None]:
    """Return the store of a zip file and a path in it for a path into one; else the location as it is, and None."""
    if is_local_path(location):
        path = Path(os.fspath(location))
        for file in (path, *path.parents):
            if file.suffix == ".zip" and file.is_file():
                if not is_zipfile(file):
                    raise SourceNotFoundError(f"{str(file)!r} is no zip file, though it is named as one")
                return ZipStore(file, mode="r"), path.relative_to(file).as_posix().removeprefix(".")
    return location, None


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


def array_name(array: zarr.Array[Any]) -> str:
    """Return the name of an array in its group."""
    store: Any = array.store
    return str(array.path.rpartition("/")[2] or (store.root.name if isinstance(store, LocalStore) else "0"))


def dimension_names(array: zarr.Array[Any]) -> tuple[str, ...]:
    """Return the names of the dimensions of an array, none unless every one has a name of its own."""
    names: Any = getattr(array.metadata, "dimension_names", None) or array.attrs.get(DIMENSIONS) or ()
    is_named = all(isinstance(name, str) for name in names) and len(set(names)) == len(names) == array.ndim
    return tuple(names) if is_named else ()


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
        node = zarr.open(target, mode="r+", use_consolidated=False, storage_options=_options(target, storage_options))
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
            storage_options=_options(store, storage_options),
        )
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
            attributes[DIMENSIONS] = list(dimension_names)
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


def is_consolidated(group: zarr.Group) -> bool:
    """Whether a group has consolidated metadata, be they up to date or not."""
    zarr_format = group.metadata.zarr_format
    there = zarr.open_group(group.store, path=group.path, mode="r", zarr_format=zarr_format)
    return there.metadata.consolidated_metadata is not None


def consolidate(group: zarr.Group) -> None:
    """Consolidate the metadata of the group, which xarray looks for first."""
    with warnings.catch_warnings():
        # zarr format 3 has no specification of it yet, but zarr and xarray read and write it alike
        warnings.filterwarnings("ignore", message="Consolidated metadata")
        # what is no part of the hierarchy, such as notes beside the arrays
        warnings.filterwarnings("ignore", message="Object at")
        zarr.consolidate_metadata(group.store, path=group.path, zarr_format=group.metadata.zarr_format)


def consolidate_around(node: zarr.Group) -> None:
    """Consolidate again those of the groups around a node whose metadata are consolidated."""
    for group, _ in groups_around(node):
        if not group.store.read_only and is_consolidated(group):
            consolidate(group)


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
