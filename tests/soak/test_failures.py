"""Builds that cannot go on say where, keep what is done, and end as if nothing had been when the fault is mended."""

from __future__ import annotations

import errno
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import dask
import numpy as np
import pytest
import zarr
from zarr.storage import LocalStore, MemoryStore, WrapperStore

import chunkpyramid as cp

SHAPE = (33, 40, 37)
VOXELS = np.random.default_rng(0).integers(0, 60000, SHAPE, dtype=np.uint16)
OPTIONS: dict[str, Any] = {"method": "mean", "levels": 3, "chunks": 8}


@pytest.fixture(autouse=True)
def many_blocks_and_stages() -> Iterator[None]:
    with dask.config.set(scheduler="threads", num_workers=16):
        yield


def contents(root: Path) -> dict[str, bytes]:
    """All files by their path below the root."""
    return {str(path.relative_to(root)): path.read_bytes() for path in sorted(root.rglob("*")) if path.is_file()}


def voxels_of(pyramid: cp.Pyramid) -> list[bytes]:
    return [level[...].tobytes() for level in pyramid.levels]


def done_at_first(source: Any, target: Any, options: dict[str, Any]) -> int:
    """Finish a build, and return how many blocks were done when it began."""
    calls: list[tuple[int, int]] = []
    cp.build_pyramid(source, target, progress=lambda *call: calls.append(call), **options)
    assert calls[-1][0] == calls[-1][1]
    # without blocks that are done, the first call is of the first block
    return calls[0][0]


def empty(path: Path) -> None:
    path.write_bytes(b"")


def truncated(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:-5])


def noise(path: Path) -> None:
    path.write_bytes(np.random.default_rng(1).bytes(path.stat().st_size))


def a_folder(path: Path) -> None:
    path.unlink()
    path.mkdir()


def a_link_to_itself(path: Path) -> None:
    path.unlink()
    path.symlink_to(path)


def mend(path: Path, data: bytes) -> None:
    path.rmdir() if path.is_dir() else path.unlink(missing_ok=True)
    path.write_bytes(data)


SOURCES: dict[str, tuple[dict[str, Any], str, str]] = {
    "v3": ({"chunks": (8, 8, 8)}, "c/3/4/2", r"\(3, 4, 2\)"),
    "v2": ({"chunks": (8, 8, 8), "zarr_format": 2}, "3.4.2", r"\(3, 4, 2\)"),
    "sharded": ({"chunks": (4, 8, 8), "shards": (8, 8, 16)}, "c/3/4/1", r"\([67], 4, [23]\)"),
    "as the target": ({"chunks": (8, 8, 8), "compressors": "target"}, "c/3/4/2", r"\(3, 4, 2\)"),
}


@pytest.mark.parametrize("damage", [empty, truncated, noise, a_folder, a_link_to_itself])
@pytest.mark.parametrize("kind", SOURCES.values(), ids=SOURCES)
def test_an_unreadable_source_chunk_stops_the_build_until_it_is_mended(
    tmp_path: Path, kind: Any, damage: Callable[[Path], None]
) -> None:
    form, key, index = kind
    source, target = tmp_path / "source.zarr", tmp_path / "target.zarr"
    if form.get("compressors") == "target":
        like = cp.build_pyramid(VOXELS[:8], MemoryStore(), **OPTIONS).levels[0]
        form = form | {"compressors": like.compressors}
    zarr.create_array(source, data=VOXELS, **form)
    cp.build_pyramid(source, tmp_path / "whole.zarr", **OPTIONS)
    good = (source / key).read_bytes()
    damage(source / key)
    with pytest.raises(cp.BuildError) as error:
        cp.build_pyramid(source, target, **OPTIONS)
    for told in (
        r"^block \(\d+, \d+, \d+\) of the stage that makes levels 0 to \d failed: ",
        r"reading level 0 from \(\d+, \d+, \d+\) to \(\d+, \d+, \d+\) failed: ",
        rf"chunk {index} of file://.*source.zarr cannot be read: \w+: .*; what is done so far is kept",
    ):
        assert error.match(told)
    with pytest.raises(cp.BuildError, match="has not been finished"):
        cp.open_pyramid(target)
    with pytest.raises(cp.BuildError, match="cannot be read"):
        cp.build_pyramid(source, target, **OPTIONS)
    mend(source / key, good)
    assert done_at_first(source, target, OPTIONS) > 1
    assert contents(target) == contents(tmp_path / "whole.zarr")


