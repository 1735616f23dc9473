"""How the pieces of a source are read, alone or with voxels around them, and what that takes."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping
from dataclasses import replace
from itertools import pairwise, product, zip_longest
from typing import Any

import numpy as np
import numpy.typing as npt

from chunkpyramid.boxes import Box, Halo, Shape
from chunkpyramid.engine.operation import ArrayInput, Input, Writer
from chunkpyramid.engine.stage import Reading
from chunkpyramid.engine.task_memory import READING_THREADS
from chunkpyramid.sources.source import Source
from chunkpyramid.storage.chunk_access import ChunkAccess
from chunkpyramid.storage.chunk_io import chunk_access

__all__ = ["bytes_of_parts", "input_of", "read_only", "reading_of"]

# So much of a dask array is computed at once for a piece with a halo, or a chunk if that is more: to begin takes time.
PART_BYTES = 8 * 2**20


def read_only(values: Any) -> Any:
    """Return a view of voxels that cannot be written to, as they may be the user's own, in native byte order."""
    view = values.astype(values.dtype.newbyteorder("="), copy=False).view()
    view.flags.writeable = False
    return view


def reading_of(source: Source, halo: Halo | None = None) -> Reading:
    """Return what a stage has to know of a source, of which it reads pieces and their halos."""
    reading = Reading(
        extent=source.shape,
        itemsize=source.dtype.itemsize,
        chunks=source.read_chunks,
        shards=source.read_shards,
        lazy_chunks=source.lazy_chunks,
        access=chunk_access(source.array, source.array.store) if source.is_zarr else ChunkAccess(),
        halo=halo,
    )
    if halo is not None and reading.lazy_chunks is not None:
        # pieces are put together of parts of chunks, for blocks of dask arrays have no halo
        access = ChunkAccess(copies=1 + READING_THREADS)
        return replace(reading, chunks=reading.lazy_chunks, lazy_chunks=None, access=access)
    return reading


def input_of(source: Source, halo: Halo | None = None) -> Input | None:
    """Return what pieces and their halos are read from; None if blocks of the array are to arrive with their tasks."""
    if source.is_zarr:
        return ArrayInput("the source", source.array)
    return None if halo is None else LazyInput(source.array)


def bytes_of_parts(source: Source, halo: Halo | None, piece: Shape) -> int:
    """Return the bytes that are held while a piece and its halo are put together, beside what `reading_of` tells."""
    if halo is None or source.lazy_chunks is None:
        return 0
    given = math.prod(reading_of(source, halo).around(piece)) * source.dtype.itemsize
    # a part is there in chunks, put together, and in what it is copied to
    return 3 * min(PART_BYTES, given)


class LazyInput:
    """A dask or NumPy array of which any box can be had: some chunks of it after the other.

    This is no dataclass, because Dask looks for arrays in those, and would compute all of it before the first task.
    """

    name = "the source"

    def __init__(self, array: Any):
        self.array = array

    def open(self, writers: Mapping[str, Writer]) -> Callable[[Box], npt.NDArray[Any]]:
        if isinstance(self.array, np.ndarray):
            return lambda box: np.asarray(self.array[box.slices])
        return self._read

    def _read(self, box: Box) -> npt.NDArray[Any]:
        values = np.empty(box.shape, self.array.dtype)
        for part in self._parts(box):
            found = self.array[part.slices].compute(scheduler="synchronous")
            values[part.relative_to(box.start).slices] = found
        return values

    def _parts(self, box: Box) -> Iterator[Box]:
        """Yield the parts of a box that are computed at once: in one chunk each, or in some that are small together."""
        longest = [max(lengths) for lengths in self.array.chunks]
        for axis in reversed(range(len(longest))):
            while longest[axis] < box.shape[axis] and 2 * math.prod(longest) * self.array.dtype.itemsize <= PART_BYTES:
                longest[axis] *= 2
        ranges = []
        for start, stop, lengths, most in zip(box.start, box.stop, self.array.chunks, longest, strict=True):
            edges = [start]
            ends = [*(int(end) for end in np.cumsum(lengths) if start < end < stop), stop]
            for end, following in zip_longest(ends, ends[1:]):
                if following is None or following - edges[-1] > most:
                    edges.append(end)
            ranges.append(list(pairwise(edges)))
        for cell in product(*ranges):
            yield Box(tuple(start for start, _ in cell), tuple(stop for _, stop in cell))
