"""One task: walk a block in pieces, fold each through all levels of the stage, write every write unit once."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
import numpy.typing as npt
import zarr

from chunkpyramid.boxes import Box, Shape, multiply, nested_order
from chunkpyramid.engine.flags import BlockSet, Flags
from chunkpyramid.engine.runs import Run
from chunkpyramid.errors import BuildError, OvertakenError
from chunkpyramid.pyramid.carry import Carry, CarryWriter
from chunkpyramid.pyramid.plan import Level, Stage
from chunkpyramid.reductions.methods import Reduction, State
from chunkpyramid.storage.chunked import chunked
from chunkpyramid.storage.chunks import ChunkReader, ChunkWriter, erase_torn
from chunkpyramid.storage.codec import all_bits_equal
from chunkpyramid.storage.nodes import is_in_memory
from chunkpyramid.storage.presence import Presence
from chunkpyramid.storage.write_units import WriteUnits

__all__ = ["BlockTask", "home_of"]


def home_of(flags: Flags) -> tuple[int, int]:
    """Return what tells flags from their copies, in other processes and, for distributed's threads, in this one."""
    return os.getpid(), id(flags)


def is_blank(values: npt.NDArray[Any]) -> bool:
    """Whether all bits of all voxels are zero; -0.0 is not blank."""
    return all_bits_equal(values, np.zeros((), values.dtype))


@contextmanager
def failing(what: str) -> Iterator[None]:
    """Say of every exception what could not be done."""
    try:
        yield
    except OvertakenError:
        raise
    except Exception as error:  # stores and codecs raise what they like
        detail = str(error) if isinstance(error, BuildError) else f"{type(error).__name__}: {error}"
        raise BuildError(f"{what} failed: {detail}") from error


