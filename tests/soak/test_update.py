"""Updates of a region: bit for bit what a full build would make, at the cost of the region."""

from __future__ import annotations

import math
import random
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import dask
import numpy as np
import numpy.typing as npt
import pytest
import zarr
from helpers.counting_store import CountingStore
from zarr.storage import MemoryStore

import chunkpyramid as cp

Array = npt.NDArray[Any]
Shape = tuple[int, ...]

LABELS = np.random.default_rng(0).integers(0, 4, (33, 40, 37)).astype(np.uint16)


@pytest.fixture(autouse=True)
def many_blocks_and_stages() -> Iterator[None]:
    with dask.config.set(scheduler="threads", num_workers=8):
        yield


def stored(store: MemoryStore | Path) -> dict[str, bytes]:
    """All chunks and shards by their keys, without metadata."""
    if isinstance(store, Path):
        files = (path for path in store.rglob("*") if path.is_file())
        contents = {str(path.relative_to(store)): path.read_bytes() for path in files}
    else:
        contents = {key: value.to_bytes() for key, value in store._store_dict.items()}
    metadata = ("zarr.json", ".zarray", ".zattrs", ".zgroup", ".zmetadata")
    return {key: value for key, value in contents.items() if not key.endswith(metadata)}


def a_region(draw: random.Random, shape: Shape) -> tuple[slice, ...]:
    kind = draw.choice(["any", "any", "any", "voxel", "far edge", "empty", "all"])
    if kind == "all":
        return tuple(slice(None) for _ in shape)
    start = [draw.randrange(n) for n in shape]
    stop = [draw.randint(a + 1, n) for a, n in zip(start, shape, strict=True)]
    if kind == "voxel":
        stop = [a + 1 for a in start]
    if kind == "far edge":
        stop = list(shape)
    if kind == "empty":
        stop[-1] = start[-1]
    return tuple(map(slice, start, stop))


def change(array: Array, region: tuple[slice, ...], draw: random.Random) -> None:
    values = np.random.default_rng(draw.randrange(2**32)).integers(0, 4, array[region].shape)
    array[region] = draw.choice([0, values, values])
    if array.dtype.kind == "f" and draw.random() < 0.5:
        array[region] = np.where(values == 1, np.nan, np.where(values == 2, -0.0, array[region]))


def a_case(draw: random.Random) -> tuple[Array, dict[str, Any]]:
    ndim = draw.choice([2, 3, 3, 3, 4])
    shape = tuple(draw.randint(1, {2: 70, 3: 24, 4: 9}[ndim]) for _ in range(ndim))
    method = draw.choice(["mean", "mean", "mode", "exact_mode", "exact_mode", "min", "max", "stride"])
    chunks = tuple(draw.randint(2, 9) for _ in range(ndim))
    options: dict[str, Any] = {
        "method": method,
        "factor": [tuple(draw.choice([1, 2, 2, 3]) for _ in range(ndim)) for _ in range(draw.randint(1, 4))],
        "chunks": chunks,
        "zarr_format": draw.choice([2, 3, 3]),
        "layout": draw.choice(["flat", "flat", "datatree"]),
    }
    if options["zarr_format"] == 3 and draw.random() < 0.5:
        options["shards"] = [
            draw.choice([None, tuple(c * draw.randint(1, 3) for c in chunks)])
            for _ in range(len(options["factor"]) + 1)
        ]
    if method in ("mean", "mode", "exact_mode") and draw.random() < 0.4:
        options |= {"sparse": True, "background": draw.choice([0, 3])}
    array = np.random.default_rng(draw.randrange(2**32)).integers(0, 4, shape)
    dtype = draw.choice(["uint8", "int16", "uint64", "float32", "bool"])
    if dtype == "bool":
        options |= {"background": 0} if "background" in options else {}
    return array.astype(dtype), options


STAGES: list[int] = []


@pytest.mark.parametrize("seed", range(100))
def test_an_update_makes_what_a_full_build_makes(seed: int) -> None:
    draw = random.Random(seed)
    array, options = a_case(draw)
    with dask.config.set(num_workers=draw.choice([1, 4, 16])):
        store = MemoryStore()
        pyramid = cp.build_pyramid(array, store, **options)
        assert pyramid.plan is not None
        STAGES.append(len(pyramid.plan.stages))
        region = a_region(draw, array.shape)
        change(array, region, draw)
        pyramid.levels[0][region] = array[region]
        updated = cp.update_pyramid(store, region)
        whole = MemoryStore()
        expected = cp.build_pyramid(array, whole, **options)
        for index, (level, values) in enumerate(zip(updated.levels[1:], expected.levels[1:], strict=True), 1):
            assert level[...].tobytes() == values[...].tobytes(), f"level {index}, {region}"
        # chunks that are blank now are gone; zarr's own writing of level 0 is not ours
        above = {key for key in stored(store) if not key.startswith(pyramid.levels[0].path)}
        assert above == {key for key in stored(whole) if not key.startswith(pyramid.levels[0].path)}
        if not options.get("shards"):
            assert all(stored(store)[key] == stored(whole)[key] for key in above)


def test_the_cases_above_meet_several_stages() -> None:
    if len(STAGES) < 100:
        pytest.skip("the cases above did not all run")
    assert STAGES.count(1) >= 10
    assert sum(n > 1 for n in STAGES) >= 30


