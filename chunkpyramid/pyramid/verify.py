"""`verify_pyramid`: compute the levels again from level 0, compare, and mend what differs."""

from __future__ import annotations

import json
import tempfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field, replace
from functools import partial
from typing import Any, ClassVar

import numpy as np
import numpy.typing as npt
import zarr

from chunkpyramid.arguments import whole_number
from chunkpyramid.boxes import Box, Shape, multiply, tile
from chunkpyramid.engine.journal import Journal
from chunkpyramid.engine.runs import Run, begin_run, group_of
from chunkpyramid.engine.stages import Progress, Work, check_progress
from chunkpyramid.engine.task import BlockTask
from chunkpyramid.errors import ArgumentError, BuildError, ChunkError, ChunkPyramidError
from chunkpyramid.pyramid.carry import CarryWriter, create_carry
from chunkpyramid.pyramid.existing import Existing, plan_existing
from chunkpyramid.pyramid.pyramid import Pyramid, pyramid_at
from chunkpyramid.pyramid.unfinished import check_region
from chunkpyramid.reductions.methods import Reduction, State
from chunkpyramid.storage.chunked import chunked
from chunkpyramid.storage.chunks import ChunkReader, ChunkWriter
from chunkpyramid.storage.keys import fetch, names, put
from chunkpyramid.storage.nodes import (
    check_deletes,
    create_level,
    default_compressors,
    empty_group,
    entries,
    existing_group,
)
from chunkpyramid.storage.presence import presences
from chunkpyramid.storage.write_units import PartialUnits, WriteUnits
from chunkpyramid.text import format_table

__all__ = ["ChunkProblem", "Verification", "verify_pyramid"]


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
class Verification:
    """What `verify_pyramid` found; ``print`` shows it.

    Attributes
    ----------
    problems : tuple of ChunkProblem
        All chunks that differ or cannot be read, by level and index.
    checked : tuple of int
        Levels that were compared, in part if ``fraction`` was below 1 or level 0 cannot be read.
    unchecked : tuple of int
        Levels that were not: those that later stages make, if ``fraction`` was below 1 or level 0 cannot be read.
    fraction : float
        The fraction of level 0 that was asked for.
    """

    problems: tuple[ChunkProblem, ...]
    checked: tuple[int, ...]
    unchecked: tuple[int, ...] = ()
    fraction: float = 1.0

    @property
    def ok(self) -> bool:
        """Whether nothing is wrong, or everything that was has been repaired."""
        return all(problem.repaired for problem in self.problems)

    def __bool__(self) -> bool:
        return self.ok

    def __str__(self) -> str:
        levels = ", ".join(map(str, self.checked)) or "none"
        part = "" if self.fraction == 1 else f" in a random {self.fraction:g} of level 0"
        lines = [f"levels {levels} were computed again from level 0{part}"]
        if self.unchecked:
            lines.append(f"levels {', '.join(map(str, self.unchecked))} were not checked")
        if not self.problems:
            return "\n".join([*lines, "no chunk differs"])
        rows = [
            (str(p.level), str(p.chunk), p.problem, "repaired" if p.repaired else "not repaired") for p in self.problems
        ]
        return "\n".join([*lines, format_table(("level", "chunk", "problem", ""), rows)])


