"""Two processes on one target: the newer one takes over, the older one says so, and what succeeds is right."""

from __future__ import annotations

import json
import logging
import os
import signal
import socket
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import zarr
from helpers.child import Child, started
from zarr.storage import LocalStore, MemoryStore, WrapperStore

import chunkpyramid as cp
from chunkpyramid.engine.runs import begin_run
from chunkpyramid.storage.owner import Owner
from chunkpyramid.storage.staging import StagedStore

VOLUME = np.random.default_rng(0).integers(1, 255, (32, 96, 96)).astype(np.uint8)
OPTIONS: dict[str, Any] = {"levels": 2, "chunks": 16}

# a build that stops in the middle of a block until it is told to go on, and tells what became of it
CHILD = """
import sys
import dask, numpy as np
import chunkpyramid as cp
from chunkpyramid.storage.write_units import WriteUnits

put, seen = WriteUnits.put, []

def slow(self, box, values):
    seen.append(box)
    if len(seen) == int(sys.argv[3]):
        print("waiting", flush=True)
        sys.stdin.readline()
    put(self, box, values)

WriteUnits.put = slow
with dask.config.set(scheduler="synchronous"):
    try:
        cp.build_pyramid(sys.argv[1], sys.argv[2], **eval(sys.argv[4]))
        print("ok", flush=True)
    except BaseException as error:
        print(type(error).__name__, error, flush=True)
"""


@pytest.fixture
def source(tmp_path: Path) -> Path:
    zarr.create_array(tmp_path / "source.zarr", data=VOLUME, chunks=(16, 16, 16))
    return tmp_path / "source.zarr"


@contextmanager
def waiting(source: Path, target: Path, at: int, **options: Any) -> Iterator[Child]:
    with started(CHILD, str(source), str(target), str(at), repr(OPTIONS | options)) as child:
        assert child.stdout.readline() == "waiting\n"
        yield child


def killed(source: Path, target: Path, at: int) -> None:
    with waiting(source, target, at) as child:
        child.kill()
        assert child.end().returncode == -signal.SIGKILL


def go_on(child: Child) -> str:
    return child.end("\n").stdout


def assert_right(target: Any, **options: Any) -> None:
    whole = cp.build_pyramid(VOLUME, MemoryStore(), **OPTIONS | options)
    for level, values in zip(cp.open_pyramid(target).levels, whole.levels, strict=True):
        np.testing.assert_array_equal(level[...], values[...])


def files(root: Path) -> set[str]:
    return {str(path.relative_to(root)) for path in root.rglob("*") if path.is_file()}


@pytest.mark.parametrize("at", [1, 5])
@pytest.mark.parametrize("options", [{}, {"method": "max", "overwrite": True, "chunks": 8}], ids=["same", "other"])
def test_the_newer_run_takes_over(at: int, options: dict[str, Any], source: Path, tmp_path: Path) -> None:
    target = tmp_path / "target.zarr"
    with waiting(source, target, at) as older:
        record = json.loads((target / ".chunkpyramid" / "run").read_bytes())
        assert (record["number"], record["host"], record["pid"]) == (1, socket.gethostname(), older.pid)
        with waiting(source, target, at + 3, **options) as newer:
            message = go_on(older)
            assert message.startswith("OvertakenError")
            assert f"run 2 of process {newer.pid} on {socket.gethostname()}, begun 20" in message
            assert go_on(newer) == "ok\n"
    assert_right(target, **{key: value for key, value in options.items() if key != "overwrite"})
    cp.build_pyramid(source, tmp_path / "whole.zarr", **OPTIONS | options)
    assert files(target) == files(tmp_path / "whole.zarr")


