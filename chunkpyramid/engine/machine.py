"""What the active Dask scheduler offers, and how much of its memory a user lets us take."""

from __future__ import annotations

from dataclasses import dataclass

from chunkpyramid.arguments import whole_number
from chunkpyramid.engine.process_memory import BASELINE
from chunkpyramid.errors import ArgumentError

__all__ = ["Machine", "memory_bytes"]


@dataclass(frozen=True, slots=True)
class Machine:
    """What the active Dask scheduler offers: tasks at once in one process and in all, and memory of a process.

    ``baseline`` is what such a process has beside all tasks.
    """

    scheduler: str
    threads: int
    slots: int
    memory: int
    baseline: int = BASELINE


def memory_bytes(memory_limit: int | str | None, machine: Machine) -> int:
    """Return the ``memory_limit`` argument in bytes, by default half of what a process may use."""
    from dask.utils import parse_bytes

    if memory_limit is None:
        return machine.memory // 2
    try:
        nbytes = (
            parse_bytes(memory_limit)
            if isinstance(memory_limit, str)
            else whole_number(memory_limit, "memory_limit", least=1)
        )
    except (ValueError, OverflowError) as error:
        raise ArgumentError(
            f"memory_limit must be a number of bytes or a string such as '2 GiB', but {memory_limit!r} was given"
        ) from error
    if nbytes < 1:
        raise ArgumentError(f"memory_limit must be at least 1 byte, but {memory_limit!r} was given")
    return int(nbytes)
