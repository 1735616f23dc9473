"""Every level against level 0: however a volume is cut into chunks, blocks and stages, the voxels are the same."""

from __future__ import annotations

import functools
import itertools
import random
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import dask
import dask.array as da
import numpy as np
import numpy.typing as npt
import pytest
import tensorstore as ts
import zarr
from helpers.oracles import oracle_levels

import chunkpyramid as cp

Array = npt.NDArray[Any]
Shape = tuple[int, ...]

SHAPE = (45, 50, 39)


@pytest.fixture
def many_slots() -> Iterator[None]:
    """A machine with so many threads that plans cut even small volumes into many blocks and several stages."""
    with dask.config.set(scheduler="threads", num_workers=16):
        yield


@functools.cache
def volume(dtype: str, shape: Shape = SHAPE, seed: int = 0) -> Array:
    """Voxels that use the whole range of the dtype, or few values, so that modes have majorities and ties."""
    rng = np.random.default_rng(seed)
    kind = np.dtype(dtype)
    if kind.kind == "f":
        return rng.normal(1000, 300, shape).astype(dtype)
    info = np.iinfo(kind) if kind.kind != "b" else np.iinfo("u1")
    return rng.integers(info.min, info.max, shape, dtype=info.dtype, endpoint=True).astype(dtype)


@functools.cache
def labels(dtype: str, shape: Shape = SHAPE, seed: int = 0) -> Array:
    rng = np.random.default_rng(seed)
    names = np.array([0, 0, 3, 200, 255] if np.dtype(dtype).kind == "u" else [0, 0, -3, 7, 100], dtype=dtype)
    return names[rng.integers(0, len(names), shape)]


def levels_of(pyramid: cp.Pyramid) -> list[Array]:
    return [np.asarray(level[...]) for level in pyramid.levels]


def expected_levels(array: Array, factors: Sequence[Shape], method: str, **rules: Any) -> list[Array]:
    return [array, *oracle_levels(array, factors, method, **rules)]


def assert_levels(pyramid: cp.Pyramid, expected: Sequence[Array]) -> None:
    assert len(pyramid.levels) == len(expected)
    for index, (level, values) in enumerate(zip(levels_of(pyramid), expected, strict=True)):
        np.testing.assert_array_equal(level, values, err_msg=f"level {index}", strict=True)


FACTORS: dict[str, list[Shape]] = {
    "2x2x2": [(2, 2, 2)] * 4,
    "1x2x2 first": [(1, 2, 2), (1, 2, 2), (2, 2, 2), (2, 2, 2), (2, 2, 2)],
    "mixed": [(1, 2, 2), (3, 1, 2), (2, 2, 1), (1, 3, 2)],
}


@pytest.mark.usefixtures("many_slots")
@pytest.mark.parametrize("factors", FACTORS.values(), ids=FACTORS)
@pytest.mark.parametrize("dtype", ["uint8", "uint16", "int16", "uint64", "float32"])
def test_means_equal_those_of_tensorstore_from_level_0(dtype: str, factors: list[Shape]) -> None:
    array = volume(dtype)
    source = zarr.create_array({}, data=array, chunks=(8, 8, 8))
    pyramid = cp.build_pyramid(source, {}, method="mean", factor=factors)
    assert pyramid.plan is not None
    assert len(pyramid.plan.stages) >= 2
    assert pyramid.plan.stages[0].tasks >= 8
    for level, values in enumerate(levels_of(pyramid)[1:], 1):
        cumulative = np.prod(factors[:level], axis=0).tolist()
        expected = ts.downsample(ts.array(array), cumulative, "mean").read().result()
        if dtype == "float32":
            np.testing.assert_allclose(values, expected, rtol=1e-5, strict=True)
        else:
            np.testing.assert_array_equal(values, expected, strict=True)


@pytest.mark.usefixtures("many_slots")
@pytest.mark.parametrize("factors", FACTORS.values(), ids=FACTORS)
@pytest.mark.parametrize("dtype", ["bool", "uint8", "int16", "uint32", "int64", "uint64", "float32", "float64"])
def test_exact_modes_equal_those_of_tensorstore_from_level_0(dtype: str, factors: list[Shape]) -> None:
    array = np.where(volume("uint8") < 128, volume(dtype), labels(dtype))
    source = zarr.create_array({}, data=array, chunks=(8, 8, 8))
    pyramid = cp.build_pyramid(source, {}, method="exact_mode", factor=factors)
    assert pyramid.plan is not None
    assert {stage.reads for stage in pyramid.plan.stages} == {"source", "carry"}
    for level, values in enumerate(levels_of(pyramid)[1:], 1):
        cumulative = np.prod(factors[:level], axis=0).tolist()
        expected = ts.downsample(ts.array(array), cumulative, "mode").read().result()
        # bools that are labels are stored as integers
        stored = expected.astype(np.uint8) if dtype == "bool" else expected
        np.testing.assert_array_equal(values, stored, strict=True)