@pytest.mark.parametrize("at", [1, 5])
def test_what_an_older_run_has_in_hand_cannot_land_after_the_newer_has_finished(
    at: int, source: Path, tmp_path: Path
) -> None:
    target = tmp_path / "target.zarr"
    with waiting(source, target, at, method="min", chunks=8) as older:
        cp.build_pyramid(source, target, **OPTIONS, overwrite=True)
        before = {name: (target / name).read_bytes() for name in files(target)}
        message = go_on(older)
    assert message.startswith("OvertakenError")
    assert "has ended" in message
    assert {name: (target / name).read_bytes() for name in files(target)} == before
    assert_right(target)


def test_a_run_that_was_killed_is_taken_over_whatever_it_left(source: Path, tmp_path: Path) -> None:
    target = tmp_path / "target.zarr"
    for at in (1, 2, 4, 7):
        killed(source, target, at)
    cp.build_pyramid(source, target, **OPTIONS)
    assert_right(target)
    assert not [name for name in files(target) if "partial" in name or "chunkpyramid" in name]
    assert not (target / ".chunkpyramid").exists()


def test_an_update_is_overtaken_too(source: Path, tmp_path: Path) -> None:
    target = tmp_path / "target.zarr"
    pyramid = cp.build_pyramid(source, target, **OPTIONS)
    first = begin_run(LocalStore(target), "", alone=True, where="target")
    with first.living():
        first.check()
        cp.update_pyramid(target, np.s_[:8])
        with pytest.raises(cp.OvertakenError):
            first.check()
        with pytest.raises(cp.OvertakenError):
            first.store.put("1/c/0/0/0", b"late")
        with pytest.raises(cp.OvertakenError):
            first.store.remove("1/c/0/0/0")
    first = begin_run(LocalStore(target), "", alone=True, where="target")
    with first.living():
        assert cp.verify_pyramid(target, repair=True).ok
        with pytest.raises(cp.OvertakenError):
            first.check()
    assert_right(target)
    assert not (target / ".chunkpyramid").exists()
    assert pyramid.levels[1].shape == (16, 48, 48)


STORES: dict[str, Callable[[Path], Any]] = {
    "memory": lambda path: MemoryStore(),
    "wrapped": lambda path: WrapperStore(LocalStore(path / "wrapped.zarr")),
}


class Late(Exception):
    pass


@pytest.mark.parametrize("kind", STORES)
def test_in_other_stores_blocks_and_commit_look_for_newer_runs(kind: str, tmp_path: Path) -> None:
    store = STORES[kind](tmp_path)

    def interrupt(done: int, total: int) -> None:
        raise Late

    with pytest.raises(Late):
        cp.build_pyramid(VOLUME, store, progress=interrupt, **OPTIONS)
    first: list[int] = []

    def begin_another(done: int, total: int) -> None:
        # with all that is left to do in its hands
        if not first:
            first.append(done)
            cp.build_pyramid(VOLUME, store, **OPTIONS)

    with pytest.raises(cp.OvertakenError, match=r"another run has finished|newer run"):
        cp.build_pyramid(VOLUME, store, progress=begin_another, **OPTIONS)
    assert first
    assert_right(store)


@pytest.mark.parametrize("kind", STORES)
def test_in_other_stores_nothing_is_begun_anew_while_another_run_lives(kind: str, tmp_path: Path) -> None:
    store = STORES[kind](tmp_path)

    def begin_another(done: int, total: int) -> None:
        with pytest.raises(cp.TargetExistsError, match=f"process {os.getpid()} .*s after its last sign of life"):
            cp.build_pyramid(VOLUME, store, method="max", overwrite=True, **OPTIONS)

    cp.build_pyramid(VOLUME, store, progress=begin_another, **OPTIONS)
    assert_right(store)
    # one that has ended is in nobody's way
    cp.build_pyramid(VOLUME, store, method="max", overwrite=True, **OPTIONS)
    assert_right(store, method="max")


def test_flags_carry_the_number_of_their_run(source: Path, tmp_path: Path) -> None:
    target = tmp_path / "target.zarr"
    for at in (3, 5):
        killed(source, target, at)
    told = [json.loads(path.read_bytes()) for path in (target / ".chunkpyramid").glob("begun/*/*/*")]
    assert {entry["run"] for entry in told} <= {1, 2}
    assert 2 in {entry["run"] for entry in told}