def verify_pyramid(
    target: Any,
    *,
    fraction: float = 1.0,
    seed: int = 0,
    repair: bool = False,
    memory_limit: int | str | None = None,
    scratch: Any = None,
    progress: Progress = False,
) -> Verification:
    """Compute the levels of a pyramid again from its level 0, and report the chunks that differ or cannot be read.

    Parameters
    ----------
    target : path, URL, zarr store, zarr.Group or Pyramid
        A pyramid that `build_pyramid` has finished.
    fraction : float
        How much of level 0 is read, in pieces that are chosen at random, at least one. Below 1 the levels that later
        stages make (see the plan) are not checked, because they need all of level 0.
    seed : int
        Of the random choice.
    repair : bool
        Write chunks anew that differ or cannot be read. Chunks of level 0 that cannot be read stay as they are, and
        with a ``fraction`` below 1 shards that cannot be read, of which only some chunks are computed.
    memory_limit : int or str, optional
        As for `build_pyramid`.
    scratch : path, URL or zarr store, optional
        A new or empty place for what is carried between stages, which all workers can see; an empty group is left
        there. Default: a temporary folder.
    progress : bool or callable
        As for `build_pyramid`.

    Returns
    -------
    Verification
        False in a condition if anything is wrong that was not repaired.

    Raises
    ------
    SourceNotFoundError
        If nothing is there, or a level is missing.
    ArgumentError
        If an argument is malformed, or the metadata do not tell how the levels were made.
    PlanError
        If the memory limit is too small, with the least that would do.
    BuildError
        If a build has not been finished.

    Notes
    -----
    A chunk of level 0 that is missing holds the fill value. If it has been lost, the levels above it differ, and
    ``repair`` would make them fit what is left: look at the report before.

    Voxels are compared as numbers: all NaN are equal, and so are 0.0 and -0.0.

    Examples
    --------
    >>> import numpy as np, zarr
    >>> import chunkpyramid as cp
    >>> store = zarr.storage.MemoryStore()
    >>> pyramid = cp.build_pyramid(np.arange(64 * 64, dtype=np.uint16).reshape(64, 64), store, levels=2, chunks=16)
    >>> cp.verify_pyramid(store).ok
    True
    >>> pyramid.levels[1][20, 3] = 0
    >>> print(cp.verify_pyramid(store, repair=True))
    levels 1, 2 were computed again from level 0
    level  chunk   problem
    1      (1, 0)  differs  repaired
    """
    check_progress(progress)
    if isinstance(fraction, bool) or not isinstance(fraction, int | float | np.number) or not 0 < fraction <= 1:
        raise ArgumentError(f"fraction must be a number above 0 and at most 1, but {fraction!r} was given")
    whole_number(seed, "seed", least=0)
    if not isinstance(repair, bool | np.bool_):
        raise ArgumentError(f"repair must be True or False, but {repair!r} was given")
    pyramid = pyramid_at(target, "r+" if repair else "r")
    journal = Journal.find(pyramid.group)
    if journal is not None:
        check_region(journal, None, pyramid.group)
    with ExitStack() as stack:
        run = None
        if repair:
            check_deletes(pyramid.group.store)
            run = begin_run(pyramid.group.store, pyramid.group.path, alone=True, where=str(pyramid.group))
            stack.enter_context(run.living())
            pyramid = pyramid_at(Pyramid(group_of(run, pyramid.group.metadata.zarr_format), pyramid.multiscale))
            # another process may have been here since
            journal = Journal.find(pyramid.group)
            if journal is not None:
                check_region(journal, None, pyramid.group)
        existing = plan_existing(pyramid, memory_limit)
        group = stack.enter_context(_scratch_group(scratch, pyramid.group.metadata.zarr_format))
        found = _verify(existing, group, run, float(fraction), int(seed), bool(repair), progress)
        if run is not None:
            run.finish()
        return found


@contextmanager
def _scratch_group(scratch: Any, zarr_format: int) -> Iterator[zarr.Group]:
    """Yield an empty group for what is carried, by default in a temporary folder; in the end it is empty again."""
    if scratch is None:
        with tempfile.TemporaryDirectory(prefix="chunkpyramid-") as folder:
            yield empty_group(folder, zarr_format)
        return
    try:
        group = existing_group(scratch)
    except ChunkPyramidError as error:
        raise ArgumentError(f"scratch must be an empty place, or a new one, but {scratch!r} is not: {error}") from error
    if group is None:
        group = empty_group(scratch, zarr_format)
    elif entries(group) or group.attrs.asdict():
        raise ArgumentError(
            f"scratch must be an empty place, or a new one, but {scratch!r} is not: it has "
            f"{entries(group) or 'attributes'}"
        )
    try:
        yield group
    finally:
        Journal.remove(group)


