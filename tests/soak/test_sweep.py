"""A seeded sweep through builds of every kind: each voxel of each level against a computation from level 0.

A case is drawn from its number alone: shape, dtype, voxels, source, chunks, shards, factors, method, memory limit and
scheduler. Volumes are small, but limits are little above the least possible, and slots are many, so that even these
go through blocks, stages, carries and shards; a test of the plans alone makes sure that they do.
"""

from __future__ import annotations

import functools
import gc
import itertools
import math
import multiprocessing
import random
import warnings
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import dask
import dask.array as da
import numpy as np
import numpy.typing as npt
import pytest
import xarray as xr
import zarr
from helpers.fast_oracles import fast_levels
from zarr.storage import LocalStore, MemoryStore

import chunkpyramid as cp
from chunkpyramid.boxes import Box, multiply, tile
from chunkpyramid.engine.process_memory import BASELINE
from chunkpyramid.engine.task_memory import KERNEL_BYTES
from chunkpyramid.pyramid.chunk_shapes import default_chunks

Array = npt.NDArray[Any]
Shape = tuple[int, ...]

SEEDS = range(320)
# processes and a cluster cost seconds to start, and files instead of memory
IN_PROCESSES = range(7, len(SEEDS), 40)
ON_A_CLUSTER = range(23, len(SEEDS), 40)

LONGEST = {2: 300, 3: 46, 4: 17, 5: 9}
INTEGERS = ["bool", "uint8", "uint16", "uint32", "uint64", "int8", "int16", "int32", "int64"]
FLOATS = ["float16", "float32", "float64"]
FEW_VOTES = ("mode", "exact_mode")
BOOL_LABELS = [(method, np.dtype(bool)) for method in FEW_VOTES]


@dataclass(frozen=True)
class Case:
    """A build: what it reads and how, its arguments, what runs it, and the levels that it is to make."""

    voxels: Array
    kind: str
    source_chunks: Shape
    source_shards: Shape
    factors: list[Shape]
    method: str
    rules: dict[str, Any]
    chunks: Any
    shards: Any
    zarr_format: int
    room: float
    workers: int

    @property
    def options(self) -> dict[str, Any]:
        """The arguments of the build, but for the memory limit."""
        return {
            "method": self.method,
            "factor": self.factors[0] if len(set(self.factors)) == 1 else self.factors,
            "levels": len(self.factors),
            "chunks": self.chunks,
            "shards": self.shards,
            "zarr_format": self.zarr_format,
            **self.rules,
        }

    def source(self, store: Any) -> Any:
        """Return the source, made in a store if it is a zarr array."""
        if self.kind == "numpy":
            return self.voxels
        if self.kind == "dask":
            return da.from_array(self.voxels, chunks=self.source_chunks)
        if self.kind == "DataArray":
            return xr.DataArray(self.voxels, dims=tuple("tczyx"[-self.voxels.ndim :]), name="volume")
        array = zarr.create_array(
            store,
            shape=self.voxels.shape,
            dtype=self.voxels.dtype,
            chunks=self.source_chunks,
            shards=self.source_shards if self.kind == "sharded" else None,
            zarr_format=2 if self.kind == "zarr v2" else 3,
        )
        array[...] = self.voxels
        return array

    def memory_limit(self, source: Any) -> int:
        """Return a limit somewhat above the least, found on a ladder; what the plan wants depends on the scheduler."""
        for rung in itertools.count(4):
            limit = BASELINE + KERNEL_BYTES + 2**rung * 2**10
            try:
                cp.plan_pyramid(source, {}, memory_limit=limit, **self.options)
            except cp.PlanError:
                continue
            return BASELINE + int((limit - BASELINE) * self.room)
        raise AssertionError


