"""Volumes of other labels are those of the whole array, whatever the chunks, schedulers and kills; in place too."""

from __future__ import annotations

import itertools
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import dask
import dask.array as da
import numpy as np
import numpy.typing as npt
import pytest
import xarray as xr
import zarr
from helpers.child import run
from zarr.storage import MemoryStore

import chunkpyramid as cp
from chunkpyramid.engine import shared_arrays
from chunkpyramid.engine.process_memory import BASELINE

Array = npt.NDArray[Any]

LABELS = np.repeat(np.repeat(np.random.default_rng(1).integers(0, 40, (9, 11, 40)), 3, 0), 3, 1).astype(np.uint32)
LABELS[LABELS == 3] = 70_000
SMALL: dict[str, Any] = {"chunks": (8, 16, 8)}

# some become others, and one of these others is itself replaced: doing it twice would not be doing it once
TABLE = {label: (label * 7 + 5) % 40 for label in range(40)} | {70_000: 300}


def stored(array: Array = LABELS, location: Any = None, **options: Any) -> zarr.Array[Any]:
    told = SMALL | options
    created = zarr.create_array(location or MemoryStore(), shape=array.shape, dtype=array.dtype, **told)
    created[...] = array
    return created


def replaced(array: Array, table: dict[int, int]) -> Array:
    """Return what a table makes of labels, label by label; what it has not stays."""
    result = array.astype(np.int64)
    for old, new in table.items():
        result[array == old] = new
    return result


SOURCES: dict[str, Callable[[], Any]] = {
    "numpy": lambda: LABELS,
    "zarr": stored,
    "zarr 2": lambda: stored(zarr_format=2),
    "sharded": lambda: stored(chunks=(4, 8, 8), shards=(16, 16, 16)),
    "dask": lambda: da.from_array(LABELS, chunks=(10, 33, 7)),
    "xarray": lambda: xr.DataArray(LABELS, dims=("z", "y", "x")),
    "volume": lambda: cp.open_volume(LABELS),
}


@pytest.mark.parametrize(("source", "limit"), [*((name, None) for name in SOURCES), ("zarr", BASELINE + 32 * 2**20)])
def test_a_volume_is_that_of_the_whole_array(source: str, limit: int | None) -> None:
    some = [1, 70_000, 5, 10**6]
    others = np.setdiff1d(LABELS, some)
    for call, expected in (
        (lambda **k: cp.labels.remap(SOURCES[source](), TABLE, **k), replaced(LABELS, TABLE)),
        (lambda **k: cp.labels.remap(SOURCES[source](), {7: 3}, True, **k), replaced(LABELS, {7: 3})),
        (lambda **k: cp.labels.mask(SOURCES[source](), some, **k), replaced(LABELS, dict.fromkeys(some, 0))),
        (
            lambda **k: cp.labels.mask_except(SOURCES[source](), some, value=9, **k),
            replaced(LABELS, dict.fromkeys(others.tolist(), 9)),
        ),
        (lambda **k: cp.labels.refit(SOURCES[source](), **k), LABELS),
    ):
        volume = call(target=MemoryStore(), memory_limit=limit, chunks=16)
        np.testing.assert_array_equal(volume[:], expected)
        assert (volume.dtype, volume.axes) == (np.uint32, ("z", "y", "x"))


@pytest.mark.parametrize(
    ("source", "preserve_zero", "start"),
    [
        # what numbers there are does not depend on the source
        *((source, number % 2 == 0, 1 if number % 3 else 250) for number, source in enumerate(SOURCES)),
        *itertools.product(["zarr"], [True, False], [1, 250]),
    ],
)
def test_renumbering_goes_in_the_order_of_voxels(source: str, preserve_zero: bool, start: int) -> None:
    volume, table = cp.labels.renumber(SOURCES[source](), start, preserve_zero, target=MemoryStore())
    labels, first = np.unique(LABELS, return_index=True)
    met = [label for label in labels[np.argsort(first)].tolist() if label or not preserve_zero]
    expected = {label: start + number for number, label in enumerate(met)} | ({0: 0} if preserve_zero else {})
    assert dict(table) == expected
    np.testing.assert_array_equal(volume[:], replaced(LABELS, expected))
    assert volume.dtype == (np.uint8 if start == 1 else np.uint16)
    assert table.to_dataset()["new"].sel(label=70_000) == table[70_000]
    with pytest.raises(KeyError, match="no label"):
        table[10**9]


