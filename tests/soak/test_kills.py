"""A build that is killed ten times, wherever it is, and goes on each time: nothing is lost and little is done twice."""

from __future__ import annotations

import math
import random
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import dask
import numpy as np
import pytest
import zarr

import chunkpyramid as cp
from chunkpyramid.boxes import Box, tile

SHAPE = (130, 200, 260)
WORKERS = 2
KILLS = 10
UNSHARDED: dict[str, Any] = {"method": "mean", "levels": 4, "chunks": 8}
SHARDED = UNSHARDED | {"shards": 16}

# what the child runs: a build that tells how many blocks are done
CHILD = f"""
import sys
import dask
import chunkpyramid as cp

source, target, options = sys.argv[1], sys.argv[2], eval(sys.argv[3])
with dask.config.set(scheduler="threads", num_workers={WORKERS}):
    cp.build_pyramid(source, target, progress=lambda done, total: print(done, flush=True), **options)
"""


@pytest.fixture(autouse=True)
def as_many_threads_as_the_child() -> Iterator[None]:
    with dask.config.set(scheduler="threads", num_workers=WORKERS):
        yield


@pytest.fixture(scope="module")
def source(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    path = tmp_path_factory.mktemp("source") / "source.zarr"
    array = zarr.create_array(path, shape=SHAPE, chunks=(16,) * 3, dtype="uint16")
    rng = np.random.default_rng(0)
    for box in tile(Box((0, 0, 0), SHAPE), (16, *SHAPE[1:])):
        part = box.clip(SHAPE)
        array[part.slices] = rng.integers(0, 60000, part.shape, dtype=np.uint16)
    yield path
    shutil.rmtree(path)


def run(source: Path, target: Path, options: dict[str, Any], after: float = math.inf, delay: float = 0) -> None:
    """Build in a process of its own, which is killed some time after so many more blocks are done."""
    arguments = [sys.executable, "-c", CHILD, str(source), str(target), repr(options)]
    with subprocess.Popen(arguments, stdout=subprocess.PIPE, text=True) as child:
        assert child.stdout is not None
        first = None
        for done in map(int, child.stdout):
            first = done if first is None else first
            if done - first >= after:
                time.sleep(delay)
                child.kill()
                break
        child.stdout.read()
    assert child.returncode == (0 if after == math.inf else -signal.SIGKILL)


def flags(target: Path, kind: str) -> dict[Path, int]:
    """Return the flags of blocks that are begun or done, each with the time at which it was set."""
    folder = target / ".chunkpyramid" / kind
    keys = (path for path in folder.glob("*/*/*") if ".partial" not in path.name)
    return {path.relative_to(folder): path.stat().st_mtime_ns for path in keys}


def contents(root: Path) -> dict[str, bytes]:
    """All files, without what zarr leaves behind of a file that it was writing."""
    return {
        str(path.relative_to(root)): path.read_bytes()
        for path in sorted(root.rglob("*"))
        if path.is_file() and ".partial" not in path.name
    }


@pytest.mark.parametrize("options", [pytest.param(UNSHARDED, id="chunks"), pytest.param(SHARDED, id="shards")])
def test_ten_kills_change_no_byte_and_cost_little(tmp_path: Path, source: Path, options: dict[str, Any]) -> None:
    whole = cp.build_pyramid(source, tmp_path / "whole.zarr", **options)
    assert whole.plan is not None
    assert len(whole.plan.stages) > 1
    tasks, target = whole.plan.tasks, tmp_path / "target.zarr"
    draw = random.Random(0)
    ran = 0
    for _ in range(KILLS):
        begun_before, done_before = flags(target, "begun"), flags(target, "done")
        after = draw.randint(1, max(1, tasks // (2 * KILLS)))
        run(source, target, options, after, draw.uniform(0, 0.05))
        begun, done = flags(target, "begun"), flags(target, "done")
        # a block that is begun again sets its flag anew
        again = {flag for flag, when in begun.items() if begun_before.get(flag) != when}
        ran += len(again)
        assert not again & done_before.keys()
        assert done.keys() - done_before.keys() <= again
        with pytest.raises(cp.BuildError, match="has not been finished"):
            cp.open_pyramid(target)
    ran += tasks - len(flags(target, "done"))
    run(source, target, options)
    assert contents(target) == contents(tmp_path / "whole.zarr")
    # a kill costs the blocks that are under way, and these are few enough
    assert tasks < ran <= min(tasks + KILLS * WORKERS, 1.5 * tasks)
