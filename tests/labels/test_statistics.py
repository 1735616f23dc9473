"""Statistics of the labels of volumes: the same whatever the chunks, memory, schedulers and kills."""

from __future__ import annotations

import os
import time
from pathlib import Path
from typing import Any

import dask
import dask.array as da
import numpy as np
import pytest
import xarray as xr
import zarr
from helpers.child import started
from zarr.storage import MemoryStore

import chunkpyramid as cp
from chunkpyramid.labels import exported_table
from chunkpyramid.labels import label_statistics as module

LABELS = np.repeat(np.repeat(np.random.default_rng(0).integers(0, 30, (11, 14, 40)), 3, 0), 3, 1).astype(np.uint64)
LABELS[LABELS == 3] = 2**63 + 5


def stored(chunks: Any, shards: Any = None, zarr_format: Any = 3) -> zarr.Array[Any]:
    array = zarr.create_array(
        MemoryStore(), shape=LABELS.shape, dtype=LABELS.dtype, chunks=chunks, shards=shards, zarr_format=zarr_format
    )
    array[...] = LABELS
    return array


SOURCES: dict[str, Any] = {
    "numpy": lambda: LABELS,
    "zarr": lambda: stored((8, 16, 8)),
    "zarr 2": lambda: stored((8, 16, 8), zarr_format=2),
    "sharded": lambda: stored((4, 8, 8), (16, 16, 16)),
    "dask": lambda: da.from_array(LABELS, chunks=(10, 42, 7)),
    "xarray": lambda: xr.DataArray(LABELS, dims=("z", "y", "x")),
}


AT_THE_BORDER = np.pad(np.zeros(tuple(n - 2 for n in LABELS.shape), bool), 1, constant_values=True)


@pytest.mark.parametrize(
    ("source", "scheduler"), [*((source, "threads") for source in SOURCES), ("zarr", "synchronous")]
)
def test_statistics_are_those_of_the_whole_array(source: str, scheduler: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "LABELS_AT_A_TIME", 28)
    with dask.config.set(scheduler=scheduler):
        table = cp.labels.statistics(SOURCES[source](), background=None)
        labels, counts = cp.labels.unique(SOURCES[source](), return_counts=True)
    expected, numbers = np.unique(LABELS, return_counts=True)
    for found in (table.label, labels):
        np.testing.assert_array_equal(found, expected)
        assert found.dtype == LABELS.dtype
    for found in (table.count, counts):
        np.testing.assert_array_equal(found, numbers)
    for label, row in table.items():
        where = np.argwhere(label == LABELS)
        assert row.box == tuple(slice(int(a), int(b) + 1) for a, b in zip(where.min(0), where.max(0), strict=True))
        assert row.border_count == (AT_THE_BORDER & (label == LABELS)).sum()
        np.testing.assert_allclose(row.centroid, where.mean(axis=0), rtol=1e-13)


def test_unique_labels_alone() -> None:
    np.testing.assert_array_equal(cp.labels.unique(stored((8, 16, 8))), np.unique(LABELS))


def test_time_and_channels_have_no_border() -> None:
    table = cp.labels.statistics(np.ones((2, 3, 4, 5), np.uint8), axes="tcyx")
    assert table[1].border_count == 2 * 3 * (4 * 5 - 2 * 3)
    assert cp.labels.statistics(np.ones((2, 5, 1), np.uint8))[1].border_count == 10
    assert cp.labels.statistics(np.pad([[[1]]], 1))[1].border_count == 0


def test_boxes_and_sizes_are_physical() -> None:
    labels = np.zeros((2, 4, 5), np.uint8)
    labels[:, 1:3, 2:5] = 4
    row = cp.labels.statistics(labels, axes="cyx", voxel_size=(10.0, 3.0), translation=(100.0, -6.0))[4]
    assert row.physical_size == 12 * 30
    assert (row.position_start, row.position_stop) == ((-0.5, 105.0, -1.5), (1.5, 125.0, 7.5))
    table = cp.labels.statistics(labels, axes="cyx", voxel_size=(10.0, 3.0), translation=(100.0, -6.0))
    assert table.physical_size.tolist() == [360.0]
    assert tuple(table.position_start[0]) == row.position_start


