"""How much memory a process may use, which the system tells, and what a build takes, which measurement tells."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path

__all__ = [
    "BASELINE",
    "CHUNKS_IN_FLIGHT",
    "GRAPH_BYTES_PER_TASK",
    "KERNEL_BYTES",
    "RETAINED_COPIES",
    "ChunkAccess",
    "TaskMemory",
    "available_memory",
    "headroom",
    "most_encoded",
    "peak_memory",
    "process_peak",
]

MIB = 2**20

# Resident size of a process that has imported numpy, dask, zarr and xarray and written its first chunks,
# heap fragmentation included: 145 MiB were measured (CPython 3.11, zarr 3.1, glibc), the rest is margin.
BASELINE = 168 * MIB

# The compiled kernels hold parts of a piece that fit into the caches, and their sums.
KERNEL_BYTES = 4 * MIB

# Stores that answer late are asked for this many chunks at a time.
CHUNKS_IN_FLIGHT = 10

# The C library's allocator keeps freed memory of about this many chunks for each task: it has an arena per thread.
RETAINED_COPIES = 1

# Bytes per task of the graph that stay resident: key, dependencies and result.
GRAPH_BYTES_PER_TASK = 2048


@dataclass(frozen=True, slots=True)
class ChunkAccess:
    """What it takes to read or write chunks: how many encoded ones at once, and copies while one is coded."""

    at_once: int = 1
    copies: int = 0

    @property
    def copies_to_write(self) -> int:
        """How often the store copies what it is given: not at all, if it is a folder."""
        return 0 if self.at_once == 1 else 1

    def bytes_in_use(self, chunk_bytes: int, chunks: int, *, is_cut_out: bool) -> int:
        """Return the bytes that it takes to code so many chunks, beside the voxels themselves.

        A chunk that ``is_cut_out`` of a larger array is copied for its codec.
        """
        encoded = min(self.at_once, chunks) * (1 + self.copies_to_write) * most_encoded(chunk_bytes)
        return encoded + (self.copies + is_cut_out + RETAINED_COPIES) * chunk_bytes


@dataclass(frozen=True, slots=True)
class TaskMemory:
    """Projected bytes of one running task, by what they are spent on."""

    block: int
    piece: int
    states: int
    buffers: int
    codecs: int

    @property
    def total(self) -> int:
        return self.block + self.piece + self.states + self.buffers + self.codecs


def process_peak(memory: TaskMemory, tasks: int, threads: int) -> int:
    """Return the projected bytes of a process that runs a stage: no more tasks at once than there are."""
    return BASELINE + min(threads, tasks) * memory.total + tasks * GRAPH_BYTES_PER_TASK


def headroom(memory: TaskMemory, tasks: int, threads: int, memory_limit: int) -> float:
    """Return how many times as large as planned all states may be at once before a stage exceeds the limit."""
    room = memory_limit - process_peak(memory, tasks, threads)
    return 1 + max(0, room) / (min(threads, tasks) * memory.total)


def most_encoded(nbytes: int) -> int:
    """Return how many bytes a chunk takes at most when it is encoded: codecs add little to what does not compress."""
    return nbytes + nbytes // 64 + 1024


def _first_number(*paths: str) -> int | None:
    for path in paths:
        try:
            text = Path(path).read_text().strip()
        except OSError:
            continue
        if text.isdigit():
            return int(text)
    return None


def available_memory() -> int:
    """Return the bytes this process may use: the smallest of physical memory, container and address-space limit."""
    limits = [os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")]
    container = _first_number("/sys/fs/cgroup/memory.max", "/sys/fs/cgroup/memory/memory.limit_in_bytes")
    if container is not None:
        limits.append(container)
    try:
        import resource

        soft, _ = resource.getrlimit(resource.RLIMIT_AS)
        if soft != resource.RLIM_INFINITY:
            limits.append(soft)
    except ImportError:
        pass
    return min(limits)


def peak_memory() -> int | None:
    """Return the peak resident bytes of this process so far (VmHWM), or None where the system does not tell."""
    try:
        lines = Path("/proc/self/status").read_text().splitlines()
    except OSError:
        return None
    for line in lines:
        if line.startswith("VmHWM:"):
            return int(line.split()[1]) * 1024
    return None
