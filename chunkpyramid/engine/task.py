"""One task: read a block in pieces, do to each what the operation does, write every write unit once."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from chunkpyramid.boxes import Box, Shape
from chunkpyramid.engine.flags import BlockSet, Flags
from chunkpyramid.engine.operation import BlockOperation, Writer
from chunkpyramid.engine.piece_order import nested_order
from chunkpyramid.engine.retry import with_retries
from chunkpyramid.engine.runs import Run
from chunkpyramid.engine.stage import Stage
from chunkpyramid.errors import BuildError, OvertakenError
from chunkpyramid.storage.locations import is_in_memory
from chunkpyramid.storage.presence import Presence

__all__ = ["BlockTask", "home_of"]


def home_of(flags: Flags) -> tuple[int, int]:
    """Return what tells flags from their copies, in other processes and, for distributed's threads, in this one."""
    return os.getpid(), id(flags)


@contextmanager
def failing(what: str) -> Iterator[None]:
    """Say of every exception what could not be done."""
    try:
        yield
    except OvertakenError:
        raise
    except Exception as error:  # stores and codecs raise what they like
        raise BuildError(f"{what} failed: {_told(error)}") from error


def _told(error: Exception) -> str:
    return str(error) if isinstance(error, BuildError) else f"{type(error).__name__}: {error}"


@dataclass(frozen=True)
class BlockTask:
    """The task of one stage, called once per block; it can be sent to other processes.

    ``extent`` is the shape of what is read, ``flags`` are those of the blocks, at ``home`` in the process that made
    them; ``tried_by`` is the run, and ``present`` are the arrays that are read in any way. All blocks run ``again`` if
    another try may have been killed while it wrote them and has left no flags.
    """

    stage: Stage
    operation: BlockOperation
    extent: Shape
    flags: Flags
    home: tuple[int, int]
    tried_by: Run | None = None
    present: tuple[Presence, ...] = ()
    again: bool = False

    def __call__(
        self, *blocks: npt.NDArray[Any], block_id: Sequence[int], offset: Shape, done: BlockSet, interrupted: BlockSet
    ) -> npt.NDArray[np.uint8]:
        """Run the block at ``offset + block_id`` of the stage's grid, unless ``block_id`` is in ``done``.

        Those that an earlier run has begun and did not finish are ``interrupted``.
        """
        index = tuple(int(o + i) for o, i in zip(offset, block_id, strict=True))
        if block_id not in done:
            stores = [self.flags.store, *(output.store for output in self.operation.outputs)]
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
                values, was_interrupted = blocks[0] if blocks else None, block_id in interrupted
                with_retries(lambda is_retry: self.run(index, values, again=was_interrupted or is_retry))
            except OvertakenError:
                raise
            except Exception as error:  # stores and codecs raise what they like
                kind = type(error) if isinstance(error, BuildError) else BuildError
                raise kind(
                    f"block {index} of {self.operation.name} failed: {_told(error)}; {self.operation.advice}"
                ) from error
        return np.ones((1,) * len(index), dtype=np.uint8)

    def run(self, index: Shape, values: npt.NDArray[Any] | None, *, again: bool) -> None:
        """Read the block with this index; ``values`` are its voxels if the operation has no input.

        A block that runs ``again`` replaces what an interrupted try may have left of its write units.
        """
        operation = self.operation
        # Dask runs blocks again of its own accord when a worker is lost
        again = again or self.again or self.flags.is_begun(index)
        self.flags.begin(index)
        block = self.stage.box(index, self.extent)
        if again:
            for output in operation.outputs:
                output.erase_torn(block)
        writers = {output.name: output.open(again=again) for output in operation.outputs}
        read = self._reader(block.start, values, writers)
        state = operation.begin(index)

        def put(name: str, box: Box, computed: Any) -> None:
            with failing(f"writing {name} from {box.start} to {box.stop}"):
                writers[name].put(box, computed)

        for piece in self._pieces(index, block):
            around = piece if operation.halo is None else piece.grow(operation.halo, self.extent)
            operation.piece(state, piece, read(around), put)
        record = operation.finish(state, writers)
        unfinished = sum(writer.unfinished for writer in writers.values())
        if unfinished:
            raise BuildError(f"there are {unfinished} write units that no piece completed: this is a bug")
        # chunks may have seemed missing because the array had gone
        for array in self.present:
            array.check()
        self.flags.finish(index, record)

    @property
    def to_run(self) -> Box:
        """The blocks of the stage that are to be run, as a box of the grid."""
        region = self.operation.region
        if region is None:
            return Box.whole(self.stage.grid)
        return region.fold(self.stage.block).clip(self.stage.grid)

    def _pieces(self, index: Shape, block: Box) -> Sequence[Box]:
        pieces = self.operation.choose(index, nested_order(block, self.stage.piece, self.stage.units))
        region = self.operation.region
        if region is None:
            return pieces
        return [piece.intersect(region) for piece in pieces if piece.overlaps(region)]

    def _reader(
        self, start: Shape, values: npt.NDArray[Any] | None, writers: Mapping[str, Writer]
    ) -> Callable[[Box], Any]:
        """Return what reads a piece of a block."""
        source = self.operation.input
        if source is None:
            if values is None:
                raise BuildError("the stage has neither an array to read nor a block: this is a bug")
            return lambda piece: values[piece.relative_to(start).slices]
        read = source.open(writers)

        def read_piece(piece: Box) -> Any:
            with failing(f"reading {source.name} from {piece.start} to {piece.stop}"):
                return read(piece)

        return read_piece
