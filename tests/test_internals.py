"""What zarr, fsspec and Dask do not offer publicly is still there, whatever their versions."""

from __future__ import annotations

import ast
import re
from concurrent.futures import ThreadPoolExecutor
from multiprocessing.pool import ThreadPool
from pathlib import Path
from typing import Any

import dask
import dask.array as da
import numpy as np
import pytest
import xarray as xr
import zarr
from dask.local import MultiprocessingPoolExecutor
from zarr.storage import FsspecStore, LocalStore, MemoryStore, WrapperStore

import chunkpyramid
from chunkpyramid.internals import keys_of_worker, place_of, pool_size, unwrapped, wait_for, zarr_arrays_in
from chunkpyramid.storage.codec import OneChunk

PACKAGE = Path(chunkpyramid.__file__).parent
OWNERS = ("self", "cls")


def test_wait_for_runs_in_the_loop_of_stores() -> None:
    store = MemoryStore()
    zarr.create_array(store, shape=(4,), dtype="u1")

    async def there() -> bool:
        return await store.exists("zarr.json")

    assert wait_for(there())


def test_stores_are_found_under_their_wrappers(tmp_path: Path) -> None:
    for store in (MemoryStore(), LocalStore(tmp_path)):
        assert unwrapped(store) is store
        wrapped: Any = WrapperStore(WrapperStore(store))
        assert unwrapped(wrapped) is store


@pytest.mark.parametrize(("url", "protocol"), [("memory://a/b", "memory"), ("file:///tmp/a", "file")])
def test_file_systems_tell_their_protocol(url: str, protocol: str) -> None:
    assert protocol in place_of(FsspecStore.from_url(url))[0]


def test_pools_tell_how_many_tasks_they_run() -> None:
    with ThreadPoolExecutor(3) as pool, ThreadPool(2) as other:
        assert pool_size(pool) == 3
        assert pool_size(MultiprocessingPoolExecutor(other)) == 2
    assert pool_size(None) is None


def test_workers_tell_the_tasks_that_they_know() -> None:
    from distributed import Client, get_worker

    with Client(n_workers=1, threads_per_worker=1, processes=False, dashboard_address=":0") as client:

        def own_keys() -> list[str]:
            return [str(key) for key in keys_of_worker(get_worker())]

        future = client.submit(own_keys, key="the-task")
        assert "the-task" in future.result()


def test_zarr_arrays_are_found_in_graphs(tmp_path: Path) -> None:
    array = zarr.create_array(tmp_path / "a.zarr", data=np.arange(16).reshape(4, 4), chunks=(2, 2))
    lazy = da.from_zarr(array)
    delayed = da.from_delayed(dask.delayed(lambda a: a[:])(array), shape=(4, 4), dtype=array.dtype)
    xr.Dataset({"b": (("y", "x"), np.ones((4, 4)))}).to_zarr(tmp_path / "b.zarr", consolidated=False)
    opened = xr.open_zarr(tmp_path / "b.zarr", consolidated=False)["b"].data
    for graph in ((lazy + 1).sum(axis=0), da.concatenate([delayed, lazy]), opened):
        assert zarr_arrays_in(graph.dask)
    assert not zarr_arrays_in(da.ones((4, 4)).dask)


def test_a_memory_store_works_on_the_dict_that_it_is_given() -> None:
    store = OneChunk({})
    zarr.create_array(store, shape=(4,), dtype="u1", chunks=(4,), fill_value=0)[...] = 3
    assert set(store.contents) == {"zarr.json", "c/0"}
    assert store.take("c/0") is not None
    assert store.take("c/0") is None


@pytest.mark.parametrize("path", sorted(PACKAGE.rglob("*.py")), ids=lambda path: str(path.relative_to(PACKAGE)))
def test_no_other_file_uses_private_parts(path: Path) -> None:
    found = []
    for node in ast.walk(ast.parse(path.read_text())):
        module = (node.module or "") if isinstance(node, ast.ImportFrom) else ""
        if re.match(r"(zarr|dask|distributed|fsspec)\.(core|.*\._)", module):
            found.append(f"{module} at line {node.lineno}")
        elif isinstance(node, ast.Attribute) and re.fullmatch(r"_[a-z]\w*|sync_fs|active_threads", node.attr):
            # its own, or those of a class of this package
            is_own = isinstance(node.value, ast.Name) and node.value.id in OWNERS
            is_super = isinstance(node.value, ast.Call) and getattr(node.value.func, "id", "") == "super"
            if not is_own and not is_super:
                found.append(f"{ast.unparse(node)} at line {node.lineno}")
    assert path.stem == "internals" or not found
