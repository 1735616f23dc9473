"""Builds that fail or are interrupted on every scheduler: nothing is written after that."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest
import test_schedulers
from test_schedulers import source as source  # the fixture

OTHERS = [name for name in test_schedulers.SCHEDULERS if name not in ("threads", "distributed")]


@pytest.mark.filterwarnings("ignore:coroutine", "ignore::pytest.PytestUnraisableExceptionWarning")
@pytest.mark.parametrize("name", OTHERS)
def test_nothing_is_written_on_other_schedulers(name: str, source: Path, tmp_path: Path) -> None:
    test_schedulers.test_nothing_is_written_after_a_build_has_failed(name, source, tmp_path)


# a build in slow motion, which is interrupted as by Ctrl-C when its first chunk is there, and whether it writes
# anything after that
INTERRUPTED = """
import _thread, sys, threading, time
from pathlib import Path
import chunkpyramid as cp
from test_schedulers import OPTIONS, SlowStore, scheduler, times
from zarr.storage import LocalStore

source, target, name = sys.argv[1:]

def interrupt():
    while not any(path.is_file() for path in Path(target, "0", "c").rglob("*")):
        time.sleep(0.05)
    _thread.interrupt_main()

with scheduler(name):
    threading.Thread(target=interrupt, daemon=True).start()
    try:
        cp.build_pyramid(source, SlowStore(LocalStore(target), fails=False), **OPTIONS)
    except KeyboardInterrupt:
        before = times(Path(target))
        time.sleep(2)
        print("interrupted", times(Path(target)) == before, any("/0/c/" in path for path in before))
"""


@pytest.mark.parametrize("name", ["threads", "pool", "distributed"])
def test_nothing_is_written_after_an_interrupt(name: str, source: Path, tmp_path: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-c", INTERRUPTED, str(source), str(tmp_path / "target.zarr"), name],
        capture_output=True,
        text=True,
        check=False,
        env=os.environ | {"PYTHONPATH": os.pathsep.join([str(Path(__file__).parents[1]), *sys.path])},
    )
    assert done.stdout.strip() == "interrupted True True", done.stderr
