"""`verify_pyramid`: sound pyramids are found sound and left alone, all else is found where it is, and mended."""

from __future__ import annotations

import re
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import dask
import numpy as np
import numpy.typing as npt
import pytest
import zarr
from helpers.cluster import cluster
from zarr.storage import LocalStore, MemoryStore

import chunkpyramid as cp

Array = npt.NDArray[Any]
Shape = tuple[int, ...]

LABELS = np.random.default_rng(0).integers(1, 5, (33, 40, 37)).astype(np.uint16)
OPTIONS: dict[str, Any] = {"levels": 3, "chunks": 8}
SHARDS = [(16, 16, 24), 16, (8, 16, 8), None]


@pytest.fixture(autouse=True)
def many_blocks_and_stages(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """And a place of its own for temporary files, where nothing is left behind."""
    place = tmp_path / "temporary"
    place.mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(place))
    with dask.config.set(scheduler="threads", num_workers=8):
        yield
    assert not [path for path in place.iterdir() if path.name != "dask-scratch-space"]


@pytest.fixture
def target(tmp_path: Path) -> Path:
    return tmp_path / "pyramid.zarr"


def files(root: Path) -> dict[str, tuple[bytes, int]]:
    """All files, with the time at which they were written."""
    found = (path for path in root.rglob("*") if path.is_file())
    return {str(path.relative_to(root)): (path.read_bytes(), path.stat().st_mtime_ns) for path in found}


def bytes_of(root: Path) -> dict[str, bytes]:
    return {key: data for key, (data, _) in files(root).items()}


def levels_of(target: Any) -> list[Array]:
    return [np.asarray(level[...]) for level in cp.open_pyramid(target).levels]


def unit_file(target: Path, level: int, index: Shape) -> Path:
    """The file of a chunk, or of a shard."""
    array = cp.open_pyramid(target).levels[level]
    return target / array.path / array.metadata.encode_chunk_key(index)


def flip(path: Path, at: int) -> None:
    data = bytearray(path.read_bytes())
    data[at] ^= 0xFF
    path.write_bytes(data)


def found(verification: cp.Verification) -> list[tuple[int, Shape, str]]:
    return [(problem.level, problem.chunk, problem.problem) for problem in verification.problems]


def assert_mended(target: Path, problems: list[tuple[int, Shape, str]], whole: dict[str, bytes]) -> None:
    """The problems are found, without anything being written; then they are mended, and no more are left."""
    before = files(target)
    verification = cp.verify_pyramid(target)
    assert found(verification) == problems
    assert not verification.ok
    assert not verification
    assert files(target) == before
    mended = cp.verify_pyramid(target, repair=True)
    assert found(mended) == problems
    assert mended.ok
    assert all(problem.repaired for problem in mended.problems)
    again = cp.verify_pyramid(target)
    assert again.ok
    assert not again.problems
    assert bytes_of(target) == whole


SOUND: list[dict[str, Any]] = [
    {"method": "mean"},
    {"method": "mean", "layout": "datatree"},
    {"method": "mean", "sparse": True, "background": 3, "zarr_format": 2},
    {"method": "mean", "zarr_format": 2, "layout": "datatree", "rounding": "truncate"},
    {"method": "mode", "shards": SHARDS},
    {"method": "mode", "sparse": True, "factor": (1, 3, 2)},
    {"method": "exact_mode", "shards": 16},
    {"method": "exact_mode", "sparse": True, "zarr_format": 2},
    {"method": "min", "factor": [(1, 2, 2), (3, 1, 2), (2, 2, 2)]},
    {"method": "stride", "shards": "auto"},
]


@pytest.mark.parametrize("options", SOUND, ids=str)
def test_a_sound_pyramid_is_clean_and_left_alone(target: Path, options: dict[str, Any]) -> None:
    """With other stages and blocks than it was built with, too."""
    with dask.config.set(num_workers=len(str(options)) % 5 + 1):
        cp.build_pyramid(LABELS, target, **OPTIONS | options)
    before = files(target)
    verification = cp.verify_pyramid(LocalStore(target, read_only=True))
    assert verification == cp.Verification((), (1, 2, 3), (), 1.0)
    assert verification
    assert str(verification) == "levels 1, 2, 3 were computed again from level 0\nno chunk differs"
    assert files(target) == before


@pytest.mark.parametrize("zarr_format", [2, 3])
def test_a_pyramid_in_place(target: Path, zarr_format: Any) -> None:
    group = zarr.create_group(target, zarr_format=zarr_format)
    array = group.create_array("0", shape=LABELS.shape, dtype="u2", chunks=(7, 9, 8), fill_value=7)
    array[...] = LABELS
    cp.build_pyramid(array, method="mode", levels=3)
    whole = bytes_of(target)
    chunk = unit_file(target, 2, (0, 1, 0))
    chunk.unlink()
    assert_mended(target, [(2, (0, 1, 0), "differs")], whole)


