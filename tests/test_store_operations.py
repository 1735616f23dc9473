"""What a build asks of its stores, counted: each source chunk read once, each chunk written once, none read back."""

from __future__ import annotations

import itertools
import math
from collections import Counter
from collections.abc import Iterator
from typing import Any

import dask
import numpy as np
import pytest
import zarr
from zarr.storage import MemoryStore, WrapperStore

import chunkpyramid as cp
from chunkpyramid.boxes import Shape, ceil_shape

METADATA = {"zarr.json", ".zarray", ".zattrs", ".zgroup", ".zmetadata"}
SCRATCH = ".chunkpyramid/"

SHAPE = (17, 22, 19)
VOXELS = np.random.default_rng(0).integers(1, 255, SHAPE, dtype=np.uint8)


class CountingStore(WrapperStore[Any]):
    """A store that keeps a log of what is asked of it: operation, key, and the range of bytes if a part is read."""

    _supports_sync_io = False

    def __init__(self, store: Any, log: list[tuple[str, str, Any]] | None = None):
        super().__init__(store)
        self.log = [] if log is None else log

    def _with_store(self, store: Any) -> CountingStore:
        return CountingStore(store, self.log)

    def _note(self, operation: str, key: str, part: Any = None) -> None:
        if key.rsplit("/", 1)[-1] not in METADATA:
            self.log.append((operation, key, part))

    async def get(self, key: str, prototype: Any, byte_range: Any = None) -> Any:
        self._note("get", key, byte_range)
        return await super().get(key, prototype, byte_range)

    async def get_partial_values(self, prototype: Any, key_ranges: Any) -> Any:
        key_ranges = list(key_ranges)
        for key, byte_range in key_ranges:
            self._note("get", key, byte_range)
        return await super().get_partial_values(prototype, key_ranges)

    async def set(self, key: str, value: Any) -> None:
        self._note("set", key)
        await super().set(key, value)

    async def set_if_not_exists(self, key: str, value: Any) -> None:
        self._note("set", key)
        await super().set_if_not_exists(key, value)

    async def delete(self, key: str) -> None:
        self._note("delete", key)
        await super().delete(key)

    def count(self, operation: str) -> Counter[str]:
        return Counter(key for name, key, _ in self.log if name == operation)

    def parts(self) -> Counter[tuple[str, Any]]:
        return Counter((key, part) for _, key, part in self.log if part is not None)


def keys(shape: Shape, unit: Shape, path: str = "", zarr_format: int = 3, separator: str = "/") -> Counter[str]:
    """The keys of all chunks (or shards) of an array, each once."""
    grid = itertools.product(*map(range, ceil_shape(shape, unit)))
    prefix = (f"{path}/" if path else "") + ("c/" if zarr_format == 3 else "")
    return Counter(prefix + separator.join(map(str, index)) for index in grid)


def assert_read_once(store: CountingStore, read: Counter[str], expected: Counter[str], edges: set[str]) -> None:
    """Every object in one request; shards that reach over the edge, which zarr reads by ranges, every range once."""
    assert set(read) == set(expected)
    assert {key for key, n in read.items() if n > 1} <= edges
    parts = store.parts()
    assert {key for key, _ in parts} <= edges
    assert set(parts.values()) <= {1}


