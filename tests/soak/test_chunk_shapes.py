"""Chunks and shards per level: what the arguments mean, what "auto" chooses, and that builds do not mind any of it."""

from __future__ import annotations

import itertools
import math
import random
from collections import Counter
from collections.abc import Callable
from typing import Any

import dask
import numpy as np
import pytest
import zarr
from helpers.fast_oracles import fast_levels
from hypothesis import given
from hypothesis import strategies as st
from test_store_operations import SCRATCH, CountingStore, keys
from zarr.storage import MemoryStore

import chunkpyramid as cp
from chunkpyramid.boxes import Shape
from chunkpyramid.pyramid.chunk_shapes import SHARD_BYTES, resolve_shards

IMAGE = np.random.default_rng(0).integers(1, 255, (33, 34, 35), dtype=np.uint8)
LABELS = np.random.default_rng(1).choice(np.array([0, 0, 3, 200, 2**40], np.uint64), (33, 34, 35))
METHODS = ["mean", "mode", "exact_mode"]


def array_of(shape: Shape, dtype: str = "u1", **options: Any) -> zarr.Array[Any]:
    return zarr.create_array(MemoryStore(), shape=shape, dtype=dtype, **options)


def planned(source: Any, target: Any = "new.zarr", **options: Any) -> tuple[list[Shape], list[Shape | None]]:
    """Chunks and shards of all levels."""
    plan = cp.plan_pyramid(source, target, memory_limit="64 GiB", **options)
    return [level.chunks for level in plan.levels], [level.shards for level in plan.levels]


# ---------------------------------------------------------------------------------------------------- what is asked for


@pytest.mark.parametrize(
    ("chunks", "expected"),
    [
        (None, [(1, 2, 30, 40, 50)] * 3),
        ("auto", [(1, 1, 128, 128, 128)] * 3),
        (64, [(1, 1, 64, 64, 64)] * 3),
        (np.int64(64), [(1, 1, 64, 64, 64)] * 3),
        ((3, 1, 8, 16, 32), [(3, 1, 8, 16, 32)] * 3),
        (np.array([3, 1, 8, 16, 32]), [(3, 1, 8, 16, 32)] * 3),
        ((8, 16, 32), [(1, 1, 8, 16, 32)] * 3),
        ({"x": 64}, [(1, 2, 30, 40, 64)] * 3),
        ({"t": 4, "z": 1}, [(4, 2, 1, 40, 50)] * 3),
        ([64, None, "auto"], [(1, 1, 64, 64, 64), (1, 2, 30, 40, 50), (1, 1, 128, 128, 128)]),
        ([(8, 16, 32), {"y": 5}, [1, 1, 2, 3, 4]], [(1, 1, 8, 16, 32), (1, 2, 30, 5, 50), (1, 1, 2, 3, 4)]),
    ],
    ids=str,
)
def test_chunks(chunks: Any, expected: list[Shape]) -> None:
    source = array_of((4, 3, 300, 400, 500), chunks=(1, 2, 30, 40, 50))
    assert planned(source, chunks=chunks, levels=2) == (expected, [None] * 3)


@pytest.mark.parametrize(
    ("shards", "expected"),
    [
        (None, [None] * 3),
        (64, [(2, 64, 64)] * 3),
        ((4, 16, 32), [(4, 16, 32)] * 3),
        ((16, 32), [(2, 16, 32)] * 3),
        ({"x": 64}, [(2, 8, 64)] * 3),
        ([64, {"t": 6}, None], [(2, 64, 64), (6, 8, 16), None]),
        ([None] * 3, [None] * 3),
    ],
    ids=str,
)
def test_shards(shards: Any, expected: list[Shape | None]) -> None:
    """Along the axes that are not meant, a shard is as long as the chunk."""
    source = array_of((6, 400, 500), chunks=(2, 8, 16))
    assert planned(source, shards=shards, levels=2, axes="tyx") == ([(2, 8, 16)] * 3, expected)


def test_auto_chunks_are_those_of_a_source_without_any() -> None:
    source = array_of((300, 400, 500), "u8", chunks=(1, 400, 500))
    assert planned(source, chunks="auto") == planned(np.broadcast_to(np.uint64(0), source.shape), chunks=None)


