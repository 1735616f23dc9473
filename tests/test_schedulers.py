"""Whatever runs the blocks, the bytes are the same."""

from __future__ import annotations

import asyncio
import contextlib
import gc
import multiprocessing.pool
import os
import re
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import dask
import dask.array as da
import numpy as np
import pytest
import xarray as xr
import zarr
from helpers.child import set_up_workers
from helpers.cluster import cluster
from zarr.storage import LocalStore, MemoryStore, WrapperStore

import chunkpyramid as cp
from chunkpyramid.engine.process_memory import BASELINE
from chunkpyramid.engine.scheduler import active_machine

SHAPE = (33, 40, 37)
VOXELS = np.random.default_rng(0).normal(1000, 300, SHAPE).astype(np.float32)
OPTIONS: dict[str, Any] = {"method": "mean", "levels": 3, "chunks": 8, "memory_limit": "1 GiB"}


@contextlib.contextmanager
def scheduler(name: str) -> Iterator[None]:
    if name == "distributed":
        with cluster(processes=False):
            yield
    elif name == "distributed processes":
        with cluster(processes=True):
            yield
    elif name == "pool":
        with ThreadPoolExecutor(6) as pool, dask.config.set(pool=pool):
            yield
    elif name == "pool as scheduler":
        with ThreadPoolExecutor(6) as pool, dask.config.set(scheduler=pool):
            yield
    elif name == "multiprocessing's pool":
        with multiprocessing.pool.ThreadPool(6) as pool, dask.config.set(pool=pool):
            yield
    else:
        with dask.config.set(scheduler=name, num_workers={"processes": 2}.get(name, 8)):
            yield


SCHEDULERS = [
    *("synchronous", "threads", "pool", "pool as scheduler", "multiprocessing's pool"),
    *("processes", "distributed", "distributed processes"),
]


