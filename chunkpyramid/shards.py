"""Writing shards chunk by chunk: each chunk is encoded as soon as it is there, and each shard is written once.

zarr encodes a shard from an array that holds all of it, and puts it together from its encoded chunks: in memory are
then the shard, its chunks and the result. Here it is only the result that grows, so that the shards of several levels
can be filled at the same time. Their format is that of the sharding codec of zarr format 3
(https://zarr-specs.readthedocs.io/en/latest/v3/codecs/sharding-indexed/): chunks in any order, and an index.
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from typing import Any

import numpy as np
import numpy.typing as npt
import zarr
from zarr.buffer import cpu
from zarr.codecs import ShardingCodec
from zarr.core.buffer import Buffer, default_buffer_prototype
from zarr.core.sync import sync
from zarr.storage import MemoryStore

from chunkpyramid.errors import ArgumentError
from chunkpyramid.grid import Box, Shape, ceil_shape, multiply, tile
from chunkpyramid.memory import most_encoded
from chunkpyramid.store import InterceptingStore, is_in_memory, is_metadata

__all__ = ["ShardWriter"]

# what the index says of a chunk that is not there
MISSING = 2**64 - 1


def sharding_codec(array: zarr.Array[Any]) -> ShardingCodec | None:
    """Return the sharding codec of an array, None if it has none or others beside it."""
    codecs: tuple[Any, ...] = getattr(array.metadata, "codecs", ())
    return codecs[0] if len(codecs) == 1 and isinstance(codecs[0], ShardingCodec) else None


class EncodedChunks(InterceptingStore):
    """A store that keeps the encoded chunks of an array, for whoever takes them away."""

    def __init__(self, metadata: Mapping[str, Any]):
        document = cpu.Buffer.from_bytes(json.dumps(metadata).encode())
        super().__init__(MemoryStore({"zarr.json": document}))
        self.chunks: dict[str, Buffer] = {}

    async def get(self, key: str, prototype: Any, byte_range: Any = None) -> Buffer | None:
        return await super().get(key, prototype, byte_range) if is_metadata(key) else self.chunks.get(key)

    async def set(self, key: str, value: Buffer) -> None:
        self.chunks[key] = value

    async def delete(self, key: str) -> None:
        self.chunks.pop(key, None)

    def take(self, key: str) -> Buffer | None:
        """Return an encoded chunk and forget it; None if it holds nothing but the fill value."""
        return self.chunks.pop(key, None)


class OpenShard:
    """A shard that is being filled.

    It has the memory that it takes at most from the beginning, but the system hands that out page by page, as it fills.
    """

    def __init__(self, most_bytes: int, counts: Shape, inside: Shape, begin: int):
        self.data = np.empty(most_bytes, dtype=np.uint8)
        self.used = begin
        self.index = np.full((*counts, 2), MISSING, dtype=np.uint64)
        # those beyond the edge of the array are never delivered
        self.delivered = np.ones(counts, dtype=bool)
        self.delivered[tuple(map(slice, inside))] = False

    def append(self, index: Shape, encoded: Buffer | None) -> None:
        """Add an encoded chunk, None if it holds nothing but the fill value."""
        self.delivered[index] = True
        if encoded is not None:
            self.index[index] = self.used, len(encoded)
            self.extend(encoded)

    def extend(self, encoded: Buffer) -> None:
        """Add bytes at the end."""
        stop = self.used + len(encoded)
        if stop > len(self.data):
            # only codecs that make data larger than they were come here
            self.data = np.concatenate([self.data[: self.used], np.empty(2 * len(encoded), dtype=np.uint8)])
        self.data[self.used : stop] = np.frombuffer(encoded.as_buffer_like(), dtype=np.uint8)
        self.used = stop


class ShardWriter:
    """Fills the shards of an array with whole chunks, and writes a shard the moment that it is full."""

    def __init__(self, array: zarr.Array[Any]):
        codec = sharding_codec(array)
        if codec is None:
            raise ArgumentError(
                f"the shards of {array} are encoded once more as a whole, and cannot be written chunk by chunk"
            )
        self.array = array
        self.shard: Shape = multiply(codec.chunk_shape, _counts(array, codec))
        self.counts = _counts(array, codec)
        self.index_first = codec.index_location.value == "start"
        described: dict[str, Any] = array.metadata.to_dict()
        keys = {"name": "default", "configuration": {"separator": "/"}}
        chunks = _as_json(codec.to_dict()["configuration"]["codecs"])  # type: ignore[index, call-overload]
        self.encoded = EncodedChunks(
            _as_json(described)
            | {
                "chunk_grid": {"name": "regular", "configuration": {"chunk_shape": list(codec.chunk_shape)}},
                "chunk_key_encoding": keys,
                "codecs": chunks,
            }
        )
        self.chunks = zarr.open_array(self.encoded, mode="r+")
        self.index_store = EncodedChunks(
            {
                "zarr_format": 3,
                "node_type": "array",
                "shape": [*self.counts, 2],
                "data_type": "uint64",
                "chunk_grid": {"name": "regular", "configuration": {"chunk_shape": [*self.counts, 2]}},
                "chunk_key_encoding": keys,
                # no index that is written is all zeros, and so it is never taken for empty
                "fill_value": 0,
                "codecs": _as_json(codec.to_dict()["configuration"]["index_codecs"]),  # type: ignore[index, call-overload]
                "attributes": {},
            }
        )
        self.index_array = zarr.open_array(self.index_store, mode="r+")
        self.index_bytes = len(self._encode_index(np.full((*self.counts, 2), MISSING, dtype=np.uint64)))
        self.open: dict[Shape, OpenShard] = {}

    @property
    def unfinished(self) -> int:
        """How many shards have been begun and not finished."""
        return len(self.open)

    def write(self, box: Box, values: npt.NDArray[Any]) -> None:
        """Encode the voxels of a box, whole chunks or what the array's edge leaves of them."""
        for cell in tile(box, self.shard):
            part = cell.intersect(box)
            self.chunks.set_basic_selection(part.slices, values[part.relative_to(box.start).slices])
            self._deliver(cell, part)

    def skip(self, box: Box) -> None:
        """Take note that a box of whole chunks holds nothing but the fill value."""
        for cell in tile(box, self.shard):
            self._deliver(cell, cell.intersect(box))

    def _deliver(self, cell: Box, part: Box) -> None:
        shard = self.open.pop(cell.start, None)
        if shard is None:
            shard = self._begin(cell)
        # in the order of the grid, which is the same in every run, whatever finishes first
        for chunk in tile(part, self.chunks.chunks):
            index = tuple(a // c for a, c in zip(chunk.start, self.chunks.chunks, strict=True))
            encoded = self.encoded.take(self.chunks.metadata.encode_chunk_key(index))
            shard.append(tuple(i % n for i, n in zip(index, self.counts, strict=True)), encoded)
        if shard.delivered.all():
            self._finish(cell.start, shard)
        else:
            self.open[cell.start] = shard

    def flush(self) -> None:
        """Finish all shards: chunks that nobody has delivered are those of the shard that is there."""
        while self.open:
            start, shard = self.open.popitem()
            stored = sync(self.array.store.get(self._key(start), prototype=default_buffer_prototype()))
            if stored is not None:
                at = slice(self.index_bytes) if self.index_first else slice(len(stored) - self.index_bytes, None)
                there = self._decode_index(stored[at])
                for index in zip(*np.nonzero(~shard.delivered), strict=True):
                    begin, length = map(int, there[index])
                    shard.append(index, stored[begin : begin + length] if begin != MISSING else None)
            self._finish(start, shard, replaces=stored is not None)

    def _begin(self, cell: Box) -> OpenShard:
        chunk_bytes = math.prod(self.chunks.chunks) * self.array.dtype.itemsize
        most = math.prod(self.counts) * most_encoded(chunk_bytes) + 2 * self.index_bytes
        inside = ceil_shape(cell.clip(self.array.shape).shape, self.chunks.chunks)
        return OpenShard(most, self.counts, inside, self.index_bytes if self.index_first else 0)

    def _key(self, start: Shape) -> str:
        index = tuple(a // s for a, s in zip(start, self.shard, strict=True))
        return "/".join(filter(None, [self.array.path, self.array.metadata.encode_chunk_key(index)]))

    def _finish(self, start: Shape, shard: OpenShard, *, replaces: bool = False) -> None:
        if np.all(shard.index == MISSING):
            if replaces:
                sync(self.array.store.delete(self._key(start)))
            return
        index = self._encode_index(shard.index)
        if self.index_first:
            shard.data[: self.index_bytes] = np.frombuffer(index.as_buffer_like(), dtype=np.uint8)
        else:
            shard.extend(index)
        data = shard.data[: shard.used]
        # a store in memory keeps what it is given, and not with all the memory that a shard could have taken
        kept = data.copy() if is_in_memory(self.array.store) else data
        sync(self.array.store.set(self._key(start), cpu.Buffer.from_array_like(kept)))

    def _encode_index(self, index: npt.NDArray[np.uint64]) -> Buffer:
        self.index_array[...] = index
        return self.index_store.chunks[self._index_key]

    def _decode_index(self, encoded: Buffer) -> npt.NDArray[np.uint64]:
        self.index_store.chunks[self._index_key] = encoded
        return np.asarray(self.index_array[...])

    @property
    def _index_key(self) -> str:
        return self.index_array.metadata.encode_chunk_key((0,) * self.index_array.ndim)


def _counts(array: zarr.Array[Any], codec: ShardingCodec) -> Shape:
    shards = array.shards or array.chunks
    return tuple(s // c for s, c in zip(shards, codec.chunk_shape, strict=True))


def _as_json(value: Any) -> Any:
    """Return what metadata describe as plain JSON: they hold codecs as objects."""
    return json.loads(
        json.dumps(value, default=lambda item: item.to_dict() if hasattr(item, "to_dict") else item.value)
    )
