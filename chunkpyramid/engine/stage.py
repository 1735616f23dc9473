"""What a stage is: what it reads and writes, in blocks and pieces of which shapes, and the memory of its tasks."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field

from chunkpyramid.boxes import Box, Halo, Shape, inside, multiply
from chunkpyramid.storage.chunk_access import ChunkAccess

__all__ = ["OutputLayout", "Reading", "Stage", "TaskMemory", "walked_units"]


@dataclass(frozen=True, slots=True)
class Reading:
    """What a stage reads: voxels of ``itemsize`` bytes in an array of shape ``extent``.

    ``chunks`` are None where the blocks arrive as NumPy arrays; those of a dask array are put together from
    ``lazy_chunks``. What is ``in_cells`` is read a whole chunk at a time, whatever its size turns out to be. A piece is
    read along with the voxels of its ``halo``.
    """

    extent: Shape
    itemsize: int
    chunks: Shape | None
    shards: Shape | None = None
    lazy_chunks: Shape | None = None
    access: ChunkAccess = field(default_factory=ChunkAccess)
    in_cells: bool = False
    halo: Halo | None = None

    def around(self, piece: Shape) -> Shape:
        """Return the shape of what is read for a piece."""
        if self.halo is None:
            return inside(piece, self.extent)
        grown = [a + n + b for a, n, b in zip(self.halo.before, piece, self.halo.after, strict=True)]
        return inside(grown, self.extent)


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


@dataclass(frozen=True, slots=True)
class TaskMemory:
    """Projected bytes of one running task, by what they are spent on."""

    block: int
    piece: int
    states: int
    buffers: int
    codecs: int

    @property
    def total(self) -> int:
        return self.block + self.piece + self.states + self.buffers + self.codecs


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


def walked_units(outputs: Sequence[OutputLayout]) -> list[Shape]:
    """Return the shapes that pieces fill one after the other: the write units and chunks of all outputs."""
    return [shape for output in outputs for shape in dict.fromkeys((output.unit, output.chunk))]
