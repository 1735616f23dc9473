"""Operations on a cluster whose workers are processes, and are killed."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import dask
import dask.array as da
import numpy as np
import numpy.typing as npt
import pytest
import zarr
from helpers.cluster import cluster

import chunkpyramid as cp
from chunkpyramid.engine.process_memory import BASELINE

Array = npt.NDArray[Any]

LABELS = np.repeat(np.random.default_rng(0).integers(0, 30, (23, 29, 10)), 3, axis=2).astype(np.uint32)
COUNTS = np.bincount(LABELS.ravel(), minlength=30)
OPTIONS: dict[str, Any] = {"memory_limit": BASELINE + 64 * 2**20}


@pytest.fixture(scope="module", autouse=True)
def workers() -> Iterator[Any]:
    with cluster(processes=True, threads_per_worker=2) as local:
        yield local


@pytest.fixture(scope="module")
def stored(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("source") / "labels.zarr"
    zarr.create_array(path, data=LABELS, chunks=(8, 8, 8))
    return path


@pytest.fixture(params=["zarr", "sharded zarr", "dask", "numpy"])
def source(request: pytest.FixtureRequest, stored: Path, tmp_path: Path) -> Any:
    if request.param == "sharded zarr":
        zarr.create_array(tmp_path / "sharded.zarr", data=LABELS, chunks=(4, 4, 4), shards=(8, 16, 8))
    return {
        "zarr": stored,
        "sharded zarr": tmp_path / "sharded.zarr",
        "dask": da.from_array(LABELS, chunks=(10, 29, 7)),
        "numpy": LABELS,
    }[request.param]


def sum_around(part: Array) -> Array:
    """Return the sum of all voxels that are no farther than 1 away along any axis; beyond the edges there are none."""
    padded = np.pad(part.astype(np.int64), 1)
    return np.lib.stride_tricks.sliding_window_view(padded, (3,) * part.ndim).sum(axis=(-3, -2, -1))


def histogram(part: Array) -> Array:
    return np.bincount(part.ravel(), minlength=30)


def counted(source: Any, target: Path) -> None:
    found = cp.reduce_blocks(histogram, np.add, source, target=target, **OPTIONS)
    np.testing.assert_array_equal(found, COUNTS)
    # the same call again finds what is kept
    np.testing.assert_array_equal(cp.reduce_blocks(histogram, np.add, source, target=target, **OPTIONS), COUNTS)


def test_map_blocks_with_a_halo(source: Any, tmp_path: Path) -> None:
    options = {"dtype": "int64", "halo": 1, "chunks": 8, **OPTIONS}
    volume = cp.map_blocks(sum_around, source, tmp_path / "target.zarr", **options)
    np.testing.assert_array_equal(volume[...], sum_around(LABELS))


def test_reduce_blocks(source: Any, tmp_path: Path) -> None:
    counted(source, tmp_path / "target")


def test_statistics_and_unique_labels(source: Any, tmp_path: Path) -> None:
    limit = {"memory_limit": "1 GiB"}
    table = cp.labels.statistics(source, background=None, target=tmp_path / "table.zarr", **limit)
    labels, counts = cp.labels.unique(source, return_counts=True, **limit)
    np.testing.assert_array_equal(table.label, np.arange(30))
    np.testing.assert_array_equal(labels, np.arange(30))
    np.testing.assert_array_equal(table.count, COUNTS)
    np.testing.assert_array_equal(counts, COUNTS)
    for label, row in table.items():
        where = np.argwhere(label == LABELS)
        assert row.box == tuple(slice(int(a), int(b) + 1) for a, b in zip(where.min(0), where.max(0), strict=True))
        np.testing.assert_allclose(row.centroid, where.mean(axis=0), rtol=1e-13)
    assert cp.labels.statistics(source, background=None, target=tmp_path / "table.zarr", **limit) == table


@dataclass(frozen=True)
class Deadly:
    """A function that kills the process that calls it once, in the middle of a job, when four calls went well."""

    function: Callable[[Array], Array]
    folder: Path

    def __call__(self, part: Array) -> Array:
        made = self.function(part)
        calls = len(list(self.folder.glob("call-*")))
        if calls >= 4:
            try:
                (self.folder / "death").touch(exist_ok=False)
            except FileExistsError:
                return made
            os._exit(1)
        (self.folder / f"call-{os.getpid()}-{calls}").touch()
        return made


def finished(call: Callable[[], Any], workers: Any, *, is_replaced: bool) -> Any:
    """Return what a call gives in the end, during which a worker dies.

    Either Dask gives what that one had to do to another, or the job fails and goes on when it is called again.
    """
    scheduler = workers.scheduler
    before, scheduler.allowed_failures = scheduler.allowed_failures, 3 if is_replaced else 0
    try:
        if not is_replaced:
            with pytest.raises(cp.BuildError, match=r"has died.*run the same again"):
                call()
        return call()
    finally:
        scheduler.allowed_failures = before


@pytest.mark.parametrize("is_replaced", [True, False])
def test_map_blocks_whose_worker_dies(is_replaced: bool, stored: Path, workers: Any, tmp_path: Path) -> None:
    function = Deadly(sum_around, tmp_path)
    options = {"dtype": "int64", "halo": 1, "chunks": 8, **OPTIONS}
    volume = finished(
        lambda: cp.map_blocks(function, stored, tmp_path / "target.zarr", **options), workers, is_replaced=is_replaced
    )
    np.testing.assert_array_equal(volume[...], sum_around(LABELS))
    assert (tmp_path / "death").exists()
    assert not (tmp_path / "target.zarr" / ".chunkpyramid").exists()


def test_reduce_blocks_whose_worker_dies(stored: Path, workers: Any, tmp_path: Path) -> None:
    function = Deadly(histogram, tmp_path)
    found = finished(
        lambda: cp.reduce_blocks(function, np.add, stored, target=tmp_path / "target", **OPTIONS),
        workers,
        is_replaced=False,
    )
    np.testing.assert_array_equal(found, COUNTS)


def test_statistics_of_a_source_that_kills_a_worker(workers: Any, tmp_path: Path) -> None:
    lazy = da.from_array(LABELS, chunks=(10, 10, 10)).map_blocks(
        Deadly(np.array, tmp_path), dtype=LABELS.dtype, meta=LABELS[:0, :0, :0]
    )
    table = finished(
        lambda: cp.labels.statistics(lazy, target=tmp_path / "table.zarr", memory_limit="1 GiB"),
        workers,
        is_replaced=False,
    )
    assert table == cp.labels.statistics(LABELS, memory_limit="1 GiB")
    assert (tmp_path / "death").exists()


def test_a_worker_of_a_pool_that_dies(stored: Path, tmp_path: Path) -> None:
    """Python gives up a pool of which a process has died."""
    function = Deadly(histogram, tmp_path)
    options = {"target": tmp_path / "target", **OPTIONS}
    with dask.config.set(scheduler="processes", num_workers=1):
        with pytest.raises(cp.BuildError, match=r"has died.*run the same again"):
            cp.reduce_blocks(function, np.add, stored, **options)
        np.testing.assert_array_equal(cp.reduce_blocks(function, np.add, stored, **options), COUNTS)
