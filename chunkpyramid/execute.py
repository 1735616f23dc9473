"""Running the stages: one chunk-aligned ``map_blocks`` graph each, on whatever Dask scheduler is active."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any
from uuid import uuid4

import dask
import dask.array as da
import dask.multiprocessing
import dask.threaded
import numpy as np
import numpy.typing as npt
from dask.callbacks import Callback

from chunkpyramid.block import BlockTask
from chunkpyramid.grid import Box, multiply, windows
from chunkpyramid.memory import available_memory

__all__ = ["Machine", "active_machine", "run_stage"]

# A graph of this many tasks takes tens of megabytes; larger grids run in several graphs.
MOST_TASKS_IN_A_GRAPH = 20_000

Progress = Callable[[int], None]


@dataclass(frozen=True, slots=True)
class Machine:
    """What the active Dask scheduler offers: tasks at once in one process and in all, and memory of a process."""

    scheduler: str
    threads: int
    slots: int
    memory: int


def active_machine() -> Machine:
    """Return what the Dask scheduler offers that ``compute`` would use now."""
    get = _scheduler()
    client = _client(get)
    memory = available_memory()
    if client is not None:
        workers = client.scheduler_info(n_workers=-1)["workers"].values()
        threads = [worker["nthreads"] for worker in workers] or [1]
        limits = [worker["memory_limit"] for worker in workers if worker.get("memory_limit")] or [memory]
        return Machine("distributed", max(threads), sum(threads), min(limits))
    if get is dask.local.get_sync:
        return Machine("synchronous", 1, 1, memory)
    pool = dask.config.get("pool", None)
    count = getattr(pool, "_max_workers", None) or dask.config.get("num_workers", None) or dask.system.CPU_COUNT
    if get is dask.multiprocessing.get:
        return Machine("processes", 1, count, memory // count)
    return Machine("threads", count, count, memory)


def run_stage(
    task: BlockTask,
    source: da.Array | None,
    done: npt.NDArray[np.bool_],
    threads: int,
    progress: Progress,
) -> None:
    """Run the task on every block of its stage that is not done.

    ``source`` is the dask array whose blocks the stage receives, None if the tasks read for themselves;
    ``threads`` is how many tasks may run at once in a process, and ``progress`` is called with 1 for every block that
    comes to be done.
    """
    for window in windows(task.stage.grid, MOST_TASKS_IN_A_GRAPH):
        here = done[window.slices]
        if not here.all():
            _compute(_graph(task, source, here, window), here, threads, progress)


def _graph(task: BlockTask, source: da.Array | None, done: npt.NDArray[np.bool_], window: Box) -> da.Array:
    ndim = len(window.shape)
    options: dict[str, Any] = {
        "dtype": np.uint8,
        "meta": np.empty((0,) * ndim, dtype=np.uint8),
        # named here, because hashing the task and its arrays would take longer than many a build
        "name": f"chunkpyramid-stage-{task.stage.index}-{uuid4().hex}",
        "offset": window.start,
        "done": done,
    }
    ones = tuple((1,) * n for n in window.shape)
    if source is None:
        return _lazy(task, chunks=ones, **options)
    start, stop = multiply(window.start, task.stage.block), multiply(window.stop, task.stage.block)
    region = source[Box(start, stop).clip(source.shape).slices]
    return _lazy(task, region.rechunk(task.stage.block), chunks=ones, **options)


def _lazy(task: BlockTask, *blocks: da.Array, **options: Any) -> da.Array:
    graph: da.Array = da.map_blocks(task, *blocks, **options)
    return graph


def _compute(graph: da.Array, done: npt.NDArray[np.bool_], threads: int, progress: Progress) -> None:
    def report(key: Any) -> None:
        if isinstance(key, tuple) and key[0] == graph.name and not done[key[1:]]:
            progress(1)

    get = _scheduler()
    if _client(get) is not None:
        from distributed import as_completed, futures_of

        for future in as_completed(futures_of(graph.persist())):
            future.result()
            report(future.key)
        return
    restricted = get is dask.threaded.get and dask.config.get("pool", None) is None
    with Callback(posttask=lambda key, *_: report(key)):
        graph.compute(**({"num_workers": threads} if restricted else {}))


def _scheduler() -> Any:
    return dask.base.get_scheduler() or dask.threaded.get


def _client(get: Any) -> Any:
    """Return the distributed client whose ``get`` this is, or None."""
    owner = getattr(get, "__self__", None)
    return owner if owner is not None and hasattr(owner, "scheduler_info") else None
