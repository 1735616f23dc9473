"""The plan: a promise that can be kept, checked against an enumeration of blocks, pieces and write units."""

from __future__ import annotations

import itertools
import json
import math
import pickle
import re
import time
from collections import Counter
from collections.abc import Iterator
from dataclasses import FrozenInstanceError, replace
from pathlib import Path
from typing import Any

import dask
import dask.array as da
import numpy as np
import pytest
import zarr
from dask.utils import parse_bytes
from hypothesis import given, settings
from hypothesis import strategies as st

import chunkpyramid as cp
from chunkpyramid.boxes import Box, Shape, ceil_shape, tile
from chunkpyramid.engine.piece_order import nested_order
from chunkpyramid.engine.process_memory import (
    BASELINE,
    GRAPH_BYTES_PER_TASK,
    MOST_TASKS_IN_A_GRAPH,
    graph_bytes,
    process_peak,
)
from chunkpyramid.pyramid.plan import Level, PlanRequest, PyramidPlan, Stage, make_levels
from chunkpyramid.pyramid.plan_stages import make_plan
from chunkpyramid.reductions.methods import resolve_method
from chunkpyramid.text import format_bytes

KIB = 2**10


def levels_of(shape: Shape, factors: list[Shape], chunks: Shape, shards: Shape | None = None) -> tuple[Level, ...]:
    """Levels that all have the same chunks and shards."""
    count = len(factors) + 1
    return make_levels(shape, factors, [chunks] * count, [shards] * count, [str(level) for level in range(count)])


@st.composite
def requests(draw: st.DrawFn, *, roomy: bool = False) -> PlanRequest:
    """Small volumes, and machines of any size: one voxel, whole shards, odd factors, slots by the dozen."""
    ndim = draw(st.integers(1, 3))

    def per_axis(least: int, most: int) -> Shape:
        return draw(st.tuples(*[st.integers(least, most)] * ndim))

    def shards(chunks: Shape) -> Shape | None:
        return draw(st.none() | st.just(tuple(c * n for c, n in zip(chunks, per_axis(1, 3), strict=True))))

    factors = draw(st.lists(st.tuples(*[st.integers(1, 3)] * ndim), max_size=4))
    count = len(factors) + 1
    each = [per_axis(1, 6) for _ in range(count)] if draw(st.booleans()) else [per_axis(1, 6)] * count
    sharded = [shards(own) for own in each] if draw(st.booleans()) else [None] * count
    chunks = each[0]
    writes_level_0 = draw(st.booleans())
    threads = draw(st.integers(1, 4))
    room = 2**30 if roomy else draw(st.integers(1, 256 * KIB))
    return PlanRequest(
        levels=make_levels(per_axis(1, 40), factors, each, sharded, [str(n) for n in range(count)]),
        reduction=resolve_method(
            draw(st.sampled_from(["mean", "mode", "exact_mode", "max"])), draw(st.sampled_from(["u1", "u8", "f4"]))
        ),
        read_chunks=draw(st.none() | st.just(chunks) | st.tuples(*[st.integers(1, 9)] * ndim))
        if writes_level_0
        else chunks,
        writes_level_0=writes_level_0,
        memory_limit=BASELINE + room,
        threads=threads,
        slots=threads * draw(st.integers(1, 8)),
    )


def plan_or_none(request: PlanRequest) -> PyramidPlan | None:
    try:
        return make_plan(request)
    except cp.PlanError:
        return None


def blocks(plan: PyramidPlan, stage: Stage) -> Iterator[Box]:
    extent = plan.levels[stage.source_level].shape
    for cell in tile(Box((0,) * len(extent), extent), stage.block):
        yield cell.clip(extent)


def at_level(plan: PyramidPlan, stage: Stage, box: Box, level: int) -> Box:
    """A box of the stage's source level as the box of a coarser level, folded level by level."""
    for step in plan.levels[stage.source_level + 1 : level + 1]:
        box = box.fold(step.factor)
    return box


@given(requests())
def test_stages_make_every_level_once_and_in_order(request: PlanRequest) -> None:
    plan = plan_or_none(request)
    if plan is None:
        return
    made = [o.level for stage in plan.stages for o in stage.outputs if not o.is_carry]
    assert made == list(range(0 if request.writes_level_0 else 1, len(request.levels)))
    assert [stage.index for stage in plan.stages] == list(range(len(plan.stages)))
    for before, stage in itertools.pairwise(plan.stages):
        assert stage.source_level == before.last_level
        carried = [o.level for o in before.outputs if o.is_carry]
        assert carried == ([before.last_level] if stage.reads == "carry" else [])
    if plan.stages:
        assert (plan.stages[0].source_level, plan.stages[0].reads) == (0, "source")
        assert not any(o.is_carry for o in plan.stages[-1].outputs)