def chunks_above(region: tuple[slice, ...], levels: list[zarr.Array[Any]]) -> list[int]:
    """How many chunks of each level a region needs, rounded up to voxels of the last level."""
    last = 2 ** (len(levels) - 1)
    rounded = [(s.start // last * last, -(-s.stop // last) * last) for s in region]
    counts = []
    for k, level in enumerate(levels):
        box = [(a >> k, min(-(-b >> k), n)) for (a, b), n in zip(rounded, level.shape, strict=True)]
        counts.append(math.prod(-(-b // c) - a // c for (a, b), c in zip(box, level.chunks, strict=True)))
    return counts


@pytest.mark.parametrize("method", ["mean", "mode", "exact_mode"])
def test_the_cost_is_that_of_the_region(method: str) -> None:
    """Of 4096 chunks of level 0 those below the region are read, once, and those above it are written, once."""
    store = CountingStore(MemoryStore())
    array = np.random.default_rng(0).integers(1, 4, (128, 128, 128)).astype(np.uint8)
    pyramid = cp.build_pyramid(array, store, method=method, levels=4, chunks=8)
    assert pyramid.plan is not None
    region = np.s_[3:29, 70:71, 120:128]
    array[region] = 9
    pyramid.levels[0][region] = 9
    for kind in store.counts.values():
        kind.clear()
    calls: list[tuple[int, int]] = []
    cp.update_pyramid(store, region, progress=lambda *call: calls.append(call))
    needed = chunks_above(region, pyramid.levels)
    read = [key for key in store.counts["get"] if key.startswith("0/")]
    # a chunk can be met by several pieces
    assert len(set(read)) == needed[0] < 100
    assert len(read) <= 2 * needed[0]
    for level in range(1, 5):
        written = [key for key in store.counts["set"] if key.startswith(f"{level}/")]
        assert len(written) == len(set(written)) == needed[level]
    # what is outside of the region is kept by reading chunks that are partly inside; a later stage reads a level
    assert len([key for key in store.counts["get"] if not key.startswith("0/")]) <= 3 * sum(needed[1:])
    # blocks that are far away make no task
    assert calls[-1][0] == calls[-1][1] < pyramid.plan.tasks / 2
    expected = cp.build_pyramid(array, {}, method=method, levels=4, chunks=8)
    for level, values in zip(pyramid.levels, expected.levels, strict=True):
        np.testing.assert_array_equal(level[...], values[...])


OPTIONS: dict[str, Any] = {"method": "mean", "levels": 3, "chunks": 8}


def test_regions_are_slices_as_numpy_has_them() -> None:
    store = MemoryStore()
    pyramid = cp.build_pyramid(LABELS, store, **OPTIONS)
    array = LABELS.copy()
    for region in (np.s_[-3:], np.s_[:, -5:-1, 30:100], [slice(None), slice(np.int64(3), 5)], (), slice(30, None)):
        array[tuple(region) if isinstance(region, list) else region] += 1
        pyramid.levels[0][...] = array
        assert isinstance(cp.update_pyramid(pyramid, region), cp.Pyramid)
    for level, values in zip(pyramid.levels, cp.build_pyramid(array, {}, **OPTIONS).levels, strict=True):
        np.testing.assert_array_equal(level[...], values[...])


@pytest.mark.parametrize(
    ("region", "told"),
    [
        (np.s_[::2], "steps are not allowed"),
        (np.s_[::-1], "steps are not allowed"),
        (np.s_[::0], "step"),
        (np.s_[0:1, 0:1, 0:1, 0:1], "one slice for each of the 3 axes"),
        (np.s_[0, 1:2], "one slice for each"),
        (np.s_[..., 1:2], "one slice for each"),
        (3, "one slice for each"),
        (None, "one slice for each"),
        ("0:3", "one slice for each"),
        (np.s_[0.5:3], "none of voxels"),
        (np.s_["a":"b"], "none of voxels"),
    ],
    ids=str,
)
def test_bad_regions_are_refused_before_any_work(region: Any, told: str) -> None:
    store = MemoryStore()
    cp.build_pyramid(LABELS, store, **OPTIONS)
    before = dict(store._store_dict)
    with pytest.raises(cp.ArgumentError, match=told) as refusal:
        cp.update_pyramid(store, region)
    assert "region" in str(refusal.value)
    assert store._store_dict == before


def test_other_bad_arguments_are_refused(tmp_path: Path) -> None:
    store = MemoryStore()
    cp.build_pyramid(LABELS, store, **OPTIONS)
    with pytest.raises(cp.ArgumentError, match="progress"):
        cp.update_pyramid(store, np.s_[:], progress="yes")  # type: ignore[arg-type]
    with pytest.raises(cp.ArgumentError, match="memory_limit"):
        cp.update_pyramid(store, np.s_[:], memory_limit="much")
    with pytest.raises(cp.PlanError, match="memory_limit"):
        cp.update_pyramid(store, np.s_[:], memory_limit=2**20)
    with pytest.raises(cp.SourceNotFoundError):
        cp.update_pyramid(tmp_path / "missing.zarr", np.s_[:])
    zarr.create_array(tmp_path / "array.zarr", data=LABELS)
    with pytest.raises(cp.ArgumentError, match="array"):
        cp.update_pyramid(tmp_path / "array.zarr", np.s_[:])


def test_a_pyramid_without_levels_has_nothing_to_update() -> None:
    store = MemoryStore()
    cp.build_pyramid(LABELS, store, levels=0)
    assert len(cp.update_pyramid(store, np.s_[:]).levels) == 1


def test_a_handle_that_is_read_only_is_not_written_through(tmp_path: Path) -> None:
    cp.build_pyramid(np.ones((32, 32), np.uint8), tmp_path / "t.zarr", levels=1)
    with pytest.raises(cp.ArgumentError, match="read-only"):
        cp.update_pyramid(zarr.open_group(tmp_path / "t.zarr", mode="r"), np.s_[:3])
    cp.update_pyramid(cp.open_pyramid(tmp_path / "t.zarr"), np.s_[:3])