@dataclass(frozen=True)
class BlockTask:
    """The task of one stage, called once per block; it can be sent to other processes.

    ``source`` is the zarr array that a stage reads (None where the block arrives as a NumPy array), ``carry_in`` and
    ``carry_out`` the carry that it reads and writes, ``arrays`` the level arrays by level, ``flags`` the flags of its
    blocks, ``tried_by`` the run, and ``present`` the arrays that are read in any way. States whose size depends on the
    voxels may take ``headroom`` times as much memory as planned. With ``skips_blank`` pieces of zeros are neither
    computed nor written, because zero is the fill value of all that they would be written to.
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
    skips_blank: bool
    tried_by: Run | None
    present: tuple[Presence, ...]

    # what to do after an error
    advice: ClassVar[str] = "what is done so far is kept: run the same build again to resume"

    def __call__(
        self, *blocks: npt.NDArray[Any], block_id: Sequence[int], offset: Shape, done: BlockSet, interrupted: BlockSet
    ) -> npt.NDArray[np.uint8]:
        """Run the block at ``offset + block_id`` of the stage's grid, unless ``block_id`` is in ``done``.

        Those that an earlier run has begun and did not finish are ``interrupted``.
        """
        index = tuple(int(o + i) for o, i in zip(offset, block_id, strict=True))
        if block_id not in done:
            stores = [self.flags.store, *(array.store for array in self.arrays.values())]
            if self.home != home_of(self.flags) and any(map(is_in_memory, stores)):
                raise BuildError(
                    "the target is a store in memory, of which dask's workers have only a copy: give a path or URL as "
                    "target, or use dask's threaded scheduler"
                )
            try:
                if self.tried_by is not None:
                    self.tried_by.check()
                for array in self.present:
                    array.check()
                self.run(index, blocks[0] if blocks else None, again=block_id in interrupted)
            except OvertakenError:
                raise
            except Exception as error:  # stores and codecs raise what they like
                made = self.stage.last_level
                what = str(error) if isinstance(error, BuildError) else f"{type(error).__name__}: {error}"
                raise BuildError(
                    f"block {index} of the stage that makes levels {self.stage.source_level} to {made} failed: "
                    f"{what}; {self.advice}"
                ) from error
        return np.ones((1,) * len(index), dtype=np.uint8)

    def run(self, index: Shape, values: npt.NDArray[Any] | None, *, again: bool) -> None:
        """Walk the block with this index; ``values`` are its voxels if the stage has no array to read.

        A block that runs ``again`` replaces what an interrupted try may have left of its write units.
        """
        stage = self.stage
        # Dask runs blocks again of its own accord when a worker is lost
        again = again or self.flags.is_begun(index)
        self.flags.begin(index)
        block = self._block(index)
        if again:
            for output in stage.outputs:
                if not output.is_carry:
                    erase_torn(chunked(self.arrays[output.level]), block.fold(output.factor))
        start = block.start
        pieces = self.pieces(index, nested_order(block, stage.piece, stage.units))
        units = {o.level: self.open_units(o.level, again=again) for o in stage.outputs if not o.is_carry}
        carry = None
        if self.carry_out is not None:
            carry = self.carry_out.writer(self.reduction, self.headroom, replaces=again)
        reduction = self.reduction.within(int(stage.state_bytes * self.headroom))
        read = self._reader(reduction, start, values, units)
        for piece in pieces:
            found = read(piece)
            if found is not None:
                self._fold(piece, found, reduction, units, carry)
        self.finish(index, units, carry)
        # chunks may have seemed missing because the array had gone
        for array in self.present:
            array.check()
        self.flags.finish(index, self.record())

    def record(self) -> Any:
        """Return what is to be known of the block that was run, in values that JSON can hold, or None."""
        return None

    def _block(self, index: Shape) -> Box:
        start = multiply(index, self.stage.block)
        stop = tuple(a + n for a, n in zip(start, self.stage.block, strict=True))
        return Box(start, stop).clip(self.levels[self.stage.source_level].shape)

    @property
    def blocks(self) -> Box:
        """The blocks of the stage that are to be run."""
        return Box((0,) * len(self.stage.grid), self.stage.grid)

    def pieces(self, index: Shape, pieces: Sequence[Box]) -> Sequence[Box]:
        """Return those of the pieces of a block that are to be walked."""
        return pieces

    def open_units(self, level: int, *, again: bool) -> WriteUnits:
        """Return what takes the voxels of a level."""
        return WriteUnits(ChunkWriter(chunked(self.arrays[level]), replaces=again))

    def finish(self, index: Shape, units: Mapping[int, WriteUnits], carry: CarryWriter | None) -> None:
        """Finish what takes the voxels, after the last piece of a block."""
        unfinished = sum(u.unfinished for u in units.values()) + (0 if carry is None else carry.unfinished)
        if unfinished:
            raise BuildError(f"there are {unfinished} write units that no piece completed: this is a bug")

    def _reader(
        self,
        reduction: Reduction,
        start: Shape,
        values: npt.NDArray[Any] | None,
        units: Mapping[int, WriteUnits],
    ) -> Callable[[Box], npt.NDArray[Any] | State | None]:
        """Return what reads a piece of a block: voxels, the state that an earlier stage carried, or None to skip it."""
        stage = self.stage
        if self.carry_in is not None:
            read: Callable[[Box], Any] = self.carry_in.reader(reduction, stage.piece, self.headroom)
        elif values is not None:
            return lambda piece: values[piece.relative_to(start).slices]
        elif self.source is not None:
            copied = [units[output.level].writer for output in stage.outputs if output.copied]
            read = ChunkReader(chunked(self.source), *copied).read
        else:
            raise BuildError("the stage has neither an array to read nor a block: this is a bug")

        def read_piece(piece: Box) -> Any:
            with failing(f"reading level {stage.source_level} from {piece.start} to {piece.stop}"):
                return read(piece)

        return read_piece

    def _fold(
        self,
        piece: Box,
        found: npt.NDArray[Any] | State,
        reduction: Reduction,
        units: Mapping[int, WriteUnits],
        carry: CarryWriter | None,
    ) -> None:
        stage = self.stage
        state: State | None
        if isinstance(found, State):
            state = found
        else:
            values = found.astype(reduction.dtype, copy=False)
            blank = self.skips_blank and is_blank(values)
            if any(o.level == stage.source_level and not o.copied for o in stage.outputs):
                self._put(units, self.levels[stage.source_level], piece, None if blank else values)
            state = None if blank else reduction.lift(values)
        levels = self.levels[stage.source_level + 1 : stage.last_level + 1]
        rendered: Sequence[npt.NDArray[Any] | None] = [None] * len(levels)
        if state is not None:
            state, rendered = reduction.steps(state, [level.factor for level in levels], keep_state=carry is not None)
        box = piece
        for level, voxels in zip(levels, rendered, strict=True):
            box = box.fold(level.factor)
            self._put(units, level, box, voxels)
        if carry is not None:
            with failing(f"writing the carry of level {stage.last_level} from {box.start} to {box.stop}"):
                carry.put(box, state)

    def _put(self, units: Mapping[int, WriteUnits], level: Level, box: Box, voxels: npt.NDArray[Any] | None) -> None:
        with failing(f"writing level {level.index} from {box.start} to {box.stop}"):
            units[level.index].put(box, voxels)