def test_tables_are_sorted_and_find_labels_all_the_same() -> None:
    table = cp.labels.statistics(LABELS)
    sizes = table.count.tolist()
    for name in ("count", "border_count", "label"):
        for descending in (False, True):
            other = table.sorted(by=name, descending=descending)
            keys = [(row.__dict__[name] * (-1 if descending else 1), label) for label, row in table.items()]
            assert list(other) == [label for _, label in sorted(keys)]
            assert all(other[label] == table[label] for label in table)
            assert 0 not in other
            assert 2**63 + 6 not in other
    largest = table.largest(3)
    assert largest.count.tolist() == sorted(sizes, reverse=True)[:3]
    assert set(largest) < set(table)
    assert largest.sorted("label", descending=False) == table.rows(np.flatnonzero(np.isin(table.label, largest.label)))
    assert len(table.largest(0)) == 0
    assert table.largest(10**9).to_dataset().sizes["label"] == len(table)
    assert list(table) == sorted(table)
    for call in (lambda: table.sorted("size"), lambda: table.sorted(descending=3), lambda: table.largest(-1)):
        with pytest.raises(cp.ArgumentError, match=r"(by|descending|n) must be"):
            call()


def test_tables_show_their_first_rows() -> None:
    shown = repr(cp.labels.statistics(LABELS)).splitlines()
    assert shown[1].split() == ["label", "count", "border_count", "box", "position"]
    assert len(shown) == 2 + 10 + 1
    assert shown[-1] == "..."


@pytest.mark.parametrize("kind", ["csv", "parquet"])
def test_tables_are_files_of_others(kind: str, tmp_path: Path) -> None:
    pandas = pytest.importorskip("pandas")
    if kind == "parquet":
        pytest.importorskip("pyarrow")
    for table in (cp.labels.statistics(LABELS).largest(4), cp.labels.contacts(LABELS[:6])):
        path = tmp_path / f"{type(table).__name__}.{kind}"
        write = getattr(table, f"to_{kind}")
        write(path)
        with pytest.raises(cp.TargetExistsError, match="overwrite=True"):
            write(path)
        write(str(path), overwrite=True)
        frame = table.to_dataframe()
        index = list(range(frame.index.nlevels))
        found = pandas.read_parquet(path) if kind == "parquet" else pandas.read_csv(path, index_col=index)
        pandas.testing.assert_frame_equal(found, frame, check_index_type=kind == "parquet")
        with pytest.raises(cp.TargetExistsError, match="another path"):
            write(tmp_path, overwrite=True)
        with pytest.raises(cp.ArgumentError, match="path"):
            write("s3://bucket/table")
    assert len(list(tmp_path.iterdir())) == 2


def test_what_is_not_installed_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    table = cp.labels.statistics(LABELS[:3])
    monkeypatch.setattr(exported_table, "find_spec", lambda name: None if name == "pyarrow" else name)
    with pytest.raises(cp.ArgumentError, match=r"to_parquet needs pyarrow.*chunkpyramid\[tables\]"):
        table.to_parquet(tmp_path / "table.parquet")
    monkeypatch.setattr(exported_table, "find_spec", lambda name: None)
    for call in (table.to_dataframe, lambda: table.to_csv(tmp_path / "table.csv")):
        with pytest.raises(cp.ArgumentError, match="needs pandas"):
            call()


def test_the_background_is_left_out() -> None:
    assert 0 not in cp.labels.statistics(LABELS)
    assert 0 in cp.labels.statistics(LABELS, background=None)
    table = cp.labels.statistics(LABELS, background=2**63 + 5)
    assert 0 in table
    assert 2**63 + 5 not in table


def test_a_table_is_a_mapping_in_physical_coordinates() -> None:
    source = np.zeros((4, 6), np.int16)
    source[1:3, 2:6] = -7
    table = cp.labels.statistics(source, axes="yx", voxel_size=(40, 4), translation=(100, 0), unit="nanometer")
    assert (len(table), list(table), -7 in table, 7 in table, 2**40 in table, "a" in table) == (
        (1, [-7], True, False, False, False)
    )
    row = table[-7]
    assert (row.label, row.count, row.box) == (-7, 8, (slice(1, 3), slice(2, 6)))
    assert (row.centroid, row.position) == ((1.5, 3.5), (160.0, 14.0))
    assert (source[row.box] == -7).all()
    with pytest.raises(KeyError, match="no label 7"):
        table[7]
    assert "1 labels" in repr(table)
    dataset = table.to_dataset()
    assert dataset.sel(label=-7, axis="x")["position"] == 14.0
    assert dataset["unit"].values.tolist() == ["nanometer", "nanometer"]