@pytest.mark.parametrize("zarr_format", [2, 3])
def test_what_is_being_built_is_recorded_in_one_write(zarr_format: Any, source: Path) -> None:
    written = []

    class RecordingStore(MemoryStore):
        async def set(self, key: str, value: Any, byte_range: Any = None) -> None:
            if key in (".chunkpyramid/zarr.json", ".chunkpyramid/.zattrs"):
                document = json.loads(value.to_bytes())
                written.append(set(document.get("attributes", document)))
            await super().set(key, value, byte_range)

    cp.build_pyramid(source, RecordingStore(), levels=1, zarr_format=zarr_format)
    assert any("fingerprint" in names for names in written)
    # a run that is killed, or looked at, between two writes would be taken for one that can be resumed
    assert all(("fingerprint" in names) == ("blocks" in names) for names in written)


def test_the_owner_tells_the_job(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("SLURM_JOB_ID", "PBS_JOBID", "LSB_JOBID", "JOB_ID"):
        monkeypatch.delenv(name, raising=False)
    assert Owner.here(1).job is None
    monkeypatch.setenv("SLURM_JOB_ID", "4711")
    owner = Owner.here(3)
    assert Owner.read(owner.document()) == owner
    assert "run 3" in str(owner)
    assert "job 4711" in str(owner)
    assert not owner.is_dead
    assert Owner.read(b"{}") is Owner.read(b"\xff") is None
    child = subprocess.Popen([sys.executable, "-c", ""])
    child.wait()
    assert Owner(1, "t", socket.gethostname(), child.pid, None, 0.0).is_dead
    assert not Owner(1, "t", "elsewhere", child.pid, None, 0.0).is_dead


def test_a_finished_identical_build_returns_at_once(
    source: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    target = tmp_path / "target.zarr"
    cp.build_pyramid(source, target, **OPTIONS)
    before = {path: path.stat().st_mtime_ns for path in target.rglob("*")}
    with caplog.at_level(logging.WARNING, logger="chunkpyramid"):
        again = cp.build_pyramid(source, target, **OPTIONS)
    assert "nothing was done" in caplog.text
    assert again.plan is None
    assert again.multiscale.paths == ("0", "1", "2")
    assert {path: path.stat().st_mtime_ns for path in target.rglob("*")} == before
    other = zarr.create_array(tmp_path / "other.zarr", data=VOLUME, chunks=(16, 16, 16))
    for change in ({"method": "max"}, {"levels": 1}, {"voxel_size": 3}, {"name": "other"}, {"source": other}):
        changed = {"source": source, **OPTIONS, **change}
        with pytest.raises(cp.TargetExistsError):
            cp.build_pyramid(changed.pop("source"), target, **changed)
    (target / "1" / "zarr.json").unlink()
    with pytest.raises(cp.TargetExistsError):
        cp.build_pyramid(source, target, **OPTIONS)


def test_a_staged_store_is_a_store(tmp_path: Path) -> None:
    staging = tmp_path / "staging"
    staging.mkdir()
    store = StagedStore(tmp_path / "store", staging=staging)
    array = zarr.create_array(store, data=VOLUME, chunks=(16, 16, 16), name="a/b", overwrite=True)
    np.testing.assert_array_equal(zarr.open_array(LocalStore(tmp_path / "store"), path="a/b", mode="r")[...], VOLUME)
    array[:16] = 3
    assert (array[:16] == 3).all()
    group = zarr.open_group(store, mode="a")
    del group["a/b"]
    assert not (tmp_path / "store" / "a" / "b").exists()
    assert not list(staging.iterdir())
    staging.rmdir()
    with pytest.raises(cp.OvertakenError):
        group.create_array("c", shape=(3,), dtype="u1")
    with pytest.raises(cp.OvertakenError):
        del group["a"]
