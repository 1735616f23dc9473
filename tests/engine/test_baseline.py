"""What a process has already when a build is planned: the promise includes it where it can."""

from __future__ import annotations

import json
import logging
import subprocess
import sys
from pathlib import Path
from typing import Any

import dask
import numpy as np
import pytest
import zarr

import chunkpyramid as cp
from chunkpyramid.engine.process_memory import BASELINE, measured_baseline, peak_memory
from chunkpyramid.engine.scheduler import active_machine
from chunkpyramid.text import format_bytes

pytestmark = pytest.mark.skipif(peak_memory() is None, reason="the system does not tell the peak of a process")

MIB = 2**20

# a child that has so much in memory when it builds, and tells what was planned for it and its peak
CHILD = """
import json, sys
import dask, numpy as np, zarr
import chunkpyramid as cp
from chunkpyramid.engine.process_memory import peak_memory

folder, held, limit, as_source = json.loads(sys.argv[1])
own = np.ones(held, np.uint8)
source = zarr.open_array(folder + "/source.zarr", mode="r")
if as_source:
    source = own.reshape(-1, 256, 256)
with dask.config.set(scheduler="threads", num_workers=2):
    plan = cp.build_pyramid(source, folder + "/target.zarr", method="mean", chunks=64, memory_limit=limit).plan
print(json.dumps([plan.baseline, plan.peak_bytes, peak_memory()]))
"""


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    array = zarr.create_array(str(tmp_path / "source.zarr"), shape=(256,) * 3, chunks=(64,) * 3, dtype="u2")
    array[...] = np.random.default_rng(0).integers(0, 2**16, array.shape, np.uint16)
    return tmp_path


def built(folder: Path, held: int, limit: int, *, as_source: bool = False) -> tuple[int, int, int]:
    arguments = json.dumps([str(folder), held, limit, as_source])
    done = subprocess.run([sys.executable, "-c", CHILD, arguments], capture_output=True, text=True, check=True)
    baseline, promised, peak = json.loads(done.stdout)
    return baseline, promised, peak


def test_what_a_process_has_is_part_of_the_promise(folder: Path) -> None:
    held, limit = 200 * MIB, 420 * MIB
    baseline, promised, peak = built(folder, held, limit)
    assert baseline >= held + 100 * MIB
    assert peak <= promised <= limit


def test_a_new_process_has_the_least(folder: Path) -> None:
    baseline, promised, peak = built(folder, 0, 300 * MIB)
    assert BASELINE <= baseline <= BASELINE + 32 * MIB
    assert peak <= promised <= 300 * MIB


def test_a_source_in_memory_is_not_counted(folder: Path) -> None:
    baseline, promised, _ = built(folder, 256 * MIB, 300 * MIB, as_source=True)
    assert BASELINE <= baseline <= BASELINE + 32 * MIB
    assert promised <= 300 * MIB


def test_a_limit_below_what_a_process_has_speaks_of_the_build(folder: Path, caplog: pytest.LogCaptureFixture) -> None:
    held = np.ones(300 * MIB, np.uint8)
    options: dict[str, Any] = {"method": "mean", "chunks": 64, "memory_limit": 300 * MIB}
    with caplog.at_level(logging.WARNING, logger="chunkpyramid"):
        plan = cp.plan_pyramid(str(folder / "source.zarr"), str(folder / "target.zarr"), **options)
    assert held.any()
    assert plan.baseline == BASELINE
    assert plan.peak_bytes <= 300 * MIB
    assert "its peak will be higher" in caplog.text


def test_what_no_process_could_keep_is_refused(folder: Path) -> None:
    with pytest.raises(cp.PlanError, match="raise memory_limit"):
        cp.plan_pyramid(str(folder / "source.zarr"), str(folder / "target.zarr"), memory_limit=BASELINE)


def test_nobody_looks_into_the_processes_of_workers() -> None:
    held = np.ones(300 * MIB, np.uint8)
    assert measured_baseline() >= 300 * MIB
    assert measured_baseline(held.nbytes) < 300 * MIB + measured_baseline()
    with dask.config.set(scheduler="processes"):
        assert active_machine().baseline == BASELINE
    with dask.config.set(scheduler="synchronous"):
        assert active_machine().baseline >= 300 * MIB


def test_the_plan_prints_what_the_process_has(folder: Path) -> None:
    plan = cp.plan_pyramid(str(folder / "source.zarr"), str(folder / "target.zarr"), memory_limit="8 GiB")
    assert f"memory: {format_bytes(plan.baseline)} process + " in str(plan)