@pytest.fixture(scope="module")
def source(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("source") / "source.zarr"
    zarr.create_array(path, data=VOXELS, chunks=(8, 8, 8))
    return path


@pytest.fixture(scope="module")
def expected(source: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, bytes]:
    target = tmp_path_factory.mktemp("expected") / "target.zarr"
    with scheduler("synchronous"):
        cp.build_pyramid(source, target, **OPTIONS)
    return contents(target)


def contents(root: Path) -> dict[str, bytes]:
    return {str(path.relative_to(root)): path.read_bytes() for path in sorted(root.rglob("*")) if path.is_file()}


def without_digest(files: dict[str, bytes]) -> dict[str, bytes]:
    """All files, but for what tells one source from another in the metadata."""
    return files | {"zarr.json": re.sub(rb'"digest": "\w+"', b"", files["zarr.json"])}


@pytest.mark.parametrize("name", SCHEDULERS)
def test_all_schedulers_write_the_same_bytes(
    name: str, source: Path, expected: dict[str, bytes], tmp_path: Path
) -> None:
    calls: list[tuple[int, int]] = []
    # in new interpreters, as by default
    with set_up_workers("spawn"), scheduler(name):
        zarrs = cp.build_pyramid(source, tmp_path / "zarr", progress=lambda *call: calls.append(call), **OPTIONS)
        with set_up_workers():
            cp.build_pyramid(da.from_array(VOXELS, chunks=(20, 9, 37)), tmp_path / "dask", **OPTIONS)
    assert zarrs.plan is not None
    assert contents(tmp_path / "zarr") == expected
    assert without_digest(contents(tmp_path / "dask")) == without_digest(expected)
    assert calls[-1] == (zarrs.plan.tasks, zarrs.plan.tasks)
    assert calls == sorted(calls)


@pytest.mark.parametrize("name", ["threads", "pool", "synchronous"])
def test_memory_stores_of_this_process_are_written_by_its_threads(name: str) -> None:
    with scheduler(name):
        pyramid = cp.build_pyramid(VOXELS, MemoryStore(), **OPTIONS)
    np.testing.assert_array_equal(pyramid.levels[0][...], VOXELS)


@pytest.mark.parametrize("name", ["processes", "distributed", "distributed processes"])
def test_a_memory_store_that_workers_have_copies_of_is_a_clear_error(name: str) -> None:
    """Even threads of distributed in this process get copies: voxels written to those would be lost without a word."""
    with (
        scheduler(name),
        pytest.raises(cp.BuildError, match="a store in memory, of which dask's workers have only a copy"),
    ):
        cp.build_pyramid(VOXELS, MemoryStore(), **OPTIONS)


def test_fsspecs_memory_and_other_processes_are_a_clear_error() -> None:
    with scheduler("processes"), pytest.raises(cp.BuildError, match="a store in memory"):
        cp.build_pyramid(VOXELS, "memory://lost-in-other-processes", **OPTIONS)


class PrivateStore(WrapperStore[Any]):
    """A store of which every process has its own, like a folder that the workers' machines do not share."""

    def __init__(self, store: Any, home: int | None = None):
        super().__init__(store)
        self.home = os.getpid() if home is None else home

    def __reduce__(self) -> Any:
        return PrivateStore, (self._store, self.home)

    async def set(self, key: str, value: Any) -> None:
        if os.getpid() == self.home:
            await super().set(key, value)


def test_blocks_that_workers_wrote_elsewhere_are_missed(tmp_path: Path) -> None:
    target = PrivateStore(LocalStore(tmp_path / "target.zarr"))
    with scheduler("processes"), pytest.raises(cp.BuildError, match="what they wrote is not in the target"):
        cp.build_pyramid(VOXELS, target, **OPTIONS)


@pytest.mark.parametrize(
    ("name", "kind", "threads", "slots"),
    [
        ("synchronous", "synchronous", 1, 1),
        ("threads", "threads", 8, 8),
        ("pool", "threads", 6, 6),
        ("pool as scheduler", "threads", 6, 6),
        ("multiprocessing's pool", "threads", 6, 6),
        ("processes", "processes", 1, 2),
        ("distributed", "distributed", 4, 8),
    ],
)
def test_the_plan_knows_what_the_scheduler_offers(name: str, kind: str, threads: int, slots: int) -> None:
    with scheduler(name):
        machine = active_machine()
    assert (machine.scheduler, machine.threads, machine.slots) == (kind, threads, slots)
    assert machine.memory > 2**20


def test_an_expensive_graph_is_computed_once() -> None:
    """Level 0 and the levels below come from one computation of every dask chunk."""
    computed: list[Any] = []

    def expensive(block: Any, block_id: Any = None) -> Any:
        computed.append(block_id)
        return block + 1

    lazy = da.from_array(VOXELS, chunks=(17, 20, 19)).map_blocks(expensive, dtype=np.float32, meta=VOXELS[:0])
    with scheduler("threads"):
        pyramid = cp.build_pyramid(lazy, MemoryStore(), **OPTIONS)
    assert sorted(computed) == sorted(np.ndindex(lazy.numblocks))
    np.testing.assert_array_equal(pyramid.levels[0][...], VOXELS + 1)


def test_an_error_in_the_users_graph_comes_through_and_the_build_goes_on_afterwards(tmp_path: Path) -> None:
    broken = [True]

    def sometimes(block: Any) -> Any:
        if broken[0]:
            raise ZeroDivisionError("the user's own bug")
        return block

    lazy = da.from_array(VOXELS, chunks=20).map_blocks(sometimes, dtype=np.float32, meta=VOXELS[:0])
    with scheduler("synchronous"):
        with pytest.raises(ZeroDivisionError, match="the user's own bug"):
            cp.build_pyramid(lazy, tmp_path / "target.zarr", **OPTIONS)
        broken[0] = False
        pyramid = cp.build_pyramid(lazy, tmp_path / "target.zarr", **OPTIONS)
    np.testing.assert_array_equal(pyramid.levels[0][...], VOXELS)


@pytest.mark.parametrize("name", ["threads", "distributed"])
def test_the_accessor_runs_on_the_active_scheduler(name: str, tmp_path: Path, expected: dict[str, bytes]) -> None:
    array = xr.DataArray(da.from_array(VOXELS, chunks=13), dims=("z", "y", "x"))
    with scheduler(name):
        array.pyramid.build(tmp_path / "target.zarr", layout="flat", **OPTIONS)
    voxels = {key: value for key, value in expected.items() if "/c/" in key}
    assert {key: value for key, value in contents(tmp_path / "target.zarr").items() if "/c/" in key} == voxels


class SlowStore(WrapperStore[Any]):
    """A store that takes its time to write chunks, but may fail at one of them sooner."""

    _supports_sync_io = False

    def __init__(self, store: Any, fails: bool = True):
        super().__init__(store)
        self.fails = fails

    def _with_store(self, store: Any) -> SlowStore:
        return SlowStore(store, self.fails)

    async def set(self, key: str, value: Any) -> None:
        if self.fails and key == "0/c/0/0/0":
            await asyncio.sleep(0.3)
            raise OSError("the connection was lost")
        if "/c/" in key:
            await asyncio.sleep(1)
        await super().set(key, value)


def times(root: Path) -> dict[str, int]:
    return {str(path): path.stat().st_mtime_ns for path in sorted(root.rglob("*")) if path.is_file()}


@pytest.mark.filterwarnings("ignore:coroutine", "ignore::pytest.PytestUnraisableExceptionWarning")
@pytest.mark.parametrize("name", ["threads", "distributed"])
def test_nothing_is_written_after_a_build_has_failed(name: str, source: Path, tmp_path: Path) -> None:
    """Neither by other tasks, nor by the task that failed: so the build may be overwritten at once."""
    target = tmp_path / "target.zarr"
    with scheduler(name):
        with pytest.raises(cp.BuildError, match="the connection was lost"):
            cp.build_pyramid(source, SlowStore(LocalStore(target)), **OPTIONS)
        before = times(target)
        time.sleep(2)
        assert times(target) == before
    assert any("/0/c/" in path for path in before) or name == "synchronous"
    gc.collect()


def test_a_pool_of_the_users_runs_no_more_tasks_at_once_than_planned() -> None:
    running: list[int] = [0, 0]

    class Watching(ThreadPoolExecutor):
        def submit(self, function: Any, /, *args: Any, **options: Any) -> Any:
            def counted() -> Any:
                running[0] += 1
                running[1] = max(running)
                try:
                    return function(*args, **options)
                finally:
                    running[0] -= 1

            return super().submit(counted)

    volume = zarr.create_array({}, shape=(256,) * 3, chunks=(32,) * 3, dtype="u1")
    volume[...] = np.random.default_rng(0).integers(0, 9, volume.shape, dtype=np.uint8)
    with Watching(6) as pool, dask.config.set(pool=pool):
        plans = (least_plan(volume, BASELINE + room) for room in range(0, 16 * 2**20, 2**18))
        plan = next(plan for plan in plans if plan is not None and 1 < plan.threads < 6 < plan.tasks)
        cp.build_pyramid(volume, MemoryStore(), method="mode", levels=1, memory_limit=plan.memory_limit)
    assert running[1] == plan.threads


def least_plan(volume: Any, memory_limit: int) -> Any:
    try:
        return cp.plan_pyramid(volume, {}, method="mode", levels=1, memory_limit=memory_limit)
    except cp.PlanError:
        return None
