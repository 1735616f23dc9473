"""A dask or NumPy array as an input of pieces: any box of it, put together of parts of its chunks."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping
from itertools import pairwise, product, zip_longest
from typing import Any

import numpy as np
import numpy.typing as npt

from chunkpyramid.boxes import Box
from chunkpyramid.engine.operation import Writer

__all__ = ["PART_BYTES", "LazyInput"]

# So much of a dask array is computed at once for a piece with a halo, or a chunk if that is more: to begin takes time.
PART_BYTES = 8 * 2**20


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
