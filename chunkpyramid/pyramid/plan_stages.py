"""Choosing the stages of a build, their blocks, pieces and concurrency, so that the memory limit is kept."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import replace
from functools import cache, partial

from chunkpyramid.boxes import Shape, ceil_div, ceil_shape, multiply
from chunkpyramid.engine.block_shapes import is_direct
from chunkpyramid.engine.layout import Limits, bytes_read, lay_out
from chunkpyramid.engine.process_memory import process_peak
from chunkpyramid.engine.stage import Reading
from chunkpyramid.errors import PlanError
from chunkpyramid.pyramid.plan import (
    Level,
    LevelOutput,
    LevelStage,
    PlanRequest,
    PyramidPlan,
    carry_chunks,
    read_shapes,
    stored_itemsize,
)
from chunkpyramid.text import format_bytes

__all__ = ["make_plan"]


def make_plan(request: PlanRequest) -> PyramidPlan:
    """Choose stages, blocks, pieces and concurrency so that the projected peak keeps the memory limit.

    As many tasks run at once as the request allows, and fewer only where the memory limit would leave them too large
    blocks to be kept busy.

    Raises
    ------
    PlanError
        If not even one task at a time fits, with the least limit that would do.
    """
    if len(request.levels) == 1 and not request.writes_level_0:
        return _as_plan(request, (), request.threads)
    best: tuple[float, PyramidPlan] | None = None
    least = math.inf
    for threads in range(request.threads, 0, -1):
        slots = max(1, request.slots * threads // request.threads)
        try:
            stages = _plan_stages(request, threads, slots)
        except _TooLargeError as error:
            least = min(least, error.least)
            continue
        duration = sum(_duration(request, stage, slots) for stage in stages)
        if best is None or duration < best[0]:
            best = duration, _as_plan(request, stages, threads)
        if stages[0].tasks >= slots:
            break
    if best is not None:
        return best[1]
    raise PlanError(
        f"the build needs at least {format_bytes(least, up=True)} of memory, but memory_limit is "
        f"{format_bytes(request.memory_limit)}: raise memory_limit, or choose smaller chunks or shards"
    )


def _as_plan(request: PlanRequest, stages: tuple[LevelStage, ...], threads: int) -> PyramidPlan:
    return PyramidPlan(
        levels=request.levels,
        stages=stages,
        method=request.reduction.name,
        dtype=str(request.reduction.dtype),
        memory_limit=request.memory_limit,
        peak_bytes=max(
            (process_peak(s.memory, s.tasks, threads, request.baseline) for s in stages), default=request.baseline
        ),
        threads=threads,
        baseline=request.baseline,
    )


class _TooLargeError(Exception):
    def __init__(self, least: int):
        super().__init__(least)
        self.least = least


def _plan_stages(request: PlanRequest, threads: int, slots: int) -> tuple[LevelStage, ...]:
    """Return the stages: each the cheapest that fits and leaves a way to the last level that fits, too."""
    last = len(request.levels) - 1

    @cache
    def way(source_level: int) -> tuple[int, tuple[LevelStage, ...]]:
        """Return the stages from a level to the last, or the least memory with which there are any."""
        candidates = _candidates(request, source_level, threads, slots)
        peaks = {stage: process_peak(stage.memory, stage.tasks, threads, request.baseline) for stage in candidates}

        def order(stage: LevelStage) -> tuple[bool, bool, bool, float, int]:
            # a chunk read twice costs more than bytes where requests are slow, so one read comes before all else, and
            # where stores answer late, a shard read by one request before one read chunk by chunk; of two equal costs
            # the deeper stage wins: fewer stages
            access = request.target_access if source_level else request.source_access
            level = request.levels[source_level]
            reads_again = stage.bytes_read > math.prod(level.shape) * stored_itemsize(request, level)
            in_parts = not _reads_whole_shards(request, source_level, stage.piece) and access.at_once > 1
            too_large = peaks[stage] > request.memory_limit
            return too_large, reads_again, in_parts, _cost(request, stage, slots), -stage.last_level

        needed = []
        for stage in sorted(candidates, key=order):
            needed_later, later = (0, ()) if stage.last_level == last else way(stage.last_level)
            needed.append(max(peaks[stage], needed_later))
            if needed[-1] <= request.memory_limit:
                return needed[-1], (stage, *later)
        return min(needed), ()

    least, stages = way(0)
    if not stages:
        raise _TooLargeError(least)
    return tuple(replace(stage, index=index) for index, stage in enumerate(stages))


def _candidates(request: PlanRequest, source_level: int, threads: int, slots: int) -> list[LevelStage]:
    """Return the stages that could read this level: one for every depth and alignment of the pieces."""
    deepest = len(request.levels) - 1 - source_level
    chunks, shards = read_shapes(request, source_level)
    # unaligned pieces follow the write units, for then at least no buffer is needed
    lazy = request.lazy_chunks if source_level == 0 else None
    alignments = [shape for shape in (shards, chunks, lazy) if shape is not None] + [None]
    kept = [last - source_level for first, last, _, _ in request.begun if first == source_level]
    return [
        _candidate(request, source_level, depth, alignment, threads, slots)
        for depth in kept or range(min(1, deepest), deepest + 1)
        for alignment in alignments
    ]


def _reads_whole_shards(request: PlanRequest, source_level: int, piece: Shape) -> bool:
    """Whether each piece takes a shard of what is read as a whole, or there are no shards."""
    _, shards = read_shapes(request, source_level)
    return shards is None or is_direct(piece, shards, request.levels[source_level].shape)


def _duration(request: PlanRequest, stage: LevelStage, slots: int) -> float:
    """Bytes that one slot moves: what is read and encoded, shared out as evenly as whole blocks allow.

    Half a block is added, which is what a slot loses when a build is interrupted.
    """
    encoded = sum(math.prod(request.levels[o.level].shape) * o.itemsize for o in stage.outputs if not o.copied)
    return (stage.bytes_read + encoded) / stage.tasks * (ceil_div(stage.tasks, slots) + 0.5)


def _cost(request: PlanRequest, stage: LevelStage, slots: int) -> float:
    """Duration of the stage, and of reading again what the next stage reads."""
    level = request.levels[stage.last_level]
    again = math.prod(level.shape) * stored_itemsize(request, level) if level is not request.levels[-1] else 0
    return _duration(request, stage, slots) + again / slots


def _candidate(
    request: PlanRequest, source_level: int, depth: int, alignment: Shape | None, threads: int, slots: int
) -> LevelStage:
    """Return the stage that makes ``depth`` levels from ``source_level``, its pieces the largest that fit.

    The pieces, or the blocks of a dask array, are whole numbers of ``alignment``; pieces that are not aligned are whole
    numbers of the write unit of the finest level.
    """
    levels = request.levels[source_level : source_level + depth + 1]
    source = levels[0]
    writes_level_0 = source_level == 0 and request.writes_level_0
    outputs = tuple(_outputs(request, levels, writes_level_0=writes_level_0, aligned=alignment is not None))
    reading = _reading(request, source)
    kept = {(first, last): begun for first, last, begun, _ in request.begun}
    block, piece, memory = lay_out(
        reading,
        outputs,
        partial(_states, request, outputs),
        Limits(request.memory_limit, threads, slots, request.baseline),
        factor=levels[-1].factor_from(source),
        alignment=alignment,
        write_access=request.target_access,
        kept=kept.get((source_level, levels[-1].index)),
    )
    return LevelStage(
        index=0,
        source_level=source_level,
        reads="source" if source_level == 0 else "carry" if request.reduction.carries else "level",
        last_level=levels[-1].index,
        outputs=outputs,
        block=block,
        piece=piece,
        grid=ceil_shape(source.shape, block),
        memory=memory,
        bytes_read=bytes_read(reading, block, piece),
        bytes_written=sum(math.prod(request.levels[o.level].shape) * o.itemsize for o in outputs),
    )


def _reading(request: PlanRequest, source: Level) -> Reading:
    chunks, shards = read_shapes(request, source.index)
    is_first = source.index == 0
    return Reading(
        extent=source.shape,
        itemsize=stored_itemsize(request, source),
        chunks=chunks,
        shards=shards,
        lazy_chunks=request.lazy_chunks if is_first else None,
        access=request.source_access if is_first else request.target_access,
        in_cells=not is_first and request.reduction.is_ragged,
    )


def _outputs(
    request: PlanRequest, levels: Sequence[Level], *, writes_level_0: bool, aligned: bool
) -> Iterator[LevelOutput]:
    source, last = levels[0], levels[-1]
    for level in levels if writes_level_0 else levels[1:]:
        factor = level.factor_from(source)
        yield LevelOutput(
            level=level.index,
            factor=factor,
            unit=multiply(level.write_unit, factor),
            chunk=multiply(level.chunks, factor),
            itemsize=request.reduction.dtype.itemsize,
            copied=level.index == 0 and aligned and request.copies_level_0,
        )
    if request.reduction.carries and last is not request.levels[-1]:
        unit = multiply(carry_chunks(request.reduction, last), factor)
        yield LevelOutput(
            level=last.index,
            is_carry=True,
            factor=factor,
            unit=unit,
            chunk=unit,
            itemsize=stored_itemsize(request, last),
            in_cells=request.reduction.is_ragged,
        )


def _states(request: PlanRequest, outputs: Sequence[LevelOutput], held: Shape) -> int:
    """Return the bytes of the levels of a piece, and of their states."""
    nbytes = 0
    for output in outputs:
        if not output.is_carry and any(f > 1 for f in output.factor):
            footprint = request.levels[output.level].footprint
            # levels are made box by box, and of their states only the last one is kept, if there is a carry; ragged
            # states are made level by level
            is_kept = request.reduction.is_ragged or (output.level == outputs[-1].level and outputs[-1].is_carry)
            each = output.itemsize + is_kept * request.reduction.state_itemsize(footprint)
            nbytes += math.prod(ceil_shape(held, output.factor)) * each
    return nbytes