@functools.cache
def case(seed: int) -> Case:
    draw = random.Random(seed)
    ndim = draw.choice([2, 3, 3, 3, 4, 5])
    shape = tuple(1 if draw.random() < 0.07 else draw.randint(2, LONGEST[ndim]) for _ in range(ndim))
    method = draw.choice(["mean", "mean", "mean", "mode", "mode", "exact_mode", "exact_mode", "min", "max", "stride"])
    dtype = np.dtype(draw.choice(INTEGERS * 2 + FLOATS))
    rules, background = draw_rules(draw, method, dtype)
    voxels = draw_voxels(draw, shape, dtype, method, background)
    factors = draw_factors(draw, ndim)
    kind = draw.choice(["zarr v2", "zarr v3", "zarr v3", "sharded", "dask", "numpy", "DataArray"])
    source_chunks = tuple(draw.randint(max(1, n // 9), 2 + draw.choice([n, n // 4])) for n in shape)
    zarr_format = draw.choice([2, 3, 3])
    count = len(factors) + 1
    smallest = {2: 8, 3: 4, 4: 2, 5: 2}[ndim]
    some = [tuple(draw.randint(smallest, max(smallest, 2 + n // 5)) for n in shape) for _ in range(count)]
    chunks = draw.choice([some[0], some[0], some, "auto", None])
    shards: Any = None
    if zarr_format == 3 and chunks is not None and draw.random() < 0.6:
        own = some if isinstance(chunks, list) else [chunks] * count
        if chunks == "auto":
            shards = "auto"
        elif isinstance(chunks, tuple) and draw.random() < 0.5:
            shards = multiply(chunks, [draw.randint(1, 3) for _ in shape])
        else:
            listed = [multiply(c, [draw.randint(1, 3) for _ in shape]) for c in own]
            shards = draw.choice(["auto", [None if draw.random() < 0.3 else shard for shard in listed]])
    return Case(
        voxels=voxels,
        kind=kind,
        source_chunks=source_chunks,
        source_shards=multiply(source_chunks, [draw.randint(1, 2) for _ in shape]),
        factors=factors,
        method=method,
        rules=rules,
        chunks=chunks,
        shards=shards,
        zarr_format=zarr_format,
        room=draw.choice([1, 1, 1.2, 2, 20]),
        workers=draw.choice([0, 1, 2, 3, 5, 8, 13, 16, 16]),
    )


def draw_rules(draw: random.Random, method: str, dtype: np.dtype[Any]) -> tuple[dict[str, Any], Any]:
    """Return the rules of the method, and its background."""
    rules: dict[str, Any] = {}
    if method in ("mean", *FEW_VOTES) and draw.random() < 0.5:
        backgrounds = {"f": [0.0, -1.5, math.nan, math.nan], "b": [False, True]}
        rules = {"sparse": True, "background": draw.choice(backgrounds.get(dtype.kind, [0, 0, 1, 100]))}
    if method == "mean" and dtype.kind != "f":
        rules["rounding"] = draw.choice(["nearest", "truncate"])
    return rules, rules.get("background", 0)


def draw_factors(draw: random.Random, ndim: int) -> list[Shape]:
    """Return one factor per level, none with so many voxels under one that the oracle gets slow."""
    most, levels = 36, draw.randint(1, 5)
    kinds: list[Callable[[], Shape]] = [
        lambda: (1,) * (ndim - 2) + (2, 2),
        lambda: (1,) * max(0, ndim - 3) + (2,) * min(3, ndim),
        lambda: (2,) * ndim,
        lambda: (3,) * min(2, ndim) + (1,) * (ndim - 2),
        lambda: tuple(draw.choice([1, 2, 2, 3]) for _ in range(ndim)),
    ]
    same = draw.random() < 0.4
    factors: list[Shape] = []
    while len(factors) < levels:
        factor = factors[-1] if same and factors else draw.choice(kinds)()
        if math.prod(factor) <= most:
            factors.append(factor)
    return factors


def draw_voxels(draw: random.Random, shape: Shape, dtype: np.dtype[Any], method: str, background: Any) -> Array:
    """Return noise, labels in blocks, hardly anything but background, or the largest and smallest values."""
    rng = np.random.default_rng(draw.getrandbits(32))
    kind = draw.choice(["labels", "blank", "blank", "extreme", "noise"])
    few = np.array([0, 1, 100, *rng.integers(2, 120, 3)]).astype(dtype)
    extreme = np.array([0, 1]).astype(dtype)
    if dtype.kind == "f":
        numbers = np.finfo(dtype)
        # those that sum to less than infinity, -0.0 where votes are not counted by value, and infinities
        extreme = np.array([numbers.min, numbers.max, numbers.tiny, numbers.eps, np.inf, 1], dtype)
        if method not in FEW_VOTES:
            extreme = np.append(extreme, np.array([-0.0, -np.inf, np.nan], dtype))
    elif dtype.kind != "b":
        extreme = np.array([np.iinfo(dtype).min, np.iinfo(dtype).max, np.iinfo(dtype).max - 1, 0], dtype)
    if kind == "noise" and method == "exact_mode":
        # as many labels as voxels are more than is planned for
        kind = "extreme"
    if kind == "noise" and dtype.kind == "f":
        voxels = rng.normal(1000, 300, shape).astype(dtype)
    elif kind == "noise":
        info = np.iinfo(np.uint8 if dtype.kind == "b" else dtype)
        voxels = rng.integers(info.min, info.max, shape, dtype=info.dtype, endpoint=True).astype(dtype)
    elif kind == "extreme":
        voxels = extreme[rng.integers(0, len(extreme), shape)]
    else:
        voxels = in_blocks(rng, few, shape)
    if kind == "blank":
        empty = rng.random(shape) < 0.9
        empty[tuple(slice(0, draw.randint(n // 2, n)) for n in shape)] = True
        empty[..., : shape[-1] // 2] = True
        voxels = np.where(empty, np.zeros((), dtype), voxels)
    if background and draw.random() < 0.7:
        voxels = np.where(rng.random(shape) < 0.4, np.array(background).astype(dtype), voxels)
    return voxels


def in_blocks(rng: np.random.Generator, names: Array, shape: Shape) -> Array:
    """Return labels in blocks of a few voxels, with frayed edges."""
    where = np.indices(shape)
    size = rng.integers(2, 9, len(shape))
    cells = tuple((axis + rng.integers(0, 2, shape)) // n for axis, n in zip(where, size, strict=True))
    grid = names[rng.integers(0, len(names), [n // s + 2 for n, s in zip(shape, size, strict=True)])]
    return grid[cells]


@pytest.fixture(scope="module")
def processes() -> Iterator[dict[str, Any]]:
    with ProcessPoolExecutor(2, mp_context=multiprocessing.get_context("spawn")) as pool:
        yield {"scheduler": "processes", "pool": pool}


@pytest.fixture(scope="module")
def cluster() -> Iterator[dict[str, Any]]:
    distributed = pytest.importorskip("distributed")
    with (
        warnings.catch_warnings(),
        distributed.LocalCluster(
            n_workers=2, threads_per_worker=3, processes=False, dashboard_address=":0", memory_limit="4 GiB"
        ) as local,
        distributed.Client(local) as client,
    ):
        warnings.simplefilter("ignore", ResourceWarning)
        yield {"scheduler": client}
    gc.collect()


@contextmanager
def machine(workers: int) -> Iterator[None]:
    """A machine with so many threads, or none but this one."""
    options = {"scheduler": "threads", "num_workers": workers} if workers else {"scheduler": "synchronous"}
    with dask.config.set(options):
        yield


@functools.cache
def planned(seed: int) -> cp.PyramidPlan:
    """Return the plan of a case that is run by threads."""
    with machine(case(seed).workers):
        source = case(seed).source(MemoryStore())
        return cp.plan_pyramid(source, {}, memory_limit=case(seed).memory_limit(source), **case(seed).options)


def assert_bits_equal(found: Array, expected: Array, what: str) -> None:
    """Compare zeros with their signs, and take all NaNs for one."""
    np.testing.assert_array_equal(found, expected, err_msg=what, strict=True)
    if expected.dtype.kind == "f":
        numbers = ~np.isnan(expected)
        np.testing.assert_array_equal(np.signbit(found)[numbers], np.signbit(expected)[numbers], err_msg=what)


def assert_built(case: Case, source: Any, target: Any, limit: int) -> None:
    """Build, and compare voxels, chunks, shards and what else is in the target."""
    before = case.voxels.copy()
    pyramid = cp.build_pyramid(source, target, memory_limit=limit, **case.options)
    assert pyramid.plan is not None
    assert pyramid.plan.peak_bytes <= limit
    expected = [before, *fast_levels(before, case.factors, case.method, **case.rules)]
    assert len(pyramid.levels) == len(expected)
    for index, (level, voxels) in enumerate(zip(pyramid.levels, expected, strict=True)):
        # bools that are labels are stored as integers
        stored = voxels.astype(np.uint8) if (case.method, voxels.dtype) in BOOL_LABELS else voxels
        assert_bits_equal(np.asarray(level[...]), stored, f"level {index}")
        assert level.chunks == asked(case, "chunks", index, level.chunks, source)
        assert level.shards == asked(case, "shards", index, level.shards, source)
        assert (level.chunks, level.shards) == (pyramid.plan.levels[index].chunks, pyramid.plan.levels[index].shards)
    assert sorted(zarr.open_group(target, mode="r").keys()) == [str(index) for index in range(len(expected))]
    scratch = (
        (Path(target.root) / ".chunkpyramid").exists()
        if isinstance(target, LocalStore)
        else any(".chunkpyramid" in key for key in target._store_dict)
    )
    assert not scratch
    assert_bits_equal(case.voxels, before, "the source")


def asked(case: Case, what: str, level: int, found: Any, source: Any) -> Any:
    """Return the chunks or shards that were asked for; those that were left to the plan are what they are."""
    given = {"chunks": case.chunks, "shards": case.shards}[what]
    if isinstance(given, list):
        return given[level]
    if what == "chunks" and given is None and isinstance(source, zarr.Array):
        return source.chunks
    if what == "chunks" and given == "auto":
        shape = case.voxels.shape
        spatial = [axis in "zyx" for axis in "tczyx"[-len(shape) :]]
        return default_chunks(shape, spatial, case.voxels.itemsize)
    return given if (given is None and what == "shards") or isinstance(given, tuple) else found


@pytest.mark.parametrize("seed", [s for s in SEEDS if s not in IN_PROCESSES and s not in ON_A_CLUSTER])
def test_every_level_is_that_of_level_0(seed: int) -> None:
    with machine(case(seed).workers):
        assert_built(case(seed), case(seed).source(MemoryStore()), MemoryStore(), planned(seed).memory_limit)


@pytest.mark.parametrize("seed", IN_PROCESSES)
def test_in_other_processes(seed: int, processes: dict[str, Any], tmp_path: Path) -> None:
    with dask.config.set(processes):
        source = case(seed).source(LocalStore(tmp_path / "source.zarr"))
        assert_built(case(seed), source, LocalStore(tmp_path / "target.zarr"), case(seed).memory_limit(source))


@pytest.mark.parametrize("seed", ON_A_CLUSTER)
def test_on_a_cluster(seed: int, cluster: dict[str, Any], tmp_path: Path) -> None:
    with dask.config.set(cluster):
        source = case(seed).source(LocalStore(tmp_path / "source.zarr"))
        assert_built(case(seed), source, LocalStore(tmp_path / "target.zarr"), case(seed).memory_limit(source))


def has_blank_pieces(case: Case, plan: cp.PyramidPlan) -> bool:
    pieces = tile(Box((0,) * case.voxels.ndim, case.voxels.shape), plan.stages[0].piece)
    return any(not case.voxels[piece.clip(case.voxels.shape).slices].any() for piece in itertools.islice(pieces, 200))


def features(case: Case, plan: cp.PyramidPlan) -> Iterator[str]:
    """Yield what the plan of a case goes through."""
    yield f"{case.voxels.ndim} axes"
    yield f"dtype {case.voxels.dtype}"
    yield f"source {case.kind}"
    yield f"format {case.zarr_format}"
    yield f"method {case.method}"
    yield from (f"{key} {value}" for key, value in case.rules.items())
    yield from (f"reads {stage.reads}" for stage in plan.stages)
    yield f"{min(len(plan.stages), 4)} stages"
    yield "blocks" if plan.stages[0].tasks > 1 else "one block"
    yield "many blocks" if plan.tasks > 12 else "few blocks"
    yield from ("pieces" for stage in plan.stages if stage.piece != stage.block)
    yield from ("buffers" for stage in plan.stages if stage.memory.buffers)
    yield "shards" if any(level.shards for level in plan.levels) else "no shards"
    yield from ("level lists" for given in (case.chunks, case.shards) if isinstance(given, list))
    yield from ("auto" for given in (case.chunks, case.shards) if given == "auto")
    yield "few threads" if plan.threads < case.workers else "all threads"
    yield from ("size 1" for n in case.voxels.shape if n == 1)
    if has_blank_pieces(case, plan):
        yield "blank pieces"


def least_counts() -> dict[str, int]:
    wanted = {f"dtype {name}": 8 for name in INTEGERS + FLOATS}
    wanted |= {f"{ndim} axes": 30 for ndim in LONGEST}
    wanted |= {f"source {kind}": 20 for kind in ("zarr v2", "zarr v3", "sharded", "dask", "numpy", "DataArray")}
    wanted |= {f"method {name}": 15 for name in ("mean", "mode", "exact_mode", "min", "max", "stride")}
    wanted |= {"rounding nearest": 20, "rounding truncate": 20, "sparse True": 50, "background nan": 5}
    wanted |= {"format 2": 50, "format 3": 100, "shards": 50, "level lists": 50, "auto": 30, "size 1": 30}
    wanted |= {"2 stages": 30, "3 stages": 10, "reads carry": 30, "reads level": 30, "blank pieces": 30}
    return wanted | {"blocks": 100, "one block": 10, "many blocks": 15, "pieces": 30, "buffers": 30, "few threads": 10}


def test_the_sweep_goes_through_everything() -> None:
    """Seen in the plans alone, for the cases of threads."""
    seeds: Sequence[int] = [s for s in SEEDS if s not in IN_PROCESSES and s not in ON_A_CLUSTER]
    assert len(SEEDS) >= 300
    found: Counter[str] = Counter()
    for seed in seeds:
        found.update(set(features(case(seed), planned(seed))))
    assert {name: found[name] for name, least in least_counts().items() if found[name] < least} == {}