def test_the_dtype_holds_the_new_labels() -> None:
    narrow = LABELS.clip(0, 200).astype(np.uint8)
    assert cp.labels.remap(narrow, {1: 2**40}, True, target=MemoryStore()).dtype == np.uint64
    assert cp.labels.mask(narrow, [1], value=300, target=MemoryStore()).dtype == np.uint16
    signed = narrow.astype(np.int16) - 30
    volume = cp.labels.remap(signed, {-30: -(2**31)}, True, target=MemoryStore())
    assert volume.dtype == np.int32
    np.testing.assert_array_equal(volume[:], replaced(signed, {-30: -(2**31)}))
    with pytest.raises(cp.ArgumentError, match="no dtype of the kind"):
        cp.labels.remap(narrow, {1: -1}, True, target=MemoryStore())
    for extreme in (2**64 - 1, 2**63):
        wide = np.where(narrow == 1, extreme, narrow.astype(np.uint64)).astype(np.uint64)
        volume = cp.labels.remap(wide, {extreme: extreme - 1}, True, target=MemoryStore())
        np.testing.assert_array_equal(volume[:], np.where(wide == extreme, extreme - 1, wide))
    least = np.array([[-(2**63), 5]])
    np.testing.assert_array_equal(
        cp.labels.remap(least, {-(2**63): 2**63 - 1}, True, target=MemoryStore())[:], [[2**63 - 1, 5]]
    )


def test_a_label_that_is_not_in_the_table_is_an_error_with_its_place() -> None:
    array = np.zeros((20, 20), np.uint8)
    array[13, 11] = 8
    with pytest.raises(KeyError, match=r"block \(1, 1\).*label 8 of the voxel \(13, 11\).*preserve_missing_labels"):
        cp.labels.remap(stored(array, chunks=(10, 10)), {0: 1}, target=MemoryStore())


def tables(folder: Path) -> dict[str, Any]:
    old, new = np.array(list(TABLE)), np.array(list(TABLE.values()))
    folder.mkdir()
    rows = "\n".join(f"{a},{b},ignored" for a, b in TABLE.items())
    (folder / "table.csv").write_text(f"label,new,more\n{rows}\n")
    (folder / "bare.csv").write_text("\n".join(f"{a},{b}" for a, b in TABLE.items()))
    numbered = "\n".join(f"{n},{a},{b}" for n, (a, b) in enumerate(TABLE.items()))
    (folder / "frame.csv").write_text(f",old,new\n{numbered}\n")
    (folder / "table.tsv").write_text("\n".join(f"{a}\t{b}" for a, b in TABLE.items()))
    pairs = zarr.create_array(folder / "pairs.zarr", data=np.stack([old, new], 1))
    group = zarr.open_group(folder / "group.zarr", mode="w")
    group.create_array("old", data=old)
    group.create_array("new", data=new)
    return {
        "columns": np.stack([old, new], 1),
        "pair": (old, new),
        "pair of zarr arrays": (group["old"], group["new"]),
        "zarr array": pairs,
        "csv": folder / "table.csv",
        "csv without heading": str(folder / "bare.csv"),
        "csv of a DataFrame": folder / "frame.csv",
        "tsv": folder / "table.tsv",
        "path of a zarr array": folder / "pairs.zarr",
        "path of a group": folder / "group.zarr",
        "renumbering": cp.labels.renumber(old[None], target=MemoryStore())[1],
    }


def test_tables_come_from_where_they_are(tmp_path: Path) -> None:
    expected = replaced(LABELS, TABLE)
    for kind, table in tables(tmp_path / "tables").items():
        found = cp.labels.remap(LABELS, table, target=MemoryStore())[:]
        np.testing.assert_array_equal(
            found, replaced(LABELS, dict(table)) if kind == "renumbering" else expected, err_msg=kind
        )
        if kind != "renumbering":
            np.testing.assert_array_equal(cp.labels.remap(LABELS, table), expected, err_msg=kind)


def test_tables_come_from_parquet(tmp_path: Path) -> None:
    pyarrow = pytest.importorskip("pyarrow")
    from pyarrow import parquet

    table = pyarrow.table({"old": list(TABLE), "new": list(TABLE.values()), "more": ["a"] * len(TABLE)})
    parquet.write_table(table, tmp_path / "table.parquet")
    found = cp.labels.remap(LABELS, tmp_path / "table.parquet", target=MemoryStore())[:]
    np.testing.assert_array_equal(found, replaced(LABELS, TABLE))


