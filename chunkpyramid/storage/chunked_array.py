"""What it takes to get at the chunks of an array, in values: whoever has these needs no array of zarr's."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import zarr

from chunkpyramid.boxes import Box, Shape, divide
from chunkpyramid.storage.codec import ChunkCodec, codec_for
from chunkpyramid.storage.shards import ShardLayout

__all__ = ["ChunkedArray", "chunked"]


@dataclass(frozen=True)
class ChunkedArray:
    """Where the chunks of an array are, or its shards, and how they are encoded.

    ``name`` is what messages call it; ``path_of`` gives, below ``prefix``, the key of the chunk or shard with an index.
    """

    name: str
    store: Any
    prefix: str
    shape: Shape
    chunks: Shape
    dtype: np.dtype[Any]
    fill_value: Any
    codec: ChunkCodec
    shards: ShardLayout | None
    path_of: Callable[[Shape], str]

    @property
    def write_unit(self) -> Shape:
        """The unit of safe concurrent writing: the shard if the array is sharded, else the chunk."""
        return self.chunks if self.shards is None else self.shards.shape

    @property
    def fill(self) -> Any:
        """The voxels of chunks that are not there."""
        return 0 if self.fill_value is None else self.fill_value

    def filled(self, shape: Shape) -> npt.NDArray[Any]:
        """Return voxels of this shape as chunks that are not there have them."""
        # zeros take no memory before they are written to
        voxels = np.zeros(shape, dtype=self.dtype)
        if any(np.asarray(self.fill, dtype=self.dtype).tobytes()):
            voxels[...] = self.fill
        return voxels

    def key(self, start: Shape, unit: Shape) -> str:
        """Return the key of the chunk or shard that begins at a voxel."""
        return self.prefix + self.path_of(divide(start, unit))

    def place_in_shard(self, layout: ShardLayout, chunk: Box) -> Shape:
        """Return where in its shard a chunk is."""
        return layout.place_of(divide(chunk.start, self.chunks))


def chunked(array: zarr.Array[Any]) -> ChunkedArray:
    """Return what it takes to get at the chunks of a zarr array."""
    return ChunkedArray(
        name=str(array.store_path),
        store=array.store,
        prefix=f"{array.path}/" if array.path else "",
        shape=tuple(map(int, array.shape)),
        chunks=tuple(map(int, array.chunks)),
        dtype=array.dtype.newbyteorder("="),
        fill_value=array.fill_value,
        codec=codec_for(array),
        shards=ShardLayout(array) if array.shards else None,
        path_of=array.metadata.encode_chunk_key,
    )
