"""The keys of a store: all that a build fetches, puts, lists and deletes, other than metadata, it does here."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Coroutine, Sequence
from pathlib import Path
from typing import Any

from zarr.abc.buffer import Buffer
from zarr.abc.store import ByteRequest, RangeByteRequest, SuffixByteRequest
from zarr.buffer import cpu, default_buffer_prototype
from zarr.storage import FsspecStore, LocalStore

from chunkpyramid.internals import unwrapped, wait_for
from chunkpyramid.storage.locations import is_in_memory, is_local_path, plain_path
from chunkpyramid.storage.staging import TORN, StagedStore, write_file

__all__ = [
    "Encoded",
    "KeyRange",
    "delete",
    "delete_dir",
    "fetch",
    "is_local",
    "names",
    "put",
    "remove",
    "remove_node",
    "remove_torn",
]

Encoded = bytes | memoryview

# a key, and the range of its bytes if not all are wanted
KeyRange = tuple[str, ByteRequest | None]


def delete(store: Any, key: str) -> None:
    """Delete one key of a store, if it is there."""
    wait_for(store.delete(key))


def delete_dir(store: Any, path: str) -> None:
    """Delete all keys of a store below a path."""
    wait_for(store.delete_dir(path))


def is_local(store: Any) -> bool:
    """Whether a store, or what one will be opened at, is a folder of this machine, without a wrapper around it."""
    return type(store) in (LocalStore, StagedStore) or is_local_path(plain_path(store))


def fetch(store: Any, requests: Sequence[KeyRange]) -> list[Encoded | Exception | None]:
    """Return what is stored under keys, or in ranges of it: None if there is nothing, an exception if it can't be read.

    Folders are read by this thread, other stores are asked for everything at once.
    """
    if is_local(store):
        return [_read_file(store.root / key, byte_range) for key, byte_range in requests]

    async def get_all() -> list[Any]:
        prototype = default_buffer_prototype()
        found = [store.get(key, prototype, byte_range) for key, byte_range in requests]
        return await asyncio.gather(*found, return_exceptions=True)

    results: list[Encoded | Exception | None] = []
    for found in wait_for(get_all()):
        if isinstance(found, BaseException) and not isinstance(found, Exception):
            raise found
        results.append(memoryview(found.as_buffer_like()) if isinstance(found, Buffer) else found)
    return results


def _read_file(path: Path, byte_range: ByteRequest | None) -> bytes | Exception | None:
    try:
        with path.open("rb") as file:
            if isinstance(byte_range, RangeByteRequest):
                file.seek(byte_range.start)
                return file.read(byte_range.end - byte_range.start)
            if isinstance(byte_range, SuffixByteRequest):
                file.seek(max(0, file.seek(0, os.SEEK_END) - byte_range.suffix))
            return file.read()
    except (FileNotFoundError, NotADirectoryError):
        return None
    except OSError as error:
        return error


def put(store: Any, items: Sequence[tuple[str, Encoded]]) -> None:
    """Store bytes under keys, all of them at once; none is under way any more when this ends.

    Files are written by this thread, under another name first, so that none is ever seen half-written.
    """
    if is_local(store) and not store.read_only:
        staging = store.staging if isinstance(store, StagedStore) else None
        for key, data in items:
            write_file(store.root / key, data, staging)
        return
    # a store in memory keeps what it is given: that has to be a copy without the memory around it
    keeps = is_in_memory(store)
    buffers = [(key, cpu.Buffer.from_bytes(bytes(data) if keeps else data)) for key, data in items]
    _all(*(store.set(key, buffer) for key, buffer in buffers))


def remove(store: Any, keys: Sequence[str]) -> None:
    """Delete keys of a store that may be there."""
    if isinstance(store, StagedStore):
        for key in keys:
            store.remove(key)
        return
    _all(*map(store.delete, keys))


def remove_torn(store: Any, keys: Sequence[str]) -> None:
    """Delete the temporary files that zarr leaves in a folder if a process is killed while it writes these keys."""
    folder = unwrapped(store)
    if not isinstance(folder, LocalStore):
        return
    written: dict[Path, set[str]] = {}
    for path in (folder.root / key for key in keys):
        written.setdefault(path.parent, set()).add(path.name)
    for parent, names in written.items():
        for path in parent.glob(f"*{TORN}"):
            # named as the key is, then something random; others may be writing beside it
            if path.name.rsplit(".", 2)[0] in names:
                path.unlink(missing_ok=True)


def remove_node(store: Any, path: str) -> None:
    """Delete a key of a store, and all keys below it as a folder."""
    remove(store, [path])
    if not isinstance(store, StagedStore):
        delete_dir(store, path)


def _all(*requests: Coroutine[Any, Any, None]) -> None:
    """Wait for all requests, even if one fails; then raise its error."""

    async def gathered() -> list[BaseException | None]:
        return await asyncio.gather(*requests, return_exceptions=True)

    if requests:
        for error in wait_for(gathered()):
            if error is not None:
                raise error


def names(store: Any, path: str) -> set[str]:
    """Return the names of the keys right below a path, as they are now, in one listing."""

    async def listed() -> set[str]:
        return {name.rstrip("/").rpartition("/")[2] async for name in store.list_dir(path)}

    inner = unwrapped(store)
    if isinstance(inner, FsspecStore):
        # file systems remember listings, and do not know what other processes have written since
        inner.fs.invalidate_cache(f"{inner.path}/{path}")
    return wait_for(listed())