def test_a_table_is_a_dataframe() -> None:
    pytest.importorskip("pandas")
    frame = cp.labels.statistics(LABELS).to_dataframe()
    assert frame.loc[1, "count"] == (LABELS == 1).sum()
    assert frame.index.name == "label"
    assert {"z_start", "y_stop", "x_centroid", "x_position"} <= set(frame.columns)


def test_a_table_that_is_kept_opens_in_xarray_and_is_not_computed_again(tmp_path: Path) -> None:
    source, target = stored((8, 16, 8)), tmp_path / "table.zarr"
    table = cp.labels.statistics(source, target=target, voxel_size=2.0)
    with xr.open_zarr(target, consolidated=False) as opened:
        np.testing.assert_array_equal(opened["label"], table.label)
        np.testing.assert_array_equal(opened["position"], table.position)
        assert opened["count"].dims == ("label",)
        assert opened["start"].dims == ("label", "axis")
        assert opened["unit"].dims == ("axis",)
    with xr.open_zarr(target) as opened:
        np.testing.assert_array_equal(opened["centroid"].sel(axis="y"), table.centroid[:, 1])
        assert opened["unit"].values.tolist() == [axis.unit or "" for axis in table.coordinates.axes]
        assert set(opened.coords) == {"label", "axis", "unit"}
    # what is not read cannot be missed
    before = dict(source.store._store_dict)
    for key in list(before):
        if "/c/" in f"/{key}":
            del source.store._store_dict[key]
    assert cp.labels.statistics(source, target=target, voxel_size=2.0) == table
    source.store._store_dict.update(before)
    # one of another version has other columns
    group = zarr.open_group(target)
    kept = group.attrs["chunkpyramid_result"]
    group.attrs["chunkpyramid_result"] = {
        **kept,
        "of": {name: told for name, told in kept["of"].items() if name != "columns"},
    }
    with pytest.raises(cp.TargetExistsError, match="overwrite=True"):
        cp.labels.statistics(source, target=target, voxel_size=2.0)
    with pytest.raises(cp.TargetExistsError, match="overwrite=True"):
        cp.labels.statistics(source, target=target, background=None, voxel_size=2.0)
    other = cp.labels.statistics(source, target=target, background=None, voxel_size=2.0, overwrite=True)
    assert len(other) == len(table) + 1


def test_what_is_no_table_is_never_overwritten(tmp_path: Path) -> None:
    cp.build_pyramid(LABELS, tmp_path / "image.zarr", levels=1)
    for overwrite in (False, True):
        with pytest.raises(cp.TargetExistsError, match="never overwritten"):
            cp.labels.statistics(LABELS, target=tmp_path / "image.zarr", overwrite=overwrite)
    assert cp.verify_pyramid(tmp_path / "image.zarr").ok


class Interrupted(Exception):
    pass


def interrupt(done: int, total: int) -> None:
    raise Interrupted


@pytest.mark.parametrize("overwrite", [False, True])
def test_what_is_unfinished_and_no_table_is_never_overwritten(tmp_path: Path, overwrite: bool) -> None:
    built, updated = tmp_path / "built.zarr", tmp_path / "updated.zarr"
    with pytest.raises(Interrupted):
        cp.build_pyramid(LABELS, built, levels=1, progress=interrupt)
    cp.build_pyramid(LABELS, updated, levels=1)
    with pytest.raises(Interrupted):
        cp.update_pyramid(updated, np.s_[:4], progress=interrupt)
    for target in (built, updated):
        with pytest.raises(cp.TargetExistsError, match="never overwritten"):
            cp.labels.statistics(LABELS, target=target, overwrite=overwrite)
    np.testing.assert_array_equal(cp.build_pyramid(LABELS, built, levels=1).levels[0][:], LABELS)
    np.testing.assert_array_equal(cp.update_pyramid(updated, np.s_[:4]).levels[0][:], LABELS)


