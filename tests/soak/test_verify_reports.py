"""`verify_pyramid`: fractions, the report, and what is refused before any work."""

from __future__ import annotations

import json
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import dask
import numpy as np
import pytest
import zarr
from helpers.counting_store import CountingStore
from zarr.storage import MemoryStore

import chunkpyramid as cp
from chunkpyramid.engine.journal import Journal

LABELS = np.random.default_rng(0).integers(1, 5, (33, 40, 37)).astype(np.uint16)
OPTIONS: dict[str, Any] = {"levels": 3, "chunks": 8}


@pytest.fixture(autouse=True)
def many_blocks_and_stages(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """And a place of its own for temporary files, where nothing is left behind."""
    place = tmp_path / "temporary"
    place.mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(place))
    with dask.config.set(scheduler="threads", num_workers=8):
        yield
    assert not list(place.iterdir())


@pytest.fixture
def target(tmp_path: Path) -> Path:
    return tmp_path / "pyramid.zarr"


def chunk_file(target: Path, level: int, index: tuple[int, ...]) -> Path:
    return target / str(level) / "c" / "/".join(map(str, index))


def found(verification: cp.Verification) -> list[tuple[int, tuple[int, ...], str]]:
    return [(problem.level, problem.chunk, problem.problem) for problem in verification.problems]


def contents(root: Path) -> dict[str, bytes]:
    return {str(path): path.read_bytes() for path in sorted(root.rglob("*")) if path.is_file()}


def test_a_report_is_ordered_and_readable(target: Path) -> None:
    cp.build_pyramid(LABELS, target, method="mode", **OPTIONS)
    chunks = [(2, (1, 0, 1)), (1, (2, 2, 2)), (1, (0, 1, 2)), (3, (0, 0, 0))]
    for level, chunk in chunks:
        chunk_file(target, level, chunk).unlink()
    verification = cp.verify_pyramid(target)
    assert [(problem.level, problem.chunk) for problem in verification.problems] == sorted(chunks)
    assert str(verification).splitlines() == [
        "levels 1, 2, 3 were computed again from level 0",
        "level  chunk      problem",
        "1      (0, 1, 2)  differs  not repaired",
        "1      (2, 2, 2)  differs  not repaired",
        "2      (1, 0, 1)  differs  not repaired",
        "3      (0, 0, 0)  differs  not repaired",
    ]


def read_of_level_0(store: CountingStore, **options: Any) -> set[str]:
    store.counts["get"].clear()
    cp.verify_pyramid(store, **options)
    return {key for key in store.counts["get"] if key.startswith("0/")}


def test_a_fraction_reads_about_that_share_of_level_0() -> None:
    store = CountingStore(MemoryStore())
    array = np.random.default_rng(0).integers(1, 9, (64, 64, 64)).astype(np.uint8)
    cp.build_pyramid(array, store, method="mean", levels=2, chunks=8)
    assert len(read_of_level_0(store)) == 512
    shares = [len(read_of_level_0(store, fraction=0.25, seed=seed)) / 512 for seed in range(8)]
    assert 0.15 < sum(shares) / 8 < 0.35
    assert read_of_level_0(store, fraction=0.25, seed=3) == read_of_level_0(store, fraction=0.25, seed=3)
    least = [read_of_level_0(store, fraction=1e-9, seed=seed) for seed in range(8)]
    assert all(0 < len(keys) <= 64 for keys in least)
    assert len(set(map(frozenset, least))) > 3


def test_a_fraction_finds_what_is_wrong_in_it_and_nothing_else(target: Path) -> None:
    cp.build_pyramid(LABELS, target, method="mode", **OPTIONS)
    assert not any(cp.verify_pyramid(target, fraction=0.3, seed=seed).problems for seed in range(4))
    chunk_file(target, 1, (1, 1, 1)).write_bytes(b"damaged")
    reports = [cp.verify_pyramid(target, fraction=0.3, seed=seed) for seed in range(12)]
    hits = [report for report in reports if not report]
    assert 0 < len(hits) < 12
    assert {tuple(found(report)) for report in hits} == {((1, (1, 1, 1), "unreadable"),)}
    assert all(1 in report.checked and 3 in report.unchecked for report in reports)
    assert "in a random 0.3 of level 0" in str(reports[0])


