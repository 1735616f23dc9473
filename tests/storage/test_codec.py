"""Chunks are stored in the very bytes that zarr stores, and what zarr stored is read, whatever the codecs."""

from __future__ import annotations

import itertools
from typing import Any

import numcodecs
import numpy as np
import pytest
import zarr
from zarr.codecs import BloscCodec, BytesCodec, Crc32cCodec, GzipCodec, TransposeCodec, ZstdCodec
from zarr.storage import MemoryStore

from chunkpyramid.boxes import Box
from chunkpyramid.storage.chunk_io import ChunkReader, ChunkWriter
from chunkpyramid.storage.chunked_array import chunked
from chunkpyramid.storage.codec import DirectCodec, ZarrCodec, all_bits_equal, codec_for
from chunkpyramid.storage.shards import MISSING, ShardLayout

SHAPE, CHUNKS = (3, 10, 7), (2, 4, 4)
WHOLE = Box((0, 0, 0), SHAPE)

INTEGERS = [f"{sign}{size}" for sign in "iu" for size in (1, 2, 4, 8)]
DTYPES = ["b1", *INTEGERS, "f2", "f4", "f8", "c8", "c16", "M8[ns]", "m8[s]"]
CNAMES = ["blosclz", "lz4", "lz4hc", "zlib", "zstd"]


def values_of(dtype: Any, fill: Any = 0) -> np.ndarray:
    """Values that compress and shuffle, with a chunk that is all fill and one that nearly is."""
    native = np.dtype(dtype).newbyteorder("=")
    values = np.random.default_rng(5).integers(0, 100, SHAPE).astype("i8")
    values = (values % 2 == 0) if native.kind == "b" else values.astype(native)
    values[:2, :4, :4] = fill
    values[:2, 4:8, :4] = fill
    values[1, 7, 3] = np.asarray(0 if fill is True else 1).astype(native)
    return values


def chunks_of(array: zarr.Array[Any]) -> dict[str, bytes]:
    """What is stored under the keys of chunks, without the time that gzip writes into its header."""
    stored = {key: buffer.to_bytes() for key, buffer in array.store._store_dict.items()}
    return {
        key: data[:4] + bytes(4) + data[8:] if data[:2] == b"\x1f\x8b" else data
        for key, data in stored.items()
        if not key.endswith(("zarr.json", ".zarray", ".zattrs", ".zgroup"))
    }


def pieces_of(array: zarr.Array[Any]) -> dict[Any, bytes]:
    """The bytes of chunks, be they in shards or not: those of a shard can be in any order."""
    if array.shards is None:
        return dict(chunks_of(array))
    layout, pieces = ShardLayout(array), {}
    for key, shard in chunks_of(array).items():
        for place in np.ndindex(layout.counts):
            start, length = map(int, layout.index_of(shard)[place])
            pieces[key, place] = b"missing" if start == MISSING else shard[start : start + length]
    return pieces


def created(dtype: Any, **options: Any) -> zarr.Array[Any]:
    return zarr.create_array(MemoryStore(), shape=SHAPE, dtype=dtype, **{"chunks": CHUNKS, "fill_value": 0} | options)


def assert_same_as_zarr(dtype: Any, values: np.ndarray, kind: type, **options: Any) -> None:
    by_zarr, by_us = created(dtype, **options), created(dtype, **options)
    assert type(codec_for(by_us)) is kind
    by_zarr[...] = values
    ChunkWriter(chunked(by_us)).write(WHOLE, values)
    assert chunks_of(by_us) == chunks_of(by_zarr)
    read = ChunkReader(chunked(by_zarr)).read(WHOLE)
    assert read.dtype == values.dtype
    assert read.tobytes() == by_us[...].astype(values.dtype).tobytes() == by_zarr[...].astype(values.dtype).tobytes()


@pytest.mark.parametrize("order", "<>")
@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize(
    "compressor", [None, numcodecs.Blosc(), numcodecs.Blosc(shuffle=2), numcodecs.Zstd(checksum=True)], ids=repr
)
def test_every_dtype_in_format_2(compressor: Any, dtype: str, order: str) -> None:
    stored = np.dtype(dtype).newbyteorder(order)
    assert_same_as_zarr(stored, values_of(dtype), DirectCodec, zarr_format=2, compressors=compressor)


@pytest.mark.parametrize("order", ["little", "big"])
@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("compressors", [(), (BloscCodec(),), (GzipCodec(),)], ids=["plain", "blosc", "gzip"])
@pytest.mark.filterwarnings("ignore:The data type:zarr.errors.UnstableSpecificationWarning")
def test_every_dtype_in_format_3(compressors: Any, dtype: str, order: Any) -> None:
    options = {"serializer": BytesCodec(endian=order), "compressors": compressors}
    assert_same_as_zarr(dtype, values_of(dtype), DirectCodec, **options)


