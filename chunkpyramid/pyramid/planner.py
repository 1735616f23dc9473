"""Choosing the stages of a build, their blocks, pieces and concurrency, so that the memory limit is kept."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import replace
from functools import cache

from chunkpyramid.boxes import Shape, ceil_div, ceil_shape, lcm_shape, multiply
from chunkpyramid.engine.blocking import (
    clip_to_extent,
    grow_block,
    grow_piece,
    inside,
    is_direct,
    open_units,
    read_amplification,
)
from chunkpyramid.engine.memory import BASELINE, KERNEL_BYTES, READING_THREADS, TaskMemory, process_peak
from chunkpyramid.errors import PlanError
from chunkpyramid.pyramid.plan import (
    Level,
    Output,
    PyramidPlan,
    Request,
    Stage,
    carry_chunks,
    read_shapes,
    stored_itemsize,
    walked_units,
)
from chunkpyramid.storage.access import ChunkAccess, most_encoded
from chunkpyramid.text import format_bytes

__all__ = ["make_plan"]


def make_plan(request: Request) -> PyramidPlan:
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


def _as_plan(request: Request, stages: tuple[Stage, ...], threads: int) -> PyramidPlan:
    return PyramidPlan(
        levels=request.levels,
        stages=stages,
        method=request.reduction.name,
        dtype=str(request.reduction.dtype),
        memory_limit=request.memory_limit,
        peak_bytes=max((process_peak(s.memory, s.tasks, threads) for s in stages), default=BASELINE),
        threads=threads,
    )


class _TooLargeError(Exception):
    def __init__(self, least: int):
        super().__init__(least)
        self.least = least


def _plan_stages(request: Request, threads: int, slots: int) -> tuple[Stage, ...]:
    """Return the stages: each the cheapest that fits and leaves a way to the last level that fits, too."""
    last = len(request.levels) - 1

    @cache
    def way(source_level: int) -> tuple[int, tuple[Stage, ...]]:
        """Return the stages from a level to the last, or the least memory with which there are any."""
        candidates = _candidates(request, source_level, threads, slots)
        peaks = {stage: process_peak(stage.memory, stage.tasks, threads) for stage in candidates}

        def order(stage: Stage) -> tuple[bool, bool, bool, float, int]:
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


def _candidates(request: Request, source_level: int, threads: int, slots: int) -> list[Stage]:
    """Return the stages that could read this level: one for every depth and alignment of the pieces."""
    deepest = len(request.levels) - 1 - source_level
    chunks, shards = read_shapes(request, source_level)
    # unaligned pieces follow the write units, for then at least no buffer is needed
    lazy = request.lazy_chunks if source_level == 0 else None
    alignments = [shape for shape in (shards, chunks, lazy) if shape is not None] + [None]
    kept = [last - source_level for first, last, _ in request.begun if first == source_level]
    return [
        _candidate(request, source_level, depth, alignment, threads, slots)
        for depth in kept or range(min(1, deepest), deepest + 1)
        for alignment in alignments
    ]


def _reads_whole_shards(request: Request, source_level: int, piece: Shape) -> bool:
    """Whether each piece takes a shard of what is read as a whole, or there are no shards."""
    _, shards = read_shapes(request, source_level)
    return shards is None or is_direct(piece, shards, request.levels[source_level].shape)


def _duration(request: Request, stage: Stage, slots: int) -> float:
    """Bytes that one slot moves: what is read and encoded, shared out as evenly as whole blocks allow.

    Half a block is added, which is what a slot loses when a build is interrupted.
    """
    encoded = sum(math.prod(request.levels[o.level].shape) * o.itemsize for o in stage.outputs if not o.copied)
    return (stage.bytes_read + encoded) / stage.tasks * (ceil_div(stage.tasks, slots) + 0.5)


def _cost(request: Request, stage: Stage, slots: int) -> float:
    """Duration of the stage, and of reading again what the next stage reads."""
    level = request.levels[stage.last_level]
    again = math.prod(level.shape) * stored_itemsize(request, level) if level is not request.levels[-1] else 0
    return _duration(request, stage, slots) + again / slots


def _candidate(
    request: Request, source_level: int, depth: int, alignment: Shape | None, threads: int, slots: int
) -> Stage:
    """Return the stage that makes ``depth`` levels from ``source_level``, its pieces the largest that fit.

    The pieces, or the blocks of a dask array, are whole numbers of ``alignment``; pieces that are not aligned are whole
    numbers of the write unit of the finest level.
    """
    levels = request.levels[source_level : source_level + depth + 1]
    source = levels[0]
    extent = source.shape
    carries = request.reduction.carries
    writes_level_0 = source_level == 0 and request.writes_level_0
    outputs = tuple(_outputs(request, levels, writes_level_0=writes_level_0, aligned=alignment is not None))
    units = [output.unit for output in outputs]
    factor = levels[-1].factor_from(source)
    itemsize = stored_itemsize(request, source)
    read_chunks, _ = read_shapes(request, source_level)
    granule = lcm_shape(factor, alignment if alignment and read_chunks else units[0])
    block = granule
    for unit in [*units, alignment or factor]:
        block = lcm_shape(block, unit)
    granule = clip_to_extent(granule, extent, factor)
    held = math.inf if read_chunks else (request.memory_limit - BASELINE) / threads / 4
    least = clip_to_extent(block, extent, factor)
    kept = {(first, last): begun for first, last, begun in request.begun}
    grown = grow_block(least, extent, factor, itemsize, slots, held)
    least, grown = (kept.get((source_level, levels[-1].index), shape) for shape in (least, grown))

    # the largest pieces that fit; where none do, the smallest of the smallest block tell what is needed
    for block, piece in (
        (whole, part)
        for whole in ((grown, least) if grown != least else (least,))
        for part in reversed(list(grow_piece(granule, whole, extent, itemsize)))
    ):
        memory = _task_memory(request, source, outputs, block, piece, itemsize)
        if process_peak(memory, math.prod(ceil_shape(extent, block)), threads) <= request.memory_limit:
            break
    amplification = read_amplification(extent, block, piece, read_chunks) if read_chunks else 1
    return Stage(
        index=0,
        source_level=source_level,
        reads="source" if source_level == 0 else "carry" if carries else "level",
        last_level=levels[-1].index,
        outputs=outputs,
        block=block,
        piece=piece,
        grid=ceil_shape(extent, block),
        memory=memory,
        bytes_read=int(math.prod(extent) * itemsize * amplification),
        bytes_written=sum(math.prod(request.levels[o.level].shape) * o.itemsize for o in outputs),
    )


def _outputs(request: Request, levels: Sequence[Level], *, writes_level_0: bool, aligned: bool) -> Iterator[Output]:
    source, last = levels[0], levels[-1]
    itemsize = request.reduction.dtype.itemsize
    for level in levels if writes_level_0 else levels[1:]:
        factor = level.factor_from(source)
        copied = level.index == 0 and aligned and request.copies_level_0
        unit, chunk = (multiply(shape, factor) for shape in (level.write_unit, level.chunks))
        yield Output(level.index, False, factor, unit, chunk, itemsize, copied)
    if request.reduction.carries and last is not request.levels[-1]:
        unit = multiply(carry_chunks(request.reduction, last), factor)
        yield Output(last.index, True, factor, unit, unit, stored_itemsize(request, last))


def _task_memory(
    request: Request,
    source: Level,
    outputs: Sequence[Output],
    block: Shape,
    piece: Shape,
    itemsize: int,
) -> TaskMemory:
    """Return the projected bytes of a task that walks ``block`` in pieces of ``piece``."""
    extent = source.shape
    held = inside(piece, extent)
    units = walked_units(outputs)
    states, buffers, encoded = KERNEL_BYTES, 0, 0
    for output in outputs:
        in_cells = output.is_carry and request.reduction.is_ragged
        if not output.is_carry and any(f > 1 for f in output.factor):
            footprint = request.levels[output.level].footprint
            voxels = math.prod(ceil_shape(held, output.factor))
            # levels are made box by box, and of their states only the last one is kept, if there is a carry; ragged
            # states are made level by level
            is_kept = request.reduction.is_ragged or (output.level == outputs[-1].level and outputs[-1].is_carry)
            states += voxels * (output.itemsize + is_kept * request.reduction.state_itemsize(footprint))
        chunk_bytes = math.prod(ceil_shape(inside(output.chunk, extent), output.factor)) * output.itemsize
        if not output.copied and not is_direct(piece, output.chunk, extent):
            buffers += open_units(block, piece, units, output.chunk, extent) * chunk_bytes
        # cells are written one by one
        whole = 1 if in_cells else math.prod(max(1, n // c) for n, c in zip(held, output.chunk, strict=True))
        # what the edge of the array cuts off a chunk is encoded too
        padded_bytes = math.prod(ceil_shape(output.chunk, output.factor)) * output.itemsize
        largest = chunk_bytes if in_cells else padded_bytes
        # a chunk that was collected, or is all of a piece, is encoded where it is
        is_cut_out = is_direct(piece, output.chunk, extent) and held != output.chunk
        if not output.copied:
            encoded = max(encoded, request.target_access.bytes_in_use(largest, whole, is_cut_out=is_cut_out))
        if output.unit != output.chunk:
            # shards of a piece that holds them whole are written one after the other
            whole = is_direct(piece, output.unit, extent)
            shards = 1 if whole else open_units(block, piece, units, output.unit, extent)
            chunks = math.prod(ceil_shape(inside(output.unit, extent), output.chunk))
            buffers += (shards + request.target_access.copies_to_write) * most_encoded(chunks * padded_bytes)
    read_chunks, read_shards = read_shapes(request, source.index)
    in_cells = source.index > 0 and request.reduction.is_ragged
    access = request.target_access if source.index else request.source_access
    decoded = _decoding_bytes(held, read_chunks, read_shards, extent, itemsize, access, in_cells=in_cells)
    return TaskMemory(
        # a block that arrives whole is held once as it was read and once as it was put together
        block=0 if read_chunks else 2 * math.prod(inside(block, extent)) * itemsize + _held_by_dask(request, block),
        piece=math.prod(held) * itemsize if read_chunks else 0,
        states=states,
        buffers=buffers,
        # the allocator keeps the memory of a piece beside that of the next one
        codecs=max(decoded, encoded) + (math.prod(held) * itemsize if read_chunks else 0),
    )


def _held_by_dask(request: Request, block: Shape) -> int:
    """Return the bytes of chunks of a dask array that are there beside the block that is put together from them.

    Chunks that several blocks share are kept until the last of them is made: those of a layer across the axis that
    blocks cut first. What reads chunks leaves the memory of some to the allocator.
    """
    chunks, extent = request.lazy_chunks, request.levels[0].shape
    if chunks is None:
        return 0
    itemsize = request.reduction.dtype.itemsize
    left = READING_THREADS * math.prod(inside(chunks, extent)) * itemsize
    cut = [axis for axis, (b, c, n) in enumerate(zip(block, chunks, extent, strict=True)) if b % c and b < n]
    if not cut:
        return left
    axis = cut[0]
    layer = (*inside(block, extent)[:axis], min(chunks[axis], extent[axis]), *extent[axis + 1 :])
    return left + 2 * math.prod(layer) * itemsize


def _decoding_bytes(
    held: Shape,
    chunks: Shape | None,
    shards: Shape | None,
    extent: Shape,
    itemsize: int,
    access: ChunkAccess,
    *,
    in_cells: bool,
) -> int:
    """Return the bytes that are needed to read a piece from arrays with these chunks, beside the piece itself."""
    if chunks is None:
        return 0
    if in_cells:
        # what is cut out of the cells is put together when all of it is there
        cell_bytes = math.prod(inside(chunks, extent)) * itemsize
        return access.bytes_in_use(cell_bytes, 1, is_cut_out=True) + math.prod(held) * itemsize
    touched = math.prod(ceil_div(n, c) + (n % c > 0) for n, c in zip(held, chunks, strict=True))
    # a shard that a piece takes as a whole is fetched as a whole
    whole_shard = shards is not None and all(n >= min(s, e) for n, s, e in zip(held, shards, extent, strict=True))
    encoded = most_encoded(math.prod(inside(shards, extent)) * itemsize) if whole_shard and shards else 0
    return access.bytes_in_use(math.prod(chunks) * itemsize, touched, is_cut_out=held != chunks) + encoded