@pytest.mark.parametrize("shards", [None, (8, 8, 16)])
def test_missing_source_chunks_hold_the_fill_value(tmp_path: Path, shards: Any) -> None:
    source = tmp_path / "source.zarr"
    zarr.create_array(source, data=VOXELS, chunks=(8, 8, 8), shards=shards, fill_value=9)
    (source / "c/1/1/1").unlink()
    voxels = VOXELS.copy()
    voxels[8:16, 8:16, 8 * (2 if shards else 1) : (32 if shards else 16)] = 9
    found = cp.build_pyramid(source, MemoryStore(), **OPTIONS)
    assert voxels_of(found) == voxels_of(cp.build_pyramid(voxels, MemoryStore(), **OPTIONS))


class Faulty(WrapperStore[Any]):
    """A store that fails when an operation on a key that ends in this comes for the n-th time, and from then on.

    ``mended`` makes it sound again.
    """

    def __init__(self, store: Any, operation: str, key: str, after: int = 0, error: Any = None, state: Any = None):
        super().__init__(store)
        self.fault = operation, key, after, error or ConnectionResetError("the connection was lost")
        self.state: dict[str, Any] = {"count": 0, "mended": False} if state is None else state

    def _with_store(self, store: Any) -> Faulty:
        return Faulty(store, *self.fault, self.state)

    def _pass(self, operation: str, key: str) -> None:
        kind, end, after, error = self.fault
        if operation == kind and key.endswith(end) and not self.state["mended"]:
            self.state["count"] += 1
            if self.state["count"] > after:
                raise error

    async def get(self, key: str, prototype: Any, byte_range: Any = None) -> Any:
        self._pass("get", key)
        return await super().get(key, prototype, byte_range)

    async def set(self, key: str, value: Any) -> None:
        self._pass("set", key)
        await super().set(key, value)


FULL = OSError(errno.ENOSPC, "No space left on device")
# operation, key, after how many times, and what is told of it
FAULTS: dict[str, tuple[str, str, int, str]] = {
    "level 0": ("set", "0/c/2/3/1", 0, "writing level 0 from .* failed: writing (one of .*)?0/c/2/3/1"),
    "level 1": ("set", "1/c/1/2/1", 0, "writing level 1 from .* failed: writing (one of .*)?1/c/1/2/1"),
    "last level": ("set", "3/c/0/0/0", 0, "writing level 3 from .* failed: writing 3/c/0/0/0"),
    "carry": ("set", "sum/c/1/1/0", 0, "writing the carry of level 1 from .* failed: writing .*carry/1/sum/c/1/1/0"),
    "reading the carry": ("get", "sum/c/1/1/0", 0, r"chunk \(1, 1, 0\) of .*carry/1/sum cannot be read"),
    "flag begun": ("set", "2.1.1", 0, ""),
    "flag done": ("set", "2.1.1", 1, ""),
    "one of many chunks": ("set", "/1", 20, "writing (the carry of )?level . from .* failed: writing .*/1"),
}


