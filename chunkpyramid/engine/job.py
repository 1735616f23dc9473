"""A job: its steps, one after the other."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from chunkpyramid.boxes import Shape
from chunkpyramid.engine.journal import Journal
from chunkpyramid.engine.operation import BlockOperation
from chunkpyramid.engine.progress import Progress, progress_callback
from chunkpyramid.engine.stage import Stage
from chunkpyramid.engine.task import BlockTask, home_of
from chunkpyramid.storage.presence import Presence

__all__ = ["Step", "run_steps"]

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class Step:
    """A stage, and what is done to its blocks.

    ``extent`` is the shape of what is read, ``present`` are the arrays that are read in any way, and ``source`` the
    dask or NumPy array whose blocks the stage receives, None if the operation has an input to read. When all blocks are
    done, the process that runs the job does what comes ``after``, with what it is to call every now and then meanwhile.
    """

    stage: Stage
    operation: BlockOperation
    extent: Shape
    present: tuple[Presence, ...] = ()
    source: Any = None
    after: Callable[[Callable[[], None]], None] | None = None


def run_steps(
    steps: Sequence[Step], journal: Journal, threads: int, progress: Progress, *, again: bool = False
) -> Iterator[int]:
    """Run the steps, and yield the index of each when it is done.

    Parameters
    ----------
    threads : int
        How many tasks may run at once in a process.
    again : bool
        Whether another try may have been killed while it wrote and has left no flags.
    """
    # imported here, because dask takes longer to import than all the rest
    from chunkpyramid.engine.scheduler import run_stage

    run = journal.run
    alive = None if run is None else run.sign_of_life()
    tasks = []
    for step in steps:
        flags = journal.flags(step.stage.index, step.stage.grid)
        tasks.append(
            BlockTask(step.stage, step.operation, step.extent, flags, home_of(flags), run, step.present, again)
        )
    total = sum(task.to_run.size for task in tasks)
    with progress_callback(progress) as callback:
        finished = 0

        def report(blocks: int) -> None:
            nonlocal finished
            finished += blocks
            if alive is not None:
                alive()
            if callback is not None and blocks:
                callback(finished, total)

        def go_on() -> None:
            if run is not None:
                run.check()
            report(0)

        for index, (step, task) in enumerate(zip(steps, tasks, strict=True)):
            logger.info("stage %d: %d blocks", step.stage.index, task.to_run.size)
            run_stage(task, step.source, threads, report)
            if step.after is not None:
                step.after(go_on)
            yield index
    if run is not None:
        run.check()
    for step in steps:
        for array in step.present:
            array.check()