@given(requests())
def test_no_two_blocks_touch_one_write_unit(request: PlanRequest) -> None:
    """Of any level of the stage, or of its carry: so no lock is needed, and nothing is written in parts."""
    plan = plan_or_none(request)
    for stage in plan.stages if plan else ():
        assert stage.grid == ceil_shape(plan.levels[stage.source_level].shape, stage.block)
        for output in stage.outputs:
            level = plan.levels[output.level]
            unit = level.chunks if output.is_carry else level.write_unit
            owners = Counter(
                cell.start
                for block in blocks(plan, stage)
                for cell in tile(at_level(plan, stage, block, output.level), unit)
            )
            assert set(owners.values()) == {1}
            assert len(owners) == math.prod(ceil_shape(level.shape, unit))


@given(requests())
def test_pieces_tile_their_block_and_fold_without_remainder(request: PlanRequest) -> None:
    plan = plan_or_none(request)
    for stage in plan.stages if plan else ():
        shapes = {cell.shape: cell for cell in blocks(plan, stage)}
        for block in shapes.values():
            pieces = nested_order(block, stage.piece, [o.unit for o in stage.outputs])
            assert sum(piece.size for piece in pieces) == block.size
            assert len({piece.start for piece in pieces}) == len(pieces)
            folded = [at_level(plan, stage, piece, stage.last_level) for piece in pieces]
            assert sum(piece.size for piece in folded) == at_level(plan, stage, block, stage.last_level).size


@given(requests())
def test_the_promise_is_within_the_limit(request: PlanRequest) -> None:
    plan = plan_or_none(request)
    if plan is None:
        return
    assert 1 <= plan.threads <= request.threads
    assert BASELINE <= plan.peak_bytes <= plan.memory_limit == request.memory_limit
    for stage in plan.stages:
        assert plan.peak_bytes >= BASELINE + min(plan.threads, stage.tasks) * stage.memory.total


@given(requests(roomy=True))
def test_with_room_every_source_chunk_is_read_once(request: PlanRequest) -> None:
    plan = make_plan(request)
    if plan.stages:
        assert plan.stages[0].bytes_read == math.prod(request.levels[0].shape) * request.reduction.dtype.itemsize


def test_one_read_of_a_chunk_comes_before_more_tasks() -> None:
    """Two tasks that both read the only chunk of the source would be done sooner."""
    request = PlanRequest(
        levels=levels_of((2,), [], (1,)),
        reduction=resolve_method("mode", "u1"),
        read_chunks=(2,),
        writes_level_0=True,
        memory_limit=2**30,
        slots=2,
    )
    assert make_plan(request).bytes_read == 2


def assert_the_limit_named_works(request: PlanRequest) -> None:
    with pytest.raises(cp.PlanError) as refusal:
        make_plan(replace(request, memory_limit=BASELINE))
    named = re.search(r"at least ([\d.]+ \w+) of memory", str(refusal.value))
    assert named is not None
    least = math.ceil(parse_bytes(named[1]))
    plan = make_plan(replace(request, memory_limit=least))
    assert plan.peak_bytes <= least
    assert plan.stages[-1].last_level == len(request.levels) - 1


@given(requests())
@settings(max_examples=200)
def test_the_least_limit_that_is_named_works(request: PlanRequest) -> None:
    if len(request.levels) > 1 or request.writes_level_0:
        assert_the_limit_named_works(request)


def test_the_limit_named_is_that_of_the_hungriest_stage() -> None:
    """Of several ways through the levels the cheapest first stage may leave a second one that does not fit."""
    assert_the_limit_named_works(
        PlanRequest(
            levels=levels_of((45, 50, 39), [(2, 2, 2)] * 4, (8, 8, 8), (16, 16, 16)),
            reduction=resolve_method("mode", "u1"),
            read_chunks=(8, 8, 8),
            writes_level_0=True,
            memory_limit=BASELINE,
        )
    )


def test_the_limit_named_is_kept_by_blocks_that_arrive_whole() -> None:
    """They grow with the limit, and must not grow into what the rest of the task needs."""
    assert_the_limit_named_works(
        PlanRequest(
            levels=levels_of((117, 260), [(2, 1), (2, 2), (3, 1)], (11, 27), (22, 54)),
            reduction=resolve_method("mean", "u8"),
            read_chunks=None,
            writes_level_0=True,
            memory_limit=BASELINE,
        )
    )


@given(requests(), st.integers(1, 256 * KIB))
@settings(max_examples=200)
def test_more_memory_never_makes_a_plan_impossible(request: PlanRequest, more: int) -> None:
    if plan_or_none(request) is not None:
        make_plan(replace(request, memory_limit=request.memory_limit + more))