@pytest.mark.usefixtures("many_slots")
@pytest.mark.parametrize("rounding", ["nearest", "truncate"])
@pytest.mark.parametrize("sparse", [False, True])
@pytest.mark.parametrize("dtype", ["bool", "int8", "uint32", "int64", "uint64", "float16", "float64"])
def test_means_of_all_dtypes(dtype: str, sparse: bool, rounding: str) -> None:
    array = volume(dtype, (17, 22, 15)).copy()
    array[:9, 4:, :8] = 0
    factors = FACTORS["mixed"]
    options: dict[str, Any] = {"method": "mean", "sparse": sparse, "rounding": rounding}
    pyramid = cp.build_pyramid(array, {}, factor=factors, chunks=4, **options)
    assert pyramid.plan is not None
    assert len(pyramid.plan.stages) >= 2
    assert_levels(pyramid, expected_levels(array, factors, **options))


@pytest.mark.usefixtures("many_slots")
@pytest.mark.parametrize("factors", FACTORS.values(), ids=FACTORS)
@pytest.mark.parametrize(
    ("method", "sparse"),
    [*itertools.product(["mode", "exact_mode"], [False, True]), *itertools.product(["min", "max", "stride"], [False])],
)
@pytest.mark.parametrize("dtype", ["uint8", "int16", "uint64"])
def test_other_methods(dtype: str, method: str, sparse: bool, factors: list[Shape]) -> None:
    array = labels(dtype, (19, 22, 17))
    pyramid = cp.build_pyramid(array, {}, method=method, sparse=sparse, factor=factors, chunks=4)
    assert pyramid.plan is not None
    assert len(pyramid.plan.stages) >= 2
    assert_levels(pyramid, expected_levels(array, factors, method, sparse=sparse))


@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize("background", [float("nan"), -1.5])
@pytest.mark.parametrize("method", ["mean", "mode", "exact_mode"])
def test_float_backgrounds(method: str, background: float, seed: int) -> None:
    rng = np.random.default_rng(seed)
    array = rng.integers(1, 4, (19, 22, 17)).astype(np.float32)
    array[rng.random(array.shape) < 0.4] = background
    array[:8, :8, :8] = background
    factors = FACTORS["2x2x2"]
    pyramid = cp.build_pyramid(array, {}, method=method, factor=factors, chunks=4, sparse=True, background=background)
    assert_levels(pyramid, expected_levels(array, factors, method, sparse=True, background=background))


def test_nan_spreads_where_it_is_no_background() -> None:
    array = np.ones((16, 16), np.float32)
    array[5, 6] = np.nan
    pyramid = cp.build_pyramid(array, {}, method="mean", levels=3, chunks=4)
    for level, values in enumerate(levels_of(pyramid)):
        assert np.argwhere(np.isnan(values)).tolist() == [[5 >> level, 6 >> level]]


@pytest.mark.parametrize(
    "shape", [(1, 1), (1, 7, 1), (64, 1, 1), (1, 1, 1, 9, 33), (3, 2, 1, 17), (2, 3, 5, 18, 21)], ids=str
)
@pytest.mark.parametrize("method", ["mean", "mode", "exact_mode"])
def test_axes_of_one_voxel_time_and_channel(shape: Shape, method: str) -> None:
    array = labels("uint16", shape)
    spatial = min(3, len(shape)) if len(shape) != 4 else 3
    factors = [(1,) * (len(shape) - spatial) + (2,) * spatial] * 4
    pyramid = cp.build_pyramid(array, {}, method=method, levels=4, chunks=4)
    assert_levels(pyramid, expected_levels(array, factors, method))


def floats(method: str) -> Array:
    """For exact modes few values: with as many as voxels they need more memory than is planned for."""
    return labels("float32") if method == "exact_mode" else volume("float32")


@functools.cache
def reference(method: str) -> list[Array]:
    """Built in one block and one stage, with all the memory there is."""
    with dask.config.set(scheduler="synchronous"):
        pyramid = cp.build_pyramid(floats(method), {}, method=method, levels=4, chunks=64)
    assert pyramid.plan is not None
    assert pyramid.plan.tasks == 1
    return levels_of(pyramid)


@pytest.mark.parametrize("method", ["mean", "mode", "exact_mode"])
@pytest.mark.parametrize("chunks", [(8, 8, 8), (16, 4, 11), (5, 64, 7)], ids=str)
@pytest.mark.parametrize(("shards", "workers"), [(False, 16), (True, 4)])
def test_no_voxel_depends_on_chunks_shards_or_machine(method: str, chunks: Shape, shards: bool, workers: int) -> None:
    """Not even the last bit of a mean of floats, whose sums depend on the order in which they are added."""
    source = zarr.create_array({}, data=floats(method), chunks=(10, 9, 8))
    options: dict[str, Any] = {"shards": tuple(2 * c for c in chunks)} if shards else {}
    with dask.config.set(scheduler="threads", num_workers=workers):
        pyramid = cp.build_pyramid(source, {}, method=method, levels=4, chunks=chunks, **options)
    assert_levels(pyramid, reference(method))