def test_only_the_table_itself_is_overwritten(tmp_path: Path) -> None:
    target = tmp_path / "table.zarr"
    cp.labels.statistics(LABELS, target=target)
    group = zarr.open_group(target)
    group.create_array("notes", shape=(1,), dtype="u1")
    group.attrs["author"] = "somebody"
    table = cp.labels.statistics(LABELS, target=target, background=None, overwrite=True)
    group = zarr.open_group(target)
    assert "notes" in group
    assert group.attrs["author"] == "somebody"
    assert cp.labels.statistics(LABELS, target=target, background=None) == table


def test_a_volume_of_background_has_no_labels(tmp_path: Path) -> None:
    table = cp.labels.statistics(np.zeros((4, 5), np.int8), target=tmp_path / "table.zarr")
    assert (len(table), list(table), table.to_dataset().sizes["label"]) == (0, [], 0)
    assert cp.labels.statistics(np.zeros((4, 5), np.int8), target=tmp_path / "table.zarr") == table


def test_the_result_is_in_no_source(tmp_path: Path) -> None:
    array = zarr.create_array(tmp_path / "source.zarr", data=LABELS)
    with pytest.raises(cp.ArgumentError, match="inside the source"):
        cp.labels.statistics(array, target=tmp_path / "source.zarr" / "table")


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"source": np.zeros((3, 3))}, "labels"),
        ({"background": 1.5}, "background"),
        ({"memory_limit": "nonsense"}, "memory_limit"),
        ({"memory_limit": "1 MiB"}, "at least"),
        ({"overwrite": "yes"}, "overwrite"),
        ({"progress": 3}, "progress"),
    ],
)
def test_bad_arguments_are_named(arguments: dict[str, Any], message: str) -> None:
    with pytest.raises(cp.ChunkPyramidError, match=message):
        cp.labels.statistics(**{"source": LABELS, **arguments})


CHILD = """
import sys, chunkpyramid as cp
cp.labels.statistics(sys.argv[1], target=sys.argv[2], background=None)
"""


def test_kills_change_nothing(tmp_path: Path) -> None:
    """Processes are killed when so many blocks are done; those are not read again."""
    rng = np.random.default_rng(1)
    volume = rng.integers(0, 50, (64, 64, 64)).astype(np.uint32)
    path, target = tmp_path / "labels.zarr", tmp_path / "table.zarr"
    zarr.create_array(path, data=volume, chunks=(8, 16, 16))
    done = target / ".chunkpyramid" / "done" / "0" / "0.0.0"
    for most in (2, 6):
        with started(CHILD, str(path), str(target)) as child:
            while not child.has_ended and (not done.is_dir() or len(os.listdir(done)) < most):
                time.sleep(0.001)
            child.kill()
            child.end()
    table = cp.labels.statistics(path, target=target, background=None)
    assert table == cp.labels.statistics(volume, background=None)
    assert not (target / ".chunkpyramid").exists()


def test_positions_along_uneven_axes_are_indices_and_this_is_said() -> None:
    labels = xr.DataArray(
        np.arange(12).reshape(3, 4) % 3, dims=("y", "x"), coords={"x": [8.0, 6.0, 4.0, 2.0], "y": [0.0, 10.0, 20.0]}
    )
    with pytest.warns(cp.MetadataWarning, match=r"'x' descends.*positions along this axis are array indices"):
        table = cp.labels.statistics(labels)
    assert table[1].position == (10.0, 1.5)


def test_a_volume_and_a_pyramid_are_sources() -> None:
    values = np.random.default_rng(0).integers(0, 5, (20, 30), np.uint16)
    expected = np.unique(values)
    mapped = cp.map_blocks(lambda part: part, values, MemoryStore(), chunks=16)
    pyramid = cp.build_pyramid(values, MemoryStore(), levels=1, chunks=16)
    for source in (mapped, pyramid, cp.open_volume(values)):
        np.testing.assert_array_equal(cp.labels.unique(source), expected)
        np.testing.assert_array_equal(np.asarray(cp.open_volume(source)), values)
    again = cp.build_pyramid(mapped, MemoryStore(), levels=1)
    np.testing.assert_array_equal(again.levels[0][...], values)