def reach_over(shape: Shape, unit: Shape, path: str = "") -> set[str]:
    """The keys of all shards that the array fills only in part."""
    inner = tuple(n // u * u for n, u in zip(shape, unit, strict=True))
    return set(keys(shape, unit, path)) - set(keys(inner, unit, path) if all(inner) else ())


@pytest.fixture(params=[1, 16], ids=["one slot", "many slots"])
def slots(request: pytest.FixtureRequest) -> Iterator[int]:
    with dask.config.set(scheduler="threads", num_workers=request.param):
        yield request.param


def build(
    source_format: int = 3,
    source_chunks: Shape = (8, 8, 8),
    source_shards: Shape | None = None,
    **options: Any,
) -> tuple[CountingStore, CountingStore, cp.Pyramid]:
    """Build from a new source into a new target, and return both stores as they have been used by that."""
    read, written = CountingStore(MemoryStore()), CountingStore(MemoryStore())
    source = zarr.create_array(
        read,
        shape=SHAPE,
        dtype=VOXELS.dtype,
        chunks=source_chunks,
        shards=source_shards,
        zarr_format=source_format,
        chunk_key_encoding={"name": "v2", "separator": "/"} if source_format == 2 else None,
    )
    source[...] = VOXELS
    read.log.clear()
    pyramid = cp.build_pyramid(source, written, levels=4, **options)
    return read, written, pyramid


TARGETS: dict[str, dict[str, Any]] = {
    "chunks of the source": {},
    "smaller chunks": {"chunks": 4},
    "larger chunks": {"chunks": (8, 16, 12)},
    "misaligned chunks": {"chunks": (5, 9, 7)},
    "shards": {"chunks": 4, "shards": 8},
    "misaligned shards": {"chunks": (4, 3, 5), "shards": (12, 9, 10)},
    "v2": {"zarr_format": 2},
    "v2, smaller chunks": {"zarr_format": 2, "chunks": 4},
    "datatree": {"layout": "datatree", "chunks": 4},
    "anisotropic": {"factor": {"y": 2, "x": 3}, "chunks": 4},
}
SOURCES: dict[str, dict[str, Any]] = {
    "v3": {},
    "v2": {"source_format": 2},
    "sharded": {"source_chunks": (4, 4, 4), "source_shards": (8, 12, 8)},
}


SLOTS = (1, 16)
# chunks of format 2 are those of format 3 by other keys
SOURCES_TARGETS_AND_SLOTS = [
    *itertools.product(["v3"], TARGETS, SLOTS),
    *itertools.product(["sharded"], TARGETS, SLOTS[1:]),
    *itertools.product(["sharded"], ["chunks of the source", "misaligned chunks", "misaligned shards"], SLOTS[:1]),
    *itertools.product(["v2"], ["smaller chunks", "v2"], SLOTS),
]


@pytest.mark.parametrize(
    ("source_name", "target", "slots"), SOURCES_TARGETS_AND_SLOTS, indirect=["slots"], ids=lambda value: str(value)
)
def test_every_source_chunk_is_read_once_and_every_chunk_written_once(
    source_name: str, target: str, slots: int
) -> None:
    source = SOURCES[source_name]
    read, written, pyramid = build(**source, **TARGETS[target], method="mean")
    unit = source.get("source_shards") or (8, 8, 8)
    edges = reach_over(SHAPE, unit) if "source_shards" in source else set()
    assert_read_once(read, read.count("get"), keys(SHAPE, unit, zarr_format=source.get("source_format", 3)), edges)
    assert not read.count("set")

    expected: Counter[str] = Counter()
    for level in pyramid.levels:
        expected += keys(level.shape, level.shards or level.chunks, level.path, level.metadata.zarr_format)
    coordinates = {f"{'/'.join(level.path.split('/')[:-1])}/{axis}" for level in pyramid.levels for axis in "zyx"}
    sets = Counter({k: n for k, n in written.count("set").items() if not k.startswith(SCRATCH)})
    voxels = Counter({k: n for k, n in sets.items() if k.rsplit("/c/", 1)[0] not in coordinates})
    assert voxels == expected
    np.testing.assert_array_equal(pyramid.levels[0][...], VOXELS)


@pytest.mark.parametrize("target", TARGETS.values(), ids=TARGETS)
def test_means_read_nothing_back(target: dict[str, Any], slots: int) -> None:
    """A later stage reads the carry, every chunk of it once, and never a level."""
    _, written, pyramid = build(**target, method="mean")
    gets = written.count("get")
    assert all(key.startswith(SCRATCH) for key in gets)
    assert pyramid.plan is not None
    assert len(pyramid.plan.stages) > 1 or slots == 1 or target.get("chunks") not in (None, 4)
    carried = Counter({key: n for key, n in gets.items() if "/carry/" in key})
    expected: Counter[str] = Counter()
    for stage in pyramid.plan.stages[1:]:
        level = pyramid.plan.levels[stage.source_level]
        path = f"{SCRATCH}carry/{level.index}/sum"
        expected += keys(level.shape, level.chunks, path, pyramid.group.metadata.zarr_format)
    assert carried == expected
    assert not written.parts()
    assert Counter({k: n for k, n in written.count("set").items() if "/carry/" in k}) == expected


@pytest.mark.parametrize("method", ["mode", "min", "max", "stride"])
@pytest.mark.parametrize("target", ["smaller chunks", "shards", "v2, smaller chunks"])
def test_other_methods_read_only_the_level_that_a_stage_begins_with(method: str, target: str) -> None:
    with dask.config.set(scheduler="threads", num_workers=16):
        _, written, pyramid = build(**TARGETS[target], method=method)
    assert pyramid.plan is not None
    assert len(pyramid.plan.stages) > 1
    expected: Counter[str] = Counter()
    edges: set[str] = set()
    for stage in pyramid.plan.stages[1:]:
        level = pyramid.levels[stage.source_level]
        expected += keys(level.shape, level.shards or level.chunks, level.path, level.metadata.zarr_format)
        edges |= reach_over(level.shape, level.shards, level.path) if level.shards else set()
    gets = Counter({k: n for k, n in written.count("get").items() if not k.startswith(SCRATCH)})
    assert_read_once(written, gets, expected, edges)


@pytest.mark.usefixtures("slots")
@pytest.mark.parametrize("target", ["smaller chunks", "misaligned shards", "v2"])
def test_every_block_sets_its_flag_once(target: str) -> None:
    _, written, pyramid = build(**TARGETS[target], method="mean")
    assert pyramid.plan is not None
    flags = Counter({k: n for k, n in written.count("set").items() if k.startswith(f"{SCRATCH}done/")})
    assert len(flags) == sum(flags.values()) == pyramid.plan.tasks


def test_nothing_but_the_scratch_is_deleted() -> None:
    _, written, _ = build(chunks=4, method="mean")
    assert all(key.startswith(SCRATCH) for key in written.count("delete"))


def test_a_build_in_place_writes_no_chunk_of_the_source() -> None:
    store = CountingStore(MemoryStore())
    group = zarr.create_group(store)
    source = group.create_array("0", data=VOXELS, chunks=(8, 8, 8))
    store.log.clear()
    pyramid = cp.build_pyramid(source, method="mean", levels=3)
    assert {k: n for k, n in store.count("get").items() if not k.startswith(SCRATCH)} == keys(SHAPE, (8, 8, 8), "0")
    assert not [key for key in (*store.count("set"), *store.count("delete")) if key.startswith("0/")]
    for level in pyramid.levels[1:]:
        written = Counter({k: n for k, n in store.count("set").items() if k.startswith(f"{level.path}/")})
        assert written == keys(level.shape, level.chunks, level.path)


def test_chunks_of_fill_value_are_written_once_or_not_at_all() -> None:
    """Leaving out chunks that hold nothing but the fill value is zarr's own rule; writing them twice would not be."""
    store = CountingStore(MemoryStore())
    voxels = VOXELS.copy()
    voxels[:16, :16, :8] = 0
    pyramid = cp.build_pyramid(zarr.create_array({}, data=voxels, chunks=(8,) * 3), store, method="mean", levels=2)
    sets = store.count("set")
    assert max(sets.values()) == 1
    allowed = sum((keys(level.shape, level.chunks, level.path) for level in pyramid.levels), Counter())
    assert {key for key in sets if not key.startswith(SCRATCH)} <= set(allowed)
    np.testing.assert_array_equal(pyramid.levels[0][...], voxels)


def test_planning_reads_and_writes_nothing() -> None:
    store = CountingStore(MemoryStore())
    source = zarr.create_array(store, data=VOXELS, chunks=(8, 8, 8))
    store.log.clear()
    target = CountingStore(MemoryStore())
    plan = cp.plan_pyramid(source, target)
    assert not store.log
    assert not target.log
    assert plan.stages[0].bytes_read == math.prod(SHAPE)
