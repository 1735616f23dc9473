"""Boxes of arrays, chunk by chunk: they hold what zarr reads, and what cannot be read is named."""

from __future__ import annotations

import itertools
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numcodecs
import numpy as np
import pytest
import zarr
from hypothesis import given
from hypothesis import strategies as st
from zarr.codecs import BloscCodec, BytesCodec, Crc32cCodec, GzipCodec, ShardingCodec, TransposeCodec, ZstdCodec
from zarr.storage import FsspecStore, LocalStore, MemoryStore, WrapperStore

from chunkpyramid.boxes import Box, Shape, multiply, tile
from chunkpyramid.errors import ChunkError
from chunkpyramid.storage.chunk_io import ChunkReader, ChunkWriter
from chunkpyramid.storage.chunked_array import chunked
from chunkpyramid.storage.keys import fetch, put


class Around(WrapperStore[Any]):
    """A store around another one."""

    def _with_store(self, store: Any) -> Around:
        return Around(store)


PLACES = itertools.count()
STORES: dict[str, Callable[[Path], Any]] = {
    "folder": lambda folder: LocalStore(folder / str(next(PLACES))),
    "memory": lambda folder: MemoryStore(),
    "fsspec": lambda folder: FsspecStore.from_url(f"memory://{folder.name}/{next(PLACES)}"),
    "wrapper": lambda folder: Around(MemoryStore()),
    "wrapped folder": lambda folder: Around(LocalStore(folder / str(next(PLACES)))),
}
KEYS = [
    {"zarr_format": 2, "chunk_key_encoding": {"name": "v2", "separator": "/"}},
    {"zarr_format": 2, "chunk_key_encoding": {"name": "v2", "separator": "."}},
    {"chunk_key_encoding": {"name": "default", "separator": "/"}},
    {"chunk_key_encoding": {"name": "default", "separator": "."}},
    {"chunk_key_encoding": {"name": "v2", "separator": "."}},
]
# the chunks of shards, their index, and where that is
SHARDING = [
    {},
    {"index_location": "start"},
    {"index_codecs": [BytesCodec()]},
    {"index_codecs": [BytesCodec(endian="big"), Crc32cCodec()], "index_location": "start"},
    {"codecs": [TransposeCodec(order=()), BytesCodec()]},
    {"codecs": [BytesCodec()], "index_codecs": [BytesCodec(), Crc32cCodec(), Crc32cCodec()]},
]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("chunks")


def sharded(store: Any, shape: Shape, chunks: Shape, shards: Shape, path: str = "", **sharding: Any) -> zarr.Array[Any]:
    """An array of shards whose codec has these options."""
    options = {"codecs": [BytesCodec(), BloscCodec(typesize=2)]} | sharding
    options["codecs"] = [
        TransposeCodec(order=tuple(reversed(range(len(shape))))) if isinstance(codec, TransposeCodec) else codec
        for codec in options["codecs"]
    ]
    codec = ShardingCodec(chunk_shape=chunks, **options)
    return zarr.create(
        shape, chunks=shards, dtype="u2", store=store, path=path, zarr_format=3, codecs=[codec], fill_value=0
    )


