"""Encoding and decoding one chunk, in the thread that asks for it.

zarr decodes and encodes in a pool of threads of its own, several chunks of a call at a time, each of them copied more
than once. That is fast, but how much memory it takes depends on the chunks and on luck. A task of a build works on one
chunk at a time, and there are as many tasks as there is memory for. The codecs that nearly all arrays have are called
directly; all others encode and decode through zarr, in an array of one chunk. Both give the same bytes.
"""

from __future__ import annotations

import json
import struct
from collections.abc import Mapping, Sequence
from typing import Any, Protocol

import numcodecs
import numpy as np
import numpy.typing as npt
import zarr
from zarr.abc.buffer import Buffer
from zarr.buffer import cpu
from zarr.codecs import ShardingCodec
from zarr.storage import MemoryStore

from chunkpyramid.boxes import Shape
from chunkpyramid.storage.keys import Encoded
from chunkpyramid.storage.transpose import c_contiguous

__all__ = ["ChunkCodec", "all_bits_equal", "as_json", "codec_for", "one_chunk_codec", "same_encoding", "sharding_codec"]

# dtypes that are nothing but bits
PLAIN_KINDS = "biufcmM"

# compressors of numcodecs that take any values as bytes; others look at dtypes and shapes
BYTES_COMPRESSORS = {"blosc", "bz2", "gzip", "lz4", "lzma", "zlib", "zstd"}

# The bytes of Blosc's data that are their sizes: decoded, of a block, and encoded, header included.
BLOSC_HEADER = struct.Struct("<4x3I")

# So many voxels at a time are looked at: hardly any chunk begins with as many equal ones, but those that are all equal.
GLANCE = 2**16


class ChunkCodec(Protocol):
    """Encodes and decodes the chunks of one array."""

    # how many copies of a chunk a codec makes while it is coded, beside the encoded one and the voxels themselves
    copies: int

    def encode(self, values: npt.NDArray[Any]) -> Encoded | None:
        """Return the voxels of a whole chunk encoded, None if they are all the fill value."""

    def decode(self, data: Encoded, out: npt.NDArray[Any]) -> None:
        """Write the voxels of an encoded chunk to ``out``, which has the chunk's shape."""


class DirectCodec:
    """Values as they are in memory, and compressors of numcodecs."""

    def __init__(self, dtype: np.dtype[Any], fill_value: Any, compressors: Sequence[Any]):
        self.dtype = dtype
        self.fill_value = fill_value
        self.compressors = tuple(compressors)
        self.decodes_in_place = bool(compressors) and compressors[0].codec_id == "blosc"
        self.copies = 1 if compressors and not self.decodes_in_place else 0

    def encode(self, values: npt.NDArray[Any]) -> Encoded | None:
        if is_fill(values, self.fill_value):
            return None
        # with their dtype: Blosc shuffles by its size unless told otherwise
        plain = c_contiguous(values, self.dtype)
        if not self.compressors:
            return plain.reshape(-1).view(np.uint8).data
        data: Any = plain
        for compressor in self.compressors:
            data = compressor.encode(data)
        return memoryview(data)

    def decode(self, data: Encoded, out: npt.NDArray[Any]) -> None:
        expected = out.size * self.dtype.itemsize
        decoded: Any = data
        for compressor in reversed(self.compressors[1:]):
            decoded = decompressed(compressor, decoded)
        fits = out.flags.c_contiguous and out.dtype == self.dtype
        if self.decodes_in_place and fits:
            decompressed(self.compressors[0], decoded, out.reshape(-1).view(np.uint8))
            return
        if self.compressors:
            decoded = decompressed(self.compressors[0], decoded)
        values = np.frombuffer(decoded, dtype=np.uint8)
        check_size(values.size, expected)
        np.copyto(out, values.view(self.dtype).reshape(out.shape), casting="equiv")


def decompressed(compressor: Any, data: Encoded, out: npt.NDArray[np.uint8] | None = None) -> Any:
    """Return what a compressor of numcodecs has made of these bytes; only Blosc may write it to ``out``.

    numcodecs checks neither that Blosc's data are whole nor that anything but too much is written to an array.
    """
    if compressor.codec_id == "blosc":
        size, encoded_size = blosc_sizes(data)
        if encoded_size > len(data):
            raise ValueError(f"a chunk has {len(data)} of {encoded_size} bytes")
        if out is not None:
            check_size(size, out.size)
    return compressor.decode(data, out=out)


def blosc_sizes(data: Encoded) -> tuple[int, int]:
    """Return how many bytes the header of Blosc's data says there are, decoded and encoded."""
    if len(data) < BLOSC_HEADER.size:
        raise ValueError(f"a chunk has {len(data)} bytes, but the header alone should have {BLOSC_HEADER.size}")
    size, _, encoded_size = BLOSC_HEADER.unpack(bytes(data[: BLOSC_HEADER.size]))
    return size, encoded_size


def check_size(size: int, expected: int) -> None:
    if size != expected:
        raise ValueError(f"a chunk has {size} bytes when it is decoded, but should have {expected}")


class OneChunk(MemoryStore):
    """The store of an array of one chunk: the metadata, and the chunk encoded."""

    def __init__(self, metadata: Mapping[str, bytes]):
        self.contents: dict[str, Buffer] = {key: cpu.Buffer.from_bytes(document) for key, document in metadata.items()}
        # the store works on this dict itself
        super().__init__(self.contents)

    def take(self, key: str) -> Buffer | None:
        return self.contents.pop(key, None)

    def lay(self, key: str, data: Encoded) -> None:
        self.contents[key] = cpu.Buffer.from_bytes(bytes(data))