@pytest.mark.parametrize("dtype", ["u1", "i2", "f4", "u8"])
@pytest.mark.parametrize("shuffle", [-1, 0, 1, 2])
@pytest.mark.parametrize("cname", CNAMES)
def test_blosc_in_format_2(cname: str, shuffle: int, dtype: str) -> None:
    compressor = numcodecs.Blosc(cname=cname, clevel=4, shuffle=shuffle)
    assert_same_as_zarr(dtype, values_of(dtype), DirectCodec, zarr_format=2, compressors=compressor)


@pytest.mark.parametrize("typesize", [None, 1, 3, 8])
@pytest.mark.parametrize("shuffle", ["noshuffle", "shuffle", "bitshuffle", None])
@pytest.mark.parametrize("cname", CNAMES)
@pytest.mark.parametrize("shards", [None, (2, 8, 4)])
def test_blosc_in_format_3(shards: Any, cname: Any, shuffle: Any, typesize: int | None) -> None:
    compressor = BloscCodec(cname=cname, clevel=6, shuffle=shuffle, typesize=typesize, blocksize=64)
    by_zarr, by_us = (created("u4", compressors=compressor, shards=shards) for _ in range(2))
    by_zarr[...] = values = values_of("u4")
    ChunkWriter(chunked(by_us)).write(WHOLE, values)
    assert isinstance(codec_for(by_us), DirectCodec)
    assert pieces_of(by_us) == pieces_of(by_zarr)
    np.testing.assert_array_equal(by_us[...], values)
    np.testing.assert_array_equal(ChunkReader(chunked(by_zarr)).read(WHOLE), values)


def numcodecs_codec(name: str, **options: Any) -> list[dict[str, Any]]:
    """A codec of numcodecs as format 3 names it."""
    return [{"name": f"numcodecs.{name}", "configuration": options}]


FORMAT_2: dict[str, tuple[type, dict[str, Any]]] = {
    "gzip": (DirectCodec, {"compressors": numcodecs.GZip(3)}),
    "zlib": (DirectCodec, {"compressors": numcodecs.Zlib(3)}),
    "lzma": (DirectCodec, {"compressors": numcodecs.LZMA()}),
    "bz2": (DirectCodec, {"compressors": numcodecs.BZ2()}),
    "lz4": (DirectCodec, {"compressors": numcodecs.LZ4()}),
    "zstd": (DirectCodec, {"compressors": numcodecs.Zstd(level=-3)}),
    "looks at the dtype": (ZarrCodec, {"compressors": numcodecs.Delta("i4")}),
    "filter": (ZarrCodec, {"compressors": numcodecs.Blosc(), "filters": [numcodecs.Delta("i4")]}),
    "filters": (ZarrCodec, {"compressors": None, "filters": [numcodecs.Delta("i4"), numcodecs.Shuffle(4)]}),
    "order F": (ZarrCodec, {"compressors": None, "order": "F"}),
    "order F, blosc": (ZarrCodec, {"compressors": numcodecs.Blosc(), "order": "F"}),
}
FORMAT_3: dict[str, tuple[type, dict[str, Any]]] = {
    "none": (DirectCodec, {"compressors": None}),
    "zstd": (DirectCodec, {"compressors": ZstdCodec(level=1, checksum=True)}),
    "two": (DirectCodec, {"compressors": (BloscCodec(), ZstdCodec())}),
    "gzip, then blosc": (DirectCodec, {"compressors": (ZstdCodec(), BloscCodec())}),
    "crc32c": (ZarrCodec, {"compressors": (Crc32cCodec(),)}),
    "blosc, crc32c": (ZarrCodec, {"compressors": (BloscCodec(), Crc32cCodec())}),
    "transpose": (ZarrCodec, {"filters": TransposeCodec(order=(2, 0, 1)), "compressors": ZstdCodec()}),
    "numcodecs compressor": (ZarrCodec, {"compressors": numcodecs_codec("zlib", level=2)}),
    "numcodecs filters": (
        ZarrCodec,
        {
            "filters": numcodecs_codec("delta", dtype="<i4"),
            "compressors": numcodecs_codec("shuffle", elementsize=4),
        },
    ),
}


@pytest.mark.parametrize(("kind", "options"), FORMAT_2.values(), ids=FORMAT_2)
def test_codecs_of_format_2(kind: type, options: dict[str, Any]) -> None:
    assert_same_as_zarr("i4", values_of("i4"), kind, zarr_format=2, **options)


@pytest.mark.parametrize(("kind", "options"), FORMAT_3.values(), ids=FORMAT_3)
@pytest.mark.filterwarnings("ignore:Numcodecs codecs")
def test_codecs_of_format_3(kind: type, options: dict[str, Any]) -> None:
    assert_same_as_zarr("i4", values_of("i4"), kind, **options)


