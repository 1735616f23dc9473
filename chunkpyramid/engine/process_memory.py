"""How much memory a process may use, which the system tells, and what it takes beside and with its tasks."""

from __future__ import annotations

import ctypes
import logging
import os
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path, PurePosixPath
from typing import TypeVar

from chunkpyramid.boxes import ceil_div
from chunkpyramid.engine.stage import TaskMemory
from chunkpyramid.errors import PlanError
from chunkpyramid.text import format_bytes

__all__ = [
    "BASELINE",
    "GRAPH_BYTES_PER_TASK",
    "MOST_TASKS_IN_A_GRAPH",
    "available_memory",
    "graph_bytes",
    "headroom",
    "keeping_to_limit",
    "measured_baseline",
    "peak_memory",
    "process_peak",
]

logger = logging.getLogger(__name__)

Planned = TypeVar("Planned")

MIB = 2**20

# What a process has at least when it has written its first chunks, heap fragmentation included: 146 MiB were measured
# (CPython 3.11, zarr 3.1, glibc), the rest is margin. It stands for workers, into whose processes nobody looks.
BASELINE = 168 * MIB

# What the first chunks add to what a process has when a job is planned: threads, tables of codecs, more of the
# libraries. 14 MiB were measured.
FIRST_CHUNKS = 16 * MIB

# What a process has is not told more exactly than this, so that plans do not change from one call to the next.
BASELINE_STEP = 16 * MIB

# A grid of more tasks runs in windows of as many, one graph each.
MOST_TASKS_IN_A_GRAPH = 10_000

# Bytes per task of the graph that stay resident: keys, dependencies, states of the scheduler and result. Measured were
# 3.2 kB, and 7.7 kB where the stage receives the blocks of a dask array, whose tasks are in the graph too.
GRAPH_BYTES_PER_TASK = 8192


def graph_bytes(tasks: int) -> int:
    """Return the projected bytes of the graphs of a stage, of which there is one at a time."""
    return min(tasks, MOST_TASKS_IN_A_GRAPH) * GRAPH_BYTES_PER_TASK


def process_peak(memory: TaskMemory, tasks: int, threads: int, baseline: int = BASELINE) -> int:
    """Return the projected bytes of a process that runs a stage: no more tasks at once than there are."""
    return baseline + min(threads, tasks) * memory.total + graph_bytes(tasks)


def headroom(memory: TaskMemory, tasks: int, threads: int, memory_limit: int, baseline: int = BASELINE) -> float:
    """Return how many times as large as planned all states may be at once before a stage exceeds the limit."""
    room = memory_limit - process_peak(memory, tasks, threads, baseline)
    return 1 + max(0, room) / (min(threads, tasks) * memory.total)


def measured_baseline(uncounted: int = 0) -> int:
    """Return what this process will have when it has written its first chunks, beside all tasks.

    Parameters
    ----------
    uncounted : int
        Bytes that it has and that no limit counts.

    Examples
    --------
    >>> measured_baseline() >= BASELINE
    True
    """
    _give_back_what_is_free()
    resident = max(0, (_status("VmRSS") or 0) - uncounted)
    if resident <= BASELINE:
        # jobs that have been run before leave memory that the next ones use again
        return BASELINE
    return ceil_div(resident + FIRST_CHUNKS, BASELINE_STEP) * BASELINE_STEP


def _give_back_what_is_free() -> None:
    """Return freed memory to the system where the C library can: the tasks would use it, so it is not taken."""
    with suppress(AttributeError, OSError):
        ctypes.CDLL(None).malloc_trim(0)


def keeping_to_limit(plan: Callable[[int], Planned], baseline: int) -> Planned:
    """Return a plan for a process that has ``baseline`` bytes; where no such plan keeps to the limit, for a new one.

    What a process has beyond that is data of its user's, of which a limit that is smaller cannot speak.

    Raises
    ------
    PlanError
        If not even a new process could keep to the limit.
    """
    try:
        return plan(baseline)
    except PlanError:
        if baseline == BASELINE:
            raise
    planned = plan(BASELINE)
    logger.warning(
        "this process has %s already, more than memory_limit leaves: its peak will be higher than planned by about %s; "
        "raise memory_limit, or run this in a process of its own",
        format_bytes(baseline),
        format_bytes(baseline - BASELINE),
    )
    return planned


def available_memory(cgroups: Path = Path("/sys/fs/cgroup"), membership: Path = Path("/proc/self/cgroup")) -> int:
    """Return the bytes this process may use: the smallest of physical memory, control groups and resource limits.

    Parameters
    ----------
    cgroups : Path
        Where the control groups are mounted.
    membership : Path
        The file that tells in which of them this process is.

    Examples
    --------
    >>> available_memory() > 2**20
    True
    """
    limits = [os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES"), *_cgroup_limits(cgroups, membership)]
    try:
        import resource
    except ImportError:
        return min(limits)
    for kind in (resource.RLIMIT_AS, resource.RLIMIT_DATA):
        soft, _ = resource.getrlimit(kind)
        if soft != resource.RLIM_INFINITY:
            limits.append(soft)
    return min(limits)


def _cgroup_limits(cgroups: Path, membership: Path) -> Iterator[int]:
    """Yield the memory limits of this process's control groups and of those that they are in."""
    unified, memory = "/", "/"
    try:
        lines = membership.read_text().splitlines()
    except OSError:
        lines = []
    for line in lines:
        _, controllers, path = line.split(":", 2)
        if not controllers:
            unified = path
        elif "memory" in controllers.split(","):
            memory = path
    # version 2 alone, version 2 beside version 1, version 1
    for mount, path, names in (
        (cgroups, unified, ("memory.max", "memory.high")),
        (cgroups / "unified", unified, ("memory.max", "memory.high")),
        (cgroups / "memory", memory, ("memory.limit_in_bytes",)),
    ):
        # in a container the path can be that of the host, while the mount shows the container's own group as its root;
        # and where the root of a namespace is below the process's group, the path leads up out of the mount
        folder = mount.joinpath(*(part for part in PurePosixPath(path).parts if part not in ("/", "..")))
        for group in (folder, *folder.parents):
            if group.is_relative_to(mount):
                for name in names:
                    yield from _number(group / name)


def _number(path: Path) -> Iterator[int]:
    """Yield the number in a file, if there is one: "max" is none."""
    try:
        text = path.read_text().strip()
    except OSError:
        return
    if text.isdigit():
        yield int(text)


def peak_memory() -> int | None:
    """Return the peak resident bytes of this process so far (VmHWM), or None where the system does not tell."""
    return _status("VmHWM")


def _status(name: str) -> int | None:
    """Return an entry of the status of this process in bytes, or None where the system does not tell."""
    try:
        lines = Path("/proc/self/status").read_text().splitlines()
    except OSError:
        return None
    return next((int(line.split()[1]) * 1024 for line in lines if line.startswith(f"{name}:")), None)
