"""Builds that die and go on, and what may be overwritten: nothing is done twice, and nothing is lost."""

from __future__ import annotations

import gc
import shutil
import signal
from collections.abc import Callable, Iterator
from functools import cache
from pathlib import Path
from typing import Any

import dask
import dask.array
import numpy as np
import pytest
import xarray as xr
import zarr
from fsspec.implementations.asyn_wrapper import AsyncFileSystemWrapper
from helpers.child import run
from zarr.storage import FsspecStore, LocalStore, MemoryStore, WrapperStore, ZipStore

import chunkpyramid as cp
from chunkpyramid.engine import scheduler
from chunkpyramid.engine.flags import Flags
from chunkpyramid.engine.journal import Journal
from chunkpyramid.engine.process_memory import BASELINE
from chunkpyramid.pyramid.plan import PyramidPlan, Stage

SHAPE = (33, 40, 37)
VOXELS = np.random.default_rng(0).integers(0, 60000, SHAPE, dtype=np.uint16)
OPTIONS: dict[str, Any] = {"method": "mean", "levels": 3, "chunks": 8}

# what the child process runs: a build that dies the moment so many blocks are done
CHILD = """
import os, signal, sys
import dask, zarr
import chunkpyramid as cp

source, target, at, how, options = sys.argv[1], sys.argv[2], int(sys.argv[3]), sys.argv[4], eval(sys.argv[5])

def die(done, total):
    if done >= at:
        os._exit(7) if how == "exit" else os.kill(os.getpid(), signal.SIGKILL)

with dask.config.set(scheduler="threads", num_workers=16):
    cp.build_pyramid(source, target or None, progress=die, **options)
"""


@pytest.fixture(autouse=True)
def many_blocks_and_stages() -> Iterator[None]:
    with dask.config.set(scheduler="threads", num_workers=16):
        yield


