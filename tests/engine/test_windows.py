"""Stages of a million blocks: a window at a time, within what the plan charges for the graph."""

from __future__ import annotations

import itertools
from collections.abc import AsyncIterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
import zarr
from fsspec.asyn import AsyncFileSystem
from hypothesis import given
from hypothesis.extra import numpy as npst
from zarr.storage import FsspecStore, LocalStore, MemoryStore, WrapperStore

import chunkpyramid as cp
from chunkpyramid.engine.flags import BlockSet, Flags
from chunkpyramid.engine.journal import Journal


class RememberingFileSystem(AsyncFileSystem):
    """Local folders, with listings that are kept as those of object stores are."""

    async_impl = True
    protocol = "remembering"
    cachable = False

    async def _ls(self, path: str, detail: bool = True, **_: Any) -> Any:
        if path not in self.dircache:
            self.dircache[path] = [str(entry) for entry in Path(path).iterdir()] if Path(path).exists() else []
        return self.dircache[path]

    def invalidate_cache(self, path: str | None = None) -> None:
        self.dircache.pop(path, None)


STORES: dict[str, Any] = {
    "local": lambda path: LocalStore(path / "target.zarr"),
    "memory": lambda path: MemoryStore(),
    "fsspec": lambda path: FsspecStore.from_url(f"memory://flags{path}"),
    "fsspec local": lambda path: FsspecStore.from_url(
        f"file://{path}/target.zarr", storage_options={"auto_mkdir": True}
    ),
    "wrapped": lambda path: WrapperStore(LocalStore(path / "target.zarr")),
}


@pytest.mark.parametrize("zarr_format", [2, 3])
@pytest.mark.parametrize("store", STORES)
@pytest.mark.parametrize("path", ["", "some/group"])
def test_flags_are_kept_by_every_store(store: str, path: str, zarr_format: Any, tmp_path: Path) -> None:
    group = zarr.create_group(STORES[store](tmp_path), path=path, zarr_format=zarr_format)
    plan = cp.plan_pyramid(np.zeros((48, 40), np.uint8), {}, chunks=4, levels=1)
    journal = Journal.create(group, None, {})
    flags = replace(journal.flags(0, plan.stages[0].grid), grid=(12, 10), most=30)
    windows = list(flags.windows())
    assert len(windows) == 4
    begun, done = np.zeros((2, 12, 10), bool)
    for index, marks in (((0, 0), (begun, done)), ((3, 9), (begun, done)), ((11, 1), (begun,)), ((1, 1), (begun,))):
        flags.begin(index)
        if len(marks) == 2:
            flags.finish(index)
        for mark in marks:
            mark[index] = True
    for window in windows:
        np.testing.assert_array_equal(flags.begun(window), begun[window.slices])
        np.testing.assert_array_equal(flags.done(window), done[window.slices])
    Journal.remove(group)
    assert Journal.find(group) is None
    assert not any(flags.begun(window).any() for window in windows)


def test_flags_that_another_process_sets_are_seen(tmp_path: Path) -> None:
    """File systems of fsspec may remember what a folder held when it was last listed."""
    store = FsspecStore(RememberingFileSystem(asynchronous=True), path=str(tmp_path))
    flags = Flags(store, "scratch", 0, (4,))
    (window,) = flags.windows()
    assert not flags.done(window).any()
    # through another store, of which this one knows nothing
    Flags(LocalStore(tmp_path), "scratch", 0, (4,)).finish((2,))
    assert flags.done(window).tolist() == [False, False, True, False]


def test_reading_flags_is_one_listing_of_a_window() -> None:
    calls: list[tuple[str, str]] = []

    class Counting(WrapperStore[Any]):
        async def get(self, key: str, prototype: Any, byte_range: Any = None) -> Any:
            calls.append(("get", key))
            return await super().get(key, prototype, byte_range)

        async def list_dir(self, prefix: str) -> AsyncIterator[str]:
            calls.append(("list", prefix))
            async for name in super().list_dir(prefix):
                yield name

    flags = Flags(Counting(MemoryStore()), "scratch", 0, (100, 100), most=1000)
    for index in np.ndindex(20, 100):
        flags.finish(index)
    first, second, third = itertools.islice(flags.windows(), 3)
    assert flags.done(first).all()
    assert flags.done(second).all()
    assert not flags.done(third).any()
    assert calls == [("list", f"scratch/done/0/{n}.0") for n in range(3)]


@given(npst.arrays(np.bool_, npst.array_shapes(min_dims=1, max_dims=4, max_side=5)))
def test_a_set_of_blocks_has_a_bit_for_each(mask: npt.NDArray[np.bool_]) -> None:
    blocks = BlockSet.of(mask)
    assert len(blocks.bits) <= mask.size // 8 + 1
    assert all((index in blocks) == mask[index] for index in np.ndindex(mask.shape))