@pytest.mark.parametrize(
    ("table", "told"),
    [
        (np.zeros((3, 3), int), "two columns"),
        ((np.arange(3), np.arange(4)), "3 labels, but 4"),
        (np.array([[1.5, 2]]), "integers"),
        ([[1, 2], [1, 3]], "both that it becomes"),
        ("nothing.csv", "is not there"),
        ({1: 2**65}, "64 bits"),
        ("counts.csv", "two are needed"),
    ],
)
def test_tables_that_tell_nothing_are_refused(
    table: Any, told: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("counts.csv").write_text("label,count,z_start\n1,2,3\n")
    with pytest.raises(cp.ArgumentError, match=told):
        cp.labels.remap(LABELS, table, target=MemoryStore())


def test_large_tables_are_shared_by_the_tasks_of_a_process(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(shared_arrays, "MOST_IN_A_TASK", 100)
    monkeypatch.setattr(shared_arrays, "PART_BYTES", 64)
    expected = replaced(LABELS, TABLE)
    with dask.config.set(scheduler="processes", num_workers=2):
        volume = cp.labels.remap(stored(location=tmp_path / "source.zarr"), TABLE, target=tmp_path / "target.zarr")
    np.testing.assert_array_equal(volume[:], expected)
    assert not (tmp_path / "target.zarr" / ".chunkpyramid").exists()


CHANGES: dict[str, tuple[Callable[..., Any], Array]] = {
    "remap": (lambda source, **k: cp.labels.remap(source, TABLE, in_place=True, **k), replaced(LABELS, TABLE)),
    "remap_from_array_kv": (
        lambda source, **k: cp.labels.remap_from_array_kv(source, np.array([7, 5]), np.array([5, 7]), **k),
        replaced(LABELS, {7: 5, 5: 7}),
    ),
    "mask": (lambda source, **k: cp.labels.mask(source, [1, 5], in_place=True, **k), replaced(LABELS, {1: 0, 5: 0})),
    "mask_except": (
        lambda source, **k: cp.labels.mask_except(source, [1, 5], in_place=True, **k),
        np.where(np.isin(LABELS, [1, 5]), LABELS, 0),
    ),
}
LAYOUTS: dict[str, dict[str, Any]] = {
    "chunks": {},
    "shards": {"chunks": (4, 8, 8), "shards": (16, 16, 16)},
    "zarr 2": {"zarr_format": 2},
}


@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize("change", CHANGES)
def test_a_volume_is_changed_in_place(change: str, layout: str, tmp_path: Path) -> None:
    call, expected = CHANGES[change]
    stored(location=tmp_path / "labels.zarr", **LAYOUTS[layout])
    before = sorted(path.name for path in (tmp_path / "labels.zarr").iterdir())
    volume = call(tmp_path / "labels.zarr")
    np.testing.assert_array_equal(volume[:], expected)
    np.testing.assert_array_equal(zarr.open_array(tmp_path / "labels.zarr")[:], expected)
    assert {path.name for path in (tmp_path / "labels.zarr").iterdir()} <= {*before, ".zattrs"}
    # the same again is nothing to do, for it may be that of a script that was killed when all was done
    np.testing.assert_array_equal(call(tmp_path / "labels.zarr")[:], expected)


def test_what_is_done_in_place_is_done_again_only_if_asked_for() -> None:
    source = stored()
    call, _ = CHANGES["remap_from_array_kv"]
    call(source)
    call(source)
    np.testing.assert_array_equal(source[:], replaced(LABELS, {7: 5, 5: 7}))
    call(source, overwrite=True)
    np.testing.assert_array_equal(source[:], LABELS)


def test_renumbering_in_place() -> None:
    source = stored()
    volume, table = cp.labels.renumber(source, in_place=True)
    np.testing.assert_array_equal(volume[:], replaced(LABELS, dict(table)))
    again, same = cp.labels.renumber(source, in_place=True)
    np.testing.assert_array_equal(again[:], volume[:])
    assert all(old == new for old, new in same.items())


# what a child runs: a change in place, in the course of which the process ends when it has written a number of times
CHILD = """
import os, sys
import dask
import numpy as np
import chunkpyramid as cp
from chunkpyramid.engine import in_place

path, most = sys.argv[1], int(sys.argv[2])
written = 0
put = in_place.put

def put_or_die(store, items):
    global written
    written += 1
    if written > most:
        os._exit(9)
    put(store, items)

in_place.put = put_or_die
with dask.config.set(scheduler="synchronous"):
    exec(sys.argv[3])
"""


@pytest.mark.parametrize(("change", "layout"), [("remap", "shards"), ("renumber", "chunks")])
def test_what_is_killed_in_place_replaces_no_label_twice(change: str, layout: str, tmp_path: Path) -> None:
    path = tmp_path / "labels.zarr"
    stored(location=path, **LAYOUTS[layout])
    calls = {
        "remap": f"cp.labels.remap(path, {TABLE}, in_place=True)",
        "renumber": "cp.labels.renumber(path, 5, in_place=True)",
    }
    labels, first = np.unique(LABELS[LABELS > 0], return_index=True)
    numbers = {label: 5 + number for number, label in enumerate(labels[np.argsort(first)].tolist())}
    tries = 0
    for most in (2, 5, 10**6):
        done = run(CHILD, str(path), str(most), calls[change])
        assert done.returncode in (0, 9), done.stderr
        tries += 1
        if done.returncode == 0:
            break
        with pytest.raises(cp.ArgumentError, match="changed in place by labels"):
            cp.labels.unique(path)
        with pytest.raises(cp.ArgumentError, match="changed in place by labels"):
            cp.build_pyramid(path, MemoryStore())
        with pytest.raises(cp.BuildError, match=r"differs in .*run the same again"):
            cp.labels.mask(path, [1], in_place=True)
    assert tries == 3
    expected = replaced(LABELS, TABLE if change == "remap" else numbers)
    np.testing.assert_array_equal(zarr.open_array(path)[:], expected)
    assert ".chunkpyramid" not in os.listdir(path)


def test_what_cannot_be_changed_in_place_is_refused_before_any_work(tmp_path: Path) -> None:
    source = stored()
    for given, options, told in (
        (da.from_array(LABELS), {"in_place": True}, "zarr arrays"),
        (source, {}, "target is needed"),
        (source, {"in_place": True, "target": MemoryStore()}, "one of them"),
        (source, {"in_place": True, "chunks": 8}, "chunks cannot be given"),
        (zarr.open_array(source.store, mode="r"), {"in_place": True}, "opened for reading"),
    ):
        with pytest.raises(cp.ArgumentError, match=told):
            cp.labels.remap(given, TABLE, **options)
    with pytest.raises(cp.ArgumentError, match="need uint64"):
        cp.labels.remap(source, {1: 2**40}, True, in_place=True)
    with pytest.raises(cp.ArgumentError, match="does not fit"):
        cp.labels.mask(source, [1], value=2**40, in_place=True)
    with pytest.raises(cp.ArgumentError, match="target is needed"):
        cp.labels.remap(LABELS, TABLE, chunks=8)
    with pytest.raises(cp.ArgumentError, match="pass target="):
        cp.labels.mask(source, [1], "target.zarr")
    with pytest.raises(cp.ArgumentError, match="put it in a list"):
        cp.labels.mask(source, 1, target=MemoryStore())
    with pytest.raises(KeyError, match=r"label 0 of the voxel .* nothing was changed"):
        cp.labels.remap(source, {1: 2}, in_place=True)
    with pytest.raises(cp.ArgumentError, match="integers or bool"):
        cp.labels.remap(np.zeros((4, 4)), TABLE, target=MemoryStore())
    np.testing.assert_array_equal(source[:], LABELS)


def test_levels_made_before_a_change_are_told_of(tmp_path: Path) -> None:
    pyramid = cp.build_pyramid(LABELS, tmp_path / "labels.zarr", method="mode", levels=1)
    with pytest.warns(cp.MetadataWarning, match="build them again"):
        cp.labels.mask(pyramid.levels[0], [1], in_place=True)
    np.testing.assert_array_equal(cp.open_pyramid(tmp_path / "labels.zarr").levels[0][:], replaced(LABELS, {1: 0}))


def test_colours_of_single_labels_are_not_those_of_new_ones(tmp_path: Path) -> None:
    pyramid = cp.build_pyramid(LABELS, tmp_path / "labels.zarr", method="mode", levels=0, voxel_size=4.0)
    ome = dict(pyramid.group.attrs["ome"])
    ome["image-label"] = {"colors": [{"label-value": 1, "rgba": [1, 2, 3, 4]}]}
    pyramid.group.attrs["ome"] = ome
    with pytest.warns(cp.MetadataWarning, match="colors"):
        volume = cp.labels.remap(tmp_path / "labels.zarr", TABLE, target=tmp_path / "remapped.zarr")
    assert (volume.voxel_size, volume.is_labels) == ((4.0,) * 3, True)
    assert "colors" not in zarr.open_group(tmp_path / "remapped.zarr").attrs["ome"]["image-label"]
    cp.labels.mask(tmp_path / "labels.zarr", [1], target=tmp_path / "masked.zarr")
    assert "colors" in zarr.open_group(tmp_path / "masked.zarr").attrs["ome"]["image-label"]
