"""What the engine runs on every block of a stage, and what that is read from and written to."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import numpy.typing as npt
import zarr

from chunkpyramid.boxes import Box, Halo, Shape
from chunkpyramid.storage.chunk_io import ChunkReader, ChunkWriter, erase_torn
from chunkpyramid.storage.chunked_array import chunked
from chunkpyramid.storage.write_units import WriteUnits

__all__ = [
    "ArrayInput",
    "ArrayOutput",
    "BaseOperation",
    "BlockOperation",
    "Input",
    "Output",
    "Put",
    "Wrapper",
    "Writer",
]


class Writer(Protocol):
    """Takes what is computed for one output in one block, and writes it as soon as there is enough of it."""

    @property
    def unfinished(self) -> int:
        """How many write units have been begun and not finished."""

    def put(self, box: Box, values: Any) -> None:
        """Take the voxels of a box of the output; None stands for its fill value."""

    def flush(self) -> None:
        """Write what has been begun, though parts of it are missing."""


class Input(Protocol):
    """What pieces are read from; it can be sent to other processes."""

    @property
    def name(self) -> str:
        """What messages call it."""

    def open(self, writers: Mapping[str, Writer]) -> Callable[[Box], Any]:
        """Return what reads the pieces of one block, for which these writers are open."""


class Output(Protocol):
    """What a block is written to; it can be sent to other processes."""

    @property
    def name(self) -> str:
        """What messages call it."""

    @property
    def store(self) -> Any:
        """The store that it is in."""

    def open(self, *, again: bool) -> Writer:
        """Return a writer for one block; one that runs ``again`` replaces what an interrupted try may have left."""

    def erase_torn(self, block: Box) -> None:
        """Delete what a process that was killed has left beside the write units of a block."""


# Takes voxels for the output of this name: of a box of it, None for its fill value.
Put = Callable[[str, Box, Any], None]


class BlockOperation(Protocol):
    """What is done to every block of a stage; it can be sent to other processes, and is not changed by being run.

    The engine reads pieces of blocks and hands them to `piece`, along with what `begin` has returned for their block.
    ``input`` is None where blocks arrive as NumPy arrays. With a ``region``, in voxels of what is read, only what
    overlaps it is read; a piece is read along with the voxels of its ``halo``. ``name`` and ``advice``
    are for messages: what failed, and what to do then.
    """

    @property
    def name(self) -> str: ...
    @property
    def advice(self) -> str: ...
    @property
    def input(self) -> Input | None: ...
    @property
    def outputs(self) -> Sequence[Output]: ...
    @property
    def region(self) -> Box | None: ...
    @property
    def halo(self) -> Halo | None: ...

    def choose(self, index: Shape, pieces: Sequence[Box]) -> Sequence[Box]:
        """Return those of the pieces of a block that are to be read."""

    def begin(self, index: Shape) -> Any:
        """Return the state of a block before its first piece."""

    def piece(self, state: Any, box: Box, found: Any, put: Put) -> None:
        """Compute what a piece makes, and ``put`` it."""

    def finish(self, state: Any, writers: Mapping[str, Writer]) -> Any:
        """Return the record of a block after its last piece, in values that JSON can hold, or None."""


class BaseOperation:
    """What most operations have in common: they read all of every block and nothing around it, and leave no record."""

    advice = "what is done so far is kept: run the same again to resume"
    region: Box | None = None
    halo: Halo | None = None

    def choose(self, index: Shape, pieces: Sequence[Box]) -> Sequence[Box]:
        return pieces

    def begin(self, index: Shape) -> Any:
        return None

    def finish(self, state: Any, writers: Mapping[str, Writer]) -> Any:
        return None


@dataclass(frozen=True)
class Wrapper:
    """An operation that does what another one does; those that differ in something derive from it."""

    operation: BlockOperation

    @property
    def name(self) -> str:
        return self.operation.name

    @property
    def advice(self) -> str:
        return self.operation.advice

    @property
    def input(self) -> Input | None:
        return self.operation.input

    @property
    def outputs(self) -> Sequence[Output]:
        return self.operation.outputs

    @property
    def region(self) -> Box | None:
        return self.operation.region

    @property
    def halo(self) -> Halo | None:
        return self.operation.halo

    def choose(self, index: Shape, pieces: Sequence[Box]) -> Sequence[Box]:
        return self.operation.choose(index, pieces)

    def begin(self, index: Shape) -> Any:
        return self.operation.begin(index)

    def piece(self, state: Any, box: Box, found: Any, put: Put) -> None:
        self.operation.piece(state, box, found, put)

    def finish(self, state: Any, writers: Mapping[str, Writer]) -> Any:
        return self.operation.finish(state, writers)


@dataclass(frozen=True)
class ArrayInput:
    """A zarr array that is read; its chunks are copied to the output ``copied_to``, if there is one."""

    name: str
    array: zarr.Array[Any]
    copied_to: str | None = None

    def open(self, writers: Mapping[str, Writer]) -> Callable[[Box], npt.NDArray[Any]]:
        units = None if self.copied_to is None else writers[self.copied_to]
        return ChunkReader(chunked(self.array), units.writer if isinstance(units, WriteUnits) else None).read


@dataclass(frozen=True)
class ArrayOutput:
    """A zarr array that is written; ``factor`` leads to it from what is read."""

    name: str
    array: zarr.Array[Any]
    factor: Shape

    @property
    def store(self) -> Any:
        return self.array.store

    def open(self, *, again: bool) -> Writer:
        return WriteUnits(ChunkWriter(chunked(self.array), replaces=again))

    def erase_torn(self, block: Box) -> None:
        erase_torn(chunked(self.array), block.fold(self.factor))