def _verify(
    existing: Existing,
    scratch: zarr.Group,
    run: Run | None,
    fraction: float,
    seed: int,
    repair: bool,
    progress: Progress,
) -> Verification:
    plan, pyramid = existing.plan, existing.pyramid
    journal = Journal.create(scratch, run, {})
    create_carry(journal.scratch, plan.stages, plan.levels, existing.reduction)
    copies = _copies(existing, journal.scratch)
    # later stages need all of what earlier ones read
    stages = plan.stages if fraction == 1 else plan.stages[:1]
    work = Work(
        replace(plan, stages=stages if len(plan.levels) > 1 else ()),
        existing.reduction,
        pyramid.levels[0],
        dict(enumerate(pyramid.levels)),
        journal,
        skips_blank=False,
        present=presences(pyramid.levels[:1]),
        task=partial(VerifyTask, fraction=fraction, seed=seed, repair=repair, copies=copies, findings=journal.scratch),
    )
    problems: list[ChunkProblem] = []
    checked: list[int] = []
    for stage in work.run_stages(progress):
        problems += _read_findings(journal.scratch, stage.index)
        checked += [output.level for output in stage.outputs if not output.is_carry]
        if any(problem.level == 0 for problem in problems):
            break
    unchecked = tuple(level.index for level in plan.levels[1:] if level.index not in checked)
    return Verification(tuple(sorted(set(problems))), tuple(checked), unchecked, fraction)


def _copies(existing: Existing, scratch: zarr.Group) -> dict[int, zarr.Array[Any]]:
    """Create arrays for the levels that stages begin with: what they read must not be what may be wrong."""
    levels = [existing.plan.levels[stage.source_level] for stage in existing.plan.stages if stage.reads == "level"]
    dtype = existing.reduction.dtype
    compressors = default_compressors(dtype, scratch.metadata.zarr_format, labels=True)
    return {
        level.index: create_level(
            scratch, f"level/{level.index}", level.shape, dtype, chunks=level.chunks, compressors=compressors
        )
        for level in levels
    }


def _read_findings(scratch: zarr.Group, stage: int) -> list[ChunkProblem]:
    folder = f"{scratch.path}/findings/{stage}".lstrip("/")
    problems: list[ChunkProblem] = []
    for name in sorted(names(scratch.store, folder)):
        data, *_ = fetch(scratch.store, [(f"{folder}/{name}", None)])
        if data is None or isinstance(data, Exception):
            raise BuildError(f"what was found in block {name} of stage {stage} cannot be read: {data}")
        problems += [
            ChunkProblem(level, tuple(chunk), problem, repaired)
            for level, chunk, problem, repaired in json.loads(bytes(data))
        ]
    return problems


