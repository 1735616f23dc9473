"""Reductions: a record of every piece, combined to one of the whole volume."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

from chunkpyramid.boxes import Box, Halo, Shape
from chunkpyramid.engine.job import Step, run_steps
from chunkpyramid.engine.journal import Journal, refuse_changing
from chunkpyramid.engine.layout import Limits
from chunkpyramid.engine.machine import Machine, memory_bytes
from chunkpyramid.engine.operation import BaseOperation, Input, Output, Put, Writer
from chunkpyramid.engine.plan_stage import plan_stage
from chunkpyramid.engine.process_memory import keeping_to_limit
from chunkpyramid.engine.progress import Progress
from chunkpyramid.engine.records import Merger, Record, Records, as_record
from chunkpyramid.engine.source_input import bytes_of_parts, input_of, read_only, reading_of
from chunkpyramid.engine.stage import Stage
from chunkpyramid.engine.task import failing
from chunkpyramid.errors import BuildError
from chunkpyramid.sources.source import Source
from chunkpyramid.storage.presence import Presence, metadata_digest, presences

__all__ = ["ReduceJob", "source_fingerprint"]

# A block holds so many bytes of records before it stores them, or a part of the memory that a task may take if that is
# more, and how many times as much there is while two are combined.
LEAST_RECORD_BYTES = 4 * 2**20
RECORDS_PART = 16
COPIES = 4


@dataclass(frozen=True)
class ReduceBlocks(BaseOperation):
    """Leaves the records of a block: those that ``function`` makes of each piece and its box, combined."""

    name: str
    function: Callable[[Any, Box], Iterable[Any]]
    combine: Callable[[Any, Any], Any]
    input: Input | None
    records: Records
    most_bytes: int
    halo: Halo | None = None

    advice = "what is done so far is kept if a target was given: run the same again to resume"
    outputs: tuple[Output, ...] = ()

    def begin(self, index: Shape) -> Gathering:
        return Gathering(index, self.records, Merger(self.combine), self.most_bytes)

    def piece(self, state: Gathering, box: Box, found: Any, put: Put) -> None:
        for record in self.function(read_only(found), box):
            state.add(as_record(record))

    def finish(self, state: Gathering, writers: Mapping[str, Writer]) -> Any:
        state.spill()
        return [list(state.index), state.parts, state.alone]


@dataclass
class Gathering:
    """The records of a block so far."""

    index: Shape
    records: Records
    merger: Merger
    most_bytes: int
    parts: int = 0
    alone: bool = False

    def add(self, record: Record) -> None:
        self.alone = not isinstance(record, Mapping)
        self.merger.add(record)
        if self.merger.nbytes > self.most_bytes:
            self.spill()

    def spill(self) -> None:
        """Store what there is."""
        record = self.merger.result()
        if record is not None:
            self.records.put(self.index, self.parts, record)
            self.parts += 1


@dataclass(frozen=True)
class ReduceJob:
    """A reduction of a source that is planned: the records that ``function`` makes of each piece and its box, combined.

    ``name`` tells in messages what it is, and ``fingerprint`` what tells it from others. With a ``halo`` the function
    is given the voxels around a piece too, as far as there are any: those of ``box.grow(halo, source.shape)``.
    """

    name: str
    source: Source
    present: tuple[Presence, ...]
    function: Callable[[Any, Box], Iterable[Any]]
    combine: Callable[[Any, Any], Any]
    demand: Callable[[Shape], int]
    memory_limit: int
    record_bytes: int
    stage: Stage
    threads: int
    fingerprint: Mapping[str, Any]
    halo: Halo | None = None

    @staticmethod
    def plan(
        name: str,
        source: Source,
        function: Callable[[Any, Box], Iterable[Any]],
        combine: Callable[[Any, Any], Any],
        *,
        demand: Callable[[Shape], int],
        memory_limit: int | str | None,
        fingerprint: Mapping[str, Any],
        halo: Halo | None = None,
    ) -> ReduceJob:
        """Plan a reduction; ``demand`` gives the bytes that it takes for a piece, beside the piece itself and its halo.

        Raises
        ------
        PlanError
            If the memory limit is too small, with the least that would do.
        """
        from chunkpyramid.engine.scheduler import active_machine

        machine = active_machine(source.uncounted_bytes)
        limit = memory_bytes(memory_limit, machine)
        arrays = source.zarr_arrays()
        refuse_changing(arrays)
        present = presences(arrays)
        records = max(LEAST_RECORD_BYTES, (limit - machine.baseline) // machine.threads // RECORDS_PART)
        stage, threads = _planned(source, halo, partial(_with_records, demand, records), limit, machine)
        told = {"operation": name, **source_fingerprint(source, present), **fingerprint}
        return ReduceJob(name, source, present, function, combine, demand, limit, records, stage, threads, told, halo)

    def continuing(self, block: Sequence[int]) -> ReduceJob:
        """Return this reduction with the blocks of one that was begun, maybe with other memory."""
        from chunkpyramid.engine.scheduler import active_machine

        stage, threads = _planned(
            self.source,
            self.halo,
            partial(_with_records, self.demand, self.record_bytes),
            self.memory_limit,
            active_machine(self.source.uncounted_bytes),
            kept=tuple(map(int, block)),
        )
        return replace(self, stage=stage, threads=threads)

    def run(self, journal: Journal, progress: Progress) -> Record:
        """Return the record of the whole source; blocks that are done are not read again."""
        scratch = journal.scratch
        records = Records(scratch.store, scratch.path, 0)
        read = input_of(self.source, self.halo)
        operation = ReduceBlocks(self.name, self.function, self.combine, read, records, self.record_bytes, self.halo)
        blocks = self.source.array if read is None else None
        step = Step(self.stage, operation, self.source.shape, self.present, blocks)
        for _ in run_steps([step], journal, self.threads, progress):
            pass
        merger = Merger(self.combine)
        for index, parts, alone in journal.flags(0, self.stage.grid).records():
            for part in range(parts):
                record = records.get(tuple(index), part, alone=alone)
                with failing(f"combining the records of {self.name}"):
                    merger.add(record)
        with failing(f"combining the records of {self.name}"):
            result = merger.result()
        if result is None:
            raise BuildError(f"no block of {self.name} has left a record: this is a bug")
        return result


def _planned(
    source: Source,
    halo: Halo | None,
    demand: Callable[[Shape], int],
    limit: int,
    machine: Machine,
    kept: Shape | None = None,
) -> tuple[Stage, int]:
    reading, limits = reading_of(source, halo), Limits(limit, machine.threads, machine.slots)

    def with_parts(piece: Shape) -> int:
        return demand(piece) + bytes_of_parts(source, halo, piece)

    return keeping_to_limit(
        lambda baseline: plan_stage(reading, with_parts, replace(limits, baseline=baseline), kept=kept),
        machine.baseline,
    )


def _with_records(demand: Callable[[Shape], int], records: int, piece: Shape) -> int:
    return demand(piece) + COPIES * records


def source_fingerprint(source: Source, present: Sequence[Presence]) -> dict[str, Any]:
    """Return what tells a source from others, in values that JSON can hold."""
    return {
        "source": source.identity(),
        "source_metadata": metadata_digest(present),
        "shape": list(source.shape),
        "dtype": str(source.dtype),
    }
