"""The exact state that a stage leaves to the next one: in arrays of the level's shape, or ragged, in cells."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol
from uuid import uuid4

import zarr

from chunkpyramid.boxes import Box, Shape, axis_footprint, divide, inside, tile
from chunkpyramid.engine.operation import Writer
from chunkpyramid.errors import BuildError
from chunkpyramid.pyramid.plan import Level, LevelStage, carry_chunks
from chunkpyramid.reductions.kernels import Footprints
from chunkpyramid.reductions.methods import Reduction, State
from chunkpyramid.reductions.reduction import Part
from chunkpyramid.storage.chunk_io import ChunkReader, ChunkWriter
from chunkpyramid.storage.chunked_array import chunked
from chunkpyramid.storage.keys import fetch, put
from chunkpyramid.storage.new_arrays import create_array, default_compressors
from chunkpyramid.storage.nodes import level_array
from chunkpyramid.storage.write_units import WriteUnits

__all__ = ["Carry", "CarryArrays", "CarryCells", "carry_of", "create_carry"]

# Codecs take less than 2 GiB at a time.
LONGEST_CHUNK = 2**26


def create_carry(
    scratch: zarr.Group, stages: Sequence[LevelStage], levels: Sequence[Level], reduction: Reduction
) -> None:
    """Create the arrays of the carry; those of a ragged one come about when it is known how long they are."""
    for output in (output for stage in stages for output in stage.outputs if output.is_carry):
        level = levels[output.level]
        if reduction.is_ragged:
            scratch.create_group(_path(level.index))
            continue
        for name, dtype in reduction.carry_dtypes(level.footprint).items():
            create_array(
                scratch,
                f"{_path(level.index)}/{name}",
                level.shape,
                dtype,
                chunks=level.chunks,
                compressors=default_compressors(dtype, scratch.metadata.zarr_format, labels=False),
            )


def carry_of(scratch: zarr.Group, level: Level, extent: Shape, reduction: Reduction) -> Carry:
    """Return the carry of a level, where level 0 has the shape ``extent``."""
    group = scratch[_path(level.index)]
    if not isinstance(group, zarr.Group):
        raise BuildError(f"the scratch group {scratch} of an unfinished build is damaged")
    if reduction.is_ragged:
        return CarryCells(level, extent, carry_chunks(reduction, level), group)
    return CarryArrays(level, extent, dict(group.arrays()))


def _path(level: int) -> str:
    return f"carry/{level}"


class Carry(Protocol):
    """The carry of a level, which another process can read and write too."""

    def reader(self, reduction: Reduction, piece: Shape, headroom: float) -> Callable[[Box], State]:
        """Return what reads the state of a box, which is a piece of shape ``piece`` or what an edge leaves of one."""

    def writer(self, reduction: Reduction, headroom: float, *, replaces: bool) -> Writer:
        """Return what takes the states of boxes of one block; it ``replaces`` what an interrupted try may have left.

        A state is None, where the reduction allows it, if it is zeros, which are the fill value of a carry.
        """


@dataclass(frozen=True)
class CarryArrays:
    """A carry in arrays of the shape of the level. ``extent`` is the shape of level 0."""

    level: Level
    extent: Shape
    arrays: Mapping[str, zarr.Array[Any]]

    def reader(self, reduction: Reduction, piece: Shape, headroom: float) -> Callable[[Box], State]:
        readers = {name: ChunkReader(chunked(array)) for name, array in self.arrays.items()}

        def read(box: Box) -> State:
            fields = {name: reader.read(box) for name, reader in readers.items()}
            return reduction.from_carry(fields, footprints_of(box, self.level, self.extent))

        return read

    def writer(self, reduction: Reduction, headroom: float, *, replaces: bool) -> Writer:
        return ArraysWriter(self, reduction, replaces=replaces)


class ArraysWriter:
    """Writes the chunks of carry arrays."""

    def __init__(self, carry: CarryArrays, reduction: Reduction, *, replaces: bool):
        self.reduction = reduction
        self.footprint = carry.level.footprint
        self.units = {
            name: WriteUnits(ChunkWriter(chunked(array), replaces=replaces)) for name, array in carry.arrays.items()
        }

    @property
    def unfinished(self) -> int:
        return sum(units.unfinished for units in self.units.values())

    def flush(self) -> None:
        for units in self.units.values():
            units.flush()

    def put(self, box: Box, state: State | None) -> None:
        if state is None:
            for units in self.units.values():
                units.put(box, None)
            return
        for name, field in self.reduction.to_carry(state, self.footprint).items():
            self.units[name].put(box, field)


@dataclass(frozen=True)
class CarryCells:
    """A ragged carry: for each cell of shape ``chunks``, arrays that are as long as the voxels want them.

    Their length is in the metadata, so it is known before memory is taken for them. Each try writes a cell under names
    of its own; a key that names the try is stored when all is there, so that a cell is never seen in part. ``extent``
    is the shape of level 0.
    """

    level: Level
    extent: Shape
    chunks: Shape
    group: zarr.Group

    def reader(self, reduction: Reduction, piece: Shape, headroom: float) -> Callable[[Box], State]:
        return lambda box: self.read(reduction, box, piece, headroom)

    def read(self, reduction: Reduction, box: Box, piece: Shape, headroom: float) -> State:
        """Return the state of a box."""
        room = headroom * reduction.carry_itemsize(self.level.footprint)
        most = room * math.prod(inside(piece, self.level.shape))
        parts: list[Part] = []
        for cell in self.cells(box):
            tried = self.tried(cell)
            arrays = {
                name: level_array(self.group, self.path(cell, name, tried))
                for name in reduction.carry_dtypes(self.level.footprint)
            }
            check_size(sum(array.nbytes for array in arrays.values()), room * self.cell_size, cell)
            fields = {name: ChunkReader(chunked(array)).read(Box.whole(array.shape)) for name, array in arrays.items()}
            state = reduction.from_carry(fields, footprints_of(cell, self.level, self.extent))
            if cell == box:
                return state
            part = cell.intersect(box)
            parts.append(Part(part.relative_to(box.start).slices, self.crop(reduction, state, cell, part), whole(part)))
            check_size(sum(part.state.nbytes for part in parts), most, box)
        return reduction.assemble(box.shape, footprints_of(box, self.level, self.extent), parts)

    def writer(self, reduction: Reduction, headroom: float, *, replaces: bool) -> Writer:
        return CellsWriter(self, reduction, headroom)

    def cells(self, box: Box) -> Iterator[Box]:
        """Yield the cells that meet a box, clipped at the edge of the level."""
        return (cell.clip(self.level.shape) for cell in tile(box, self.chunks))

    @property
    def cell_size(self) -> int:
        """Voxels of the largest cell."""
        return math.prod(inside(self.chunks, self.level.shape))

    def path(self, cell: Box, name: str, tried: str) -> str:
        """Return the path of an array of a cell, as this try has written it."""
        return f"{name}.{self._index(cell)}.{tried}"

    def key(self, cell: Box) -> str:
        """Return the key that names the try that has written a cell."""
        return f"{self.group.path}/cells/{self._index(cell)}"

    def tried(self, cell: Box) -> str:
        """Return the name of the try that has written a cell."""
        (found,) = fetch(self.group.store, [(self.key(cell), None)])
        if found is None or isinstance(found, Exception):
            raise BuildError(f"the carry of level {self.level.index} has no cell {self._index(cell)}: {found}")
        return bytes(found).decode()

    def _index(self, cell: Box) -> str:
        return ".".join(map(str, divide(cell.start, self.chunks)))

    def crop(self, reduction: Reduction, state: State, box: Box, part: Box) -> State:
        """Return the state of a part of a box: a copy, but where it is all of it."""
        if box == part:
            return state
        footprints = footprints_of(part, self.level, self.extent)
        parts = [Part(whole(part), state, part.relative_to(box.start).slices)]
        return reduction.assemble(part.shape, footprints, parts)


class CellsWriter:
    """Writes the cells of a ragged carry."""

    def __init__(self, carry: CarryCells, reduction: Reduction, headroom: float):
        self.carry = carry
        self.reduction = reduction
        self.most = headroom * reduction.carry_itemsize(carry.level.footprint) * carry.cell_size
        self.open: dict[Shape, list[tuple[Box, State]]] = {}

    @property
    def unfinished(self) -> int:
        return len(self.open)

    def flush(self) -> None:
        while self.open:
            start, parts = self.open.popitem()
            self.write(Box.at(start, self.carry.chunks).clip(self.carry.level.shape), parts)

    def put(self, box: Box, state: State | None) -> None:
        if state is None:
            raise BuildError("a ragged state is never left out: this is a bug")
        for cell in self.carry.cells(box):
            part = cell.intersect(box)
            parts = self.open.setdefault(cell.start, [])
            parts.append((part, self.carry.crop(self.reduction, state, box, part)))
            check_size(sum(state.nbytes for _, state in parts), self.most, cell)
            if sum(part.size for part, _ in parts) == cell.size:
                self.write(cell, self.open.pop(cell.start))

    def write(self, cell: Box, parts: list[tuple[Box, State]]) -> None:
        carry = self.carry
        state = parts[0][1]
        if parts[0][0] != cell:
            state = self.reduction.assemble(
                cell.shape,
                footprints_of(cell, carry.level, carry.extent),
                [Part(part.relative_to(cell.start).slices, state, whole(part)) for part, state in parts],
            )
        tried = uuid4().hex
        for name, field in self.reduction.to_carry(state, carry.level.footprint).items():
            array = create_array(
                carry.group,
                carry.path(cell, name, tried),
                field.shape,
                field.dtype,
                chunks=tuple(min(max(1, n), LONGEST_CHUNK) for n in field.shape),
                compressors=default_compressors(field.dtype, carry.group.metadata.zarr_format, labels=False),
            )
            if field.size:
                ChunkWriter(chunked(array)).write(Box.whole(array.shape), field)
        put(carry.group.store, [(carry.key(cell), tried.encode())])


def footprints_of(box: Box, level: Level, extent: Shape) -> Footprints:
    """Return the footprints of a box of a level, where level 0 has the shape ``extent``."""
    return tuple(
        axis_footprint(a, b, f, n) for a, b, f, n in zip(box.start, box.stop, level.cumulative, extent, strict=True)
    )


def whole(box: Box) -> tuple[slice, ...]:
    return box.relative_to(box.start).slices


def check_size(nbytes: int, most: float, box: Box) -> None:
    """Raise `MemoryError` for a state that is larger than planned."""
    if nbytes > most:
        raise MemoryError(
            f"the exact state of the voxels from {box.start} to {box.stop} takes {nbytes} bytes, but only {most:.0f} "
            "were planned, because few voxels have so many labels under them: raise memory_limit"
        )
