"""What pieces deliver for one array, made into whole chunks, of which each write unit is written once."""

from __future__ import annotations

from typing import Any, Protocol

import numpy as np
import numpy.typing as npt
import zarr

from chunkpyramid.grid import Box, Shape, tile
from chunkpyramid.shards import ShardWriter
from chunkpyramid.store import write_box

__all__ = ["ChunkWriter", "WriteUnits", "Writer", "writer_for"]


class Writer(Protocol):
    """Takes boxes of whole chunks, or what the array's edge leaves of them."""

    @property
    def unfinished(self) -> int:
        """How many write units have been begun and not finished."""

    def write(self, box: Box, values: npt.NDArray[Any]) -> None:
        """Take the voxels of a box."""

    def skip(self, box: Box) -> None:
        """Take note that a box holds nothing but the fill value."""


class ChunkWriter:
    """Writes chunks, which are the write units of an array that is not sharded."""

    unfinished = 0

    def __init__(self, array: zarr.Array[Any]):
        self.array = array

    def write(self, box: Box, values: npt.NDArray[Any]) -> None:
        write_box(self.array, box, values)

    def skip(self, box: Box) -> None:
        """Do nothing: chunks that are missing hold the fill value."""


def writer_for(array: zarr.Array[Any]) -> Writer:
    """Return what writes the chunks of an array, sharded or not."""
    return ShardWriter(array) if array.shards else ChunkWriter(array)


class WriteUnits:
    """Collects what pieces deliver for one array, and hands on a chunk the moment that it is whole.

    With ``direct`` every delivery is a whole number of chunks and is handed on at once.
    """

    def __init__(self, array: zarr.Array[Any], writer: Writer, direct: bool):
        self.array = array
        self.writer = writer
        self.direct = direct
        # by the start of a chunk: its voxels, None as long as they are all zeros, and how many are missing
        self.open: dict[Shape, tuple[npt.NDArray[Any] | None, int]] = {}

    @property
    def unfinished(self) -> int:
        """How many chunks and write units have been begun and not finished."""
        return len(self.open) + self.writer.unfinished

    def put(self, box: Box, values: npt.NDArray[Any] | None) -> None:
        """Take the voxels of a box; None stands for zeros, which have to be the fill value."""
        if self.direct:
            self._hand_on(box, values)
            return
        for cell in tile(box, self.array.chunks):
            chunk = cell.clip(self.array.shape)
            part = chunk.intersect(box)
            voxels = None if values is None else values[part.relative_to(box.start).slices]
            if part == chunk:
                self._hand_on(chunk, voxels)
                continue
            buffer, missing = self.open.pop(chunk.start, (None, chunk.size))
            if voxels is not None and buffer is None:
                buffer = np.zeros(chunk.shape, dtype=self.array.dtype)
            if buffer is not None:
                buffer[part.relative_to(chunk.start).slices] = 0 if voxels is None else voxels
            missing -= part.size
            if missing:
                self.open[chunk.start] = (buffer, missing)
            else:
                self._hand_on(chunk, buffer)

    def _hand_on(self, box: Box, values: npt.NDArray[Any] | None) -> None:
        if values is None:
            self.writer.skip(box)
        else:
            self.writer.write(box, values)
