"""The ``progress`` argument: a bar on standard error, or a function of the user's."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from typing import Any

from chunkpyramid.errors import ArgumentError

__all__ = ["Progress", "check_progress", "progress_bar", "progress_callback"]

# a function takes the numbers of blocks done and of all blocks
Progress = bool | Callable[[int, int], None]


def check_progress(progress: Any) -> None:
    """Raise `ArgumentError` for a ``progress`` argument that is neither a bool nor a function."""
    if not isinstance(progress, bool) and not callable(progress):
        raise ArgumentError(f"progress must be True, False or callable, but {progress!r} was given")


def progress_callback(progress: Progress) -> AbstractContextManager[Callable[[int, int], None] | None]:
    """Return a context with what is to be called, or None."""
    if progress is True:
        return progress_bar()
    return nullcontext(progress or None)


@contextmanager
def progress_bar() -> Iterator[Callable[[int, int], None]]:
    """Yield a function of the numbers of blocks done and of all blocks, which draws a bar on standard error."""
    from rich import progress
    from rich.console import Console

    columns = (
        progress.TextColumn("blocks"),
        progress.BarColumn(),
        progress.MofNCompleteColumn(),
        progress.TimeRemainingColumn(),
    )
    with progress.Progress(*columns, console=Console(stderr=True)) as bar:
        line = bar.add_task("blocks", total=None)
        yield lambda done, total: bar.update(line, completed=done, total=total)
