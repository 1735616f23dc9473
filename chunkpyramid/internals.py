"""What zarr, fsspec and Dask do not offer publicly, one function for each; tests run all of them on every version."""

from __future__ import annotations

from collections.abc import Coroutine
from contextlib import suppress
from itertools import islice
from typing import Any, TypeVar

import cloudpickle
import numpy as np
import zarr
from zarr.core.sync import sync
from zarr.storage import FsspecStore, WrapperStore

__all__ = ["keys_of_worker", "place_of", "pool_size", "unwrapped", "wait_for", "zarr_arrays_in"]

T = TypeVar("T")

MOST_SEARCHED = 1000


def wait_for(coroutine: Coroutine[Any, Any, T]) -> T:
    """Run a coroutine in the event loop that zarr's stores belong to, and return its result."""
    return sync(coroutine)


def unwrapped(store: Any) -> Any:
    """Return the store under all wrappers."""
    while isinstance(store, WrapperStore):
        store = store._store
    return store


def place_of(store: FsspecStore) -> tuple[tuple[str, ...], str]:
    """Return the names of the file system that a store is on in the end, and its path there.

    That is the one under caches, folders taken for roots, and what makes it asynchronous.
    """
    filesystem: Any = store.fs
    path = str(store.path)
    while True:
        under = getattr(filesystem, "sync_fs", None) or getattr(filesystem, "fs", None)
        if under is None:
            break
        if getattr(filesystem, "fs", None) is under and isinstance(getattr(filesystem, "path", None), str):
            path = f"{filesystem.path.rstrip('/')}/{path.lstrip('/')}"
        filesystem = under
    protocol = getattr(filesystem, "protocol", ())
    return ((protocol,) if isinstance(protocol, str) else tuple(protocol)), path


def pool_size(pool: Any) -> int | None:
    """Return how many tasks a pool runs at once: Dask and the pools of `concurrent.futures` know it as this."""
    size: int | None = getattr(pool, "_max_workers", None)
    return size


def keys_of_worker(dask_worker: Any) -> list[Any]:
    """Return the keys of the tasks that a worker of distributed knows of: one that runs is known until it ends."""
    return [*dask_worker.state.tasks, *dask_worker.active_threads.values()]


class _ZarrSearch(cloudpickle.Pickler):  # type: ignore[misc]
    """Walks over an object as pickle does, and keeps the zarr arrays that it meets."""

    def __init__(self) -> None:
        super().__init__(self)
        self.found: list[zarr.Array[Any]] = []

    def write(self, data: bytes) -> int:
        return len(data)

    def persistent_id(self, obj: Any) -> str | None:
        if isinstance(obj, zarr.Array):
            self.found.append(obj)
        return "not walked into" if isinstance(obj, zarr.Array | np.ndarray) else None


def zarr_arrays_in(graph: Any) -> list[zarr.Array[Any]]:
    """Return the zarr arrays that a Dask graph holds.

    What cannot be pickled is searched as far as that goes, and of layers of very many tasks only the first ones.
    """
    search = _ZarrSearch()
    for layer in getattr(graph, "layers", {"": graph}).values():
        mapping = getattr(layer, "mapping", None)
        some = layer if mapping is None else list(islice(mapping.values(), MOST_SEARCHED))
        with suppress(Exception):
            search.dump(some)
    return search.found
