"""Connected components of volumes at size: random cases, worst cases within the memory limit, kills at any moment."""

from __future__ import annotations

import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import dask
import numpy as np
import numpy.typing as npt
import pytest
import zarr
from zarr.storage import MemoryStore

from chunkpyramid.engine import block_shapes
from chunkpyramid.engine.process_memory import BASELINE
from chunkpyramid.labels.components import connected_components
from tests.helpers.component_oracle import renumbered

Array = npt.NDArray[Any]

LIMIT = 512 * 2**20

CHILD = """
import sys, dask
from chunkpyramid.engine.process_memory import peak_memory
from chunkpyramid.labels.components import connected_components
source, target, limit, connectivity, threads = *sys.argv[1:3], *map(int, sys.argv[3:])
with dask.config.set(scheduler="threads", num_workers=threads):
    connected_components(source, target, connectivity=connectivity, memory_limit=limit, overwrite=False)
print(peak_memory())
"""


def by_another_library(labels: Array, connectivity: int, dust: int) -> Array:
    cc3d = pytest.importorskip("cc3d")
    found = cc3d.connected_components(np.ascontiguousarray(labels), connectivity=connectivity)
    counts = np.bincount(found.ravel())
    found[counts[found] < dust] = 0
    return renumbered(found)


@pytest.mark.parametrize("seed", range(200))
def test_random_cases(seed: int, monkeypatch: pytest.MonkeyPatch) -> None:
    rng = np.random.default_rng(seed)
    ndim = int(rng.choice([2, 3, 3]))
    shape = tuple(int(n) for n in rng.integers(1, 60 if ndim == 3 else 300, ndim))
    labels = rng.integers(0, rng.integers(2, 6), shape).astype(rng.choice(["u1", "u2", "u4", "u8", "i4", "i8"]))
    for axis in range(ndim):
        labels = np.repeat(labels, int(rng.integers(1, 4)), axis=axis)[tuple(slice(n) for n in shape)]
    connectivity = int(rng.choice([4, 8] if ndim == 2 else [6, 18, 26]))
    dust = int(rng.choice([0, 0, 3, 50]))
    threshold = None if rng.random() < 0.7 else (1, int(rng.integers(1, 4)))
    chunks, written = (tuple(int(n) for n in rng.integers(4, 40, ndim)) for _ in range(2))
    monkeypatch.setattr(block_shapes, "PIECE_BYTES", int(rng.choice([2**10, 2**14, 2**25])))
    source = zarr.create_array(MemoryStore(), shape=shape, dtype=labels.dtype, chunks=chunks)
    source[...] = labels
    with dask.config.set(scheduler=str(rng.choice(["threads", "synchronous"]))):
        volume = connected_components(
            source,
            MemoryStore(),
            connectivity=connectivity,
            dust=dust,
            threshold=threshold,
            chunks=written,
            shards=None if rng.random() < 0.5 else tuple(2 * n for n in written),
            memory_limit=None if rng.random() < 0.5 else BASELINE + 64 * 2**20,
        )
    inside = labels if threshold is None else ((labels >= threshold[0]) & (labels <= threshold[1])).astype(np.uint8)
    np.testing.assert_array_equal(volume[...], by_another_library(inside, connectivity, dust))


def layers(name: str, start: int, stop: int, side: int) -> Array:
    """Return planes of a volume that is hard in some way."""
    shape = (stop - start, side, side)
    if name == "one":
        return np.ones(shape, np.uint64)
    z, y, x = np.ogrid[start:stop, :side, :side]
    if name == "checkerboard":
        return ((z + y + x) % 2).astype(np.uint64)
    if name == "every voxel":
        return np.broadcast_to((z * side + y) * side + x + 1, shape).astype(np.uint64)
    if name == "threads":
        return np.broadcast_to(y * side + x + 1, shape).astype(np.uint64)
    # a spiral: rows that are joined at alternate ends, planes too
    labels = np.zeros(shape, np.uint64)
    rows = (z % 2 == 0) & (y % 2 == 0) & (x < side - 1)
    turns = (z % 2 == 0) & (y % 2 == 1) & (y < side - 2) & (x == np.where(y % 4 == 1, side - 2, 0))
    between = (z % 2 == 1) & (y == np.where(z % 4 == 1, side - 2, 0)) & (x == 0)
    labels[np.broadcast_to(rows | turns | between, shape)] = 1
    return labels


WORST = {"one": 1, "checkerboard": 256**3 // 2, "every voxel": 256**3, "threads": 256**2, "spiral": 1}


@pytest.mark.parametrize("name", WORST)
def test_worst_cases_keep_to_the_memory_limit(name: str, tmp_path: Path) -> None:
    """The checkerboard has eight million components of one voxel, and the volume of distinct voxels sixteen."""
    side = 256
    source = zarr.create_array(tmp_path / "source.zarr", shape=(side,) * 3, dtype=np.uint64, chunks=(64,) * 3)
    for start in range(0, side, 64):
        source[start : start + 64] = layers(name, start, start + 64, side)
    told = [str(tmp_path / "source.zarr"), str(tmp_path / "target.zarr"), str(LIMIT), "6", "2"]
    done = subprocess.run([sys.executable, "-c", CHILD, *told], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert int(done.stdout) <= LIMIT
    numbers = zarr.open_group(tmp_path / "target.zarr", mode="r")["0"]
    assert isinstance(numbers, zarr.Array)
    expected = connected_components(np.asarray(source[...]))
    np.testing.assert_array_equal(numbers[...], expected)
    assert int(np.asarray(expected).max()) == WORST[name]


def files_of(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def test_kills_at_random_moments_change_nothing(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    labels = np.kron(rng.integers(0, 4, (24, 48, 48)), np.ones((8, 8, 8))).astype(np.uint32)
    source = zarr.create_array(tmp_path / "source.zarr", data=labels, chunks=(48, 48, 48))
    told = [str(LIMIT), "26", "2"]

    def arguments(target: str) -> list[str]:
        return [sys.executable, "-c", CHILD, str(tmp_path / "source.zarr"), str(tmp_path / target), *told]

    began = time.monotonic()
    subprocess.run(arguments("whole.zarr"), check=True, capture_output=True)
    whole = time.monotonic() - began
    for moment in rng.uniform(0.2, 0.9, 5):
        child = subprocess.Popen(arguments("target.zarr"), stdout=subprocess.DEVNULL)
        time.sleep(whole * moment)
        child.send_signal(signal.SIGKILL)
        child.wait()
    subprocess.run(arguments("target.zarr"), check=True, capture_output=True)
    assert files_of(tmp_path / "target.zarr") == files_of(tmp_path / "whole.zarr")
    expected = connected_components(np.asarray(source[...]), connectivity=26)
    np.testing.assert_array_equal(zarr.open_group(tmp_path / "target.zarr", mode="r")["0"][...], expected)  # type: ignore[index]
