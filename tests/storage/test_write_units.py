"""What pieces deliver becomes whole chunks and shards, each written once; and pieces of zeros cost nothing."""

from __future__ import annotations

import sys
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
from typing import Any

import numpy as np
import pytest
import zarr
from helpers.oracles import oracle_levels
from hypothesis import given
from hypothesis import strategies as st
from zarr.storage import MemoryStore, WrapperStore

import chunkpyramid as cp
from chunkpyramid.boxes import Box, Shape, tile
from chunkpyramid.errors import ChunkError
from chunkpyramid.storage.chunk_io import ChunkReader, ChunkWriter
from chunkpyramid.storage.chunked_array import chunked
from chunkpyramid.storage.shards import MISSING, ShardLayout
from chunkpyramid.storage.write_units import PartialUnits, WriteUnits


class Noting(WrapperStore[Any]):
    """A store that counts how often a key is set."""

    def __init__(self, store: Any, sets: Counter[str] | None = None):
        super().__init__(store)
        self.sets: Counter[str] = Counter() if sets is None else sets

    def _with_store(self, store: Any) -> Noting:
        return Noting(store, self.sets)

    async def set(self, key: str, value: Any) -> None:
        self.sets[key] += 1
        await super().set(key, value)


def voxels(shape: Shape, seed: int = 0) -> np.ndarray:
    """Voxels of which more than half are zeros."""
    values = np.random.default_rng(seed).integers(1, 2**16, shape).astype("u2")
    values[tuple(slice(n // 4, None) for n in shape)] = 0
    return values


@st.composite
def arrays(draw: st.DrawFn) -> tuple[zarr.Array[Any], list[Box]]:
    """An empty array, and boxes that cover it, in any order."""
    ndim = draw(st.integers(1, 3))
    shape = tuple(draw(st.integers(1, (30, 12, 9)[ndim - 1])) for _ in range(ndim))
    chunks = tuple(draw(st.integers(1, 5)) for _ in shape)
    shards = tuple(c * draw(st.integers(1, 3)) for c in chunks) if draw(st.booleans()) else None
    location = draw(st.sampled_from(["start", "end"]))
    array = zarr.create_array(
        Noting(MemoryStore()),
        shape=shape,
        chunks=chunks,
        shards=None if shards is None else {"shape": shards, "index_location": location},
        dtype="u2",
        fill_value=0,
    )
    boxes = tile(Box((0,) * ndim, shape), [draw(st.integers(2, 7)) for _ in shape])
    return array, draw(st.permutations([box.clip(shape) for box in boxes]))


def pieces_of(array: zarr.Array[Any]) -> dict[Shape, bytes]:
    """The encoded chunks of an array, be they in shards or not, by their index."""
    layout = ShardLayout(array) if array.shards else None
    chunks = Box((0,) * array.ndim, tuple(-(-n // c) for n, c in zip(array.shape, array.chunks, strict=True)))
    stored, pieces = array.store._store._store_dict, {}
    for index in np.ndindex(chunks.stop):
        unit = index if layout is None else tuple(i // n for i, n in zip(index, layout.counts, strict=True))
        data = stored.get(array.metadata.encode_chunk_key(unit))
        if data is not None and layout is None:
            pieces[index] = data.to_bytes()
        elif data is not None and layout is not None:
            start, length = map(int, layout.index_of(data.to_bytes())[layout.place_of(index)])
            if start != MISSING:
                pieces[index] = data.to_bytes()[start : start + length]
    return pieces


@given(made=arrays())
def test_pieces_in_any_order_become_whole_chunks_and_shards_written_once(made: Any) -> None:
    array, boxes = made
    values, units = voxels(array.shape), WriteUnits(ChunkWriter(chunked(array)))
    array.store.sets.clear()
    for box in boxes:
        units.put(box, values[box.slices] if values[box.slices].any() else None)
    assert not units.unfinished
    np.testing.assert_array_equal(array[...], values)
    by_zarr = zarr.create_array(
        Noting(MemoryStore()), data=values, chunks=array.chunks, shards=array.shards, fill_value=0
    )
    assert pieces_of(array) == pieces_of(by_zarr)
    assert set(array.store.sets.values()) <= {1}


@pytest.mark.parametrize("fill", [0, 7, -0.0, np.nan])
@pytest.mark.parametrize("partial", [False, True])
def test_nothing_stands_for_the_fill_value_whatever_it_is(fill: float, partial: bool) -> None:
    array = zarr.create_array({}, shape=(9, 10), chunks=(4, 4), dtype="f4", fill_value=fill)
    expected = np.full(array.shape, fill, "f4")
    writer = ChunkWriter(chunked(array), replaces=partial)
    units = PartialUnits(writer) if partial else WriteUnits(writer)
    for number, box in enumerate(tile(Box((0, 0), (9, 10)), (3, 5))):
        box = box.clip(array.shape)
        if number % 2:
            expected[box.slices] = number
        units.put(box, expected[box.slices] if number % 2 else None)
    assert not units.unfinished
    assert array[...].tobytes() == expected.tobytes()


@given(made=arrays(), data=st.data())
def test_parts_replace_what_they_cover_and_nothing_else(made: Any, data: st.DataObject) -> None:
    array, boxes = made
    array[...] = expected = voxels(array.shape, seed=1)[tuple(slice(None, None, -1) for _ in array.shape)].copy()
    before = pieces_of(array)
    delivered = boxes[: data.draw(st.integers(0, len(boxes)))]
    units = PartialUnits(ChunkWriter(chunked(array), replaces=True))
    values = voxels(array.shape)
    touched = set()
    for box in delivered:
        units.put(box, values[box.slices] if values[box.slices].any() else None)
        expected[box.slices] = values[box.slices]
        touched |= {tuple(a // c for a, c in zip(c.start, array.chunks, strict=True)) for c in tile(box, array.chunks)}
        if data.draw(st.booleans()):
            units.flush()
    units.flush()
    assert not units.unfinished
    np.testing.assert_array_equal(array[...], expected)
    after = pieces_of(array)
    assert {k: v for k, v in after.items() if k not in touched} == {k: v for k, v in before.items() if k not in touched}
    # what is all fill by now is gone
    for cell in tile(Box((0,) * array.ndim, array.shape), array.chunks):
        index = tuple(a // c for a, c in zip(cell.start, array.chunks, strict=True))
        assert (index in after) == bool(expected[cell.clip(array.shape).slices].any())


@pytest.mark.parametrize("shards", [None, (4, 4)])
@pytest.mark.parametrize("replaces", [True, False])
def test_only_a_writer_that_replaces_deletes_what_becomes_fill(replaces: bool, shards: Any) -> None:
    array = zarr.create_array({}, data=np.ones((8, 8), "u2"), chunks=(2, 2), shards=shards)
    writer = ChunkWriter(chunked(array), replaces=replaces)
    writer.write(Box((0, 0), (4, 4)), np.zeros((4, 4), "u2"))
    writer.write(Box((4, 4), (8, 8)), None)
    expected = np.ones((8, 8))
    if replaces:
        expected[:4, :4] = expected[4:, 4:] = 0
    np.testing.assert_array_equal(array[...], expected)
    assert array.nchunks_initialized == (16 if not replaces else 8)


@pytest.mark.parametrize("location", ["start", "end"])
@pytest.mark.parametrize("keep", [0, 3, 0.5])
def test_a_damaged_shard_is_not_completed(location: str, keep: float) -> None:
    shards = {"shape": (4, 8), "index_location": location}
    values = np.random.default_rng(0).integers(0, 99, (8, 8)).astype("u2")
    store: dict[str, Any] = {}
    array = zarr.create_array(store, data=values, chunks=(2, 2), shards=shards, compressors=None)
    data = store["c/1/0"].to_bytes()
    cut = data[: int(keep * len(data)) if keep < 1 else len(data) - int(keep)]
    store["c/1/0"] = type(store["c/1/0"]).from_bytes(cut)
    writer = ChunkWriter(chunked(array), replaces=True)
    writer.write(Box((4, 0), (6, 2)), np.full((2, 2), 7, "u2"))
    with pytest.raises(ChunkError, match=r"shard \(1, 0\) of .* cannot be read: \w+: ."):
        writer.flush()
    assert store["c/1/0"].to_bytes() == cut


def mostly(value: Any, dtype: Any) -> np.ndarray:
    """A volume of one value, with a few others in one corner."""
    volume = np.full((24, 40, 20), value, dtype)
    volume[:6, 3:9, :7] = np.random.default_rng(4).integers(0, 9, (6, 6, 7)).astype(dtype)
    volume[20, 30, 19] = 5
    return volume


# method, value of most voxels, fill value, dtype, options
BLANK: dict[str, tuple[str, Any, Any, str, dict[str, Any]]] = {
    "mean": ("mean", 0, 0, "u1", {}),
    "signed": ("mean", 0, 0, "i8", {"rounding": "truncate"}),
    "mode": ("mode", 0, 0, "u4", {}),
    "exact mode": ("exact_mode", 0, 0, "u4", {}),
    "max": ("max", 0, 0, "i2", {}),
    "stride": ("stride", 0, 0, "u2", {}),
    "sparse mean": ("mean", 0, 0, "u2", {"sparse": True}),
    "sparse mode": ("mode", 0, 0, "u2", {"sparse": True}),
    "another background": ("mean", 0, 0, "u2", {"sparse": True, "background": 3}),
    "another background, mode": ("mode", 0, 0, "u2", {"sparse": True, "background": 3}),
    "zeros are the background, fill is not": ("mean", 0, 7, "u2", {"sparse": True}),
    "fill is not zero": ("mean", 0, 7, "u2", {}),
    "most is fill": ("mean", 7, 7, "u2", {}),
    "most is fill, mode": ("exact_mode", 7, 7, "u8", {}),
    "fill and background": ("mean", 7, 7, "u2", {"sparse": True, "background": 7}),
    "floats": ("mean", 0.0, 0.0, "f4", {}),
    "minus zero": ("max", -0.0, 0.0, "f4", {}),
    "minus zero, stride": ("stride", -0.0, 0.0, "f8", {}),
    "minus zero is fill": ("stride", 0.0, -0.0, "f4", {}),
    "NaN is fill": ("mean", 0.0, np.nan, "f4", {}),
    "all but NaN": ("mean", np.nan, np.nan, "f8", {"sparse": True, "background": np.nan}),
    "bool": ("mode", False, False, "b1", {}),
}


@cache
def levels_of_blank(name: str) -> list[np.ndarray]:
    """The levels of a volume of `BLANK`, whose references take longer than its build."""
    method, value, _, dtype, options = BLANK[name]
    volume = mostly(value, dtype)
    return [volume, *oracle_levels(volume, [(2, 2, 2)] * 2, method, **options)]


@pytest.mark.parametrize(
    "form",
    [
        {"zarr_format": 2, "chunks": (8, 4, 8)},
        {"zarr_format": 3, "chunks": (8, 4, 8)},
        {"zarr_format": 3, "chunks": 4, "shards": 8},
    ],
    ids=str,
)
@pytest.mark.parametrize("blank", BLANK)
@pytest.mark.filterwarnings("ignore:invalid value encountered in cast:RuntimeWarning:oracles")
def test_volumes_that_are_mostly_blank(blank: str, form: dict[str, Any]) -> None:
    method, _, fill, dtype, options = BLANK[blank]
    volume, *_ = expected = levels_of_blank(blank)
    source = zarr.create_array({}, data=volume, chunks=(8, 8, 8), fill_value=fill, zarr_format=form["zarr_format"])
    store = Noting(MemoryStore())
    pyramid = cp.build_pyramid(source, store, method=method, levels=2, **form, **options)
    bits = np.dtype(dtype).newbyteorder("=")
    for level, wanted in zip(pyramid.levels, expected, strict=True):
        assert level.fill_value == fill or (level.fill_value != level.fill_value and fill != fill)
        found = level[...]
        np.testing.assert_array_equal(found, wanted)
        if method != "mean":
            assert found.tobytes() == wanted.astype(bits).tobytes()
        unit = level.shards or level.chunks
        for cell in tile(Box((0,) * 3, level.shape), unit):
            clipped = found[cell.clip(level.shape).slices]
            is_blank = clipped.tobytes() == np.full(clipped.shape, fill, bits).tobytes()
            key = ChunkWriter(chunked(level)).array.key(cell.start, unit)
            assert store.sets[key] == (0 if is_blank else 1)


@contextmanager
def calls_counted(name: str) -> Iterator[Counter[str]]:
    """Count the calls of functions of this name in this thread."""
    calls: Counter[str] = Counter()

    def note(frame: Any, event: str, _: Any) -> None:
        if event == "call" and frame.f_code.co_name == name:
            calls[name] += 1

    sys.setprofile(note)
    try:
        yield calls
    finally:
        sys.setprofile(None)


@pytest.mark.usefixtures("synchronous")
@pytest.mark.parametrize("method", ["mean", "mode"])
def test_pieces_of_zeros_are_not_computed(method: str) -> None:
    def calls(volume: np.ndarray) -> int:
        source = zarr.create_array({}, data=volume, chunks=(32, 32, 32))
        with calls_counted("reduce_levels") as counted:
            cp.build_pyramid(source, MemoryStore(), method=method, levels=3, chunks=16)
        return counted["reduce_levels"]

    volume = np.zeros((64, 400, 400), np.uint8)
    assert calls(volume) == 0
    volume[0, 0, 0] = 1
    one = calls(volume)
    assert 0 < one < calls(volume + 1)


def test_a_reader_of_whole_chunks_reads_what_was_written_around_it() -> None:
    """A chunk that is delivered in part holds, for the rest, what the array holds."""
    array = zarr.create_array({}, data=np.full((4, 4), 3, "u2"), chunks=(4, 4), shards=(8, 8))
    units = PartialUnits(ChunkWriter(chunked(array), replaces=True))
    units.put(Box((1, 1), (3, 3)), None)
    units.flush()
    expected = np.full((4, 4), 3)
    expected[1:3, 1:3] = 0
    np.testing.assert_array_equal(ChunkReader(chunked(array)).read(Box((0, 0), (4, 4))), expected)
