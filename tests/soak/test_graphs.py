"""The graphs of stages of up to a million blocks take what the plan charges for them."""

from __future__ import annotations

import subprocess
import sys

import pytest

from chunkpyramid.engine.process_memory import graph_bytes

# a stage whose tasks do nothing but set their flags, in a store that keeps one bit of each
CHILD = '''
import sys
from dataclasses import dataclass

import dask
import dask.array as da
import numpy as np
import xarray
from zarr.storage import MemoryStore

from chunkpyramid.engine.scheduler import run_stage
from chunkpyramid.boxes import Box
from chunkpyramid.engine.flags import Flags
from chunkpyramid.engine.process_memory import peak_memory


class FlagStore(MemoryStore):
    """Keeps which flags are set, and no keys or values, which a process would run out of memory with."""

    def __init__(self, grid):
        super().__init__()
        self.marks = {"begun": np.zeros(grid, bool), "done": np.zeros(grid, bool)}
        self.most = {}

    async def set(self, key, value, byte_range=None):
        kind, _, folder, name = key.split("/")[1:]
        index = tuple(map(int, name.split(".")))
        self.marks[kind][index] = True
        if kind == "begun":
            low, high = self.most.get(folder, (index, index))
            self.most[folder] = tuple(map(min, low, index)), tuple(map(max, high, index))

    async def list_dir(self, prefix):
        kind, _, folder = prefix.split("/")[1:]
        if folder in self.most:
            low, high = self.most[folder]
            box = tuple(slice(a, b + 1) for a, b in zip(low, high))
            for index in np.argwhere(self.marks[kind][box]):
                yield ".".join(str(a + i) for a, i in zip(low, index))


@dataclass
class Stage:
    index: int
    grid: tuple
    block: tuple


class NoTask:
    def __init__(self, grid):
        self.stage = Stage(0, grid, (1,) * len(grid))
        self.to_run = Box((0,) * len(grid), grid)
        self.flags = Flags(FlagStore(grid), "scratch", 0, grid)

    def __call__(self, *blocks, block_id, offset, done, interrupted):
        assert block_id not in done and block_id not in interrupted
        index = tuple(int(o + i) for o, i in zip(offset, block_id))
        self.flags.begin(index)
        self.flags.finish(index)
        return np.ones((1,) * len(index), np.uint8)


def run(grid, source=None):
    task = NoTask(grid)
    counts = []
    run_stage(task, source, 4, counts.append)
    assert sum(counts) == task.flags.store.marks["done"].sum() == np.prod(grid)


if __name__ == "__main__":
    grid = tuple(map(int, sys.argv[2].split("x")))
    source = da.zeros(grid, chunks=grid, dtype=np.uint8) if sys.argv[3] == "dask" else None
    with dask.config.set(scheduler=sys.argv[1], num_workers=4):
        run((4,) * len(grid), None if source is None else da.zeros((4,) * len(grid), chunks=4, dtype=np.uint8))
        before = peak_memory()
        run(grid, source)
        print(peak_memory() - before)
'''


def grown(grid: str, scheduler: str = "threads", source: str = "zarr") -> int:
    """Run a stage in a process of its own, and return by how many bytes its peak grew beyond that of a small one."""
    done = subprocess.run(
        [sys.executable, "-c", CHILD, scheduler, grid, source], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    return int(done.stdout)


@pytest.mark.parametrize(
    ("grid", "scheduler", "source"),
    [("10x25x40", "threads", "zarr"), ("25x20x20", "threads", "dask"), ("10000x1", "synchronous", "zarr")],
)
def test_a_window_takes_what_the_plan_charges_for_its_graph(grid: str, scheduler: str, source: str) -> None:
    assert grown(grid, scheduler, source) <= graph_bytes(10_000)


def test_windows_take_no_more_than_one() -> None:
    assert grown("40x25x40") <= graph_bytes(40_000) == graph_bytes(10_000)


def test_a_million_blocks_take_no_more_than_a_window() -> None:
    assert grown("100x100x100") <= graph_bytes(1_000_000) == graph_bytes(10_000)
