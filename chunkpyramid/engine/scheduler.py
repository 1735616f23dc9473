"""Running the stages: chunk-aligned ``map_blocks`` graphs, on whatever Dask scheduler is active."""

from __future__ import annotations

import concurrent.futures
import time
from collections.abc import Callable, Iterator
from concurrent.futures import Executor, Future, ProcessPoolExecutor, ThreadPoolExecutor
from contextlib import contextmanager
from contextvars import copy_context
from functools import partial
from multiprocessing.pool import Pool
from typing import Any
from uuid import uuid4

import dask
import dask.array as da
import dask.multiprocessing
import dask.threaded
import numpy as np
import numpy.typing as npt
from dask.callbacks import Callback
from dask.local import MultiprocessingPoolExecutor

from chunkpyramid.boxes import Box, Shape, multiply
from chunkpyramid.engine.flags import BlockSet
from chunkpyramid.engine.machine import Machine
from chunkpyramid.engine.process_memory import available_memory, measured_baseline
from chunkpyramid.engine.task import BlockTask
from chunkpyramid.errors import ArgumentError, BuildError
from chunkpyramid.internals import keys_of_worker, pool_size

__all__ = ["active_machine", "run_stage"]

# errors of Python's pools of processes and of distributed, which is not imported here
LOST_WORKERS = {"BrokenProcessPool", "KilledWorker"}