@pytest.fixture(scope="module")
def kept(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A source, and a target whose build died in the middle."""
    kept = tmp_path_factory.mktemp("kept")
    zarr.create_array(kept / "source.zarr", data=VOXELS, chunks=(8, 8, 8))
    killed(kept / "source.zarr", kept / "half.zarr", 20)
    return kept


@pytest.fixture
def source(kept: Path) -> Path:
    return kept / "source.zarr"


@pytest.fixture
def target(kept: Path, tmp_path: Path) -> Path:
    """A target whose build died in the middle."""
    shutil.copytree(kept / "half.zarr", tmp_path / "target.zarr")
    return tmp_path / "target.zarr"


def killed(source: Path, target: Path | None, at: int, how: str = "exit", **options: Any) -> None:
    """Run a build in a process of its own, which dies after ``at`` blocks."""
    arguments = [str(source), str(target or ""), str(at), how, repr(OPTIONS | options)]
    done = run(CHILD, *arguments)
    assert done.returncode == (7 if how == "exit" else -signal.SIGKILL), done.stderr


def contents(*roots: Path) -> dict[str, bytes]:
    return {str(path): path.read_bytes() for root in roots for path in sorted(root.rglob("*")) if path.is_file()}


def relative_contents(root: Path) -> dict[str, bytes]:
    """All files by their path below the root, without what zarr leaves behind of a file that it was writing."""
    return {
        str(path.relative_to(root)): path.read_bytes()
        for path in sorted(root.rglob("*"))
        if path.is_file() and path.suffix != ".partial"
    }


@cache
def whole_build(source: Path, options: str) -> tuple[dict[str, bytes], PyramidPlan]:
    """What a build leaves that nobody disturbs, and its plan."""
    target = source.parent / f"whole-{options}.zarr"
    plan = cp.build_pyramid(source, target, **OPTIONS | eval(options)).plan
    assert plan is not None
    return relative_contents(target), plan


@pytest.mark.parametrize(("how", "fraction"), [("exit", 0.0), ("kill", 0.4), ("exit", 0.95), ("exit", 1.0)])
@pytest.mark.parametrize(
    "options", [{}, {"shards": 16}, {"method": "mode", "zarr_format": 2}, {"method": "exact_mode"}], ids=str
)
def test_a_killed_build_ends_byte_for_byte_as_one_that_was_not(
    tmp_path: Path, source: Path, how: str, fraction: float, options: dict[str, Any]
) -> None:
    whole, plan = whole_build(source, repr(options))
    assert len(plan.stages) > 1
    at = max(1, int(fraction * plan.tasks))
    target = tmp_path / "target.zarr"
    killed(source, target, at, how, **options)
    with pytest.raises(cp.BuildError, match="has not been finished"):
        cp.open_pyramid(target)

    calls: list[tuple[int, int]] = []
    pyramid = cp.build_pyramid(source, target, progress=lambda *call: calls.append(call), **OPTIONS | options)
    assert calls[0][0] >= min(at, plan.stages[0].tasks)
    assert calls[-1] == (plan.tasks, plan.tasks)
    assert relative_contents(target) == whole
    assert [level.shape for level in cp.open_pyramid(target).levels] == [level.shape for level in pyramid.levels]


def flags_of(target: Any, stage: Stage) -> Flags:
    journal = Journal.find(zarr.open_group(target, mode="r"))
    assert journal is not None
    return journal.flags(stage.index, stage.grid)


def test_blocks_in_flight_are_known_as_begun_and_not_done(tmp_path: Path, source: Path) -> None:
    target = tmp_path / "target.zarr"
    killed(source, target, 10)
    stage = cp.plan_pyramid(source, target, **OPTIONS).stages[0]
    flags = flags_of(target, stage)
    (window,) = flags.windows()
    begun, done = flags.begun(window), flags.done(window)
    assert not (done & ~begun).any()
    assert np.count_nonzero(begun & ~done) <= 16
    assert np.count_nonzero(begun) < stage.tasks
    # whatever level 0 has by now is of blocks that have begun
    unit = [n // 8 for n in stage.block]
    for chunk in (target / "0" / "c").glob("*/*/*"):
        if chunk.suffix != ".partial":
            index = map(int, chunk.relative_to(target / "0" / "c").parts)
            assert begun[tuple(i // n for i, n in zip(index, unit, strict=True))]


def test_done_blocks_are_not_read_again(tmp_path: Path) -> None:
    """With chunks of the source gone whose blocks are done, the rest is built none the worse."""
    source, target = tmp_path / "source.zarr", tmp_path / "target.zarr"
    zarr.create_array(source, data=VOXELS, chunks=(8, 8, 8))
    killed(source, target, 10)
    plan = cp.plan_pyramid(source, target, **OPTIONS)
    flags = flags_of(target, plan.stages[0])
    (window,) = flags.windows()
    done = flags.done(window)
    assert 10 <= np.count_nonzero(done) < plan.stages[0].tasks
    per_block = [n // 8 for n in plan.stages[0].block]
    for block in np.argwhere(done):
        for chunk in np.ndindex(*per_block):
            at = (str(b * n + c) for b, n, c in zip(block, per_block, chunk, strict=True))
            source.joinpath("c", *at).unlink(missing_ok=True)
    pyramid = cp.build_pyramid(source, target, **OPTIONS)
    np.testing.assert_array_equal(pyramid.levels[0][...], VOXELS)


@pytest.mark.parametrize(
    ("change", "told"),
    [
        ({"method": "max"}, "method: 'mean' there, 'max' now"),
        ({"rounding": "truncate"}, "rounding: 'nearest' there, 'truncate' now"),
        ({"sparse": True}, "sparse"),
        ({"levels": 2}, "levels"),
        ({"factor": (1, 2, 2)}, "levels"),
        ({"chunks": 4}, "levels"),
        ({"shards": 16}, "levels"),
        ({"compressors": None}, "compressors"),
        ({"zarr_format": 2}, "zarr_format: 3 there, 2 now"),
        ({"layout": "datatree"}, "layout: 'flat' there, 'datatree' now"),
    ],
    ids=str,
)
def test_another_plan_is_refused_with_what_differs(
    source: Path, target: Path, change: dict[str, Any], told: str
) -> None:
    before = contents(target)
    with pytest.raises(cp.TargetExistsError, match="unfinished build with another plan") as refusal:
        cp.build_pyramid(source, target, **OPTIONS | change)
    assert told in str(refusal.value)
    assert contents(target) == before
    np.testing.assert_array_equal(cp.build_pyramid(source, target, **OPTIONS).levels[0][...], VOXELS)


def test_levels_of_other_axes_are_another_build(source: Path, target: Path) -> None:
    with pytest.raises(cp.TargetExistsError, match="axes: "):
        cp.build_pyramid(source, target, axes=("k", "j", "i"), **OPTIONS)


def test_another_source_is_refused(target: Path) -> None:
    with pytest.raises(cp.TargetExistsError, match="source: "):
        cp.build_pyramid(VOXELS, target, **OPTIONS)
    with pytest.raises(cp.TargetExistsError, match="shape: "):
        cp.build_pyramid(VOXELS[1:], target, **OPTIONS)


@pytest.mark.parametrize("zarr_format", [2, 3])
@pytest.mark.parametrize("in_place", [False, True])
def test_levels_of_a_continued_build_have_the_attributes_of_its_source(
    tmp_path: Path, zarr_format: Any, in_place: bool
) -> None:
    group = zarr.open_group(tmp_path / "source.zarr", mode="w", zarr_format=zarr_format)
    array = group.create_array("0", data=VOXELS, chunks=(8, 8, 8), attributes={"scale_factor": 0.5, "old": 1})
    target = None if in_place else tmp_path / "target.zarr"
    options = OPTIONS if in_place else {**OPTIONS, "zarr_format": zarr_format}

    def stop(done: int, total: int) -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        cp.build_pyramid(tmp_path / "source.zarr" / "0", target, progress=stop, **options)
    array.attrs.put({"scale_factor": 0.25, "new": [1, 2]})
    pyramid = cp.build_pyramid(tmp_path / "source.zarr" / "0", target, **options)
    for level in pyramid.levels[in_place:]:
        told = level.attrs.asdict()
        assert told.pop("_ARRAY_DIMENSIONS", ["z", "y", "x"]) == ["z", "y", "x"]
        assert told == {"scale_factor": 0.25, "new": [1, 2]}
    if zarr_format == 2:
        assert "_ARRAY_DIMENSIONS" in pyramid.levels[1].attrs


def test_resume_false_keeps_an_unfinished_build(source: Path, target: Path) -> None:
    before = contents(target)
    with pytest.raises(cp.TargetExistsError, match="resume=True"):
        cp.build_pyramid(source, target, resume=False, **OPTIONS)
    assert contents(target) == before


def test_overwrite_begins_an_unfinished_build_anew(source: Path, target: Path) -> None:
    calls: list[tuple[int, int]] = []
    pyramid = cp.build_pyramid(
        source, target, overwrite=True, progress=lambda *call: calls.append(call), **OPTIONS | {"method": "max"}
    )
    assert calls[0][0] == 1
    assert pyramid.method == "max"
    assert not (target / ".chunkpyramid").exists()


@pytest.fixture
def forgotten() -> Iterator[None]:
    """Collects, in the test that made them, the coroutines that zarr drops when one of many requests fails."""
    yield
    gc.collect()


def with_failing_store(test: Any) -> Any:
    for warning in ("ignore:coroutine", "ignore::pytest.PytestUnraisableExceptionWarning"):
        test = pytest.mark.filterwarnings(warning)(test)
    return pytest.mark.usefixtures("forgotten")(test)


class FailingStore(WrapperStore[Any]):
    """A store that fails at one chunk, as often as it is told to."""

    _supports_sync_io = False

    def __init__(self, store: Any, key: str, failures: list[int]):
        super().__init__(store)
        self.key = key
        self.failures = failures

    def _with_store(self, store: Any) -> FailingStore:
        return FailingStore(store, self.key, self.failures)

    def _fail(self, key: str) -> None:
        if key.endswith(self.key) and self.failures[0] > 0:
            self.failures[0] -= 1
            raise OSError("the connection was lost")

    async def get(self, key: str, prototype: Any, byte_range: Any = None) -> Any:
        self._fail(key)
        return await super().get(key, prototype, byte_range)

    async def set(self, key: str, value: Any) -> None:
        self._fail(key)
        await super().set(key, value)


@with_failing_store
@pytest.mark.parametrize("key", ["0/c/2/3/1", "1/c/1/1/1", "3/c/0/0/0"])
def test_a_store_that_fails_once_costs_one_block(key: str) -> None:
    memory = MemoryStore()
    target = FailingStore(memory, key, [1])
    with pytest.raises(
        cp.BuildError, match=r"block .* failed: OSError: the connection was lost; .* run the same build"
    ):
        cp.build_pyramid(VOXELS, target, **OPTIONS)
    with pytest.raises(cp.BuildError, match="has not been finished"):
        cp.open_pyramid(memory)
    pyramid = cp.build_pyramid(VOXELS, target, **OPTIONS)
    whole = cp.build_pyramid(VOXELS, MemoryStore(), **OPTIONS)
    for level, expected in zip(pyramid.levels, whole.levels, strict=True):
        np.testing.assert_array_equal(level[...], expected[...])


class StoreThatDiesCleaningUp(WrapperStore[Any]):
    """A store that fails while the scratch group is deleted at the end: its carry and flags are gone by then."""

    async def delete_dir(self, prefix: str) -> None:
        if prefix.endswith(".chunkpyramid") and (await self.exists("1/c/0/0/0") or await self.exists("1/0/0/0")):
            for part in ("carry", "done"):
                await super().delete_dir(f"{prefix}/{part}")
            raise OSError("the connection was lost")
        await super().delete_dir(prefix)


@with_failing_store
@pytest.mark.parametrize("zarr_format", [2, 3])
def test_a_build_that_dies_while_it_cleans_up_is_finished(tmp_path: Path, zarr_format: int) -> None:
    """And is not taken for one to be resumed, from a carry that is gone."""
    target = tmp_path / "target.zarr"
    options = OPTIONS | {"zarr_format": zarr_format}
    store = StoreThatDiesCleaningUp(LocalStore(target))
    with pytest.raises(OSError, match="connection was lost"):
        cp.build_pyramid(VOXELS, store, **options)
    whole = cp.build_pyramid(VOXELS, MemoryStore(), **options)
    for level, expected in zip(cp.open_pyramid(target).levels, whole.levels, strict=True):
        np.testing.assert_array_equal(level[...], expected[...])


@with_failing_store
@pytest.mark.parametrize("name", ["levels", "scratch", "fingerprint"])
def test_a_build_that_dies_while_it_is_set_up_can_be_run_again(tmp_path: Path, name: str) -> None:
    """Nothing has been computed by then, so nothing is lost by beginning anew."""
    target = tmp_path / "target.zarr"
    key = {"levels": "2/zarr.json", "scratch": "carry/1/sum/zarr.json", "fingerprint": ".chunkpyramid/zarr.json"}[name]
    with pytest.raises(OSError, match="connection was lost"):
        cp.build_pyramid(VOXELS, FailingStore(LocalStore(target), key, [1]), **OPTIONS)
    pyramid = cp.build_pyramid(VOXELS, target, **OPTIONS)
    np.testing.assert_array_equal(pyramid.levels[0][...], VOXELS)


def foreign_group(path: Path) -> None:
    group = zarr.create_group(path)
    group.create_array("precious", data=VOXELS, chunks=(8, 8, 8))


def foreign_attributes(path: Path) -> None:
    zarr.create_group(path, attributes={"precious": 1})


def an_array(path: Path) -> None:
    zarr.create_array(path, data=VOXELS, chunks=(8, 8, 8))


def no_zarr(path: Path) -> None:
    path.mkdir()
    (path / "precious.txt").write_text("precious")


def a_file(path: Path) -> None:
    path.write_text("precious")


def a_finished_pyramid(path: Path) -> None:
    cp.build_pyramid(VOXELS[:9], path, **OPTIONS)


@pytest.mark.parametrize("precious", [foreign_group, foreign_attributes, an_array, no_zarr, a_file, a_finished_pyramid])
def test_nothing_that_exists_is_lost_without_overwrite(tmp_path: Path, precious: Any) -> None:
    target = tmp_path / "target"
    precious(target)
    before = target.read_bytes() if target.is_file() else contents(target)
    with pytest.raises(cp.TargetExistsError):
        cp.build_pyramid(VOXELS, target, **OPTIONS)
    assert (target.read_bytes() if target.is_file() else contents(target)) == before


@pytest.mark.parametrize("precious", [no_zarr, a_file, an_array])
def test_what_is_no_group_is_not_lost_even_with_overwrite(tmp_path: Path, precious: Any) -> None:
    target = tmp_path / "target"
    precious(target)
    before = target.read_bytes() if target.is_file() else contents(target)
    with pytest.raises(cp.TargetExistsError):
        cp.build_pyramid(VOXELS, target, overwrite=True, **OPTIONS)
    assert (target.read_bytes() if target.is_file() else contents(target)) == before


@pytest.mark.parametrize(
    "wrong", [{"method": "median"}, {"memory_limit": 2**20}, {"shards": 12}, {"factor": 0}, {"axes": "zy"}], ids=str
)
def test_overwrite_loses_nothing_to_a_build_that_cannot_be(tmp_path: Path, wrong: dict[str, Any]) -> None:
    target = tmp_path / "target"
    a_finished_pyramid(target)
    before = contents(target)
    with pytest.raises(cp.ChunkPyramidError):
        cp.build_pyramid(VOXELS, target, overwrite=True, **OPTIONS | wrong)
    assert contents(target) == before


def test_overwrite_replaces_all_that_was_there(tmp_path: Path) -> None:
    foreign_group(tmp_path / "target")
    cp.build_pyramid(VOXELS, tmp_path / "target", overwrite=True, **OPTIONS)
    cp.build_pyramid(VOXELS, tmp_path / "new", **OPTIONS)
    assert relative_contents(tmp_path / "target") == relative_contents(tmp_path / "new")


@pytest.mark.parametrize("zarr_format", [2, 3])
def test_building_in_place_never_touches_the_source(tmp_path: Path, zarr_format: Any) -> None:
    """Not when it is killed, nor when it goes on, nor when it begins anew."""
    root = tmp_path / "image.zarr"
    group = zarr.create_group(root, zarr_format=zarr_format, attributes={"about": "mouse"})
    group.create_array("0", data=VOXELS, chunks=(8, 8, 8))
    group.create_group("labels").create_array("cells", data=VOXELS[:4], chunks=(4, 8, 8))
    kept = root / "0", root / "labels"
    before = contents(*kept)
    options = {key: value for key, value in OPTIONS.items() if key != "chunks"}

    killed(root / "0", None, 3, chunks=None)
    assert contents(*kept) == before
    pyramid = cp.build_pyramid(root / "0", **options)
    assert contents(*kept) == before
    assert cp.build_pyramid(root / "0", **options).plan is None
    with pytest.raises(cp.TargetExistsError, match="already"):
        cp.build_pyramid(root / "0", **options | {"method": "max"})
    assert cp.build_pyramid(root / "0", overwrite=True, **options | {"levels": 1}).levels[0].shape == SHAPE
    assert contents(*kept) == before
    assert zarr.open_group(root, mode="r").attrs["about"] == "mouse"
    assert len(pyramid.levels) == 4
    assert len(cp.open_pyramid(root).levels) == 2
    assert not (root / "2").exists()


def test_a_target_around_or_inside_the_source_is_refused(tmp_path: Path) -> None:
    group = zarr.create_group(tmp_path / "image.zarr")
    group.create_array("0", data=VOXELS, chunks=(8, 8, 8))
    before = contents(tmp_path)
    for target in ("image.zarr", "image.zarr/0", "image.zarr/0/levels"):
        with pytest.raises((cp.ArgumentError, cp.TargetExistsError)):
            cp.build_pyramid(tmp_path / "image.zarr" / "0", tmp_path / target, overwrite=True, **OPTIONS)
    assert contents(tmp_path) == before


@pytest.mark.parametrize("kind", ["group", "path", "array", "fsspec", "dask"])
def test_a_source_that_a_link_leads_to_is_not_overwritten(tmp_path: Path, kind: str) -> None:
    """The level of an image is a symbolic link into the target, where its voxels are."""
    cp.build_pyramid(VOXELS, tmp_path / "image.zarr", **OPTIONS)
    zarr.create_group(tmp_path / "target.zarr").create_array("raw", data=VOXELS, chunks=(8, 8, 8))
    shutil.rmtree(tmp_path / "image.zarr" / "0")
    (tmp_path / "image.zarr" / "0").symlink_to(tmp_path / "target.zarr" / "raw")
    source: Any = {
        "group": tmp_path / "image.zarr",
        "path": tmp_path / "image.zarr" / "0",
        "array": zarr.open_group(tmp_path / "image.zarr", mode="r")["0"],
        "fsspec": zarr.open_group(FsspecStore.from_url(f"file://{tmp_path}/image.zarr"), mode="r")["0"],
        "dask": dask.array.from_zarr(str(tmp_path / "image.zarr" / "0")) + 0,
    }[kind]
    before = contents(tmp_path)
    with pytest.raises(cp.ArgumentError, match="contains the source"):
        cp.build_pyramid(source, tmp_path / "target.zarr", overwrite=True, **OPTIONS)
    assert contents(tmp_path) == before


MAPPED: dict[str, Callable[[Any], Any]] = {
    "itself": lambda mapped: mapped,
    "view": lambda mapped: mapped[1:],
    "array": lambda mapped: np.asarray(mapped)[::2],
    "transposed": lambda mapped: np.asarray(mapped.T),
}


@pytest.mark.parametrize("view", MAPPED)
def test_a_file_that_the_source_is_mapped_from_is_not_overwritten(tmp_path: Path, view: str) -> None:
    cp.build_pyramid(VOXELS, tmp_path / "target.zarr", **OPTIONS)
    np.save(tmp_path / "target.zarr" / "raw.npy", VOXELS)
    source = MAPPED[view](np.load(tmp_path / "target.zarr" / "raw.npy", mmap_mode="r"))
    before = contents(tmp_path)
    with pytest.raises(cp.ArgumentError, match=r"raw\.npy"):
        cp.build_pyramid(source, tmp_path / "target.zarr", overwrite=True, **OPTIONS)
    assert contents(tmp_path) == before


@pytest.mark.parametrize("kind", ["cached", "folder as root", "zip path", "zip store", "dask of zip"])
def test_a_source_in_the_target_is_seen_through_what_is_around_it(tmp_path: Path, kind: str) -> None:
    from fsspec.implementations.dirfs import DirFileSystem
    from fsspec.implementations.local import LocalFileSystem

    root = tmp_path / "target.zarr"
    cp.build_pyramid(VOXELS, root, **OPTIONS)
    shutil.make_archive(str(tmp_path / "packed"), "zip", root)
    shutil.move(tmp_path / "packed.zip", root / "packed.zip")
    source: Any = f"simplecache::file://{root}/0"
    if kind == "folder as root":
        filesystem = DirFileSystem(str(root), LocalFileSystem())
        source = zarr.open_array(FsspecStore(AsyncFileSystemWrapper(filesystem, asynchronous=True), path="0"), mode="r")
    elif kind.startswith("zip"):
        source = root / "packed.zip" / "0"
        source = (
            source if kind == "zip path" else zarr.open_group(ZipStore(root / "packed.zip", mode="r"), mode="r")["0"]
        )
    elif kind == "dask of zip":
        source = dask.array.from_zarr(zarr.open_group(ZipStore(root / "packed.zip", mode="r"), mode="r")["0"])
    before = contents(tmp_path)
    with pytest.raises(cp.ArgumentError, match="contains the source"):
        cp.build_pyramid(source, root, overwrite=True, **OPTIONS)
    assert contents(tmp_path) == before


def test_files_beside_what_is_overwritten_stay(tmp_path: Path) -> None:
    cp.build_pyramid(VOXELS, tmp_path / "target.zarr", **OPTIONS)
    np.save(tmp_path / "target.zarr" / "raw.npy", VOXELS + 1)
    mapped = np.load(tmp_path / "target.zarr" / "raw.npy", mmap_mode="r")
    pyramid = cp.build_pyramid(
        xr.DataArray(mapped, dims=("z", "y", "x")), tmp_path / "target.zarr", overwrite=True, **OPTIONS
    )
    np.testing.assert_array_equal(pyramid.levels[0][...], VOXELS + 1)
    np.testing.assert_array_equal(np.load(tmp_path / "target.zarr" / "raw.npy"), VOXELS + 1)


def test_what_links_in_the_target_lead_to_is_not_deleted(tmp_path: Path) -> None:
    zarr.create_array(tmp_path / "precious.zarr", data=VOXELS, chunks=(8, 8, 8))
    cp.build_pyramid(VOXELS, tmp_path / "target.zarr", **OPTIONS)
    shutil.rmtree(tmp_path / "target.zarr" / "1")
    (tmp_path / "target.zarr" / "1").symlink_to(tmp_path / "precious.zarr")
    before = contents(tmp_path / "precious.zarr")
    pyramid = cp.build_pyramid(VOXELS + 1, tmp_path / "target.zarr", overwrite=True, **OPTIONS)
    assert contents(tmp_path / "precious.zarr") == before
    assert not (tmp_path / "target.zarr" / "1").is_symlink()
    np.testing.assert_array_equal(pyramid.levels[0][...], VOXELS + 1)


def test_a_build_goes_on_with_another_memory_limit_and_other_workers(
    tmp_path: Path, source: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """In the blocks in which it was begun, for those that are done stay done."""
    # whatever the tests before have left in memory, so that the limit always leaves the same
    monkeypatch.setattr(scheduler, "measured_baseline", lambda uncounted=0: BASELINE)
    options = OPTIONS | {"method": "exact_mode"}
    target = tmp_path / "target.zarr"
    begun = cp.plan_pyramid(source, target, memory_limit="1 GiB", **options)
    with dask.config.set(scheduler="threads", num_workers=1):
        other = cp.plan_pyramid(source, target, memory_limit="200 MiB", **options)
    assert [stage.block for stage in begun.stages] != [stage.block for stage in other.stages]
    half = begun.tasks // 2
    killed(source, target, half, method="exact_mode", memory_limit="1 GiB")

    calls: list[tuple[int, int]] = []
    with dask.config.set(scheduler="threads", num_workers=1):
        pyramid = cp.build_pyramid(
            source, target, memory_limit="200 MiB", progress=lambda *call: calls.append(call), **options
        )
    assert pyramid.plan is not None
    assert [stage.block for stage in pyramid.plan.stages] == [stage.block for stage in begun.stages]
    assert calls[0][0] >= half
    whole = cp.build_pyramid(source, tmp_path / "whole.zarr", memory_limit="1 GiB", **options)
    assert relative_contents(target) == relative_contents(tmp_path / "whole.zarr")
    assert [level.shape for level in whole.levels] == [level.shape for level in pyramid.levels]


def test_levels_of_an_unfinished_build_are_no_source(source: Path, target: Path, tmp_path: Path) -> None:
    """Nothing tells which of their voxels are there yet; but what is built in place goes on reading its level 0."""
    for level in ("0", "1"):
        with pytest.raises(cp.ArgumentError, match="has not been finished"):
            cp.build_pyramid(target / level, tmp_path / "other.zarr", **OPTIONS)
    assert not (tmp_path / "other.zarr").exists()
    cp.build_pyramid(source, target, **OPTIONS)
    cp.build_pyramid(target / "0", tmp_path / "other.zarr", **OPTIONS)