@dataclass(frozen=True, kw_only=True)
class VerifyTask(BlockTask):
    """A task that compares instead of writing.

    ``copies`` are arrays for the levels that later stages read, and ``findings`` the group in which each block leaves
    a list of what it found.
    """

    fraction: float
    seed: int
    repair: bool
    copies: Mapping[int, zarr.Array[Any]]
    findings: zarr.Group
    # what is found in the block that is walked; every block has a task of its own
    found: list[ChunkProblem] = field(default_factory=list)

    advice: ClassVar[str] = "run verify_pyramid again"

    def run(self, index: Shape, values: npt.NDArray[Any] | None, *, again: bool) -> None:
        task = replace(self, found=[])
        super(VerifyTask, task).run(index, values, again=again)

    def pieces(self, index: Shape, pieces: Sequence[Box]) -> Sequence[Box]:
        if self.fraction == 1:
            return pieces
        chosen = np.random.default_rng([self.seed, *index]).random(len(pieces))
        # at least one of all: in a block that is chosen at random too
        sure = tuple(np.random.default_rng(self.seed).integers(self.stage.grid).tolist())
        least = chosen.min() if index == sure else -1.0
        return [piece for piece, at in zip(pieces, chosen, strict=True) if at < self.fraction or at == least]

    def open_units(self, level: int, *, again: bool) -> WriteUnits:
        copy = self.copies.get(level)
        return CheckedUnits(self.arrays[level], level, self.found, repair=self.repair, copy=copy)

    def finish(self, index: Shape, units: Mapping[int, WriteUnits], carry: CarryWriter | None) -> None:
        for unit in units.values():
            unit.flush()
        if self.found:
            described = [(p.level, p.chunk, p.problem, p.repaired) for p in self.found]
            name = ".".join(map(str, index))
            key = f"{self.findings.path}/findings/{self.stage.index}/{name}".lstrip("/")
            put(self.findings.store, [(key, json.dumps(described).encode())])

    def _reader(
        self,
        reduction: Reduction,
        start: Shape,
        values: npt.NDArray[Any] | None,
        units: Mapping[int, WriteUnits],
    ) -> Callable[[Box], npt.NDArray[Any] | State | None]:
        source = self.copies.get(self.stage.source_level, self.source)
        read = super(VerifyTask, replace(self, source=source))._reader(reduction, start, values, units)

        def read_or_report(piece: Box) -> Any:
            try:
                return read(piece)
            except BuildError:
                bad = self._unreadable(piece)
                if not bad:
                    raise
                self.found.extend(bad)
                return None

        return read_or_report if self.stage.source_level == 0 else read

    def _unreadable(self, piece: Box) -> list[ChunkProblem]:
        """Return the chunks of level 0 under a piece that cannot be read."""
        array = self.source
        if array is None:
            return []
        reader = ChunkReader(chunked(array))
        bad = []
        for chunk in tile(piece, reader.array.chunks):
            try:
                reader.read(chunk.clip(reader.array.shape))
            except ChunkError:
                bad.append(ChunkProblem(0, _index(chunk.start, reader.array.chunks), "unreadable"))
        return bad


class CheckedUnits(PartialUnits):
    """Compares what pieces deliver for one array with what it holds, chunk by chunk; ``repair`` writes what differs."""

    def __init__(
        self,
        array: zarr.Array[Any],
        level: int,
        found: list[ChunkProblem],
        *,
        repair: bool,
        copy: zarr.Array[Any] | None,
    ):
        super().__init__(ChunkWriter(chunked(array), replaces=True))
        self.level = level
        self.found = found
        self.repair = repair
        self.copy = None if copy is None else WriteUnits(ChunkWriter(chunked(copy)))

    def put(self, box: Box, values: npt.NDArray[Any] | None) -> None:
        super().put(box, values)
        if self.copy is not None:
            self.copy.put(box, values)

    def _give_up(self, start: Shape, error: ChunkError) -> None:
        del self.open[start]
        self.found.append(ChunkProblem(self.level, _index(start, self.reader.array.chunks), "unreadable"))

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
                if _index(first, unit) == _index(start, unit):
                    self.found[at] = replace(problem, repaired=False)

    def _hand_on(self, box: Box, values: npt.NDArray[Any] | None) -> None:
        if values is None:
            values = np.zeros(box.shape, dtype=self.array.dtype)
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
                    ChunkProblem(self.level, _index(cell.start, self.reader.array.chunks), problem, self.repair)
                )


def _index(start: Shape, chunks: Shape) -> Shape:
    """Return the index of the chunk that begins at a voxel."""
    return tuple(a // c for a, c in zip(start, chunks, strict=True))


def _equal(first: npt.NDArray[Any], second: npt.NDArray[Any]) -> bool:
    return np.array_equal(first, second, equal_nan=first.dtype.kind in "fcmM")