@pytest.mark.parametrize("room", [0, 1, 10 * KIB])
def test_what_cannot_fit_is_refused_with_the_numbers_and_the_knob(room: int) -> None:
    volume = zarr.create_array({}, shape=(512, 512, 512), chunks=(128, 128, 128), dtype="u8")
    with pytest.raises(
        cp.PlanError, match=r"needs at least [\d.]+ MiB of memory, but memory_limit is [\d.]+ MiB"
    ) as told:
        cp.plan_pyramid(volume, {}, memory_limit=BASELINE + room)
    assert "raise memory_limit" in str(told.value)
    named = re.search(r"at least ([\d.]+ MiB)", str(told.value))
    assert named is not None
    plan = cp.plan_pyramid(volume, {}, memory_limit=named[1])
    assert plan.peak_bytes <= parse_bytes(named[1])


@pytest.mark.parametrize("source", ["zarr", "dask", "numpy"])
@pytest.mark.parametrize("options", [{}, {"shards": 64}, {"factor": (3, 2, 1), "levels": 3}], ids=str)
def test_the_least_limit_of_a_whole_call_works(source: str, options: dict[str, Any], least_memory: Any) -> None:
    voxels: Any = np.zeros((90, 100, 110), np.uint16)
    if source == "zarr":
        voxels = zarr.create_array({}, data=voxels, chunks=(32, 32, 32))
    elif source == "dask":
        voxels = da.from_array(voxels, chunks=(7, 100, 30))
    options = {"chunks": 32, "method": "mean"} | options
    least = least_memory(voxels, {}, **options)
    for room in range(0, 400 * KIB, 37 * KIB):
        assert cp.plan_pyramid(voxels, {}, memory_limit=least + room, **options).peak_bytes <= least + room


def test_fewer_tasks_run_at_once_only_where_memory_asks_for_it() -> None:
    volume = zarr.create_array({}, shape=(1024,) * 3, chunks=(64,) * 3, dtype="u1")
    with dask.config.set(scheduler="threads", num_workers=8):
        roomy, tight = (cp.plan_pyramid(volume, {}, memory_limit=limit) for limit in ("8 GiB", "215 MiB"))
    assert roomy.threads == 8
    assert 1 <= tight.threads < 8


@pytest.mark.parametrize("shards", [None, 1024])
def test_a_petabyte_is_planned_in_seconds(shards: int | None) -> None:
    volume = zarr.create_array({}, shape=(100_000,) * 3, chunks=(64,) * 3, dtype="u1")
    # the time of this process, whatever else the machine does
    start = time.process_time()
    plan = cp.plan_pyramid(volume, {}, chunks=64, shards=shards, method="mean", memory_limit="16 GiB")
    assert time.process_time() - start < 30
    assert len(plan.levels) == 12
    assert plan.levels[-1].shape == (49,) * 3
    assert 1 < plan.tasks < 2_000_000
    assert plan.bytes_read < 1.5e15
    assert plan.peak_bytes <= 16 * 2**30
    assert len(pickle.dumps(plan)) < 8 * KIB
    assert len(json.dumps(plan.to_dict())) < 8 * KIB


def test_a_graph_is_charged_for_a_window_of_the_grid() -> None:
    """However many tasks there are; and the printed sum is that of the promise."""
    assert graph_bytes(10) == 10 * GRAPH_BYTES_PER_TASK
    assert graph_bytes(10**9) == graph_bytes(MOST_TASKS_IN_A_GRAPH) == MOST_TASKS_IN_A_GRAPH * GRAPH_BYTES_PER_TASK
    volume = zarr.create_array({}, shape=(100_000,) * 3, chunks=(64,) * 3, dtype="u1")
    # into whose processes nobody looks, so that the numbers are always the same
    with dask.config.set(scheduler="processes", num_workers=2):
        plan = cp.plan_pyramid(volume, {}, method="mean", memory_limit="300 MiB")
    assert max(stage.tasks for stage in plan.stages) > MOST_TASKS_IN_A_GRAPH
    peaks = {process_peak(stage.memory, stage.tasks, plan.threads): stage for stage in plan.stages}
    for peak, stage in peaks.items():
        running = min(plan.threads, stage.tasks)
        assert peak == BASELINE + graph_bytes(stage.tasks) + running * stage.memory.total
    assert plan.peak_bytes == max(peaks)
    assert f"+ {format_bytes(graph_bytes(peaks[max(peaks)].tasks))} graph +" in str(plan)


