"""The inside of shards: where a shard holds each chunk, and a shard that is filled chunk by chunk.

zarr encodes a shard from an array that holds all of it, and puts it together from its encoded chunks: in memory are
then the shard, its chunks and the result. Here it is only the result that grows, so that the shards of several levels
can be filled at the same time. The format is that of the sharding codec of zarr format 3
(https://zarr-specs.readthedocs.io/en/latest/v3/codecs/sharding-indexed/): chunks in any order, and an index.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import numpy.typing as npt
import zarr
from zarr.abc.store import ByteRequest, RangeByteRequest, SuffixByteRequest

from chunkpyramid.boxes import Box, Shape, ceil_shape, divide
from chunkpyramid.errors import ArgumentError
from chunkpyramid.storage.chunk_access import most_encoded
from chunkpyramid.storage.codec import as_json, one_chunk_codec, sharding_codec
from chunkpyramid.storage.keys import Encoded

__all__ = ["MISSING", "Index", "OpenShard", "ShardLayout"]

# what the index says of a chunk that is not there
MISSING = 2**64 - 1

Index = npt.NDArray[np.uint64]


class ShardLayout:
    """The shape of the shards of an array, and how their index is encoded.

    An index has, for each chunk of the shard, where it begins and how many bytes it has.
    """

    def __init__(self, array: zarr.Array[Any]):
        codec = sharding_codec(array)
        if codec is None:
            raise ArgumentError(f"the array {array} is not sharded")
        self.shape: Shape = tuple(map(int, array.shards or ()))
        self.chunks: Shape = tuple(map(int, array.chunks))
        self.counts = divide(self.shape, self.chunks)
        configuration = as_json(codec.to_dict())["configuration"]
        self.index_first = configuration["index_location"] == "start"
        # no index is all zeros, which would be taken for an empty chunk
        described = {"zarr_format": 3, "node_type": "array", "data_type": "uint64", "fill_value": 0, "attributes": {}}
        keys = {"name": "default", "configuration": {"separator": "/"}}
        described["chunk_key_encoding"] = keys
        self.codec = one_chunk_codec(described, (*self.counts, 2), configuration["index_codecs"])
        self.index_bytes = len(self.encode_index(self.empty_index()))
        chunk_bytes = math.prod(self.chunks) * array.dtype.itemsize
        self.most_bytes = math.prod(self.counts) * most_encoded(chunk_bytes) + 2 * self.index_bytes

    def empty_index(self) -> Index:
        return np.full((*self.counts, 2), MISSING, dtype=np.uint64)

    def encode_index(self, index: Index) -> Encoded:
        encoded = self.codec.encode(index)
        if encoded is None:
            raise ValueError("the index of a shard is empty")
        return encoded

    def decode_index(self, encoded: Encoded) -> Index:
        index = self.empty_index()
        self.codec.decode(encoded, index)
        return index

    @property
    def index_request(self) -> ByteRequest:
        """The bytes of a shard that are its index."""
        return RangeByteRequest(0, self.index_bytes) if self.index_first else SuffixByteRequest(self.index_bytes)

    def index_of(self, shard: Encoded) -> Index:
        """Return the index of a shard."""
        return self.decode_index(shard[: self.index_bytes] if self.index_first else shard[-self.index_bytes :])

    def place_of(self, chunk: Shape) -> Shape:
        """Return where in its shard the chunk with this index in the array is."""
        return tuple(i % n for i, n in zip(chunk, self.counts, strict=True))

    def chunks_inside(self, shard: Box, shape: Shape) -> Shape:
        """Return how many chunks of a shard an array of this shape has, per axis."""
        return ceil_shape(shard.clip(shape).shape, self.chunks)


class OpenShard:
    """A shard that is being filled.

    It has the memory that it takes at most from the beginning, but the system hands that out page by page, as it fills.
    """

    def __init__(self, layout: ShardLayout, inside: Shape):
        self.layout = layout
        self.data = np.empty(layout.most_bytes, dtype=np.uint8)
        self.used = layout.index_bytes if layout.index_first else 0
        self.index = layout.empty_index()
        # those beyond the edge of the array are never delivered
        self.delivered = np.ones(layout.counts, dtype=bool)
        self.delivered[tuple(map(slice, inside))] = False

    @property
    def is_complete(self) -> bool:
        return bool(self.delivered.all())

    def add(self, place: Shape, encoded: Encoded | None) -> None:
        """Add an encoded chunk, None if it holds nothing but the fill value."""
        self.delivered[place] = True
        if encoded is not None:
            self.index[place] = self.used, len(encoded)
            self._append(encoded)

    def add_missing(self, stored: Encoded) -> None:
        """Add those chunks of another shard that were not delivered."""
        there = self.layout.index_of(stored)
        for place in zip(*np.nonzero(~self.delivered), strict=True):
            start, length = map(int, there[place])
            chunk = None if start == MISSING else stored[start : start + length]
            if chunk is not None and len(chunk) < length:
                raise ValueError(f"a chunk ends {length - len(chunk)} bytes beyond the shard that holds it")
            self.add(place, chunk)

    def encoded(self) -> memoryview | None:
        """Return the shard, None if all of its chunks hold nothing but the fill value."""
        if np.all(self.index == MISSING):
            return None
        index = self.layout.encode_index(self.index)
        if self.layout.index_first:
            self.data[: self.layout.index_bytes] = np.frombuffer(index, dtype=np.uint8)
        else:
            self._append(index)
        return self.data[: self.used].data

    def _append(self, encoded: Encoded) -> None:
        stop = self.used + len(encoded)
        if stop > len(self.data):
            # only codecs that make data larger than they were come here
            self.data = np.concatenate([self.data[: self.used], np.empty(2 * len(encoded), dtype=np.uint8)])
        self.data[self.used : stop] = np.frombuffer(encoded, dtype=np.uint8)
        self.used = stop
