"""How a stage goes through what it reads: blocks, pieces of blocks, and the memory that a task takes for them."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

from chunkpyramid.boxes import Box, Shape, ceil_div, ceil_shape, inside, lcm_shape, multiply
from chunkpyramid.engine.block_shapes import (
    clip_to_extent,
    grow_block,
    grow_piece,
    is_direct,
    open_units,
    read_amplification,
)
from chunkpyramid.engine.memory import BASELINE, KERNEL_BYTES, READING_THREADS, TaskMemory, process_peak
from chunkpyramid.storage.access import ChunkAccess, most_encoded

__all__ = ["Limits", "OutputLayout", "Reading", "Stage", "bytes_read", "lay_out", "walked_units"]


@dataclass(frozen=True, slots=True)
class Reading:
    """What a stage reads: voxels of ``itemsize`` bytes in an array of shape ``extent``.

    ``chunks`` are None where the blocks arrive as NumPy arrays; those of a dask array are put together from
    ``lazy_chunks``. What is ``in_cells`` is read a whole chunk at a time, whatever its size turns out to be.
    """

    extent: Shape
    itemsize: int
    chunks: Shape | None
    shards: Shape | None = None
    lazy_chunks: Shape | None = None
    access: ChunkAccess = field(default_factory=ChunkAccess)
    in_cells: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class OutputLayout:
    """An array that a stage writes.

    ``factor`` leads to it from what the stage reads; ``unit`` and ``chunk`` are its write unit and its chunk in voxels
    of that. What is ``copied`` is written chunk by chunk as it is read, without being encoded; ``in_cells`` tells that
    chunks are written one by one.
    """

    factor: Shape
    unit: Shape
    chunk: Shape
    itemsize: int
    copied: bool = False
    in_cells: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Stage:
    """One pass over blocks that reads one source; shapes are in voxels of what is read."""

    index: int
    outputs: tuple[OutputLayout, ...]
    block: Shape
    piece: Shape
    grid: Shape
    memory: TaskMemory
    bytes_read: int
    bytes_written: int

    @property
    def tasks(self) -> int:
        return math.prod(self.grid)

    @property
    def units(self) -> list[Shape]:
        """Shapes that pieces fill one after the other: the write units and chunks of all outputs."""
        return walked_units(self.outputs)

    def box(self, index: Sequence[int], extent: Shape) -> Box:
        """Return the voxels of the block with this index."""
        return Box.at(multiply(index, self.block), self.block).clip(extent)


@dataclass(frozen=True, slots=True)
class Limits:
    """What a stage may take: bytes of a process, tasks at once in a process (``threads``) and in all (``slots``).

    ``baseline`` is what a process has beside all tasks.
    """

    memory: int
    threads: int
    slots: int
    baseline: int = BASELINE


def walked_units(outputs: Sequence[OutputLayout]) -> list[Shape]:
    """Return the shapes that pieces fill one after the other: the write units and chunks of all outputs."""
    return [shape for output in outputs for shape in dict.fromkeys((output.unit, output.chunk))]


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
        for piece in reversed(list(grow_piece(granule, whole, extent, itemsize))):
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


def task_memory(
    reading: Reading,
    outputs: Sequence[OutputLayout],
    demand: Callable[[Shape], int],
    block: Shape,
    piece: Shape,
    write_access: ChunkAccess,
) -> TaskMemory:
    """Return the projected bytes of a task that walks ``block`` in pieces of ``piece``."""
    extent, itemsize = reading.extent, reading.itemsize
    held = inside(piece, extent)
    units = walked_units(outputs)
    buffers, encoded = 0, 0
    for output in outputs:
        chunk_bytes = math.prod(ceil_shape(inside(output.chunk, extent), output.factor)) * output.itemsize
        if not output.copied and not is_direct(piece, output.chunk, extent):
            buffers += open_units(block, piece, units, output.chunk, extent) * chunk_bytes
        whole = 1 if output.in_cells else math.prod(max(1, n // c) for n, c in zip(held, output.chunk, strict=True))
        # what the edge of the array cuts off a chunk is encoded too
        padded_bytes = math.prod(ceil_shape(output.chunk, output.factor)) * output.itemsize
        largest = chunk_bytes if output.in_cells else padded_bytes
        # a chunk that was collected, or is all of a piece, is encoded where it is
        is_cut_out = is_direct(piece, output.chunk, extent) and held != output.chunk
        if not output.copied:
            encoded = max(encoded, write_access.bytes_in_use(largest, whole, is_cut_out=is_cut_out))
        if output.unit != output.chunk:
            # shards of a piece that holds them whole are written one after the other
            whole = is_direct(piece, output.unit, extent)
            shards = 1 if whole else open_units(block, piece, units, output.unit, extent)
            chunks = math.prod(ceil_shape(inside(output.unit, extent), output.chunk))
            buffers += (shards + write_access.copies_to_write) * most_encoded(chunks * padded_bytes)
    return TaskMemory(
        # a block that arrives whole is held once as it was read and once as it was put together
        block=0 if reading.chunks else 2 * math.prod(inside(block, extent)) * itemsize + _held_by_dask(reading, block),
        piece=math.prod(held) * itemsize if reading.chunks else 0,
        states=KERNEL_BYTES + demand(held),
        buffers=buffers,
        # the allocator keeps the memory of a piece beside that of the next one
        codecs=max(_decoding_bytes(reading, held), encoded) + (math.prod(held) * itemsize if reading.chunks else 0),
    )


def _held_by_dask(reading: Reading, block: Shape) -> int:
    """Return the bytes of chunks of a dask array that are there beside the block that is put together from them.

    Chunks that several blocks share are kept until the last of them is made: those of a layer across the axis that
    blocks cut first. What reads chunks leaves the memory of some to the allocator.
    """
    chunks, extent = reading.lazy_chunks, reading.extent
    if chunks is None:
        return 0
    left = READING_THREADS * math.prod(inside(chunks, extent)) * reading.itemsize
    cut = [axis for axis, (b, c, n) in enumerate(zip(block, chunks, extent, strict=True)) if b % c and b < n]
    if not cut:
        return left
    axis = cut[0]
    layer = (*inside(block, extent)[:axis], min(chunks[axis], extent[axis]), *extent[axis + 1 :])
    return left + 2 * math.prod(layer) * reading.itemsize


def _decoding_bytes(reading: Reading, held: Shape) -> int:
    """Return the bytes that are needed to read a piece, beside the piece itself."""
    chunks, shards, extent, itemsize = reading.chunks, reading.shards, reading.extent, reading.itemsize
    if chunks is None:
        return 0
    if reading.in_cells:
        # what is cut out of the cells is put together when all of it is there
        cell_bytes = math.prod(inside(chunks, extent)) * itemsize
        return reading.access.bytes_in_use(cell_bytes, 1, is_cut_out=True) + math.prod(held) * itemsize
    touched = math.prod(ceil_div(n, c) + (n % c > 0) for n, c in zip(held, chunks, strict=True))
    # a shard that a piece takes as a whole is fetched as a whole
    whole_shard = shards is not None and all(n >= min(s, e) for n, s, e in zip(held, shards, extent, strict=True))
    encoded = most_encoded(math.prod(inside(shards, extent)) * itemsize) if whole_shard and shards else 0
    return reading.access.bytes_in_use(math.prod(chunks) * itemsize, touched, is_cut_out=held != chunks) + encoded