@pytest.mark.parametrize("scheduler", ["synchronous", "threads", "processes", "distributed"])
def test_on_every_scheduler(target: Path, scheduler: str) -> None:
    whole = cp.build_pyramid(LABELS, target, method="mode", **OPTIONS)
    assert whole.plan is not None
    assert len(whole.plan.stages) > 1
    before = bytes_of(target)
    unit_file(target, 1, (0, 1, 0)).unlink()
    if scheduler != "distributed":
        with dask.config.set(scheduler=scheduler, num_workers=2):
            verification = cp.verify_pyramid(target, repair=True)
        assert (found(verification), verification.ok) == ([(1, (0, 1, 0), "differs")], True)
        assert bytes_of(target) == before
        return
    with dask.config.set(scheduler=None), cluster(processes=True, threads_per_worker=1):
        assert_mended(target, [(1, (0, 1, 0), "differs")], before)


def test_a_store_in_memory_cannot_be_mended_by_other_processes() -> None:
    store = MemoryStore()
    cp.build_pyramid(LABELS, store, **OPTIONS)
    with (
        dask.config.set(scheduler="processes", num_workers=2),
        pytest.raises(cp.BuildError, match="a store in memory"),
    ):
        cp.verify_pyramid(store, repair=True)


STORED: dict[str, dict[str, Any]] = {
    "v3": {},
    "v2": {"zarr_format": 2},
    "tree": {"layout": "datatree"},
    "raw": {"compressors": None},
}


# what is damaged is found the same whatever the method, and made anew the same however it is stored
@pytest.mark.parametrize(
    ("method", "stored"),
    [
        *((method, "v3") for method in ("mean", "mode", "exact_mode", "min")),
        *(("mode", stored) for stored in STORED if stored != "v3"),
        ("mean", "v2"),
        ("exact_mode", "raw"),
    ],
)
def test_damaged_chunks_are_found_and_mended(target: Path, method: str, stored: str) -> None:
    """Of a mode, later stages begin with the levels that are damaged."""
    options = STORED[stored]
    cp.build_pyramid(LABELS, target, method=method, **OPTIONS | options)
    whole = bytes_of(target)
    truncated = unit_file(target, 1, (0, 1, 0))
    truncated.write_bytes(truncated.read_bytes()[:-9])
    corrupt = unit_file(target, 2, (1, 0, 1))
    corrupt.write_bytes(
        b"no chunk at all" if options.get("compressors", "") is None else b"\x02\x01\x03\x02" + bytes(12)
    )
    unit_file(target, 3, (0, 0, 0)).unlink()
    problems = [(1, (0, 1, 0), "unreadable"), (2, (1, 0, 1), "unreadable"), (3, (0, 0, 0), "differs")]
    assert_mended(target, problems, whole)


def test_wrong_voxels_and_chunks_that_should_not_be_there(target: Path) -> None:
    array = LABELS.copy()
    array[16:, :16, 16:32] = 0
    cp.build_pyramid(array, target, method="min", **OPTIONS)
    whole = bytes_of(target)
    assert not unit_file(target, 1, (1, 0, 1)).exists()
    for level, voxel in enumerate([(9, 0, 8), (4, 9, 9), (4, 4, 4)], 1):
        pyramid = zarr.open_group(target)
        pyramid[f"{level}"][voxel] += 1  # type: ignore[index, operator]
    assert found(cp.verify_pyramid(target)) == [
        (k, c, "differs") for k, c in [(1, (1, 0, 1)), (2, (0, 1, 1)), (3, (0, 0, 0))]
    ]
    assert_mended(target, [(1, (1, 0, 1), "differs"), (2, (0, 1, 1), "differs"), (3, (0, 0, 0), "differs")], whole)


def test_nan_and_negative_zero_are_sound(target: Path) -> None:
    array = np.random.default_rng(0).choice([np.nan, -0.0, 0.0, 1.5], LABELS.shape).astype(np.float32)
    for method in ("mean", "mode", "exact_mode", "max"):
        cp.build_pyramid(array, target, method=method, overwrite=True, **OPTIONS)
        with dask.config.set(num_workers=3):
            assert not cp.verify_pyramid(target).problems
    pyramid = zarr.open_group(target)
    pyramid["1"][3, 9, 17] = -7  # type: ignore[index]
    assert found(cp.verify_pyramid(target)) == [(1, (0, 1, 2), "differs")]


def shard_of_level_1(target: Path) -> tuple[Path, list[Shape]]:
    """A shard, and the chunks in it."""
    return unit_file(target, 1, (0, 0, 0)), [(z, y, x) for z in (0, 1) for y in (0, 1) for x in (0, 1)]


