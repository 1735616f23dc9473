"""A user's own reductions: every voxel once, whatever the chunks, memory, schedulers and interruptions."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import dask
import dask.array as da
import numpy as np
import pytest
import zarr
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as npst
from zarr.storage import MemoryStore

import chunkpyramid as cp
from chunkpyramid.engine import reduce_job as engine_reduce
from chunkpyramid.engine.process_memory import BASELINE
from chunkpyramid.engine.records import Merger

IMAGE = np.random.default_rng(0).integers(0, 256, (33, 40, 37)).astype(np.uint8)
COUNTS = np.bincount(IMAGE.ravel(), minlength=256)


def histogram(piece: Any) -> Any:
    return np.bincount(piece.ravel(), minlength=256)


def moments(piece: Any) -> dict[str, Any]:
    return {"voxels": piece.size, "sum": piece.sum(dtype=np.int64), "largest": piece.max()}


def merged_moments(first: Any, second: Any) -> dict[str, Any]:
    return {
        "voxels": first["voxels"] + second["voxels"],
        "sum": first["sum"] + second["sum"],
        "largest": max(first["largest"], second["largest"]),
    }


def stored(**options: Any) -> zarr.Array[Any]:
    array = zarr.create_array(MemoryStore(), shape=IMAGE.shape, dtype=IMAGE.dtype, **options)
    array[...] = IMAGE
    return array


@pytest.mark.parametrize("scheduler", ["synchronous", "threads"])
@pytest.mark.parametrize("limit", [None, BASELINE + 24 * 2**20])
def test_a_histogram_is_that_of_the_whole_array(scheduler: str, limit: int | None) -> None:
    for source in (IMAGE, stored(chunks=(8, 8, 8)), stored(chunks=(4, 4, 4), shards=(8, 16, 8)), da.asarray(IMAGE)):
        with dask.config.set(scheduler=scheduler):
            found = cp.reduce_blocks(histogram, np.add, source, memory_limit=limit)
        np.testing.assert_array_equal(found, COUNTS)


def test_workers_in_other_processes() -> None:
    with dask.config.set(scheduler="processes", num_workers=2):
        np.testing.assert_array_equal(cp.reduce_blocks(histogram, np.add, da.from_array(IMAGE, chunks=20)), COUNTS)


def test_records_of_several_arrays() -> None:
    found = cp.reduce_blocks(moments, merged_moments, stored(chunks=(8, 8, 8)))
    assert {name: int(value) for name, value in found.items()} == {
        "voxels": IMAGE.size,
        "sum": int(IMAGE.sum(dtype=np.int64)),
        "largest": int(IMAGE.max()),
    }


def test_large_records_are_stored_in_parts(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(engine_reduce, "LEAST_RECORD_BYTES", 1000)
    monkeypatch.setattr(engine_reduce, "RECORDS_PART", 2**40)

    def voxels(piece: Any) -> Any:
        return np.sort(piece.ravel())

    found = cp.reduce_blocks(voxels, lambda a, b: np.sort(np.concatenate([a, b])), stored(chunks=(8, 8, 8)))
    np.testing.assert_array_equal(found, np.sort(IMAGE.ravel()))


class Interrupted(Exception):
    pass


@pytest.mark.parametrize("kept", [histogram, moments])
def test_an_interrupted_reduction_goes_on_where_it_stopped(tmp_path: Path, kept: Any) -> None:
    source, target = stored(chunks=(4, 4, 4)), tmp_path / "result"
    combine = np.add if kept is histogram else merged_moments

    def interrupt(done: int, total: int) -> None:
        if done >= 3:
            raise Interrupted

    with dask.config.set(scheduler="synchronous"):
        with pytest.raises(Interrupted):
            cp.reduce_blocks(kept, combine, source, target=target, progress=interrupt)
        with pytest.raises(cp.TargetExistsError, match="differs in combine, function"):
            cp.reduce_blocks(np.size, np.maximum, source, target=target)
        with pytest.raises(cp.TargetExistsError, match="resume=True"):
            cp.reduce_blocks(kept, combine, source, target=target, resume=False)
        steps: list[int] = []
        # with other memory the blocks stay those that were begun
        options: dict[str, Any] = {"target": target, "memory_limit": "300 MiB"}
        found = cp.reduce_blocks(kept, combine, source, progress=lambda done, _: steps.append(done), **options)
        assert steps[0] == 3
        expected = cp.reduce_blocks(kept, combine, source)
        again = cp.reduce_blocks(kept, combine, source, target=target)
    for result in (found, again):
        np.testing.assert_equal(result, expected)


def test_another_source_is_another_reduction(tmp_path: Path) -> None:
    cp.reduce_blocks(histogram, np.add, IMAGE, target=tmp_path / "result")
    with pytest.raises(cp.TargetExistsError, match="overwrite=True"):
        cp.reduce_blocks(histogram, np.add, IMAGE + 1, target=tmp_path / "result")
    other = cp.reduce_blocks(histogram, np.add, IMAGE + 1, target=tmp_path / "result", overwrite=True)
    np.testing.assert_array_equal(other, np.roll(COUNTS, 1))


def test_errors_name_the_block_and_what_failed() -> None:
    def broken(piece: Any) -> Any:
        raise ZeroDivisionError("of no use")

    with pytest.raises(
        cp.BuildError, match=r"block \(\d, \d, \d\) of reduce_blocks failed: ZeroDivisionError: of no use"
    ):
        cp.reduce_blocks(broken, np.add, IMAGE)
    with pytest.raises(cp.BuildError, match="must return numbers"):
        cp.reduce_blocks(lambda piece: object(), np.add, IMAGE)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"function": 3}, "function must be callable"),
        ({"combine": None}, "combine must be callable"),
        ({"bytes_per_voxel": -1}, "bytes_per_voxel"),
        ({"progress": "yes"}, "progress"),
        ({"memory_limit": "2 MiB"}, "at least"),
    ],
)
def test_bad_arguments_are_named(arguments: dict[str, Any], message: str) -> None:
    with pytest.raises(cp.ChunkPyramidError, match=message):
        cp.reduce_blocks(**{"function": histogram, "combine": np.add, "source": IMAGE, **arguments})


@given(st.lists(npst.arrays(np.int64, 3, elements=st.integers(-9, 9)), min_size=1, max_size=40))
def test_records_are_combined_in_order_each_once(records: list[Any]) -> None:
    merger = Merger(lambda first, second: np.concatenate([first, second]))
    for record in records:
        merger.add(record)
    assert len(merger.parts) <= len(records).bit_length()
    np.testing.assert_array_equal(merger.result(), np.concatenate(records))
    assert merger.result() is None


@pytest.mark.parametrize("name", ["", "zarr.json", "a/b", 1])
def test_names_of_arrays_are_identifiers(name: Any, tmp_path: Path) -> None:
    with pytest.raises(cp.BuildError, match=r"by identifiers, but .* was given"):
        cp.reduce_blocks(lambda part: {name: part.sum()}, lambda a, b: a, IMAGE, target=tmp_path / "result")


def test_any_identifier_names_an_array(tmp_path: Path) -> None:
    found = cp.reduce_blocks(
        lambda part: {"file": part.sum(), "self": part.size},
        lambda a, b: {name: a[name] + b[name] for name in a},
        stored(chunks=(4, 4, 4)),
        target=tmp_path / "result",
    )
    assert found == {"file": IMAGE.sum(), "self": IMAGE.size}


def test_errors_of_combine_say_what_failed() -> None:
    def broken(first: Any, second: Any) -> Any:
        raise ZeroDivisionError("no")

    with pytest.raises(cp.BuildError, match=r"combining the records of reduce_blocks failed: ZeroDivisionError: no"):
        cp.reduce_blocks(np.sum, broken, da.from_array(np.ones((64, 64)), chunks=32), memory_limit="300 MiB")


def test_a_result_that_is_there_is_told_of(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    for resume in (True, True, False):
        caplog.clear()
        with caplog.at_level("WARNING", logger="chunkpyramid"):
            cp.reduce_blocks(np.sum, np.add, IMAGE, target=tmp_path / "result", resume=resume)
    assert "nothing was done" in caplog.text