@pytest.mark.parametrize("method", ["mean", "mode", "exact_mode"])
@pytest.mark.parametrize("kind", ["zarr", "dask"])
def test_no_voxel_depends_on_the_memory_limit(method: str, kind: str, least_memory: Callable[..., int]) -> None:
    array: Any = floats(method)
    source = (
        zarr.create_array({}, data=array, chunks=(8,) * 3)
        if kind == "zarr"
        else da.from_array(array, chunks=(7, 50, 13))
    )
    options: dict[str, Any] = {"method": method, "levels": 4, "chunks": 8}
    with dask.config.set(scheduler="threads", num_workers=4):
        least = least_memory(source, {}, **options)
        plans = set()
        for room in (0, 2**15, 2**18, 2**22):
            pyramid = cp.build_pyramid(source, {}, memory_limit=least + room, **options)
            assert pyramid.plan is not None
            plans.add((tuple((s.last_level, s.block, s.piece) for s in pyramid.plan.stages), pyramid.plan.threads))
            assert_levels(pyramid, reference(method))
    assert len(plans) > 1


def a_source(kind: str, array: Array, draw: random.Random) -> Any:
    chunks = tuple(draw.randint(1, n + 3) if n < 12 else draw.randint(4, n + 3) for n in array.shape)
    if kind == "numpy":
        return np.asarray(array, order=draw.choice("CF"))
    if kind == "dask":
        cuts = tuple(
            tuple(np.diff([0, *sorted(draw.sample(range(1, n), min(n - 1, 2))), n]).tolist()) for n in array.shape
        )
        return da.from_array(array, chunks=cuts)
    store: dict[str, Any] = {}
    if kind == "sharded":
        made = zarr.create_array(
            store, shape=array.shape, dtype=array.dtype, chunks=chunks, shards=tuple(2 * c for c in chunks)
        )
    else:
        made = zarr.create_array(store, shape=array.shape, dtype=array.dtype, chunks=chunks, zarr_format=int(kind[-1]))
    made[...] = array
    return made


@pytest.mark.parametrize("seed", range(60))
def test_any_source_any_target_any_factors(seed: int) -> None:
    draw = random.Random(seed)
    ndim = draw.choice([2, 3, 3, 3, 4])
    shape = tuple(draw.randint(1, {2: 70, 3: 24, 4: 9}[ndim]) for _ in range(ndim))
    dtype = draw.choice(["uint8", "int16", "uint32", "int64", "uint64"])
    method = draw.choice(["mean", "mean", "mode", "exact_mode", "exact_mode", "min", "max", "stride"])
    kind = draw.choice(["zarr v2", "zarr v3", "sharded", "numpy", "dask"])
    chunks = tuple(draw.randint(2, 9) for _ in range(ndim))
    factors = [tuple(draw.choice([1, 2, 2, 3]) for _ in range(ndim)) for _ in range(draw.randint(1, 5))]
    zarr_format = draw.choice([2, 3])
    options: dict[str, Any] = {"method": method, "factor": factors, "chunks": chunks, "zarr_format": zarr_format}
    if zarr_format == 3 and draw.random() < 0.5:
        options["shards"] = tuple(c * draw.randint(1, 3) for c in chunks)
    rules: dict[str, Any] = {}
    if method in ("mean", "mode", "exact_mode") and draw.random() < 0.4:
        rules = {"sparse": True, "background": draw.choice([0, 3])}
    if method == "mean" and draw.random() < 0.3:
        rules["rounding"] = "truncate"
    array = draw.choice([volume, labels])(dtype, shape, seed)
    with dask.config.set(scheduler="threads", num_workers=draw.choice([1, 3, 16])):
        pyramid = cp.build_pyramid(a_source(kind, array, draw), {}, **options, **rules)
    assert_levels(pyramid, expected_levels(array, factors, **{"method": method} | rules))


def test_the_sweep_meets_all_kinds_of_stages() -> None:
    """The cases above are worth their time only if they differ."""
    with dask.config.set(scheduler="threads", num_workers=16):
        plans = [
            cp.plan_pyramid(
                zarr.create_array({}, data=volume("uint8"), chunks=(8,) * 3), {}, method=method, levels=4, chunks=chunks
            )
            for method, chunks in itertools.product(["mean", "mode", "exact_mode"], [4, 8])
        ]
    assert {stage.reads for plan in plans for stage in plan.stages} == {"source", "carry", "level"}
    assert max(len(plan.stages) for plan in plans) >= 3