def test_odd_sizes_of_a_petabyte_are_planned_in_seconds() -> None:
    volume = zarr.create_array({}, shape=(99_991, 100_003, 100_019), chunks=(50, 64, 100), dtype="u8")
    # the time of this process, whatever else the machine does
    start = time.process_time()
    plan = cp.plan_pyramid(volume, {}, chunks=(48, 60, 72), factor=(3, 2, 2), memory_limit="4 GiB", method="mean")
    assert time.process_time() - start < 30
    assert plan.peak_bytes <= 4 * 2**30


def test_planning_is_pure(tmp_path: Path) -> None:
    """The same plan for the same arguments, nothing written, and no voxel read."""
    source = zarr.create_array(tmp_path / "source", shape=(70, 80, 90), chunks=(16,) * 3, dtype="u2")
    (tmp_path / "source" / "c").mkdir()
    for index in itertools.product(range(5), range(5), range(6)):
        chunk = tmp_path / "source" / "c" / "/".join(map(str, index))
        chunk.parent.mkdir(parents=True, exist_ok=True)
        chunk.write_bytes(b"no chunk that could be decoded")
    before = sorted(tmp_path.rglob("*"))
    plans = [cp.plan_pyramid(source, tmp_path / "target", method="mean", shards=32) for _ in range(2)]
    assert plans[0] == plans[1]
    assert str(plans[0]) == str(plans[1])
    assert sorted(tmp_path.rglob("*")) == before


def test_a_plan_is_frozen_and_goes_into_json() -> None:
    plan = cp.plan_pyramid(np.zeros((40, 40), np.uint8), {}, chunks=8)
    with pytest.raises(FrozenInstanceError):
        plan.method = "mode"  # type: ignore[misc]
    told = json.loads(json.dumps(plan.to_dict()))
    assert [tuple(level["shape"]) for level in told["levels"]] == [(40, 40), (20, 20), (10, 10), (5, 5)]
    assert told["peak_bytes"] == plan.peak_bytes


def test_a_printed_plan_tells_levels_stages_and_the_sum_of_the_promise() -> None:
    with dask.config.set(scheduler="threads", num_workers=16):
        plan = cp.plan_pyramid(np.zeros((45, 50, 39), np.uint8), {}, chunks=8, levels=4, method="mean", shards=16)
    text = str(plan)
    assert len(plan.stages) > 1
    for level in plan.levels:
        assert re.search(rf"^{level.index} .*{' x '.join(map(str, level.shape))}", text, re.MULTILINE)
    for stage in plan.stages:
        assert re.search(rf"^{stage.index} .*{' x '.join(map(str, stage.block))}.* {stage.tasks} ", text, re.MULTILINE)
    assert "carry of level" in text
    assert "promised, of a limit of" in text


def test_a_plan_without_levels_to_compute() -> None:
    plan = cp.plan_pyramid(zarr.create_group({}).create_array("0", shape=(8, 8), chunks=(8, 8), dtype="u1"))
    assert plan.stages == ()
    assert plan.tasks == plan.bytes_read == plan.bytes_written == 0
    assert "nothing to compute" in str(plan)


def test_bytes_are_those_of_the_arrays() -> None:
    volume = zarr.create_array({}, shape=(64, 64, 64), chunks=(16, 16, 16), dtype="u2")
    with dask.config.set(scheduler="threads", num_workers=1):
        plan = cp.plan_pyramid(volume, {}, levels=3, method="mode")
    assert plan.bytes_read == 2 * sum(math.prod(plan.levels[stage.source_level].shape) for stage in plan.stages)
    assert plan.bytes_written == 2 * (64**3 + 32**3 + 16**3 + 8**3)


def test_levels_far_coarser_than_the_volume() -> None:
    """Footprints end at the volume, so even 52 levels of a small one have sums that can be carried."""
    plan = cp.plan_pyramid(np.zeros((5, 7), np.uint64), {}, levels=52, method="mean")
    assert plan.levels[-1].shape == (1, 1)
    assert plan.levels[-1].cumulative == (2**52, 2**52)
    assert plan.levels[-1].footprint == 35


def test_no_task_is_most_of_a_petabyte() -> None:
    """A block that is interrupted is lost: plans prefer many, also where one task at a time fills the memory."""
    volume = zarr.create_array({}, shape=(100_000,) * 3, chunks=(64,) * 3, dtype="u1")
    with dask.config.set(scheduler="threads", num_workers=2):
        plan = cp.plan_pyramid(volume, {}, chunks=64, shards=1024, method="mean", memory_limit="16 GiB")
    assert plan.stages[0].tasks > 100


def test_complex_voxels_are_strided(tmp_path: Path) -> None:
    values = (np.arange(35).reshape(5, 7) * (1 - 2j)).astype(np.complex64)
    pyramid = cp.build_pyramid(values, tmp_path / "complex.zarr", method="stride", levels=1)
    np.testing.assert_array_equal(pyramid.levels[1][:], values[::2, ::2])