def test_repair_of_a_fraction_leaves_what_it_cannot_know(target: Path) -> None:
    """A chunk of level 3 is made from all of level 0."""
    cp.build_pyramid(LABELS, target, method="mean", **OPTIONS)
    chunk_file(target, 1, (0, 0, 0)).write_bytes(b"damaged")
    with dask.config.set(scheduler="synchronous"):
        reports = [cp.verify_pyramid(target, fraction=0.5, seed=seed, repair=True) for seed in range(6)]
    assert all(report.ok == all(p.repaired for p in report.problems) for report in reports)
    assert cp.verify_pyramid(target, repair=True).ok
    assert not cp.verify_pyramid(target).problems


def test_progress_ends_with_all_blocks(target: Path) -> None:
    cp.build_pyramid(LABELS, target, method="mode", **OPTIONS)
    calls: list[tuple[int, int]] = []
    cp.verify_pyramid(target, progress=lambda *call: calls.append(call))
    assert [done for done, _ in calls] == list(range(1, calls[-1][1] + 1))


def test_scratch_is_used_and_left_empty(target: Path, tmp_path: Path) -> None:
    cp.build_pyramid(LABELS, target, method="mode", **OPTIONS)
    scratch = CountingStore(MemoryStore())
    chunk_file(target, 1, (0, 0, 0)).unlink()
    assert found(cp.verify_pyramid(target, scratch=scratch)) == [(1, (0, 0, 0), "differs")]
    assert set(scratch._store._store_dict) == {"zarr.json"}
    for place in (tmp_path / "scratch.zarr", tmp_path / "scratch.zarr"):
        assert not cp.verify_pyramid(target, scratch=place)
        assert [path.name for path in place.rglob("*") if path.is_file()] == ["zarr.json"]


def test_scratch_that_holds_anything_is_refused(target: Path, tmp_path: Path) -> None:
    cp.build_pyramid(LABELS, target, **OPTIONS)
    zarr.create_group(tmp_path / "attributes", attributes={"precious": 1})
    zarr.create_array(tmp_path / "array", data=LABELS)
    (tmp_path / "files").mkdir()
    (tmp_path / "files" / "precious").write_text("")
    before = contents(tmp_path)
    for scratch in (target, tmp_path / "attributes", tmp_path / "array", tmp_path / "files", 3):
        with pytest.raises(cp.ArgumentError, match="scratch"):
            cp.verify_pyramid(target, scratch=scratch)
    assert contents(tmp_path) == before


class Interrupted(Exception):
    pass


def test_nothing_is_left_after_an_error(target: Path) -> None:
    cp.build_pyramid(LABELS, target, method="mode", **OPTIONS)
    before = contents(target)

    def interrupt(done: int, total: int) -> None:
        raise Interrupted

    store = MemoryStore()
    for scratch in (None, store):
        with pytest.raises(Interrupted):
            cp.verify_pyramid(target, scratch=scratch, progress=interrupt)
    assert set(store._store_dict) == {"zarr.json"}
    assert contents(target) == before


@pytest.mark.parametrize(
    ("options", "told"),
    [
        ({"fraction": 0}, "fraction"),
        ({"fraction": 1.5}, "fraction"),
        ({"fraction": float("nan")}, "fraction"),
        ({"fraction": True}, "fraction"),
        ({"fraction": "half"}, "fraction"),
        ({"seed": -1}, "seed"),
        ({"seed": 0.5}, "seed"),
        ({"repair": "yes"}, "repair"),
        ({"progress": 1}, "progress"),
        ({"memory_limit": "much"}, "memory_limit"),
        ({"memory_limit": 0}, "memory_limit"),
    ],
    ids=str,
)
def test_bad_arguments_are_refused(target: Path, options: dict[str, Any], told: str) -> None:
    cp.build_pyramid(LABELS, target, **OPTIONS)
    chunk_file(target, 1, (0, 0, 0)).unlink()
    before = contents(target)
    with pytest.raises(cp.ArgumentError, match=told):
        cp.verify_pyramid(target, **{"repair": True} | options)
    assert contents(target) == before


def test_a_limit_that_is_too_small_is_refused_with_what_would_do(target: Path) -> None:
    cp.build_pyramid(LABELS, target, **OPTIONS)
    with pytest.raises(cp.PlanError, match="memory_limit"):
        cp.verify_pyramid(target, memory_limit=2**20)