def test_the_chunks_of_level_0_decide_how_many_levels_there_are() -> None:
    source = array_of((256, 256), chunks=(16, 16))
    assert len(planned(source)[0]) == 5
    assert planned(source, chunks=[64, 128, 256]) == ([(64, 64), (128, 128), (256, 256)], [None] * 3)
    with pytest.raises(cp.ArgumentError, match="a list of 2 entries, but there are 3 levels"):
        planned(source, chunks=[64, None])
    with pytest.raises(cp.ArgumentError, match="a list of 1 entries, but there are 2 levels"):
        planned(source, factor=[(2, 2)], shards=[64])


def test_a_level_that_zarr_refuses_is_named() -> None:
    with pytest.raises(cp.ArgumentError, match=r"zarr refuses .* \(level 0\)"):
        planned(array_of((64, 64), chunks=(8, 8)), compressors="zip")


# ---------------------------------------------------------------------------------------------------- auto shards

AUTO: dict[str, tuple[dict[str, Any], list[Shape | None]]] = {
    "cubic": (
        {"shape": (4096,) * 3, "chunks": (64,) * 3, "levels": 5},
        [(256, 512, 512), (128, 256, 256), (64, 128, 128), None, None, None],
    ),
    "uint64": (
        {"shape": (4096,) * 3, "chunks": (64,) * 3, "dtype": "u8", "levels": 2},
        [(128, 256, 256), (64, 128, 128), None],
    ),
    "small": (
        {"shape": (100, 120, 300), "chunks": (64,) * 3, "levels": 2},
        [(128, 128, 512), (64, 64, 256), (64, 64, 128)],
    ),
    "smaller than a chunk": ({"shape": (60, 60), "chunks": (64, 64), "levels": 1}, [None, None]),
    "one-slice chunks": (
        {"shape": (600, 1024, 1024), "chunks": (1, 1024, 1024), "levels": 2},
        [(64, 1024, 1024), (32, 1024, 1024), (16, 1024, 1024)],
    ),
    "anisotropic": (
        {"shape": (50, 4096, 4096), "chunks": (16, 128, 128), "factor": [(1, 2, 2), (1, 2, 2), (2, 2, 2)]},
        [(64, 1024, 1024), (64, 512, 512), (64, 256, 256), (32, 128, 128)],
    ),
    "factor 3": (
        {"shape": (5000, 5000), "chunks": (100, 100), "factor": 3, "levels": 3},
        [(5400, 5400), (1800, 1800), (600, 600), (200, 200)],
    ),
    "factor 2, then 3": (
        {"shape": (3000, 3000), "chunks": (100, 100), "factor": [(2, 2), (3, 3)]},
        [(4800, 4800), (2400, 2400), (800, 800)],
    ),
    "time and channel": (
        {"shape": (9, 3, 200, 200), "chunks": (1, 1, 64, 64), "levels": 1},
        [(1, 1, 256, 256), (1, 1, 128, 128)],
    ),
}


@pytest.mark.parametrize(("request_", "expected"), AUTO.values(), ids=AUTO)
def test_auto_shards(request_: dict[str, Any], expected: list[Shape | None]) -> None:
    options = dict(request_)
    axes = {"axes": "tcyx"} if len(options["shape"]) == 4 else {}
    source = array_of(options.pop("shape"), options.pop("dtype", "u1"), chunks=options.pop("chunks"))
    assert planned(source, shards="auto", **axes, **options)[1] == expected


@st.composite
def pyramids(draw: st.DrawFn) -> dict[str, Any]:
    ndim = draw(st.integers(2, 3))
    per_axis = lambda most: st.tuples(*[st.integers(1, most)] * ndim)  # noqa: E731
    factors = draw(st.lists(per_axis(4), max_size=5))
    same = draw(st.booleans())
    chunks = (
        [draw(per_axis(300))] * (len(factors) + 1) if same else [draw(per_axis(300)) for _ in range(len(factors) + 1)]
    )
    return {
        "shape": draw(per_axis(10**5)),
        "factors": factors,
        "chunks": chunks,
        "itemsize": draw(st.sampled_from([1, 2, 4, 8])),
    }


