"""`verify_pyramid`: compute the levels again from level 0, compare, and mend what differs."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import zarr

from chunkpyramid.arguments import true_or_false, whole_number
from chunkpyramid.engine.job import run_steps
from chunkpyramid.engine.journal import Journal
from chunkpyramid.engine.progress import Progress, check_progress
from chunkpyramid.engine.runs import Run, begin_run, group_of
from chunkpyramid.errors import ArgumentError, ChunkPyramidError
from chunkpyramid.pyramid.carry import create_carry
from chunkpyramid.pyramid.compare import ChunkProblem, Compare, found_problems
from chunkpyramid.pyramid.fold import fold_steps
from chunkpyramid.pyramid.plan_again import Existing, plan_existing
from chunkpyramid.pyramid.pyramid import Pyramid, pyramid_at
from chunkpyramid.pyramid.unfinished import check_region
from chunkpyramid.storage.groups import empty_group, existing_group
from chunkpyramid.storage.locations import check_deletes
from chunkpyramid.storage.new_arrays import create_array, default_compressors
from chunkpyramid.storage.nodes import entries
from chunkpyramid.storage.presence import presences
from chunkpyramid.text import format_table

__all__ = ["ChunkProblem", "Verification", "verify_pyramid"]


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
    repair = true_or_false(repair, "repair")
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
        found = _verify(existing, group, run, float(fraction), int(seed), repair, progress)
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
    stages = stages if len(plan.levels) > 1 else ()
    steps = fold_steps(
        replace(plan, stages=stages),
        existing.reduction,
        pyramid.levels[0],
        dict(enumerate(pyramid.levels)),
        journal.scratch,
        present=presences(pyramid.levels[:1]),
        wrap=lambda fold: Compare(fold, fold.stage, copies, fraction, seed, repair),
    )
    problems: list[ChunkProblem] = []
    checked: list[int] = []
    for index in run_steps(steps, journal, plan.threads, progress):
        stage = stages[index]
        problems += found_problems(journal.flags(stage.index, stage.grid))
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
        level.index: create_array(
            scratch, f"level/{level.index}", level.shape, dtype, chunks=level.chunks, compressors=compressors
        )
        for level in levels
    }