def active_machine(uncounted: int = 0) -> Machine:
    """Return what the Dask scheduler offers that ``compute`` would use now.

    What this process has, but for ``uncounted`` bytes of it, is beside the tasks if they run here.
    """
    get = _scheduler()
    client = _client(get)
    memory = available_memory()
    if client is not None:
        if client.asynchronous:
            raise _asynchronous()
        workers = client.scheduler_info(n_workers=-1)["workers"].values()
        threads = [worker["nthreads"] for worker in workers] or [1]
        limits = [worker["memory_limit"] for worker in workers if worker.get("memory_limit")] or [memory]
        return Machine("distributed", max(threads), sum(threads), min(limits))
    if get is dask.local.get_sync:
        return Machine("synchronous", 1, 1, memory, measured_baseline(uncounted))
    pool = _configured_pool()
    count = pool_size(pool) or dask.config.get("num_workers", None) or dask.system.CPU_COUNT
    if get is dask.multiprocessing.get or isinstance(pool, ProcessPoolExecutor):
        return Machine("processes", 1, count, memory // count)
    return Machine("threads", count, count, memory, measured_baseline(uncounted))


def run_stage(
    task: BlockTask, source: da.Array | npt.NDArray[Any] | None, threads: int, report: Callable[[int], None]
) -> None:
    """Run the task on every block of its stage that is not done.

    However it ends, no task of the stage is running any more.

    Parameters
    ----------
    task : BlockTask
        The task, with the flags that tell which blocks are done.
    source : dask array or ndarray, optional
        The array whose blocks the stage receives; None if the tasks read for themselves.
    threads : int
        How many tasks may run at once in a process.
    report : callable
        Called with numbers of blocks that have come to be done, or are found to be.

    Raises
    ------
    BuildError
        If a block fails, or what the tasks wrote cannot be found.
    """
    if isinstance(source, da.Array):
        source = _checked(source)
    with _workers(threads) as workers:
        for window in task.flags.windows():
            if not window.overlaps(task.to_run):
                continue
            window = window.intersect(task.to_run)
            done = task.flags.done(window)
            if done.any():
                report(int(np.count_nonzero(done)))
            if done.all():
                continue
            try:
                _compute(_graph(task, source, done, window), done, workers, report)
            except Exception as error:
                if not _is_lost_worker(error):
                    raise
                raise BuildError(
                    f"a process that ran blocks of {task.operation.name} has died, as when it takes more memory than "
                    "the system lets it have, or when a script that starts processes has no if __name__ == '__main__': "
                    f"{error}; {task.operation.advice}"
                ) from error
            lost = int(np.count_nonzero(~task.flags.done(window)))
            if lost:
                raise BuildError(
                    f"{lost} of {done.size} blocks ran, but what they wrote is not in the target: dask's workers write "
                    "elsewhere; give a target that all of them see under one name, such as a shared folder or a URL"
                )


def _is_lost_worker(error: Exception) -> bool:
    """Whether an error tells that a worker has died, and maybe those that were to replace it."""
    return any(kind.__name__ in LOST_WORKERS for kind in type(error).__mro__)


class Views:
    """A NumPy array of which Dask takes views: it would copy one that is all in one block."""

    def __init__(self, array: npt.NDArray[Any]):
        self.array = array
        self.shape, self.dtype, self.ndim = array.shape, array.dtype, array.ndim

    def __getitem__(self, region: Any) -> npt.NDArray[Any]:
        part: npt.NDArray[Any] = self.array[region]
        return part


def _checked(source: da.Array) -> da.Array:
    """Return a dask array whose blocks have the shapes that it declares, or else raise an error when they are made."""
    checked: da.Array = da.map_blocks(
        check_block,
        source,
        chunks=source.chunks,
        dtype=source.dtype,
        meta=np.empty((0,) * source.ndim, dtype=source.dtype),
        name=f"chunkpyramid-checked-{uuid4().hex}",
        declared=source.chunks,
    )
    return checked


def check_block(block: Any, *, block_id: Shape, declared: tuple[Shape, ...]) -> Any:
    """Return a block of a dask array, if it has the shape that the array declares."""
    expected = tuple(lengths[i] for lengths, i in zip(declared, block_id, strict=True))
    if np.shape(block) != expected:
        raise BuildError(
            f"block {tuple(map(int, block_id))} of the dask source has shape {np.shape(block)}, but the array declares "
            f"{expected} there: mend what makes it, or declare its shape as it is"
        )
    return block


def _graph(
    task: BlockTask, source: da.Array | npt.NDArray[Any] | None, done: npt.NDArray[np.bool_], window: Box
) -> da.Array:
    ndim = len(window.shape)
    options: dict[str, Any] = {
        "dtype": np.uint8,
        "meta": np.empty((0,) * ndim, dtype=np.uint8),
        # named here, because hashing the task and its arrays would take longer than many a build
        "name": f"chunkpyramid-stage-{task.stage.index}-{uuid4().hex}",
        "offset": window.start,
        "done": BlockSet.of(done),
        "interrupted": BlockSet.of(task.flags.begun(window) & ~done),
    }
    ones = tuple((1,) * n for n in window.shape)
    if source is None:
        return _lazy(task, chunks=ones, **options)
    start, stop = multiply(window.start, task.stage.block), multiply(window.stop, task.stage.block)
    region = source[Box(start, stop).clip(source.shape).slices]
    if not isinstance(region, da.Array):
        # a name of its own spares dask from hashing all of it
        name = f"chunkpyramid-memory-{uuid4().hex}"
        blocks = da.from_array(Views(region), chunks=task.stage.block, name=name, asarray=False)
        return _lazy(task, blocks, chunks=ones, **options)
    return _lazy(task, region.rechunk(task.stage.block), chunks=ones, **options)


def _lazy(task: BlockTask, *blocks: da.Array, **options: Any) -> da.Array:
    graph: da.Array = da.map_blocks(task, *blocks, **options)
    return graph


def _compute(
    graph: da.Array, done: npt.NDArray[np.bool_], workers: dict[str, Any], report: Callable[[int], None]
) -> None:
    def finished(key: Any) -> None:
        if isinstance(key, tuple) and key[0] == graph.name and not done[key[1:]]:
            report(1)

    client = _client(_scheduler())
    if client is not None:
        _compute_on(client, graph, finished)
        return
    with Callback(posttask=lambda key, *_: finished(key)):
        # unlike compute, persist does not put the results of all tasks together
        graph.persist(**workers)


def _compute_on(client: Any, graph: da.Array, report: Callable[[Any], None]) -> None:
    """Compute the graph with distributed; if that fails, cancel what waits and wait for what runs."""
    from distributed import as_completed, futures_of

    futures = futures_of(client.persist(graph))
    try:
        for future in as_completed(futures, loop=client.loop):
            future.result()
            report(future.key)
    except BaseException:
        client.cancel(futures)
        # the workers are told of it by and by, and cannot stop a thread
        time.sleep(0.1)
        while any(client.run(partial(_is_busy, graph.name), on_error="ignore").values()):
            time.sleep(0.1)
        raise


def _is_busy(name: str, dask_worker: Any) -> bool:
    """Whether a worker of distributed knows of any task of this name."""
    return any(isinstance(key, tuple) and key[0] == name for key in keys_of_worker(dask_worker))


class Workers(Executor):
    """A pool that Dask gives no more than so many tasks at once, and that knows which of them have not ended.

    Dask raises the error of the first task that fails, while others go on writing.
    """

    def __init__(self, pool: Executor, most: int):
        self._pool = pool
        # where Dask looks for how many tasks to submit at once
        self._max_workers = most
        self._submitted: set[Future[Any]] = set()

    def submit(self, function: Callable[..., Any], /, *args: Any, **options: Any) -> Future[Any]:
        future = self._pool.submit(function, *args, **options)
        self._submitted.add(future)
        future.add_done_callback(self._submitted.discard)
        return future

    def shutdown(self, wait: bool = True, *, cancel_futures: bool = False) -> None:
        """Wait for the tasks that run, and leave the pool as it is; it may be the user's own."""
        submitted = self._submitted.copy()
        # a multiprocessing.Pool can cancel nothing, but its futures say that they are cancelled
        if cancel_futures and not isinstance(self._pool, MultiprocessingPoolExecutor):
            for future in submitted:
                future.cancel()
        if wait:
            concurrent.futures.wait(submitted)


class ThreadsInContext(ThreadPoolExecutor):
    """Threads that see the context variables of the thread that submits, as those of Dask do."""

    def submit(self, function: Callable[..., Any], /, *args: Any, **options: Any) -> Future[Any]:
        return super().submit(copy_context().run, function, *args, **options)


@contextmanager
def _workers(threads: int) -> Iterator[dict[str, Any]]:
    """Yield what tells Dask which pool to use; in the end no task of it is running."""
    get, pool = _scheduler(), _configured_pool()
    is_scheduler = isinstance(dask.config.get("scheduler", None), Executor)
    if pool is None and get is dask.threaded.get:
        with ThreadsInContext(threads) as own, _waiting(Workers(own, threads)) as workers:
            yield {"pool": workers}
    elif pool is not None and (is_scheduler or get in (dask.threaded.get, dask.multiprocessing.get)):
        machine = active_machine()
        with _waiting(Workers(pool, threads if machine.scheduler == "threads" else machine.slots)) as workers:
            yield {"scheduler" if is_scheduler else "pool": workers}
    else:
        # one thread has ended when it fails, and Dask waits for processes that it has started itself
        yield {}


@contextmanager
def _waiting(workers: Workers) -> Iterator[Workers]:
    try:
        yield workers
    finally:
        workers.shutdown(cancel_futures=True)


def _configured_pool() -> Executor | None:
    """Return the pool that the user has told Dask to use, as ``pool`` or as ``scheduler``."""
    scheduler = dask.config.get("scheduler", None)
    pool = scheduler if isinstance(scheduler, Executor) else dask.config.get("pool", None)
    return MultiprocessingPoolExecutor(pool) if isinstance(pool, Pool) else pool


def _scheduler() -> Any:
    try:
        return dask.base.get_scheduler() or dask.threaded.get
    except RuntimeError as error:
        # so Dask tells of an asynchronous client
        raise _asynchronous() from error


def _asynchronous() -> ArgumentError:
    return ArgumentError(
        "the active Client of distributed is asynchronous, and a build waits for its tasks: make it with "
        "asynchronous=False, or run the build in a thread with a client of its own"
    )


def _client(get: Any) -> Any:
    """Return the distributed client whose ``get`` this is, or None."""
    owner = getattr(get, "__self__", None)
    return owner if owner is not None and hasattr(owner, "scheduler_info") else None
