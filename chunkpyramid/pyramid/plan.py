"""The plan of a build: levels, stages, blocks, pieces and promised memory, computed from integers before any I/O."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from typing import Any, NamedTuple

import numpy as np

from chunkpyramid.boxes import Shape, ceil_shape, divide, inside
from chunkpyramid.engine.process_memory import BASELINE, graph_bytes, process_peak
from chunkpyramid.engine.stage import OutputLayout, Stage
from chunkpyramid.pyramid.factors import cumulative_factors
from chunkpyramid.reductions.methods import Reduction
from chunkpyramid.storage.chunk_access import ChunkAccess
from chunkpyramid.text import format_bytes, format_shape, format_table

__all__ = [
    "Level",
    "LevelOutput",
    "LevelStage",
    "PlanRequest",
    "PyramidPlan",
    "carry_chunks",
    "make_levels",
    "read_shapes",
    "stored_itemsize",
]

# Cells of a ragged carry are planned no larger than this where they can be halved: a task has several copies of one.
CELL_BYTES = 16 * 2**20


@dataclass(frozen=True, slots=True)
class Level:
    """One level of the pyramid: ``factor`` leads to it from the level before, ``cumulative`` from level 0.

    ``footprint`` is the largest number of level-0 voxels under one voxel of the level.
    """

    index: int
    path: str
    shape: Shape
    factor: Shape
    cumulative: Shape
    footprint: int
    chunks: Shape
    shards: Shape | None

    @property
    def write_unit(self) -> Shape:
        """The unit of safe concurrent writing: the shard if the level is sharded, else the chunk."""
        return self.shards or self.chunks

    def factor_from(self, finer: Level) -> Shape:
        """Return the factor from a finer level to this one."""
        return divide(self.cumulative, finer.cumulative)


class BegunStage(NamedTuple):
    """What is kept of a stage that has been begun: its blocks, and the pieces where what they make depends on those."""

    source_level: int
    last_level: int
    block: Shape
    piece: Shape


@dataclass(frozen=True, slots=True)
class PlanRequest:
    """What a plan is made of: source, method and machine.

    ``read_chunks`` is the chunk shape of a zarr source, or None for a source whose blocks arrive as NumPy arrays, and
    ``read_shards`` its shard shape if it is sharded; ``lazy_chunks`` is the chunk shape of a dask array.
    ``copies_level_0`` tells that chunks of the source are chunks of level 0 as they are; ``threads`` is the number of
    tasks that one process may run at once, ``slots`` that of all processes together, and ``baseline`` what a process
    has beside all tasks, in bytes; ``source_access`` and ``target_access`` tell what it takes to get at chunks.
    ``begun`` has the stages of a build that has been begun, which stay as they are.
    """

    levels: tuple[Level, ...]
    reduction: Reduction
    read_chunks: Shape | None
    writes_level_0: bool
    memory_limit: int
    read_shards: Shape | None = None
    lazy_chunks: Shape | None = None
    copies_level_0: bool = False
    threads: int = 1
    slots: int = 1
    source_access: ChunkAccess = field(default_factory=ChunkAccess)
    target_access: ChunkAccess = field(default_factory=ChunkAccess)
    baseline: int = BASELINE
    begun: tuple[BegunStage, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class LevelOutput(OutputLayout):
    """A level that a stage writes, or the carry of its last level."""

    level: int
    is_carry: bool = False

    @property
    def name(self) -> str:
        return f"the carry of level {self.level}" if self.is_carry else f"level {self.level}"


@dataclass(frozen=True, slots=True, kw_only=True)
class LevelStage(Stage):
    """Levels produced from one reading of one source; shapes are in voxels of the level that is read."""

    source_level: int
    reads: str  # "source", "carry" or "level"
    last_level: int
    outputs: tuple[LevelOutput, ...]

    @property
    def state_bytes(self) -> int:
        """Planned bytes of all states of a piece, that which is read included."""
        return self.memory.states + (self.memory.piece if self.reads == "carry" else 0)


@dataclass(frozen=True, slots=True)
class PyramidPlan:
    """All numbers of a build, computed before any I/O; ``print(plan)`` explains them.

    Attributes
    ----------
    levels : tuple of Level
        Level 0 first.
    stages : tuple of LevelStage
        In the order in which they run.
    method, dtype : str
        The reduction and the dtype of every level.
    memory_limit, peak_bytes : int
        The limit, and the projected peak of one process, which is no larger.
    threads : int
        How many tasks may run at once in one process.
    hints : tuple of str
        Advice on arguments that were left to their defaults.
    baseline : int
        What a process has beside all tasks, in bytes.
    """

    levels: tuple[Level, ...]
    stages: tuple[LevelStage, ...]
    method: str
    dtype: str
    memory_limit: int
    peak_bytes: int
    threads: int
    hints: tuple[str, ...] = ()
    baseline: int = BASELINE

    @property
    def itemsize(self) -> int:
        """Bytes per voxel of every level."""
        return np.dtype(self.dtype).itemsize

    @property
    def tasks(self) -> int:
        """Number of block tasks of all stages."""
        return sum(stage.tasks for stage in self.stages)

    @property
    def bytes_read(self) -> int:
        """Uncompressed bytes read by all stages."""
        return sum(stage.bytes_read for stage in self.stages)

    @property
    def bytes_written(self) -> int:
        """Uncompressed bytes written by all stages, carry included."""
        return sum(stage.bytes_written for stage in self.stages)

    @property
    def bytes_carried(self) -> int:
        """Uncompressed bytes of the carry, which one stage writes and the next one reads."""
        carries = [output for stage in self.stages for output in stage.outputs if output.is_carry]
        return sum(math.prod(self.levels[carry.level].shape) * carry.itemsize for carry in carries)

    def to_dict(self) -> dict[str, Any]:
        """Return the plan as plain dicts, tuples and numbers, ready for JSON."""
        return asdict(self)

    def __str__(self) -> str:
        return _described(self)


def make_levels(
    shape: Shape,
    factors: Sequence[Shape],
    chunks: Sequence[Shape],
    shards: Sequence[Shape | None],
    paths: Sequence[str],
) -> tuple[Level, ...]:
    """Return the levels of a pyramid, level 0 first: ``chunks``, ``shards`` and ``paths`` have an entry for each."""
    steps = [(1,) * len(shape), *map(tuple, factors)]
    totals = cumulative_factors(factors, len(shape))
    return tuple(
        Level(index, path, ceil_shape(shape, total), step, total, math.prod(inside(total, shape)), own, shard)
        for index, (path, step, total, own, shard) in enumerate(zip(paths, steps, totals, chunks, shards, strict=True))
    )


def carry_chunks(reduction: Reduction, level: Level) -> Shape:
    """Return the chunks of the carry of a level: those of the level, or even parts of them for a ragged carry."""
    chunks = list(level.chunks)
    while reduction.is_ragged and math.prod(chunks) * reduction.carry_itemsize(level.footprint) > CELL_BYTES:
        even = [axis for axis, n in enumerate(chunks) if n % 2 == 0]
        if not even:
            break
        chunks[max(even, key=chunks.__getitem__)] //= 2
    return tuple(chunks)


def stored_itemsize(request: PlanRequest, level: Level) -> int:
    """Bytes per voxel that a stage reads from ``level``: those of its carry, or of the level itself."""
    if level.index == 0:
        return request.reduction.dtype.itemsize
    return request.reduction.carry_itemsize(level.footprint) or request.reduction.dtype.itemsize


def read_shapes(request: PlanRequest, source_level: int) -> tuple[Shape | None, Shape | None]:
    """Return the chunks of what a stage reads, None for blocks that arrive in memory, and its shards if it has any."""
    level = request.levels[source_level]
    if source_level == 0:
        return request.read_chunks, request.read_shards
    if request.reduction.carries:
        return carry_chunks(request.reduction, level), None
    return level.chunks, level.shards


def _described(plan: PyramidPlan) -> str:
    """Return the plan as text: levels, stages, and the sum that makes the promised memory; then the hints."""
    return "\n".join([_describe_numbers(plan), *(f"hint: {hint}" for hint in plan.hints)])


def _describe_numbers(plan: PyramidPlan) -> str:
    levels = format_table(
        ("level", "path", "shape", "cumulative factor", "chunks", "shards", "bytes"),
        [
            (
                str(level.index),
                level.path,
                format_shape(level.shape),
                format_shape(level.cumulative),
                format_shape(level.chunks),
                format_shape(level.shards),
                format_bytes(math.prod(level.shape) * plan.itemsize),
            )
            for level in plan.levels
        ],
    )
    stages = format_table(
        ("stage", "reads", "writes levels", "block", "piece", "tasks", "memory per task"),
        [
            (
                str(stage.index),
                stage.reads if stage.reads == "source" else f"{stage.reads} of level {stage.source_level}",
                ", ".join(("carry of " if o.is_carry else "") + str(o.level) for o in stage.outputs),
                format_shape(stage.block),
                format_shape(stage.piece),
                str(stage.tasks),
                format_bytes(stage.memory.total),
            )
            for stage in plan.stages
        ],
    )
    if not plan.stages:
        return f"chunkpyramid plan: nothing to compute, only the metadata is written\n\n{levels}"
    largest = max(plan.stages, key=lambda stage: process_peak(stage.memory, stage.tasks, plan.threads, plan.baseline))
    memory = largest.memory
    return (
        f"chunkpyramid plan: method {plan.method}, dtype {plan.dtype}, {len(plan.levels)} levels, "
        f"{plan.tasks} tasks in {len(plan.stages)} stages\n\n{levels}\n\n{stages}\n\n"
        f"reads {format_bytes(plan.bytes_read)}, writes {format_bytes(plan.bytes_written)} (uncompressed), "
        f"of that {format_bytes(plan.bytes_carried)} carried from stage to stage\n"
        f"memory: {format_bytes(plan.baseline)} process + {format_bytes(graph_bytes(largest.tasks))} graph + "
        f"{min(plan.threads, largest.tasks)} tasks x {format_bytes(memory.total)} "
        f"(block {format_bytes(memory.block)}, piece {format_bytes(memory.piece)}, "
        f"states {format_bytes(memory.states)}, buffers {format_bytes(memory.buffers)}, "
        f"codecs {format_bytes(memory.codecs)})\n"
        f"        = {format_bytes(plan.peak_bytes)} promised, of a limit of {format_bytes(plan.memory_limit)}"
    )
