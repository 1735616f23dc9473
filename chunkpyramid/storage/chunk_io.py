"""Reading and writing boxes of an array, chunk by chunk: every chunk is fetched once and written once."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
import zarr
from zarr.abc.store import RangeByteRequest

from chunkpyramid.boxes import Box, Shape, divide, tile
from chunkpyramid.errors import BuildError, ChunkError, OvertakenError
from chunkpyramid.storage.chunk_access import CHUNKS_IN_FLIGHT, ChunkAccess
from chunkpyramid.storage.chunked_array import ChunkedArray
from chunkpyramid.storage.codec import codec_for
from chunkpyramid.storage.keys import Encoded, KeyRange, fetch, is_local, put, remove, remove_torn
from chunkpyramid.storage.shards import MISSING, Index, OpenShard, ShardLayout

__all__ = ["ChunkReader", "ChunkWriter", "chunk_access", "erase_torn"]

MOST_INDEXES = 64
MOST_ERASED = 1000


class ChunkReader:
    """Reads boxes of an array. Chunks that are missing hold the fill value; those that cannot be read are an error.

    ``copy_to`` writes to an array with the same chunks, codecs of chunks and fill value: all chunks are copied to it as
    they are read, without being encoded again.
    """

    def __init__(self, array: ChunkedArray, copy_to: ChunkWriter | None = None):
        self.array = array
        self.in_flight = at_once(array.store)
        self.copy_to = copy_to
        # of shards that are read in parts
        self.indexes: dict[Shape, Index | None] = {}

    def read(self, box: Box) -> npt.NDArray[Any]:
        """Return the voxels of a box, in native byte order."""
        out = np.empty(box.shape, dtype=self.array.dtype)
        for chunk, data in self._encoded(box):
            part = chunk.intersect(box)
            target = out[part.relative_to(box.start).slices]
            if data is None:
                target[...] = self.array.fill
            elif part == chunk:
                self._decode(chunk, data, target)
            else:
                voxels = np.empty(self.array.chunks, dtype=out.dtype)
                self._decode(chunk, data, voxels)
                target[...] = voxels[part.relative_to(chunk.start).slices]
        return out

    def _decode(self, chunk: Box, data: Encoded, out: npt.NDArray[Any]) -> None:
        try:
            self.array.codec.decode(data, out)
        except Exception as error:  # codecs raise what they like
            raise self._unreadable(chunk, error) from error

    def _encoded(self, box: Box) -> Iterator[tuple[Box, Encoded | None]]:
        """Yield the chunks that a box touches, whole, each with its bytes; first they are copied."""
        for cells, found in self._batches(box):
            if self.copy_to is not None:
                self.copy_to.write_encoded(cells, found)
            yield from zip(cells, found, strict=True)

    def _batches(self, box: Box) -> Iterator[tuple[Sequence[Box], Sequence[Encoded | None]]]:
        if self.array.shards is not None:
            for shard in tile(box, self.array.shards.shape):
                yield from self._batches_of_shard(self.array.shards, shard, shard.intersect(box))
            return
        for cells in batches(list(tile(box, self.array.chunks)), self.in_flight):
            yield cells, self._fetch(cells, [(self.array.key(cell.start, self.array.chunks), None) for cell in cells])

    def _batches_of_shard(
        self, layout: ShardLayout, shard: Box, box: Box
    ) -> Iterator[tuple[Sequence[Box], Sequence[Encoded | None]]]:
        """Yield the chunks of a shard that a box inside of it touches: of a whole shard, by one request."""
        key = self.array.key(shard.start, layout.shape)
        cells = list(tile(box, self.array.chunks))
        if box == shard.clip(self.array.shape):
            whole, *_ = self._fetch(cells[:1], [(key, None)])
            index = self._index(cells[0], whole, layout.index_of)
            places = [self.array.place_in_shard(layout, cell) for cell in cells]
            yield cells, [None if whole is None else chunk_of(whole, index, place) for place in places]
            return
        if shard.start not in self.indexes:
            # pieces finish a shard before they begin the next, but several shards can meet in one piece
            while len(self.indexes) >= MOST_INDEXES:
                self.indexes.pop(next(iter(self.indexes)))
            part, *_ = self._fetch(cells[:1], [(key, layout.index_request)])
            self.indexes[shard.start] = self._index(cells[0], part, layout.decode_index)
        index = self.indexes[shard.start]
        for some in batches(cells, self.in_flight):
            ranges = [byte_range(index, self.array.place_in_shard(layout, cell)) for cell in some]
            there = [cell for cell, part in zip(some, ranges, strict=True) if part is not None]
            found = dict(
                zip(there, self._fetch(there, [(key, part) for part in ranges if part is not None]), strict=True)
            )
            yield some, [found.get(cell) for cell in some]

    def _fetch(self, cells: Sequence[Box], requests: Sequence[KeyRange]) -> list[Encoded | None]:
        try:
            found = fetch(self.array.store, requests)
        except Exception as error:  # a damaged index can ask for bytes beyond anything
            raise self._unreadable(cells[0], error) from error
        for cell, data in zip(cells, found, strict=True):
            if isinstance(data, Exception):
                raise self._unreadable(cell, data) from data
        return found  # type: ignore[return-value]

    def _index(self, chunk: Box, data: Encoded | None, decode: Callable[[Encoded], Index]) -> Index | None:
        if data is None:
            return None
        try:
            return decode(data)
        except Exception as error:  # codecs raise what they like
            raise self._unreadable(chunk, error) from error

    def _unreadable(self, chunk: Box, error: Exception) -> ChunkError:
        return unreadable("chunk", chunk.start, self.array.chunks, self.array, error)


class ChunkWriter:
    """Writes boxes of whole chunks, or what the array's edge leaves of them; a shard as soon as it is whole.

    Chunks that hold nothing but the fill value are not written. Nothing is ever read back but by `flush`.
    """

    def __init__(self, array: ChunkedArray, *, replaces: bool = False):
        self.array = array
        self.in_flight = at_once(array.store)
        self.replaces = replaces
        self.open: dict[Shape, OpenShard] = {}

    @property
    def unfinished(self) -> int:
        """How many shards have been begun and not finished."""
        return len(self.open)

    def write(self, box: Box, values: npt.NDArray[Any] | None) -> None:
        """Write the voxels of a box; None stands for voxels that are all the fill value."""
        if self.array.shards is not None:
            for shard in tile(box, self.array.shards.shape):
                inside = tile(shard.intersect(box), self.array.chunks)
                self._fill(self.array.shards, shard, ((cell, self._encode(cell, box, values)) for cell in inside))
            return
        for cells in batches(list(tile(box, self.array.chunks)), self.in_flight):
            encoded = [
                (self.array.key(cell.start, self.array.chunks), self._encode(cell, box, values)) for cell in cells
            ]
            self._put(encoded)

    def write_encoded(self, cells: Sequence[Box], encoded: Sequence[Encoded | None]) -> None:
        """Write whole chunks that are encoded as those of this array are."""
        if self.array.shards is None:
            keys = [self.array.key(cell.start, self.array.chunks) for cell in cells]
            self._put(list(zip(keys, encoded, strict=True)))
            return
        for cell, data in zip(cells, encoded, strict=True):
            (shard,) = tile(cell, self.array.shards.shape)
            self._fill(self.array.shards, shard, [(cell, data)])

    def flush(self) -> None:
        """Finish all shards."""
        while self.open:
            self.finish(next(iter(self.open)))

    def finish(self, start: Shape) -> None:
        """Finish the shard that begins at a voxel: chunks that nobody has delivered are those of the one in the store.

        Raises
        ------
        ChunkError
            If that one cannot be read; it stays as it is.
        """
        shard = self.open.pop(start)
        key = self.array.key(start, shard.layout.shape)
        stored, *_ = fetch(self.array.store, [(key, None)])
        try:
            if isinstance(stored, Exception):
                raise stored
            if stored is not None:
                shard.add_missing(stored)
        except Exception as error:  # stores and codecs raise what they like
            raise unreadable("shard", start, shard.layout.shape, self.array, error) from error
        self._put([(key, shard.encoded())])

    def _fill(self, layout: ShardLayout, shard: Box, encoded: Iterable[tuple[Box, Encoded | None]]) -> None:
        filled = self.open.pop(shard.start, None) or OpenShard(layout, layout.chunks_inside(shard, self.array.shape))
        for cell, data in encoded:
            filled.add(self.array.place_in_shard(layout, cell), data)
        if filled.is_complete:
            self._put([(self.array.key(shard.start, layout.shape), filled.encoded())])
        else:
            self.open[shard.start] = filled

    def _encode(self, cell: Box, box: Box, values: npt.NDArray[Any] | None) -> Encoded | None:
        if values is None:
            return None
        part = cell.intersect(box)
        voxels = values[part.relative_to(box.start).slices]
        if part != cell:
            # the edge of the array cuts off chunks, but not what is stored of them
            whole = np.empty(cell.shape, dtype=voxels.dtype)
            whole[...] = self.array.fill
            whole[part.relative_to(cell.start).slices] = voxels
            voxels = whole
        return self.array.codec.encode(voxels)

    def _put(self, encoded: Sequence[tuple[str, Encoded | None]]) -> None:
        store_encoded(self.array, [(key, data) for key, data in encoded if data is not None])
        if self.replaces:
            remove(self.array.store, [key for key, data in encoded if data is None])


def store_encoded(array: ChunkedArray, encoded: Sequence[tuple[str, Encoded]]) -> None:
    """Store encoded chunks or shards under their keys."""
    try:
        put(array.store, encoded)
    except OvertakenError:
        raise
    except Exception as error:  # stores raise what they like
        keys = [key for key, _ in encoded]
        which = keys[0] if len(keys) == 1 else f"one of {', '.join(keys)}"
        raise BuildError(f"writing {which} failed: {type(error).__name__}: {error}") from error


def unreadable(what: str, start: Shape, unit: Shape, array: ChunkedArray, error: Exception) -> ChunkError:
    return ChunkError(f"{what} {divide(start, unit)} of {array.name} cannot be read: {type(error).__name__}: {error}")


def at_once(store: Any) -> int:
    """Return how many chunks a store is asked for at once: just one if it answers at once, which takes least memory."""
    return 1 if is_local(store) else CHUNKS_IN_FLIGHT


def chunk_access(array: zarr.Array[Any], store: Any) -> ChunkAccess:
    """Return what memory it takes to read or write the chunks of an array with these codecs, in this store."""
    return ChunkAccess(at_once(store), codec_for(array).copies)


def erase_torn(array: ChunkedArray, box: Box) -> None:
    """Delete what a process that was killed while it wrote has left beside the write units of a box."""
    unit = array.write_unit
    for cells in batches(list(tile(box, unit)), MOST_ERASED):
        remove_torn(array.store, [array.key(cell.start, unit) for cell in cells])


def batches(cells: Sequence[Box], size: int) -> Iterator[Sequence[Box]]:
    return (cells[start : start + size] for start in range(0, len(cells), size))


def byte_range(index: Index | None, place: Shape) -> RangeByteRequest | None:
    """Return where a shard holds a chunk, None if it does not."""
    if index is None:
        return None
    start, length = map(int, index[place])
    return None if start == MISSING else RangeByteRequest(start, start + length)


def chunk_of(shard: Encoded, index: Index | None, place: Shape) -> Encoded | None:
    part = byte_range(index, place)
    return None if part is None else shard[part.start : part.end]
