"""One task: walk a block in pieces, fold each through all levels of the stage, write every write unit once."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import zarr

from chunkpyramid.blocking import is_direct
from chunkpyramid.errors import BuildError
from chunkpyramid.grid import Box, Shape, axis_footprint, multiply, nested_order, tile
from chunkpyramid.methods import Reduction, State
from chunkpyramid.plan import Level, Stage
from chunkpyramid.store import is_in_memory, read_box, write_box

__all__ = ["BlockTask", "home_of"]


class WriteUnits:
    """Collects what pieces deliver for one array, and writes a write unit the moment that it is full.

    With ``direct`` every delivery is a whole number of write units and is written at once.
    """

    def __init__(self, array: zarr.Array[Any], unit: Shape, direct: bool):
        self.array = array
        self.unit = unit
        self.direct = direct
        self.open: dict[Shape, tuple[npt.NDArray[Any], int]] = {}

    def put(self, box: Box, values: npt.NDArray[Any]) -> None:
        if self.direct:
            write_box(self.array, box, values)
            return
        for cell in tile(box, self.unit):
            unit = cell.clip(self.array.shape)
            part = unit.intersect(box)
            if part == unit:
                write_box(self.array, unit, values[part.relative_to(box.start).slices])
                continue
            if unit.start in self.open:
                buffer, missing = self.open.pop(unit.start)
            else:
                buffer, missing = np.empty(unit.shape, dtype=self.array.dtype), unit.size
            buffer[part.relative_to(unit.start).slices] = values[part.relative_to(box.start).slices]
            missing -= part.size
            if missing:
                self.open[unit.start] = (buffer, missing)
            else:
                write_box(self.array, unit, buffer)


def home_of(array: zarr.Array[Any]) -> tuple[int, int]:
    """Return what tells an array from its copies, in other processes and, for distributed's threads, in this one."""
    return os.getpid(), id(array)


@dataclass(frozen=True)
class BlockTask:
    """The task of one stage, called once per block; it can be sent to other processes.

    ``source`` is the zarr array that a stage reads (None where the block arrives as a NumPy array; one that copies its
    chunks to level 0 where that output is copied), ``carry_in`` and ``carry_out`` the carry arrays by name, ``arrays``
    the level arrays by level, ``flags`` the done flags.
    """

    stage: Stage
    levels: tuple[Level, ...]
    reduction: Reduction
    arrays: Mapping[int, zarr.Array[Any]]
    flags: zarr.Array[Any]
    source: zarr.Array[Any] | None
    carry_in: Mapping[str, zarr.Array[Any]]
    carry_out: Mapping[str, zarr.Array[Any]]
    home: tuple[int, int]

    def __call__(
        self, *blocks: npt.NDArray[Any], block_id: Sequence[int], offset: Shape, done: npt.NDArray[np.bool_]
    ) -> npt.NDArray[np.uint8]:
        """Run the block at ``offset + block_id`` of the stage's grid, unless ``done[block_id]``."""
        index = tuple(int(o + i) for o, i in zip(offset, block_id, strict=True))
        if not done[tuple(block_id)]:
            if self.home != home_of(self.flags) and is_in_memory(self.flags.store):
                raise BuildError(
                    "the target is a store in memory, of which dask's workers have only a copy: give a path or URL as "
                    "target, or use dask's threaded scheduler"
                )
            try:
                self.run(index, blocks[0] if blocks else None)
            except (OSError, RuntimeError, ValueError, MemoryError) as error:
                made = self.stage.last_level
                raise BuildError(
                    f"block {index} of the stage that makes levels {self.stage.source_level} to {made} failed: "
                    f"{type(error).__name__}: {error}; what is done so far is kept: run the same build again to resume"
                ) from error
        return np.ones((1,) * len(index), dtype=np.uint8)

    def run(self, index: Shape, values: npt.NDArray[Any] | None) -> None:
        """Walk the block with this index; ``values`` are its voxels if the stage has no array to read."""
        stage = self.stage
        extent = self.levels[stage.source_level].shape
        start = multiply(index, stage.block)
        block = Box(start, tuple(a + n for a, n in zip(start, stage.block, strict=True))).clip(extent)
        units = {
            o.level: WriteUnits(
                self.arrays[o.level], self.levels[o.level].write_unit, is_direct(stage.piece, o.unit, extent)
            )
            for o in stage.outputs
            if not o.is_carry and not o.copied
        }
        carry = {
            name: WriteUnits(array, self.levels[stage.last_level].chunks, is_direct(stage.piece, o.unit, extent))
            for o in stage.outputs
            if o.is_carry
            for name, array in self.carry_out.items()
        }
        for piece in nested_order(block, stage.piece, [o.unit for o in stage.outputs]):
            self._fold(piece, values if values is None else values[piece.relative_to(start).slices], units, carry)
        unfinished = [u for u in (*units.values(), *carry.values()) if u.open]
        if unfinished:
            raise BuildError(f"{len(unfinished)} arrays have write units that no piece completed: this is a bug")
        self.flags[index] = 1

    def _fold(
        self,
        piece: Box,
        values: npt.NDArray[Any] | None,
        units: Mapping[int, WriteUnits],
        carry: Mapping[str, WriteUnits],
    ) -> None:
        stage, reduction = self.stage, self.reduction
        state: Any
        if self.carry_in:
            state = self._read_carry(piece)
        else:
            if values is None:
                values = read_box(self._source(), piece)
            values = values.astype(reduction.dtype, copy=False)
            if stage.source_level in units:
                units[stage.source_level].put(piece, values)
            state = reduction.lift(values)
        box = piece
        for level in self.levels[stage.source_level + 1 : stage.last_level + 1]:
            keep = bool(carry) or level.index < stage.last_level
            state, rendered = reduction.step(state, level.factor, keep_state=keep)
            box = box.fold(level.factor)
            units[level.index].put(box, rendered)
        if carry:
            for name, field in reduction.to_carry(state, self.levels[stage.last_level].footprint).items():
                carry[name].put(box, field)

    def _source(self) -> zarr.Array[Any]:
        if self.source is None:
            raise BuildError("the stage has neither an array to read nor a block: this is a bug")
        return self.source

    def _read_carry(self, piece: Box) -> State:
        level = self.levels[self.stage.source_level]
        footprints = tuple(
            axis_footprint(a, b, f, n)
            for a, b, f, n in zip(piece.start, piece.stop, level.cumulative, self.levels[0].shape, strict=True)
        )
        fields = {name: read_box(array, piece) for name, array in self.carry_in.items()}
        return self.reduction.from_carry(fields, footprints)
