"""Operations on volumes of labels that are killed five times end with the same bytes as if they had not been."""

from __future__ import annotations

import hashlib
import random
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import pytest
import zarr

from chunkpyramid.sources.phantom import phantom_image_and_labels

SHAPE = (200, 200, 200)
KILLS = 5

TABLE = "{label: (label * 7 + 1) % 5000 for label in range(100000)}"
OPERATIONS = {
    "remap": f"cp.labels.remap(source, {TABLE}, True, target=target)",
    "renumber": "cp.labels.renumber(source, target=target)",
    "mask": "cp.labels.mask(source, range(0, 5000, 2), target=target)",
    "refit": "cp.labels.refit(source, target=target)",
    "dust": "cp.labels.dust(source, target, threshold=2000)",
    "agglomerate": "cp.labels.agglomerate(source, [(n, n + 1) for n in range(1, 4000, 3)], target)",
    "connected_components": "cp.labels.connected_components(source, target, connectivity=26, dust=10)",
    "statistics": "cp.labels.statistics(source, target=target)",
    "contacts": "cp.labels.contacts(source, target=target)",
    "remap in place": f"cp.labels.remap(target, {TABLE}, True, in_place=True)",
    "renumber in place": "cp.labels.renumber(target, 3, in_place=True)",
    "mask_except in place": "cp.labels.mask_except(target, range(0, 5000, 2), in_place=True)",
    "dust in place": "cp.labels.dust(target, threshold=2000, in_place=True)",
}

CHILD = """
import sys
import dask
import chunkpyramid as cp

source, target = sys.argv[1:3]
print("begun", flush=True)
with dask.config.set(scheduler="threads", num_workers=2):
    exec(sys.argv[3])
"""


@pytest.fixture(scope="module")
def source(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("source") / "labels.zarr"
    labels = phantom_image_and_labels((0, 0, 0), SHAPE)[1].astype(np.uint32)
    zarr.create_array(path, data=labels, chunks=(32, 32, 32), shards=(64, 64, 64))
    return path


@contextmanager
def begun(source: Path, target: Path, code: str) -> Iterator[subprocess.Popen[str]]:
    """Start an operation in a process of its own, and go on when all that it needs is imported."""
    arguments = [sys.executable, "-c", CHILD, str(source), str(target), code]
    with subprocess.Popen(arguments, stdout=subprocess.PIPE, text=True) as child:
        assert child.stdout is not None
        assert child.stdout.readline() == "begun\n"
        yield child


def contents(folder: Path) -> dict[str, str]:
    return {
        str(path.relative_to(folder)): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in sorted(folder.rglob("*"))
        if path.is_file()
    }


@pytest.mark.parametrize("operation", OPERATIONS)
def test_kills_change_no_byte(operation: str, source: Path, tmp_path: Path) -> None:
    whole, killed = tmp_path / "whole" / "labels.zarr", tmp_path / "killed" / "labels.zarr"
    for target in (whole, killed):
        target.parent.mkdir()
        if operation.endswith("in place"):
            shutil.copytree(source, target)
    with begun(source, whole, OPERATIONS[operation]) as child:
        start = time.monotonic()
        assert child.wait() == 0
    seconds = time.monotonic() - start
    rng = random.Random(operation)
    kills = 0
    for _ in range(KILLS):
        with begun(source, killed, OPERATIONS[operation]) as child:
            time.sleep(rng.uniform(0, seconds))
            kills += child.poll() is None
            child.kill()
    with begun(source, killed, OPERATIONS[operation]) as child:
        assert child.wait() == 0
    assert contents(killed) == contents(whole)
    assert kills