@pytest.mark.filterwarnings("ignore:Numcodecs codecs")
def test_codecs_that_change_values_are_left_to_zarr() -> None:
    lossy = numcodecs_codec("fixedscaleoffset", offset=0, scale=10, dtype="<f8", astype="<i4")
    assert_same_as_zarr("f8", values_of("f8"), ZarrCodec, filters=lossy, compressors=None)


FILLS = [("u2", 0), ("u2", 256), ("i4", -7), ("b1", True), ("f4", 1.5), ("f4", np.nan), ("f8", -0.0), ("f2", np.inf)]
FILLS += [("c16", 1 + 2j), ("c8", 0), ("M8[s]", np.datetime64("NaT", "s")), ("u8", 2**64 - 1)]
FILLED = list(itertools.product([2, 3], FILLS))


@pytest.mark.parametrize("order", "<>")
@pytest.mark.parametrize("through", [DirectCodec, ZarrCodec])
@pytest.mark.parametrize(("zarr_format", "fill"), FILLED, ids=str)
@pytest.mark.filterwarnings("ignore:The data type:zarr.errors.UnstableSpecificationWarning")
def test_chunks_of_the_fill_value_are_not_stored(zarr_format: Any, fill: Any, through: type, order: str) -> None:
    dtype, value = fill
    options: dict[str, Any] = {"zarr_format": zarr_format, "fill_value": value}
    if through is ZarrCodec:
        options |= {"order": "F"} if zarr_format == 2 else {"filters": TransposeCodec(order=(2, 1, 0))}
    if zarr_format == 3:
        options["serializer"] = BytesCodec(endian="little" if order == "<" else "big")
    else:
        dtype = np.dtype(dtype).newbyteorder(order)
    values = values_of(dtype, fill=value)
    assert_same_as_zarr(dtype, values, through, **options)
    array = created(dtype, **options)
    ChunkWriter(chunked(array)).write(WHOLE, values)
    assert len(chunks_of(array)) == 2 * 3 * 2 - 1


@pytest.mark.parametrize("write_empty_chunks", [False, True])
@pytest.mark.parametrize("options", [{}, {"filters": TransposeCodec(order=(2, 1, 0))}], ids=["direct", "zarr"])
def test_chunks_of_the_fill_value_are_never_stored_whatever_zarr_is_told(
    options: dict[str, Any], write_empty_chunks: bool
) -> None:
    with zarr.config.set({"array.write_empty_chunks": write_empty_chunks}):
        array = created("u2", **options)
        ChunkWriter(chunked(array)).write(WHOLE, np.zeros(SHAPE, "u2"))
    assert not chunks_of(array)


def test_without_a_fill_value_all_chunks_are_stored() -> None:
    """What readers make of chunks that are missing is up to them then; zarr and this one make zeros of them."""
    array = created("u2", zarr_format=2, fill_value=None)
    assert not ChunkReader(chunked(array)).read(WHOLE).any()
    assert not array[...].any()
    ChunkWriter(chunked(array)).write(WHOLE, np.zeros(SHAPE, "u2"))
    assert len(chunks_of(array)) == 2 * 3 * 2


@pytest.mark.parametrize("fill", [0.0, -0.0])
def test_zeros_of_the_other_sign_are_stored(fill: float) -> None:
    for dtype in ("f4", "c16"):
        array = created(dtype, fill_value=fill)
        values = np.full(SHAPE, -fill, dtype)
        ChunkWriter(chunked(array)).write(WHOLE, values)
        assert array[...].tobytes() == values.tobytes()


@pytest.mark.parametrize("order", "<>")
def test_values_in_another_byte_order_are_not_taken_for_the_fill_value(order: str) -> None:
    """The bytes of 1 in one order are those of 256 in the other."""
    array = created("<u2", zarr_format=2, fill_value=256)
    ChunkWriter(chunked(array)).write(WHOLE, np.full(SHAPE, 1, f"{order}u2"))
    np.testing.assert_array_equal(array[...], 1)


@pytest.mark.parametrize("size", [1, 2**16 - 1, 2**16, 2**16 + 1, 3 * 2**16 + 5])
def test_equal_bits_are_looked_for_everywhere(size: int) -> None:
    zero = np.zeros((), "i4")
    assert all_bits_equal(np.zeros(size, "i4"), zero)
    for at in {0, size // 2, size - 1}:
        values = np.zeros(size, "i4")
        values[at] = 1
        assert not all_bits_equal(values, zero)
        assert not all_bits_equal(values.reshape(1, -1), zero)
    assert all_bits_equal(np.ones((size, 2), "i4")[:, 0], np.ones((), "i4"))
    assert all_bits_equal(zero, zero)
    assert not all_bits_equal(np.zeros(size, np.longdouble), np.zeros((), np.longdouble))
