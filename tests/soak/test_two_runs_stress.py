"""Two processes are started on one target a hundred times, and one of them is killed when the other has succeeded."""

from __future__ import annotations

import multiprocessing
import random
import shutil
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import zarr

import chunkpyramid as cp

TRIALS = 100


def job(queue: Any, number: int, folder: Path, delay: float) -> None:
    time.sleep(delay)
    try:
        cp.build_pyramid(folder / "source.zarr", folder / "target.zarr", levels=2, memory_limit="400 MiB")
        queue.put((number, "ok"))
    except Exception as error:
        queue.put((number, f"{type(error).__name__}: {error}"))


@pytest.mark.parametrize("seed", [0, 1])
def test_whatever_succeeds_is_right(seed: int, tmp_path: Path) -> None:
    draw = random.Random(seed)
    image = np.random.default_rng(seed).integers(1, 255, (64, 384, 384)).astype(np.uint8)
    zarr.create_array(tmp_path / "source.zarr", data=image, chunks=(32, 32, 32))
    whole = [
        level[...] for level in cp.build_pyramid(tmp_path / "source.zarr", tmp_path / "whole.zarr", levels=2).levels
    ]
    # processes that have imported all, so that a short delay decides which of them is first
    context = multiprocessing.get_context("fork")
    for _ in range(TRIALS):
        shutil.rmtree(tmp_path / "target.zarr", ignore_errors=True)
        queue = context.Queue()
        delay = draw.uniform(0, 0.4)
        jobs = [context.Process(target=job, args=(queue, n, tmp_path, n * delay)) for n in range(2)]
        for process in jobs:
            process.start()
        number, result = queue.get(timeout=300)
        if result == "ok":
            jobs[1 - number].kill()
        else:
            # or refused, if it looked at the very moment at which the other one began
            assert result.partition(":")[0] in ("OvertakenError", "TargetExistsError")
            number, result = queue.get(timeout=300)
        for process in jobs:
            process.join()
        assert result == "ok", result
        pyramid = cp.open_pyramid(tmp_path / "target.zarr")
        for level, values in zip(pyramid.levels, whole, strict=True):
            np.testing.assert_array_equal(level[...], values)