@pytest.mark.parametrize("error", [None, FULL], ids=["connection", "disk full"])
@pytest.mark.parametrize("local", [True, False], ids=["folder", "memory"])
@pytest.mark.parametrize("fault", FAULTS.values(), ids=FAULTS)
def test_a_store_that_fails_stops_the_build_until_it_is_mended(
    tmp_path: Path, fault: Any, local: bool, error: Exception | None
) -> None:
    operation, key, after, told = fault
    inner: Any = LocalStore(tmp_path / "target.zarr") if local else MemoryStore()
    store = Faulty(inner, operation, key, after, error)
    for _ in range(2):
        with pytest.raises(cp.BuildError, match=rf"block \(\d, \d, \d\) of the stage .* failed: .*{told}") as raised:
            cp.build_pyramid(VOXELS, store, **OPTIONS)
        assert raised.match("No space left" if error else "ConnectionResetError: the connection was lost")
        assert raised.match("what is done so far is kept: run the same build again to resume")
        with pytest.raises(cp.BuildError, match="has not been finished"):
            cp.open_pyramid(inner)
    store.state["mended"] = True
    assert done_at_first(VOXELS, store, OPTIONS) > 1 or key == "2.1.1"
    whole = cp.build_pyramid(VOXELS, tmp_path / "whole.zarr", **OPTIONS)
    assert voxels_of(cp.open_pyramid(inner)) == voxels_of(whole)
    if local:
        assert contents(tmp_path / "target.zarr") == contents(tmp_path / "whole.zarr")


@pytest.mark.parametrize("damage", [empty, truncated, noise, a_folder])
@pytest.mark.parametrize(("method", "level"), [("mean", 1), ("mode", 1), ("exact_mode", 2)])
def test_a_damaged_carry_is_not_taken_for_voxels(
    tmp_path: Path, method: str, level: int, damage: Callable[[Path], None]
) -> None:
    """Nor is a level that the next stage reads, if that is what it begins with."""
    options = OPTIONS | {"method": method}
    target = tmp_path / "target.zarr"
    source = zarr.create_array(tmp_path / "source.zarr", data=VOXELS // 9000, chunks=(8, 8, 8))
    with pytest.raises(cp.BuildError):
        cp.build_pyramid(source, Faulty(LocalStore(target), "set", f"{level + 1}/c/0/0/0"), **options)
    folder = target / f"{level}" if method == "mode" else target / f".chunkpyramid/carry/{level}"
    chunk = next(path for path in sorted(folder.rglob("c/**/0")) if path.is_file() and path.stat().st_size > 20)
    good = chunk.read_bytes()
    damage(chunk)
    with pytest.raises(cp.BuildError, match=rf"that makes levels {level} to \d failed: .*chunk \(0,.* cannot be read"):
        cp.build_pyramid(source, target, **options)
    mend(chunk, good)
    assert done_at_first(source, target, options) > 1
    cp.build_pyramid(source, tmp_path / "whole.zarr", **options)
    assert contents(target) == contents(tmp_path / "whole.zarr")


# what the child process runs: a build on a file system that takes no file larger than this
CHILD = """
import resource, sys
import chunkpyramid as cp

resource.setrlimit(resource.RLIMIT_FSIZE, (int(sys.argv[3]),) * 2)
try:
    cp.build_pyramid(sys.argv[1], sys.argv[2], **eval(sys.argv[4]))
except cp.BuildError as error:
    print(error)
    sys.exit(3)
"""


@pytest.mark.parametrize("options", [{"chunks": 16}, {"chunks": 8, "shards": 16}], ids=str)
def test_files_that_cannot_be_written_whole_are_not_left_behind(tmp_path: Path, options: dict[str, Any]) -> None:
    voxels = VOXELS.copy()
    voxels[:16] //= 20000
    source, target, whole = (tmp_path / name for name in ("source.zarr", "target.zarr", "whole.zarr"))
    zarr.create_array(source, data=voxels, chunks=(16, 16, 16))
    arguments = [str(source), str(target), "6000", repr(OPTIONS | options)]
    ran = subprocess.run([sys.executable, "-c", CHILD, *arguments], capture_output=True, text=True, check=False)
    assert ran.returncode == 3, ran.stderr
    assert "failed: writing 0/c/" in ran.stdout
    assert "OSError: [Errno 27]" in ran.stdout
    cp.build_pyramid(source, whole, **OPTIONS | options)
    for name, data in contents(target).items():
        if not name.startswith(".chunkpyramid") and not name.endswith("zarr.json"):
            assert data == (whole / name).read_bytes()
    cp.build_pyramid(source, target, **OPTIONS | options)
    assert contents(target) == contents(whole)
    shutil.rmtree(whole)
