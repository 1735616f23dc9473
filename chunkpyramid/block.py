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
from chunkpyramid.carry import Carry, CarryWriter
from chunkpyramid.errors import BuildError
from chunkpyramid.grid import Box, Shape, multiply, nested_order
from chunkpyramid.journal import BlockSet, Flags
from chunkpyramid.methods import Reduction
from chunkpyramid.plan import Level, Stage
from chunkpyramid.store import is_in_memory, read_box
from chunkpyramid.units import WriteUnits

__all__ = ["BlockTask", "home_of"]


def home_of(flags: Flags) -> tuple[int, int]:
    """Return what tells flags from their copies, in other processes and, for distributed's threads, in this one."""
    return os.getpid(), id(flags)


@dataclass(frozen=True)
class BlockTask:
    """The task of one stage, called once per block; it can be sent to other processes.

    ``source`` is the zarr array that a stage reads (None where the block arrives as a NumPy array; one that copies its
    chunks to level 0 where that output is copied), ``carry_in`` and ``carry_out`` the carry that it reads and writes,
    ``arrays`` the level arrays by level, ``flags`` the flags of its blocks. States whose size depends on the voxels may
    take ``headroom`` times as much memory as planned.
    """

    stage: Stage
    levels: tuple[Level, ...]
    reduction: Reduction
    arrays: Mapping[int, zarr.Array[Any]]
    flags: Flags
    source: zarr.Array[Any] | None
    carry_in: Carry | None
    carry_out: Carry | None
    home: tuple[int, int]
    headroom: float

    def __call__(
        self, *blocks: npt.NDArray[Any], block_id: Sequence[int], offset: Shape, done: BlockSet, interrupted: BlockSet
    ) -> npt.NDArray[np.uint8]:
        """Run the block at ``offset + block_id`` of the stage's grid, unless ``block_id`` is in ``done``.

        Those that an earlier run has begun and did not finish are ``interrupted``.
        """
        index = tuple(int(o + i) for o, i in zip(offset, block_id, strict=True))
        if block_id not in done:
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
        self.flags.begin(index)
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
        carry = None
        for output in stage.outputs:
            if output.is_carry and self.carry_out is not None:
                direct = is_direct(stage.piece, output.unit, extent)
                carry = self.carry_out.writer(self.reduction, direct, self.headroom)
        reduction = self.reduction.within(int(stage.state_bytes * self.headroom))
        for piece in nested_order(block, stage.piece, [o.unit for o in stage.outputs]):
            part = values if values is None else values[piece.relative_to(start).slices]
            self._fold(piece, part, reduction, units, carry)
        unfinished = sum(len(u.open) for u in units.values()) + (0 if carry is None else carry.unfinished)
        if unfinished:
            raise BuildError(f"there are {unfinished} write units that no piece completed: this is a bug")
        self.flags.finish(index)

    def _fold(
        self,
        piece: Box,
        values: npt.NDArray[Any] | None,
        reduction: Reduction,
        units: Mapping[int, WriteUnits],
        carry: CarryWriter | None,
    ) -> None:
        stage = self.stage
        state: Any
        if self.carry_in is not None:
            state = self.carry_in.read(reduction, piece, stage.piece, self.headroom)
        else:
            if values is None:
                values = read_box(self._source(), piece)
            values = values.astype(reduction.dtype, copy=False)
            if stage.source_level in units:
                units[stage.source_level].put(piece, values)
            state = reduction.lift(values)
        levels = self.levels[stage.source_level + 1 : stage.last_level + 1]
        state, rendered = reduction.steps(state, [level.factor for level in levels], keep_state=carry is not None)
        box = piece
        for level, voxels in zip(levels, rendered, strict=True):
            box = box.fold(level.factor)
            units[level.index].put(box, voxels)
        if carry is not None:
            carry.put(box, state)

    def _source(self) -> zarr.Array[Any]:
        if self.source is None:
            raise BuildError("the stage has neither an array to read nor a block: this is a bug")
        return self.source