@given(pyramids())
def test_auto_shards_are_whole_chunks_and_one_block_owns_them(pyramid: dict[str, Any]) -> None:
    chunks, factors, shape = pyramid["chunks"], pyramid["factors"], pyramid["shape"]
    shards = resolve_shards("auto", axes="zyx"[-len(shape) :], spatial=(True,) * len(shape), **pyramid)
    units = [shard or own for shard, own in zip(shards, chunks, strict=True)]
    assert all(shard != own for shard, own in zip(shards, chunks, strict=True))
    for unit, own in zip(units, chunks, strict=True):
        assert not any(n % c for n, c in zip(unit, own, strict=True))
    assert units[0] == chunks[0] or math.prod(units[0]) * pyramid["itemsize"] <= SHARD_BYTES
    assert all(n == c or n < 2 * e for n, c, e in zip(units[0], chunks[0], shape, strict=True))
    same = len(set(chunks)) == 1
    for (before, unit), own, factor in zip(itertools.pairwise(units), chunks[1:], factors, strict=True):
        for b, n, c, f in zip(before, unit, own, factor, strict=True):
            assert n == c or n * f <= b
            # a block of the shards before owns whole ones of these, or else chunks would not nest in it either
            assert math.lcm(b, n * f) == math.lcm(b, c * f)
            if same and b >= c * f and set(factors) <= {(1,) * len(shape), (2,) * len(shape)}:
                assert n * f == b


def test_auto_shards_need_no_larger_blocks() -> None:
    source = array_of((1024,) * 3, chunks=(64,) * 3)
    plan = cp.plan_pyramid(source, "new.zarr", chunks=64, shards="auto", levels=3, memory_limit="64 GiB")
    first = plan.stages[0]
    assert first.last_level >= 2
    assert not any(b % u for output in first.outputs for b, u in zip(first.block, output.unit, strict=True))
    assert max(first.block) <= 512


# ---------------------------------------------------------------------------------------------------- builds

BUILDS: dict[str, dict[str, Any]] = {
    "growing": {"chunks": [4, 8, 16, 32]},
    "shrinking": {"chunks": [16, 8, 4, 2]},
    "not nested": {"chunks": [12, 8, 12, 5]},
    "of other shapes": {"chunks": [(1, 34, 35), (33, 4, 4), {"x": 3}, "auto"]},
    "shrinking shards": {"chunks": 4, "shards": [32, 16, 8, None]},
    "growing shards": {"chunks": [8, 4, 4, 2], "shards": [None, 8, 16, 8]},
    "shards not nested": {"chunks": [4, 6, 5, 2], "shards": [12, 18, (5, 10, 15), {"z": 4}]},
    "auto shards": {"chunks": 4, "shards": "auto"},
    "auto shards, chunks per level": {"chunks": [8, 6, 4, 8], "shards": "auto"},
    "auto shards, factor 3": {"chunks": 3, "shards": "auto", "factor": [(3, 3, 3), (1, 2, 3), (3, 1, 1)]},
}


def build(method: str, source: Any, workers: int, **options: Any) -> tuple[CountingStore, cp.Pyramid]:
    store = CountingStore(MemoryStore())
    with dask.config.set(scheduler="threads", num_workers=workers):
        return store, cp.build_pyramid(source, store, **{"levels": 3, "method": method, **options})


def assert_exact_and_written_once(store: CountingStore, pyramid: cp.Pyramid, voxels: Any, method: str) -> None:
    assert pyramid.plan is not None
    # no shard is read to be written, and only modes go on from the voxels of a level
    assert method == "mode" or not [key for key in store.count("get") if not key.startswith(SCRATCH)]
    factors = [level.factor for level in pyramid.plan.levels[1:]]
    expected = [voxels, *fast_levels(voxels, factors, method)]
    written: Counter[str] = Counter()
    for level, plan, values in zip(pyramid.levels, pyramid.plan.levels, expected, strict=True):
        np.testing.assert_array_equal(level[...], values, err_msg=plan.path, strict=True)
        assert (level.chunks, level.shards) == (plan.chunks, plan.shards)
        written += keys(level.shape, plan.write_unit, level.path, level.metadata.zarr_format)
    sets = Counter({key: n for key, n in store.count("set").items() if not key.startswith(SCRATCH)})
    assert sets <= written  # what holds nothing but fill_value is not written
    if voxels is IMAGE:
        assert sets == written


