"""Comparing instead of writing: the chunks that are not what an operation would make them."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, ClassVar

import numpy as np
import numpy.typing as npt
import zarr

from chunkpyramid.boxes import Box, Shape, divide, multiply, tile
from chunkpyramid.engine.flags import Flags
from chunkpyramid.engine.operation import ArrayInput, ArrayOutput, Input, Output, Put, Wrapper, Writer
from chunkpyramid.errors import ChunkError
from chunkpyramid.pyramid.plan import LevelStage
from chunkpyramid.storage.chunk_io import ChunkReader, ChunkWriter
from chunkpyramid.storage.chunked_array import chunked
from chunkpyramid.storage.write_units import PartialUnits, WriteUnits

__all__ = ["ChunkProblem", "Compare", "found_problems"]


@dataclass(frozen=True, order=True)
class ChunkProblem:
    """A chunk that is not what it should be.

    Attributes
    ----------
    level : int
        Level of the chunk.
    chunk : tuple of int
        Its index in the grid of chunks of that level.
    problem : str
        "differs" from what level 0 says, or is "unreadable".
    repaired : bool
        Whether it has been written anew.
    """

    level: int
    chunk: Shape
    problem: str
    repaired: bool = False


@dataclass(frozen=True)
class Compare(Wrapper):
    """An operation on levels that compares what it makes with what is there; its record is a list of what differs.

    ``copies`` are arrays for the levels that later stages read: what they read must not be what may be wrong. Of the
    pieces a ``fraction`` is chosen at random, and with ``repair`` what differs is written.
    """

    stage: LevelStage
    copies: Mapping[int, zarr.Array[Any]]
    fraction: float
    seed: int
    repair: bool

    advice: ClassVar[str] = "run verify_pyramid again"

    @property
    def input(self) -> Input | None:
        own = super().input
        if not isinstance(own, ArrayInput):
            return own
        if self.stage.source_level == 0:
            return ReportingInput(own)
        return replace(own, array=self.copies[self.stage.source_level])

    @property
    def outputs(self) -> Sequence[Output]:
        levels = (output.level for output in self.stage.outputs)
        return [
            CheckedOutput(output.name, output.array, output.factor, level, self.copies.get(level), self.repair)
            if isinstance(output, ArrayOutput)
            else output
            for output, level in zip(super().outputs, levels, strict=True)
        ]

    def choose(self, index: Shape, pieces: Sequence[Box]) -> Sequence[Box]:
        if self.fraction == 1:
            return pieces
        chosen = np.random.default_rng([self.seed, *index]).random(len(pieces))
        # at least one of all: in a block that is chosen at random too
        sure = tuple(np.random.default_rng(self.seed).integers(self.stage.grid).tolist())
        least = chosen.min() if index == sure else -1.0
        return [piece for piece, at in zip(pieces, chosen, strict=True) if at < self.fraction or at == least]

    def begin(self, index: Shape) -> tuple[Any, list[ChunkProblem]]:
        return super().begin(index), []

    def piece(self, state: tuple[Any, list[ChunkProblem]], box: Box, found: Any, put: Put) -> None:
        own, problems = state
        if isinstance(found, Unreadable):
            problems.extend(found.problems)
        else:
            super().piece(own, box, found, put)

    def finish(self, state: tuple[Any, list[ChunkProblem]], writers: Mapping[str, Writer]) -> Any:
        own, problems = state
        for writer in writers.values():
            writer.flush()
            if isinstance(writer, CheckedUnits):
                problems.extend(writer.found)
        super().finish(own, writers)
        return [(p.level, p.chunk, p.problem, p.repaired) for p in problems] or None


def found_problems(flags: Flags) -> Iterator[ChunkProblem]:
    """Yield what the blocks of a stage that compares have found."""
    for record in flags.records():
        for level, chunk, problem, repaired in record:
            yield ChunkProblem(level, tuple(chunk), problem, repaired)


@dataclass(frozen=True)
class Unreadable:
    """What is read of a piece some of whose chunks cannot be read."""

    problems: tuple[ChunkProblem, ...]


@dataclass(frozen=True)
class ReportingInput:
    """Level 0, of which a piece may be `Unreadable`."""

    input: ArrayInput

    @property
    def name(self) -> str:
        return self.input.name

    def open(self, writers: Mapping[str, Writer]) -> Callable[[Box], Any]:
        read = self.input.open(writers)

        def read_or_report(piece: Box) -> Any:
            try:
                return read(piece)
            except Exception:  # stores and codecs raise what they like
                problems = tuple(self._unreadable(piece))
                if not problems:
                    raise
                return Unreadable(problems)

        return read_or_report

    def _unreadable(self, piece: Box) -> Iterator[ChunkProblem]:
        """Yield the chunks under a piece that cannot be read."""
        reader = ChunkReader(chunked(self.input.array))
        for chunk in tile(piece, reader.array.chunks):
            try:
                reader.read(chunk.clip(reader.array.shape))
            except ChunkError:
                yield ChunkProblem(0, divide(chunk.start, reader.array.chunks), "unreadable")


@dataclass(frozen=True)
class CheckedOutput(ArrayOutput):
    """A level that is compared with what is delivered."""

    level: int
    copy: zarr.Array[Any] | None
    repair: bool

    def open(self, *, again: bool) -> Writer:
        return CheckedUnits(self.array, self.level, repair=self.repair, copy=self.copy)


class CheckedUnits(PartialUnits):
    """Compares what pieces deliver for one array with what it holds, chunk by chunk; ``repair`` writes what differs."""

    def __init__(
        self,
        array: zarr.Array[Any],
        level: int,
        *,
        repair: bool,
        copy: zarr.Array[Any] | None,
    ):
        super().__init__(ChunkWriter(chunked(array), replaces=True))
        self.level = level
        self.found: list[ChunkProblem] = []
        self.repair = repair
        self.copy = None if copy is None else WriteUnits(ChunkWriter(chunked(copy)))

    def put(self, box: Box, values: npt.NDArray[Any] | None) -> None:
        super().put(box, values)
        if self.copy is not None:
            self.copy.put(box, values)

    def _give_up(self, start: Shape, error: ChunkError) -> None:
        del self.open[start]
        self.found.append(ChunkProblem(self.level, divide(start, self.reader.array.chunks), "unreadable"))

    def _finish_shards(self) -> None:
        for start in list(self.writer.open):
            try:
                self.writer.finish(start)
            except ChunkError:
                # some chunks of a shard that cannot be read are not enough to write it anew
                self._take_back(start)

    def _take_back(self, start: Shape) -> None:
        """Say of the chunks of the shard that begins at a voxel that they were not repaired."""
        unit = self.array.write_unit
        for at, problem in enumerate(self.found):
            if problem.level == self.level:
                first = multiply(problem.chunk, self.reader.array.chunks)
                if divide(first, unit) == divide(start, unit):
                    self.found[at] = replace(problem, repaired=False)

    def _hand_on(self, box: Box, values: npt.NDArray[Any] | None) -> None:
        if values is None:
            values = self.array.filled(box.shape)
        for cell in tile(box, self.reader.array.chunks):
            chunk = cell.clip(self.reader.array.shape)
            expected = values[chunk.relative_to(box.start).slices]
            try:
                problem = None if _equal(self.reader.read(chunk), expected) else "differs"
            except ChunkError:
                problem = "unreadable"
            if problem is not None:
                if self.repair:
                    self.writer.write(chunk, expected)
                self.found.append(
                    ChunkProblem(self.level, divide(cell.start, self.reader.array.chunks), problem, self.repair)
                )


def _equal(first: npt.NDArray[Any], second: npt.NDArray[Any]) -> bool:
    return np.array_equal(first, second, equal_nan=first.dtype.kind in "fcmM")
