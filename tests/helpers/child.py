"""Processes of their own in which tests run programs, most of them to be killed.

An interpreter takes more than a second to import the package, a hundred times as long as many a test takes otherwise.
So these are forked from a server that has imported it and does nothing else.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from multiprocessing import forkserver, get_context
from multiprocessing.reduction import DupFd
from multiprocessing.util import get_temp_dir
from pathlib import Path
from tempfile import TemporaryDirectory
from threading import Timer
from types import ModuleType
from typing import Any, TextIO

import dask

__all__ = ["Child", "Ended", "run", "set_up_workers", "start_server", "started"]

CONTEXT = get_context("forkserver")
# with what the package itself imports only when there is something to do
PRELOADED = ["chunkpyramid", "chunkpyramid.cli.main", "chunkpyramid.engine.scheduler", "yaozarrs", "distributed"]
SECONDS_UNTIL_KILLED = 300


@dataclass(frozen=True)
class Ended:
    """How a process has ended, by the names of `subprocess`, and what it had to say."""

    returncode: int
    stdout: str
    stderr: str


class Child:
    """A process that runs a program; its standard input and output are those of ``subprocess.Popen``."""

    def __init__(self, program: str, arguments: tuple[str, ...], folder: Path | None, errors: Path):
        start_server()
        its_input, ours = os.pipe()
        output, its_output = os.pipe()
        self.stdin: TextIO = os.fdopen(ours, "w")
        self.stdout: TextIO = os.fdopen(output)
        self.errors = errors
        self.process = CONTEXT.Process(
            target=run_here,
            args=(program, arguments, str(folder or Path.cwd()), Duplicate(its_input), Duplicate(its_output), errors),
        )
        self.process.start()
        for descriptor in (its_input, its_output):
            os.close(descriptor)

    @property
    def pid(self) -> int:
        pid = self.process.pid
        assert pid is not None
        return pid

    @property
    def has_ended(self) -> bool:
        return self.process.exitcode is not None

    def kill(self) -> None:
        self.process.kill()

    def end(self, last_words: str = "") -> Ended:
        """Say something and wait until the process has ended, which is killed if that takes too long."""
        timer = Timer(SECONDS_UNTIL_KILLED, self.kill)
        timer.start()
        with suppress(BrokenPipeError), self.stdin:
            self.stdin.write(last_words)
        with self.stdout:
            said = self.stdout.read()
        self.process.join()
        timer.cancel()
        timer.join()
        returncode = self.process.exitcode
        assert returncode is not None
        self.process.close()
        return Ended(returncode, said, self.errors.read_text() if self.errors.exists() else "")


class Duplicate:
    """A file descriptor that the process has too, under another number."""

    def __init__(self, descriptor: int):
        self.descriptor = descriptor

    def __reduce__(self) -> Any:
        return detached, (DupFd(self.descriptor),)


def detached(duplicate: Any) -> int:
    descriptor: int = duplicate.detach()
    return descriptor


def start_server() -> None:
    """Have the server run with what it is to import, before distributed gives it another list."""
    CONTEXT.set_forkserver_preload(PRELOADED)
    forkserver.ensure_running()


def set_up_workers(method: str = "forkserver") -> Any:
    """Have the workers of Dask and of distributed start so: forked from the server, or ``spawn`` as by default.

    Returns a context at whose end they start as before.
    """
    # where the server is spoken to, and not below the folder that a test may take for that of temporary files
    get_temp_dir()
    CONTEXT.set_forkserver_preload(PRELOADED)
    return dask.config.set({"multiprocessing.context": method, "distributed.worker.multiprocessing-method": method})


@contextmanager
def started(program: str, *arguments: str, folder: Path | None = None) -> Iterator[Child]:
    """Run a program in a process of its own, in a folder; its ``sys.argv[1:]`` are the arguments.

    The process is killed if it has not ended in the end.
    """
    with TemporaryDirectory() as errors:
        child = Child(program, arguments, folder, Path(errors) / "errors")
        try:
            yield child
        finally:
            if not child.stdout.closed:
                child.kill()
                child.end()


def run(program: str, *arguments: str, folder: Path | None = None) -> Ended:
    """Run a program in a process of its own, in a folder, until it has ended."""
    with started(program, *arguments, folder=folder) as child:
        return child.end()


def run_here(program: str, arguments: tuple[str, ...], folder: str, its_input: int, output: int, errors: Path) -> None:
    said = os.open(errors, os.O_WRONLY | os.O_CREAT | os.O_APPEND)
    for descriptor, standard in ((its_input, 0), (output, 1), (said, 2)):
        os.dup2(descriptor, standard)
        os.close(descriptor)
    sys.stdin = os.fdopen(0, closefd=False)
    sys.argv = ["-c", *arguments]
    os.chdir(folder)
    # where functions that are sent to other processes are looked for
    sys.modules["__main__"] = main = ModuleType("__main__")
    exec(compile(program, "<program>", "exec"), vars(main))