@pytest.mark.parametrize("options", BUILDS.values(), ids=BUILDS)
@pytest.mark.parametrize(("method", "workers"), [("mean", 1), *((method, 16) for method in METHODS)])
def test_every_write_unit_is_exact_and_written_once(method: str, options: dict[str, Any], workers: int) -> None:
    voxels = IMAGE if method == "mean" else LABELS
    source = zarr.create_array({}, data=voxels, chunks=(8, 8, 8))
    store, pyramid = build(method, source, workers, **options)
    assert_exact_and_written_once(store, pyramid, voxels, method)


def test_the_builds_meet_several_stages_and_blocks() -> None:
    """The cases above are worth their time only if they differ."""
    source = zarr.create_array({}, shape=IMAGE.shape, dtype="u1", chunks=(8, 8, 8))
    with dask.config.set(scheduler="threads", num_workers=16):
        plans = [cp.plan_pyramid(source, {}, **{"levels": 3, **options}) for options in BUILDS.values()]
    assert sum(len(plan.stages) > 1 for plan in plans) >= 2
    assert sum(plan.tasks > len(plan.stages) for plan in plans) >= 4


@pytest.mark.parametrize("options", ["growing", "shrinking shards", "shards not nested", "auto shards"])
@pytest.mark.parametrize("method", METHODS)
def test_whatever_the_memory_limit(method: str, options: str, least_memory: Callable[..., int]) -> None:
    voxels = IMAGE if method == "mean" else LABELS
    source = zarr.create_array({}, data=voxels, chunks=(8, 8, 8))
    with dask.config.set(scheduler="threads", num_workers=4):
        least = least_memory(source, {}, method=method, levels=3, **BUILDS[options])
    plans = set()
    for room in (0, 2**16, 2**22):
        store, pyramid = build(method, source, 4, memory_limit=least + room, **BUILDS[options])
        assert_exact_and_written_once(store, pyramid, voxels, method)
        plans.add(str(pyramid.plan))
    assert len(plans) > 1


@pytest.mark.parametrize("seed", range(40))
def test_any_chunks_and_shards_of_any_level(seed: int) -> None:
    draw = random.Random(seed)
    method = draw.choice(METHODS)
    shape = tuple(draw.randint(1, 40) for _ in range(3))
    voxels = (IMAGE if method == "mean" else LABELS)[tuple(slice(n) for n in shape)]
    factors = [tuple(draw.choice([1, 2, 2, 3]) for _ in range(3)) for _ in range(draw.randint(0, 4))]
    chunks: Any = [tuple(draw.randint(1, 12) for _ in range(3)) for _ in range(len(factors) + 1)]
    shards: Any = "auto"
    if draw.random() < 0.7:
        shards = [draw.choice([None, tuple(c * draw.randint(1, 4) for c in own)]) for own in chunks]
    if draw.random() < 0.3:
        chunks, shards = chunks[0], "auto"
    source = zarr.create_array({}, data=voxels, chunks=tuple(draw.randint(1, n + 2) for n in shape))
    options = {"factor": factors, "levels": None} if factors else {"levels": 0}
    store, pyramid = build(method, source, draw.choice([1, 4, 16]), chunks=chunks, shards=shards, **options)
    assert_exact_and_written_once(store, pyramid, voxels, method)


def test_level_0_is_copied_where_only_other_levels_change() -> None:
    source = zarr.create_array({}, data=IMAGE, chunks=(8, 8, 8), compressors=zarr.codecs.ZstdCodec())
    options: dict[str, Any] = {"compressors": zarr.codecs.ZstdCodec(), "levels": 2}
    plan = cp.plan_pyramid(source, {}, chunks=[None, 16, 4], shards=[None, 32, None], **options)
    assert [output.copied for output in plan.stages[0].outputs if output.level == 0] == [True]
    plan = cp.plan_pyramid(source, {}, chunks=[4, 8, 8], **options)
    assert [output.copied for output in plan.stages[0].outputs if output.level == 0] == [False]