def test_what_is_no_pyramid_is_refused(tmp_path: Path, target: Path) -> None:
    with pytest.raises(cp.SourceNotFoundError):
        cp.verify_pyramid(tmp_path / "missing.zarr")
    zarr.create_array(tmp_path / "array.zarr", data=LABELS)
    with pytest.raises(cp.ArgumentError, match="array"):
        cp.verify_pyramid(tmp_path / "array.zarr")
    zarr.create_group(tmp_path / "group.zarr")
    with pytest.raises(cp.ArgumentError, match="multiscales"):
        cp.verify_pyramid(tmp_path / "group.zarr")
    cp.build_pyramid(LABELS, target, **OPTIONS)
    del zarr.open_group(target)["2"]
    with pytest.raises(cp.SourceNotFoundError, match="'2'"):
        cp.verify_pyramid(target)


def test_an_unfinished_build_is_refused(target: Path) -> None:
    def interrupt(done: int, total: int) -> None:
        raise Interrupted

    with pytest.raises(Interrupted):
        cp.build_pyramid(LABELS, target, progress=interrupt, **OPTIONS)
    assert Journal.find(zarr.open_group(target)) is not None
    for refused in (lambda: cp.verify_pyramid(target, repair=True), lambda: cp.update_pyramid(target, np.s_[:])):
        with pytest.raises(cp.BuildError, match="run build_pyramid again"):
            refused()
    cp.build_pyramid(LABELS, target, **OPTIONS)
    assert cp.verify_pyramid(target)


def spoil(target: Path, how: str) -> None:
    document = json.loads((target / "zarr.json").read_text())
    (multiscale,) = document["attributes"]["ome"]["multiscales"]
    scale = multiscale["datasets"][2]["coordinateTransformations"][0]["scale"]
    if how == "no kwargs":
        del multiscale["metadata"]["kwargs"]
    elif how == "no metadata":
        del multiscale["metadata"], multiscale["type"]
    elif how == "kwargs of another kind":
        multiscale["metadata"]["kwargs"] = ["mean"]
    elif how == "method of another kind":
        multiscale["metadata"]["kwargs"]["method"] = ["mean"]
    elif how == "another method":
        multiscale["metadata"]["kwargs"]["method"] = "gaussian"
    elif how == "voxel size":
        scale[1] *= 2
    elif how == "voxel size between":
        scale[1] = 3.0
    elif how == "no voxel size":
        scale[1] = 0.0
    (target / "zarr.json").write_text(json.dumps(document))
    group = zarr.open_group(target)
    if how == "shape":
        group.create_array("2", shape=(8, 10, 10), dtype="u2", chunks=(8, 8, 8), overwrite=True)
    elif how == "dtype":
        group.create_array("2", shape=(9, 10, 10), dtype="f4", chunks=(8, 8, 8), overwrite=True)
    elif how == "axes":
        group.create_array("2", shape=(9, 10), dtype="u2", chunks=(8, 8), overwrite=True)


@pytest.mark.parametrize(
    ("how", "told"),
    [
        ("no kwargs", "how its levels were made"),
        ("no metadata", "how its levels were made"),
        ("kwargs of another kind", "how its levels were made"),
        ("method of another kind", "how its levels were made"),
        ("another method", "how its levels were made"),
        ("voxel size", "do not fit"),
        ("voxel size between", "do not fit"),
        ("no voxel size", "do not fit|malformed"),
        ("shape", "do not fit"),
        ("dtype", "has dtype float32"),
        ("axes", "do not fit"),
    ],
)
def test_pyramids_of_others_are_refused(target: Path, how: str, told: str) -> None:
    cp.build_pyramid(LABELS, target, **OPTIONS)
    spoil(target, how)
    before = contents(target)
    for refused in (lambda: cp.verify_pyramid(target, repair=True), lambda: cp.update_pyramid(target, np.s_[:])):
        with pytest.raises(cp.ArgumentError, match=told):
            refused()
    assert contents(target) == before


def test_a_pyramid_without_levels_is_sound() -> None:
    store = MemoryStore()
    cp.build_pyramid(LABELS, store, levels=0)
    assert cp.verify_pyramid(store).checked == ()
