"""The stages of a build, an update or a verification, one after the other: what their tasks read and write."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from typing import Any

import zarr

from chunkpyramid.engine.journal import Journal
from chunkpyramid.engine.memory import headroom
from chunkpyramid.engine.progress import progress_bar
from chunkpyramid.engine.task import BlockTask, home_of
from chunkpyramid.errors import ArgumentError
from chunkpyramid.pyramid.carry import Carry, carry_of
from chunkpyramid.pyramid.plan import PyramidPlan, Stage
from chunkpyramid.reductions.methods import Reduction
from chunkpyramid.storage.presence import Presence

__all__ = ["Progress", "Work", "check_progress"]

logger = logging.getLogger(__name__)

Progress = bool | Callable[[int, int], None]


@dataclass(frozen=True)
class Work:
    """A plan, and what it is about.

    ``source`` is what the first stage reads, a zarr, dask or NumPy array, and ``arrays`` the levels, by index.
    ``present`` are the arrays that the first stage reads in any way. ``task`` makes the task of a stage, from the
    arguments of `BlockTask`. With ``skips_blank`` the fill value is zero,
    and zeros need not be written.
    """

    plan: PyramidPlan
    reduction: Reduction
    source: Any
    arrays: Mapping[int, zarr.Array[Any]]
    journal: Journal
    skips_blank: bool
    present: tuple[Presence, ...] = ()
    task: Callable[..., BlockTask] = BlockTask

    def run(self, progress: Progress) -> None:
        """Run all stages."""
        for _ in self.run_stages(progress):
            pass

    def run_stages(self, progress: Progress) -> Iterator[Stage]:
        """Run the stages, and yield each when it is done."""
        # imported here, because dask takes longer to import than all the rest
        from chunkpyramid.engine.scheduler import run_stage

        run = self.journal.run
        alive = None if run is None else run.sign_of_life()
        tasks = [(stage, self._task(stage)) for stage in self.plan.stages]
        total = sum(task.blocks.size for _, task in tasks)
        with _callback(progress) as callback:
            finished = 0

            def report(blocks: int) -> None:
                nonlocal finished
                finished += blocks
                if alive is not None:
                    alive()
                if callback is not None and blocks:
                    callback(finished, total)

            for stage, task in tasks:
                logger.info("stage %d: %d blocks", stage.index, task.blocks.size)
                lazy = None if stage.index > 0 or isinstance(self.source, zarr.Array) else self.source
                run_stage(task, lazy, self.plan.threads, report)
                yield stage
        if run is not None:
            run.check()
        for array in self.present:
            array.check()

    def _task(self, stage: Stage) -> BlockTask:
        flags = self.journal.flags(stage.index, stage.grid)
        source = self.source if stage.index == 0 else self.arrays[stage.source_level]
        return self.task(
            stage=stage,
            levels=self.plan.levels,
            reduction=self.reduction,
            arrays={o.level: self.arrays[o.level] for o in stage.outputs if not o.is_carry},
            flags=flags,
            source=source if isinstance(source, zarr.Array) and stage.reads != "carry" else None,
            carry_in=self._carry(stage.source_level) if stage.reads == "carry" else None,
            carry_out=next((self._carry(o.level) for o in stage.outputs if o.is_carry), None),
            home=home_of(flags),
            headroom=headroom(stage.memory, stage.tasks, self.plan.threads, self.plan.memory_limit),
            skips_blank=self.skips_blank and self.reduction.keeps_blank,
            tried_by=self.journal.run,
            present=self.present if stage.index == 0 else (),
        )

    def _carry(self, level: int) -> Carry:
        levels = self.plan.levels
        return carry_of(self.journal.scratch, levels[level], levels[0].shape, self.reduction)


def check_progress(progress: Any) -> None:
    """Raise `ArgumentError` for a ``progress`` argument that is neither a bool nor a function."""
    if not isinstance(progress, bool) and not callable(progress):
        raise ArgumentError(f"progress must be True, False or callable, but {progress!r} was given")


def _callback(progress: Progress) -> AbstractContextManager[Callable[[int, int], None] | None]:
    if progress is True:
        return progress_bar()
    return nullcontext(progress or None)