def test_a_resumed_build_has_the_same_chunks_at_every_level() -> None:
    target = zarr.create_group(MemoryStore())
    options: dict[str, Any] = {"method": "mean", "levels": 1}

    def stop(done: int, total: int) -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        cp.build_pyramid(IMAGE, target, chunks=[8, 4], progress=stop, **options)
    with pytest.raises(cp.TargetExistsError):
        cp.build_pyramid(IMAGE, target, chunks=[8, 8], **options)
    pyramid = cp.build_pyramid(IMAGE, target, chunks=[8, 4], **options)
    assert [level.chunks for level in pyramid.levels] == [(8, 8, 8), (4, 4, 4)]


# ---------------------------------------------------------------------------------------------------- in place


def source_in_place(shards: Shape | None = None) -> zarr.Array[Any]:
    group = zarr.create_group(MemoryStore())
    array = group.create_array("0", shape=IMAGE.shape, dtype="u1", chunks=(4, 4, 4), shards=shards)
    array[...] = IMAGE
    return array


@pytest.mark.parametrize(
    ("own", "options", "chunks", "shards"),
    [
        (None, {"chunks": 8}, [4, 8, 8], [None, None, None]),
        (None, {"chunks": [None, 8, 5]}, [4, 8, 5], [None, None, None]),
        (None, {"chunks": [4, 8, (5, 5, 5)]}, [4, 8, 5], [None, None, None]),
        (None, {"chunks": 6, "shards": 12}, [4, 6, 6], [None, 12, 12]),
        (None, {"shards": [None, 16, 8]}, [4, 4, 4], [None, 16, 8]),
        (8, {}, [4, 4, 4], [8, None, None]),
        (8, {"shards": [8, 16, None]}, [4, 4, 4], [8, 16, None]),
        (8, {"shards": [None, 16, None]}, [4, 4, 4], [8, 16, None]),
        (16, {"shards": "auto"}, [4, 4, 4], [16, 8, None]),
        (None, {"shards": "auto"}, [4, 4, 4], [None, 32, 16]),
    ],
    ids=str,
)
def test_in_place_level_0_stays_as_it_is(own: int | None, options: dict[str, Any], chunks: Any, shards: Any) -> None:
    source = source_in_place(own and (own,) * 3)
    pyramid = cp.build_pyramid(source, levels=2, **options)
    assert [level.chunks for level in pyramid.levels] == [(n,) * 3 for n in chunks]
    assert [level.shards for level in pyramid.levels] == [n and (n,) * 3 for n in shards]
    assert pyramid.plan is not None
    assert [level.chunks for level in pyramid.plan.levels] == [level.chunks for level in pyramid.levels]
    assert [level.shards for level in pyramid.plan.levels] == [level.shards for level in pyramid.levels]
    for level, values in zip(pyramid.levels, [IMAGE, *fast_levels(IMAGE, [(2,) * 3] * 2, "mean")], strict=True):
        np.testing.assert_array_equal(level[...], values)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"chunks": [8, 8, None]}, r"chunks asks for \(8, 8, 8\) at level 0, .* with chunks \(4, 4, 4\)"),
        ({"chunks": [{"x": 8}, 8, 8]}, r"chunks asks for \(4, 4, 8\)"),
        ({"shards": [16, 8, None]}, r"shards asks for \(16, 16, 16\) at level 0, .* with shards \(8, 8, 8\)"),
    ],
    ids=str,
)
def test_in_place_level_0_cannot_be_another(options: dict[str, Any], message: str) -> None:
    source = source_in_place((8, 8, 8))
    with pytest.raises(cp.ArgumentError, match=message):
        cp.build_pyramid(source, levels=2, **options)


def test_a_list_of_as_many_numbers_as_there_are_axes_is_a_shape() -> None:
    source = array_of((64, 64), chunks=(16, 16))
    assert planned(source, chunks=[8, 4], shards=[16, 8], levels=1) == ([(8, 4)] * 2, [(16, 8)] * 2)
    assert planned(source, chunks=[8, (4, 4)], levels=1) == ([(8, 8), (4, 4)], [None] * 2)
