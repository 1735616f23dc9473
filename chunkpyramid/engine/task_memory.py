"""What memory a task is planned to take: its piece, what is made of that, and the chunks that are read and written."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence

from chunkpyramid.boxes import Shape, ceil_div, ceil_shape, inside
from chunkpyramid.engine.block_shapes import is_direct, open_units
from chunkpyramid.engine.stage import OutputLayout, Reading, TaskMemory, walked_units
from chunkpyramid.storage.chunk_access import ChunkAccess, most_encoded

__all__ = ["KERNEL_BYTES", "READING_THREADS", "task_memory"]

MIB = 2**20

# The compiled kernels hold parts of a piece that fit into the caches, and their sums.
KERNEL_BYTES = 4 * MIB

# Threads in which the libraries that dask arrays are read by decode chunks, each with an arena of its own.
READING_THREADS = 6


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
    held, read = inside(piece, extent), reading.around(piece)
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
        piece=math.prod(read) * itemsize if reading.chunks else 0,
        states=KERNEL_BYTES + demand(held),
        buffers=buffers,
        # the allocator keeps the memory of a piece beside that of the next one
        codecs=max(_decoding_bytes(reading, read), encoded) + (math.prod(read) * itemsize if reading.chunks else 0),
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
