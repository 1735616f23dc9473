"""What pieces deliver for one array, made into whole chunks, of which each write unit is written once."""

from __future__ import annotations

from typing import Any

import numpy.typing as npt

from chunkpyramid.boxes import Box, Shape, ceil_div, tile
from chunkpyramid.errors import ChunkError
from chunkpyramid.storage.chunk_io import ChunkReader, ChunkWriter
from chunkpyramid.storage.transpose import copy_values

__all__ = ["PartialUnits", "WriteUnits"]


class WriteUnits:
    """Collects what pieces deliver for one array, and hands on a chunk the moment that it is whole."""

    def __init__(self, writer: ChunkWriter):
        self.array = writer.array
        self.writer = writer
        # by the start of a chunk: its voxels, None as long as they are all the fill value, and how many are missing
        self.open: dict[Shape, tuple[npt.NDArray[Any] | None, int]] = {}

    @property
    def unfinished(self) -> int:
        """How many chunks and write units have been begun and not finished."""
        return len(self.open) + self.writer.unfinished

    def put(self, box: Box, values: npt.NDArray[Any] | None) -> None:
        """Take the voxels of a box; None stands for voxels that are all the fill value."""
        whole = self._whole_chunks(box)
        if whole is not None:
            self._hand_on(whole, None if values is None else values[whole.relative_to(box.start).slices])
        if whole == box:
            return
        for cell in tile(box, self.array.chunks):
            chunk = cell.clip(self.array.shape)
            part = chunk.intersect(box)
            if part == chunk:
                continue
            voxels = None if values is None else values[part.relative_to(box.start).slices]
            buffer, missing = (
                self.open.pop(chunk.start) if chunk.start in self.open else (self._begin(chunk), chunk.size)
            )
            if voxels is not None and buffer is None:
                buffer = self.array.filled(chunk.shape)
            if buffer is not None:
                into = buffer[part.relative_to(chunk.start).slices]
                if voxels is None:
                    into[...] = self.array.fill
                else:
                    copy_values(into, voxels)
            missing -= part.size
            if missing:
                self.open[chunk.start] = (buffer, missing)
            else:
                self._hand_on(chunk, buffer)

    def flush(self) -> None:
        """Hand on the chunks that were delivered in part, and finish all write units."""
        while self.open:
            start, (voxels, _) = self.open.popitem()
            self._hand_on(Box.at(start, self.array.chunks).clip(self.array.shape), voxels)
        self._finish_shards()

    def _finish_shards(self) -> None:
        self.writer.flush()

    def _begin(self, chunk: Box) -> npt.NDArray[Any] | None:
        """Return the voxels of a chunk before any is delivered."""
        return None

    def _whole_chunks(self, box: Box) -> Box | None:
        """Return the part of a box that is whole chunks, or what the array's edge leaves of them."""
        start = tuple(ceil_div(a, c) * c for a, c in zip(box.start, self.array.chunks, strict=True))
        stop = tuple(
            b if b == n else b // c * c for b, n, c in zip(box.stop, self.array.shape, self.array.chunks, strict=True)
        )
        return Box(start, stop) if all(a < b for a, b in zip(start, stop, strict=True)) else None

    def _hand_on(self, box: Box, values: npt.NDArray[Any] | None) -> None:
        self.writer.write(box, values)


class PartialUnits(WriteUnits):
    """`WriteUnits` for a part of an array: voxels that nobody delivers stay what they are in the array."""

    def __init__(self, writer: ChunkWriter):
        super().__init__(writer)
        self.reader = ChunkReader(self.array)
        # chunks that cannot be read, which does no harm if all of them is delivered
        self.unreadable: dict[Shape, ChunkError] = {}

    def flush(self) -> None:
        for start, error in self.unreadable.items():
            if start in self.open:
                self._give_up(start, error)
        super().flush()
        # shards may have moved their chunks
        self.reader = ChunkReader(self.array)

    def _begin(self, chunk: Box) -> npt.NDArray[Any] | None:
        try:
            return self.reader.read(chunk)
        except ChunkError as error:
            self.unreadable[chunk.start] = error
            return None

    def _give_up(self, start: Shape, error: ChunkError) -> None:
        """Deal with a chunk that cannot be read and was delivered in part."""
        raise error
