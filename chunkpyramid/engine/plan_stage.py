"""The plan of an operation of one stage: the largest pieces and the most tasks at once that the memory limit allows."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import replace

from chunkpyramid.boxes import Shape, ceil_shape
from chunkpyramid.engine.layout import Limits, bytes_read, lay_out
from chunkpyramid.engine.process_memory import process_peak
from chunkpyramid.engine.stage import OutputLayout, Reading, Stage
from chunkpyramid.errors import PlanError
from chunkpyramid.storage.chunk_access import ChunkAccess
from chunkpyramid.text import format_bytes

__all__ = ["plan_stage"]


def plan_stage(
    reading: Reading,
    demand: Callable[[Shape], int],
    limits: Limits,
    *,
    outputs: Sequence[OutputLayout] = (),
    write_access: ChunkAccess | None = None,
    kept: Shape | None = None,
    kept_piece: Shape | None = None,
) -> tuple[Stage, int]:
    """Return the stage, and how many of its tasks may run at once in a process.

    Parameters
    ----------
    demand : callable
        Returns the bytes that the operation itself takes for a piece of this shape.
    limits : Limits
        What the stage may take at most.
    outputs : sequence of OutputLayout
        What is written; they share the shape of what is read.
    write_access : ChunkAccess, optional
        What it takes to write chunks.
    kept : tuple of int, optional
        The block of a stage that has been begun.
    kept_piece : tuple of int, optional
        Its piece, where what is made depends on it.

    Raises
    ------
    PlanError
        If not even one task at a time fits, with the least limit that would do.
    """
    # whole shards take one request each; what is not aligned reads chunks again, which costs more than anything
    alignments = [shape for shape in (reading.shards, reading.chunks, reading.lazy_chunks) if shape is not None]
    least = math.inf
    best: tuple[int, Stage, int] | None = None
    for threads in range(limits.threads, 0, -1):
        some = replace(limits, threads=threads, slots=max(1, limits.slots * threads // limits.threads))
        for alignment in [*alignments, None]:
            stage = _stage(reading, outputs, demand, some, alignment, write_access or ChunkAccess(), kept, kept_piece)
            peak = process_peak(stage.memory, stage.tasks, threads, limits.baseline)
            least = min(least, peak)
            if peak <= limits.memory and (best is None or stage.bytes_read < best[0]):
                best = stage.bytes_read, stage, threads
    if best is not None:
        return best[1], best[2]
    raise PlanError(
        f"the operation needs at least {format_bytes(least, up=True)} of memory, but memory_limit is "
        f"{format_bytes(limits.memory)}: raise memory_limit; smaller chunks or shards of what is read "
        "or written would need less"
    )


def _stage(
    reading: Reading,
    outputs: Sequence[OutputLayout],
    demand: Callable[[Shape], int],
    limits: Limits,
    alignment: Shape | None,
    write_access: ChunkAccess,
    kept: Shape | None,
    kept_piece: Shape | None,
) -> Stage:
    block, piece, memory = lay_out(
        reading,
        outputs,
        demand,
        limits,
        factor=(1,) * len(reading.extent),
        alignment=alignment,
        write_access=write_access,
        kept=kept,
        kept_piece=kept_piece,
    )
    return Stage(
        index=0,
        outputs=tuple(outputs),
        block=block,
        piece=piece,
        grid=ceil_shape(reading.extent, block),
        memory=memory,
        bytes_read=bytes_read(reading, block, piece),
        bytes_written=sum(math.prod(reading.extent) * output.itemsize for output in outputs),
    )