@pytest.fixture(scope="module")
def sharded(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder of pyramids, to be copied."""
    folder = tmp_path_factory.mktemp("sharded")
    for method in ("mean", "mode"):
        cp.build_pyramid(LABELS, folder / method, method=method, shards=SHARDS, **OPTIONS)
    return folder


@pytest.mark.parametrize("damage", ["truncated", "index", "nothing", "inner chunk", "deleted"])
@pytest.mark.parametrize("method", ["mean", "mode"])
def test_damaged_shards_are_found_and_mended(target: Path, sharded: Path, damage: str, method: str) -> None:
    shutil.copytree(sharded / method, target)
    expected = levels_of(target)
    shard, chunks = shard_of_level_1(target)
    problem = "unreadable"
    if damage == "truncated":
        shard.write_bytes(shard.read_bytes()[: shard.stat().st_size // 2])
    elif damage == "index":
        flip(shard, shard.stat().st_size - 20)
    elif damage == "nothing":
        shard.write_bytes(b"")
    elif damage == "inner chunk":
        index = np.frombuffer(shard.read_bytes()[-(8 * 16 + 4) : -4], dtype="<u8").reshape(8, 2)
        flip(shard, int(index[5, 0]))
        chunks = chunks[5:6]
    else:
        shard.unlink()
        problem = "differs"
    verification = cp.verify_pyramid(target)
    assert found(verification) == [(1, chunk, problem) for chunk in chunks]
    assert cp.verify_pyramid(target, repair=True).ok
    again = cp.verify_pyramid(target)
    assert again
    assert not again.problems
    for values, wanted in zip(levels_of(target), expected, strict=True):
        np.testing.assert_array_equal(values, wanted)


def test_chunks_of_level_0_that_cannot_be_read_are_told_and_left(target: Path) -> None:
    cp.build_pyramid(LABELS, target, method="mode", **OPTIONS)
    unit_file(target, 0, (1, 2, 3)).write_bytes(b"damaged")
    unit_file(target, 1, (1, 0, 0)).write_bytes(b"damaged")
    before = files(target)
    verification = cp.verify_pyramid(target, repair=True)
    assert found(verification) == [(0, (1, 2, 3), "unreadable"), (1, (1, 0, 0), "unreadable")]
    assert [problem.repaired for problem in verification.problems] == [False, True]
    assert not verification.ok
    assert verification.unchecked
    assert "were not checked" in str(verification)
    after = files(target)
    assert [key for key in after if after[key] != before[key]] == ["1/c/1/0/0"]


def test_a_chunk_of_level_0_that_is_gone_is_blank(target: Path) -> None:
    cp.build_pyramid(LABELS, target, method="max", **OPTIONS)
    unit_file(target, 0, (1, 2, 3)).unlink()
    problems = [(1, (0, 1, 1), "differs"), (2, (0, 0, 0), "differs"), (3, (0, 0, 0), "differs")]
    assert found(cp.verify_pyramid(target))[:1] == problems[:1]
    assert {level for level, *_ in found(cp.verify_pyramid(target))} <= {1, 2, 3}
    assert cp.verify_pyramid(target, repair=True).ok
    array = LABELS.copy()
    array[8:16, 16:24, 24:32] = 0
    expected = cp.build_pyramid(array, {}, method="max", **OPTIONS)
    for values, level in zip(levels_of(target), expected.levels, strict=True):
        np.testing.assert_array_equal(values, level[...])


def test_a_part_of_a_torn_shard_is_reported_and_not_repaired(tmp_path: Path) -> None:
    """With a fraction below 1 a piece can meet a part of a shard, of which the rest cannot be read."""
    target = tmp_path / "target.zarr"
    image = np.random.default_rng(0).integers(0, 9, (64, 64, 128)).astype(np.uint16)
    built = cp.build_pyramid(image, target, method="mean", levels=1, chunks=8, shards=32)
    with pytest.raises(cp.PlanError) as error:
        cp.verify_pyramid(target, memory_limit=1)
    least = re.search(r"at least ([\d.]+ MiB)", str(error.value))
    assert least is not None
    expected = built.levels[1][...]
    shard = target / "1" / "c" / "0" / "0" / "0"
    torn = shard.read_bytes()[:100]
    shard.write_bytes(torn)
    writable = zarr.open_array(target / "1", mode="r+")
    writable[:, :, 32:] = expected[:, :, 32:] + 1
    # pieces are smaller than what lies under the shard
    found = [
        cp.verify_pyramid(target, fraction=0.01, seed=seed, repair=True, memory_limit=least[1]) for seed in range(12)
    ]
    problems = {problem for verification in found for problem in verification.problems}
    assert {p.repaired for p in problems if p.chunk[2] < 4} == {False}
    assert {p.repaired for p in problems if p.chunk[2] >= 4} == {True}
    assert shard.read_bytes() == torn
    assert cp.verify_pyramid(target, repair=True).ok
    np.testing.assert_array_equal(writable[...], expected)


def test_levels_beside_a_source_of_foreign_byte_order(tmp_path: Path) -> None:
    group = zarr.create_group(tmp_path / "t.zarr", zarr_format=2)
    voxels = np.random.default_rng(0).integers(0, 60000, (40, 50)).astype(">u2")
    group.create_array("0", data=voxels, chunks=(16, 16))
    pyramid = cp.build_pyramid(tmp_path / "t.zarr" / "0", levels=2)
    assert cp.verify_pyramid(tmp_path / "t.zarr").ok
    zarr.open_array(tmp_path / "t.zarr" / "0")[:8, :8] = 7
    cp.update_pyramid(tmp_path / "t.zarr", np.s_[:8, :8])
    assert pyramid.levels[2][0, 0] == 7
    assert cp.verify_pyramid(tmp_path / "t.zarr").ok