def voxels(shape: Shape, seed: int = 0) -> np.ndarray:
    """Voxels of which a part is all zeros."""
    values = np.random.default_rng(seed).integers(0, 2**16, shape).astype("u2")
    values[tuple(slice(n // 3) for n in shape)] = 0
    return values


@st.composite
def layouts(draw: st.DrawFn) -> tuple[Shape, Shape, Shape, Box]:
    """The shapes of an array of at most 5 axes, of its chunks and of its shards, and a box in it."""
    ndim = draw(st.integers(1, 5))
    longest = (40, 14, 9, 6, 5)[ndim - 1]
    shape = tuple(draw(st.integers(1, longest)) for _ in range(ndim))
    chunks = tuple(draw(st.integers(max(1, n // 4), n + 1)) for n in shape)
    shards = tuple(c * draw(st.integers(1, 3)) for c in chunks)
    start = tuple(draw(st.integers(0, n - 1)) for n in shape)
    stop = tuple(draw(st.integers(a + 1, n)) for a, n in zip(start, shape, strict=True))
    return shape, chunks, shards, Box(start, stop)


def created(draw: Any, folder: Path, shape: Shape, chunks: Shape, shards: Shape) -> zarr.Array[Any]:
    """An array of any store, codecs and keys."""
    store = STORES[draw(st.sampled_from(sorted(STORES)))](folder)
    path = draw(st.sampled_from(["", "0", "a/b/c"]))
    if draw(st.booleans()):
        return sharded(store, shape, chunks, shards, path, **draw(st.sampled_from(SHARDING)))
    keys = draw(st.sampled_from(KEYS))
    return zarr.create_array(store, name=path or None, shape=shape, chunks=chunks, dtype="u2", fill_value=0, **keys)


@given(layout=layouts(), data=st.data())
def test_boxes_hold_what_zarr_reads(folder: Path, layout: Any, data: st.DataObject) -> None:
    shape, chunks, shards, box = layout
    array = created(data.draw, folder, shape, chunks, shards)
    array[...] = values = voxels(shape)
    reader = ChunkReader(chunked(array))
    for part in (box, Box((0,) * len(shape), shape), box):
        np.testing.assert_array_equal(reader.read(part), values[part.slices])


@given(layout=layouts(), data=st.data())
def test_zarr_reads_what_is_written_in_any_order(folder: Path, layout: Any, data: st.DataObject) -> None:
    shape, chunks, shards, _ = layout
    array = created(data.draw, folder, shape, chunks, shards)
    values, writer = voxels(shape), ChunkWriter(chunked(array))
    # boxes of several chunks each, which cut shards anywhere
    boxes = list(tile(Box((0,) * len(shape), shape), multiply(chunks, [data.draw(st.integers(1, 2)) for _ in shape])))
    for box in data.draw(st.permutations(boxes)):
        part = box.clip(shape)
        writer.write(part, values[part.slices] if values[part.slices].any() else None)
    assert not writer.unfinished
    np.testing.assert_array_equal(array[...], values)
    unit = array.shards or chunks
    for cell in tile(Box((0,) * len(shape), shape), unit):
        (found,) = fetch(array.store, [(writer.array.key(cell.start, unit), None)])
        assert (found is None) == (not values[cell.clip(shape).slices].any())


@pytest.mark.parametrize("store", STORES.values(), ids=STORES)
@pytest.mark.parametrize("keys", KEYS, ids=str)
def test_copies_are_the_bytes_of_the_source(folder: Path, store: Any, keys: Any) -> None:
    form = {"zarr_format": keys.get("zarr_format", 3), "chunks": (4, 3), "dtype": "u2", "fill_value": 0}
    source = zarr.create_array(MemoryStore(), shape=(10, 8), **form)
    source[...] = voxels((10, 8))
    target = zarr.create_array(store(folder), name="deep/er", shape=(10, 8), **form | keys)
    reader = ChunkReader(chunked(source), copy_to=ChunkWriter(chunked(target)))
    for box in (Box((0, 0), (8, 6)), Box((8, 0), (10, 8)), Box((0, 6), (8, 8))):
        np.testing.assert_array_equal(reader.read(box), source[box.slices])
    there, here = ChunkReader(chunked(target)), ChunkReader(chunked(source))
    for cell in tile(Box((0, 0), (10, 8)), (4, 3)):
        key, copy = here.array.key(cell.start, (4, 3)), there.array.key(cell.start, (4, 3))
        assert copy.startswith("deep/er/")
        (original,), (copied,) = fetch(source.store, [(key, None)]), fetch(target.store, [(copy, None)])
        assert (None if copied is None else bytes(copied)) == (None if original is None else bytes(original))


@pytest.mark.parametrize("order", "<>")
def test_missing_chunks_and_shards_hold_the_fill_value(order: str) -> None:
    box = Box((1, 2), (7, 8))
    for shards in (None, (4, 4)):
        array = zarr.create_array({}, shape=(8, 8), chunks=(2, 2), shards=shards, dtype="u2", fill_value=513)
        array[:2, :2] = 7
        np.testing.assert_array_equal(ChunkReader(chunked(array)).read(box), array[box.slices])
    array = zarr.create_array({}, shape=(8, 8), chunks=(2, 2), dtype=f"{order}u2", fill_value=513, zarr_format=2)
    np.testing.assert_array_equal(ChunkReader(chunked(array)).read(box), np.full((6, 6), 513))


# what makes one chunk of (4, 4) uint16 voxels
CODECS: dict[str, dict[str, Any]] = {
    "none": {"compressors": None},
    "blosc": {"compressors": BloscCodec()},
    "blosc of noise": {"compressors": BloscCodec(clevel=0)},
    "zstd": {"compressors": ZstdCodec(checksum=True)},
    "gzip": {"compressors": GzipCodec()},
    "blosc, zstd": {"compressors": (BloscCodec(), ZstdCodec())},
    "crc32c": {"compressors": Crc32cCodec()},
    "transpose": {"filters": TransposeCodec(order=(1, 0)), "compressors": ZstdCodec()},
    "v2 none": {"compressors": None, "zarr_format": 2},
    "v2 blosc": {"compressors": numcodecs.Blosc(), "zarr_format": 2},
    "v2 zlib": {"compressors": numcodecs.Zlib(), "zarr_format": 2},
    "v2 lzma": {"compressors": numcodecs.LZMA(), "zarr_format": 2},
    "v2 order F": {"compressors": numcodecs.Zstd(), "order": "F", "zarr_format": 2},
}
DAMAGES: dict[str, Callable[[bytes], bytes]] = {
    "empty": lambda data: b"",
    "one byte": lambda data: data[:1],
    "half": lambda data: data[: len(data) // 2],
    "a byte short": lambda data: data[:-1],
    "9 bytes short": lambda data: data[:-9],
    "zeros": lambda data: bytes(len(data) - 2),
    "noise": lambda data: np.random.default_rng(3).bytes(len(data) + 2),
}


def damaged(folder: Path, store: str, change: Callable[[bytes], bytes], **options: Any) -> zarr.Array[Any]:
    """An array whose chunk (1, 0) has been changed."""
    array = zarr.create_array(STORES[store](folder), shape=(7, 8), chunks=(4, 4), dtype="u2", name="a", **options)
    array[...] = np.arange(1, 57).reshape(7, 8)
    key = ChunkReader(chunked(array)).array.key((4, 0), (4, 4))
    (found,) = fetch(array.store, [(key, None)])
    put(array.store, [(key, change(bytes(found)))])
    return array


@pytest.mark.parametrize("store", STORES)
@pytest.mark.parametrize("damage", DAMAGES.values(), ids=DAMAGES)
@pytest.mark.parametrize("codecs", CODECS.values(), ids=CODECS)
def test_a_damaged_chunk_is_an_error_that_names_it(
    folder: Path, codecs: dict[str, Any], damage: Callable[[bytes], bytes], store: str
) -> None:
    array = damaged(folder, store, damage, **codecs)
    reader = ChunkReader(chunked(array))
    # a whole chunk and a part of one are decoded into different arrays
    for box in (Box((4, 0), (7, 4)), Box((5, 1), (6, 2)), Box((0, 0), (7, 8))):
        with pytest.raises(ChunkError, match=r"chunk \(1, 0\) of .*a cannot be read: \w+: ."):
            reader.read(box)
    np.testing.assert_array_equal(reader.read(Box((0, 1), (4, 8))), np.arange(1, 57).reshape(7, 8)[:4, 1:])


@pytest.mark.parametrize("size", [1, 2, 15, 17, 32])
@pytest.mark.parametrize("codecs", CODECS.values(), ids=CODECS)
def test_a_chunk_of_another_size_is_an_error(folder: Path, codecs: dict[str, Any], size: int) -> None:
    """Rather than voxels that were never there: codecs leave the rest of an array as it is."""
    shape = (size, 1)
    other = zarr.create_array({}, shape=shape, chunks=shape, dtype="u2", **codecs)
    other[...] = 9
    (data,) = fetch(other.store, [(ChunkReader(chunked(other)).array.key((0, 0), shape), None)])
    array = damaged(folder, "memory", lambda _: bytes(data), **codecs)
    array = zarr.open_array(array.store, path="a")
    for box in (Box((4, 0), (7, 4)), Box((0, 0), (7, 8))):
        with pytest.raises(ChunkError, match=r"chunk \(1, 0\)"):
            ChunkReader(chunked(array)).read(box)


def test_what_is_no_file_is_an_error(tmp_path: Path) -> None:
    array = zarr.create_array(tmp_path / "a", shape=(8,), chunks=(4,), dtype="u2")
    array[...] = 1
    (tmp_path / "a/c/1").unlink()
    for make in (lambda path: path.mkdir(), lambda path: path.symlink_to(path)):
        make(tmp_path / "a/c/1")
        with pytest.raises(ChunkError, match=r"chunk \(1,\) of .* (IsADirectoryError|OSError)"):
            ChunkReader(chunked(array)).read(Box((0,), (8,)))
        (tmp_path / "a/c/1").rmdir() if (tmp_path / "a/c/1").is_dir() else (tmp_path / "a/c/1").unlink()
    assert not ChunkReader(chunked(array)).read(Box((4,), (8,))).any()


class Denying(Around):
    """A store that lets nobody read a chunk."""

    async def get(self, key: str, prototype: Any, byte_range: Any = None) -> Any:
        if key.endswith(("c/1", "c/0")):
            raise PermissionError(13, "Permission denied", key)
        return await super().get(key, prototype, byte_range)


@pytest.mark.parametrize("shards", [None, (4,)])
def test_what_may_not_be_read_is_an_error(shards: Any) -> None:
    array = zarr.create_array(MemoryStore(), shape=(8,), chunks=(2,), shards=shards, dtype="u2")
    array[...] = 1
    for box in (Box((2,), (4,)), Box((0,), (8,))):
        with pytest.raises(ChunkError, match=r"chunk \([01],\) of .* PermissionError"):
            ChunkReader(chunked(zarr.open_array(Denying(array.store)))).read(box)


SHARD_DAMAGES = {name: DAMAGES[name] for name in ("empty", "one byte", "half", "zeros", "noise")}


@pytest.mark.parametrize("store", STORES)
@pytest.mark.parametrize("damage", SHARD_DAMAGES.values(), ids=SHARD_DAMAGES)
@pytest.mark.parametrize("location", ["start", "end"])
@pytest.mark.parametrize("checked", [True, False], ids=["checked", "not checked"])
def test_a_damaged_shard_is_an_error_that_names_a_chunk(
    folder: Path, damage: Callable[[bytes], bytes], location: str, checked: bool, store: str
) -> None:
    index_codecs = [BytesCodec(), Crc32cCodec()] if checked else [BytesCodec()]
    array = sharded(STORES[store](folder), (8, 8), (2, 2), (4, 8), index_location=location, index_codecs=index_codecs)
    array[...] = values = np.arange(1, 65).reshape(8, 8)
    key = ChunkReader(chunked(array)).array.key((4, 0), (4, 8))
    (found,) = fetch(array.store, [(key, None)])
    put(array.store, [(key, damage(bytes(found)))])
    for box in (Box((4, 0), (8, 8)), Box((6, 0), (8, 8)), Box((0, 0), (8, 8))):
        with pytest.raises(ChunkError, match=r"chunk \([23], [0-3]\) of .* cannot be read: \w+"):
            ChunkReader(chunked(array)).read(box)
    np.testing.assert_array_equal(ChunkReader(chunked(array)).read(Box((0, 1), (4, 8))), values[:4, 1:])


def test_shards_of_which_many_meet_in_a_box_are_read() -> None:
    """The indexes of only so many of them are kept."""
    array = sharded(MemoryStore(), (200, 4), (1, 2), (2, 4))
    array[...] = values = voxels((200, 4))
    reader = ChunkReader(chunked(array))
    for _ in range(2):
        np.testing.assert_array_equal(reader.read(Box((0, 0), (200, 2))), values[:, :2])