class ZarrCodec:
    """Any codecs that zarr knows."""

    copies = 4

    def __init__(self, metadata: Mapping[str, bytes], zarr_format: Any):
        self.store = OneChunk(metadata)
        self.array = zarr.open_array(self.store, mode="r+", zarr_format=zarr_format)
        self.key = self.array.metadata.encode_chunk_key((0,) * self.array.ndim)

    def encode(self, values: npt.NDArray[Any]) -> Encoded | None:
        # zarr has its own rule, which depends on how it is configured
        if is_fill(values, self.array.fill_value):
            return None
        self.array[...] = values
        encoded = self.store.take(self.key)
        return None if encoded is None else memoryview(encoded.as_buffer_like())

    def decode(self, data: Encoded, out: npt.NDArray[Any]) -> None:
        self.store.lay(self.key, data)
        out[...] = self.array[...]
        self.store.take(self.key)


def is_fill(values: npt.NDArray[Any], fill_value: Any) -> bool:
    """Whether all voxels are the fill value, to the bit; a chunk of them need not be stored."""
    return fill_value is not None and all_bits_equal(values, np.asarray(fill_value))


def all_bits_equal(values: npt.NDArray[Any], value: npt.NDArray[Any]) -> bool:
    """Whether all bits of all values are those of one value: 0.0 is not -0.0, and NaN is equal to itself."""
    if values.dtype.kind == "c":
        return all_bits_equal(values.real, value.real) and all_bits_equal(values.imag, value.imag)
    if values.dtype.kind not in PLAIN_KINDS or values.dtype.itemsize > 8:
        return False
    bits = f"u{values.dtype.itemsize}"
    # the byte order of one can be another than that of the other
    seen, expected = np.atleast_1d(values).view(bits), value.astype(values.dtype).view(bits)
    step = max(1, GLANCE * len(seen) // seen.size)
    return all((seen[start : start + step] == expected).all() for start in range(0, len(seen), step))


def codec_for(array: zarr.Array[Any]) -> ChunkCodec:
    """Return what encodes and decodes the chunks of an array, those inside of shards if it is sharded."""
    described = as_json(array.metadata.to_dict())
    if array.metadata.zarr_format == 2:
        compressor = array.metadata.compressor
        plain = not array.metadata.filters and array.metadata.order == "C"
        direct_too = compressor is None or compressor.codec_id in BYTES_COMPRESSORS
        if plain and direct_too and array.dtype.kind in PLAIN_KINDS:
            return DirectCodec(array.dtype, array.metadata.fill_value, [compressor] if compressor is not None else [])
        shape = list(array.chunks)
        return ZarrCodec({".zarray": json.dumps(described | {"shape": shape, "chunks": shape}).encode()}, 2)
    codecs = _chunk_codecs(array)
    direct = _compressors(codecs)
    if direct is not None and array.dtype.kind in PLAIN_KINDS:
        big = codecs[0].get("configuration", {}).get("endian") == "big"
        return DirectCodec(array.dtype.newbyteorder(">" if big else "<"), array.fill_value, direct)
    return one_chunk_codec(described, array.chunks, codecs)


def same_encoding(source: zarr.Array[Any], target: zarr.Array[Any]) -> bool:
    """Whether the chunks of two arrays, those inside of shards if they are sharded, are the same boxes and bytes."""
    # chunks that are missing have to mean the same, too
    keys = ("zarr_format", "data_type", "dtype", "order", "compressor", "filters", "fill_value")
    described = [as_json(array.metadata.to_dict()) for array in (source, target)]
    return (
        source.chunks == target.chunks
        and all(described[0].get(key) == described[1].get(key) for key in keys)
        and _chunk_codecs(source) == _chunk_codecs(target)
    )


def _chunk_codecs(array: zarr.Array[Any]) -> Any:
    """Return the codecs of chunks as JSON, None for zarr format 2, which has no chains of them."""
    sharding = sharding_codec(array)
    if sharding is not None:
        return as_json(sharding.to_dict())["configuration"]["codecs"]
    return as_json(array.metadata.to_dict()).get("codecs")


def one_chunk_codec(described: Mapping[str, Any], shape: Shape, codecs: Sequence[Any]) -> ZarrCodec:
    """Return the codec of chunks of this shape, with the metadata of an array of zarr format 3 for the rest."""
    alone = {
        **described,
        "shape": list(shape),
        "chunk_grid": {"name": "regular", "configuration": {"chunk_shape": list(shape)}},
        "codecs": list(codecs),
    }
    return ZarrCodec({"zarr.json": json.dumps(alone).encode()}, 3)


def sharding_codec(array: zarr.Array[Any]) -> ShardingCodec | None:
    """Return the codec that makes the shards of an array, None if it has no shards."""
    codecs: tuple[Any, ...] = getattr(array.metadata, "codecs", ())
    return codecs[0] if array.shards else None


def _compressors(codecs: Sequence[Mapping[str, Any]]) -> list[Any] | None:
    """Return the compressors of a chain of codecs as numcodecs has them, None if there are others in it."""
    first, *others = codecs
    if first["name"] != "bytes":
        return None
    found = []
    for codec in others:
        options = dict(codec.get("configuration", {}))
        if codec["name"] == "blosc":
            options["shuffle"] = ("noshuffle", "shuffle", "bitshuffle").index(options["shuffle"])
        elif codec["name"] not in ("zstd", "gzip"):
            return None
        found.append(numcodecs.get_codec({"id": codec["name"], **options}))
    return found


def as_json(described: Any) -> Any:
    """Return what metadata describe as plain JSON: they hold codecs as objects."""

    def plain(item: Any) -> Any:
        return (
            item.to_dict() if hasattr(item, "to_dict") else item.value if hasattr(item, "value") else item.get_config()
        )

    return json.loads(json.dumps(described, default=plain))
