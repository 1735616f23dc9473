"""How a stage goes through what it reads: the largest blocks and pieces whose tasks keep to the memory limit."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from chunkpyramid.boxes import Shape, ceil_shape, lcm_shape
from chunkpyramid.engine.block_shapes import clip_to_extent, grow_block, grow_piece, read_amplification
from chunkpyramid.engine.process_memory import BASELINE, process_peak
from chunkpyramid.engine.stage import OutputLayout, Reading, TaskMemory
from chunkpyramid.engine.task_memory import task_memory
from chunkpyramid.storage.chunk_access import ChunkAccess

__all__ = ["Limits", "bytes_read", "lay_out"]


@dataclass(frozen=True, slots=True)
class Limits:
    """What a stage may take: bytes of a process, tasks at once in a process (``threads``) and in all (``slots``).

    ``baseline`` is what a process has beside all tasks.
    """

    memory: int
    threads: int
    slots: int
    baseline: int = BASELINE


def lay_out(
    reading: Reading,
    outputs: Sequence[OutputLayout],
    demand: Callable[[Shape], int],
    limits: Limits,
    *,
    factor: Shape,
    alignment: Shape | None,
    write_access: ChunkAccess,
    kept: Shape | None = None,
    kept_piece: Shape | None = None,
) -> tuple[Shape, Shape, TaskMemory]:
    """Return block, piece and memory of a task: the largest pieces that fit, or those that take least if none do.

    Parameters
    ----------
    demand : callable
        Returns the bytes that the operation itself takes for a piece of this shape.
    factor : tuple of int
        Blocks and pieces are multiples of it.
    alignment : tuple of int, optional
        Pieces, or the blocks of a dask array, are whole numbers of it; others are whole numbers of the write unit of
        the first output.
    write_access : ChunkAccess
        What it takes to write chunks.
    kept : tuple of int, optional
        The block of a stage that has been begun.
    kept_piece : tuple of int, optional
        Its piece, where what is made depends on it.
    """
    extent, itemsize = reading.extent, reading.itemsize
    units = [output.unit for output in outputs]
    granule = lcm_shape(factor, alignment if alignment and reading.chunks else units[0] if units else factor)
    block = granule
    for unit in [*units, alignment or factor]:
        block = lcm_shape(block, unit)
    granule = clip_to_extent(granule, extent, factor)
    held = math.inf if reading.chunks else (limits.memory - limits.baseline) / limits.threads / 4
    least = clip_to_extent(block, extent, factor)
    grown = grow_block(least, extent, factor, itemsize, limits.slots, held)
    if kept is not None:
        least = grown = kept
    candidates = []
    for whole in (grown, least) if grown != least else (least,):
        pieces = [kept_piece] if kept_piece else list(grow_piece(granule, whole, extent, itemsize))
        for piece in reversed(pieces):
            memory = task_memory(reading, outputs, demand, whole, piece, write_access)
            peak = process_peak(memory, math.prod(ceil_shape(extent, whole)), limits.threads, limits.baseline)
            if peak <= limits.memory:
                return whole, piece, memory
            candidates.append((peak, (whole, piece, memory)))
    return min(candidates, key=lambda candidate: candidate[0])[1]


def bytes_read(reading: Reading, block: Shape, piece: Shape) -> int:
    """Return the uncompressed bytes that are read, chunks that are read twice counted twice."""
    amplification = read_amplification(reading.extent, block, piece, reading.chunks) if reading.chunks else 1
    return int(math.prod(reading.extent) * reading.itemsize * amplification)
