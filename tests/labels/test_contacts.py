"""Contacts of labels are those that looking at each pair of voxels gives, however a volume is cut into parts."""

from __future__ import annotations

import itertools
import os
import signal
import time
from collections.abc import Sequence
from functools import reduce
from pathlib import Path
from typing import Any

import dask
import dask.array as da
import numpy as np
import numpy.typing as npt
import pytest
import xarray as xr
import zarr
from helpers.child import started
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as npst
from zarr.storage import MemoryStore

import chunkpyramid as cp
from chunkpyramid.boxes import Box, Halo, tile
from chunkpyramid.engine.process_memory import BASELINE
from chunkpyramid.labels import label_contacts as module
from chunkpyramid.labels.contact_counts import ContactCounts, count_contacts, merge_contacts

Array = npt.NDArray[Any]


def oracle(volume: Array, spatial: Sequence[bool], most_steps: int, background: int | None) -> dict[Any, list[int]]:
    """Return of each pair of labels the number of contacts and, for each spatial axis, of faces."""
    found: dict[Any, list[int]] = {}
    for steps in itertools.product(*[(0, 1, -1) if is_space else (0,) for is_space in spatial]):
        moved = [axis for axis, step in enumerate(steps) if step]
        if not 1 <= len(moved) <= most_steps or steps[moved[0]] < 0:
            continue
        one = tuple(slice(max(0, -s), n - max(0, s)) for s, n in zip(steps, volume.shape, strict=True))
        other = tuple(slice(max(0, s), n - max(0, -s)) for s, n in zip(steps, volume.shape, strict=True))
        for a, b in zip(volume[one].ravel().tolist(), volume[other].ravel().tolist(), strict=True):
            if a != b and background not in (a, b):
                counts = found.setdefault((min(a, b), max(a, b)), [0] * (1 + volume.ndim))
                counts[0] += 1
                if len(moved) == 1:
                    counts[1 + moved[0]] += 1
    kept = [0, *(1 + axis for axis, is_space in enumerate(spatial) if is_space)]
    return {pair: [counts[at] for at in kept] for pair, counts in sorted(found.items())}


def told(counts: ContactCounts | cp.labels.ContactTable) -> dict[Any, list[int]]:
    pairs = zip(counts.first.tolist(), counts.second.tolist(), strict=True)
    numbers = np.column_stack([counts.count, counts.faces_per_axis]).tolist()
    return dict(zip(pairs, numbers, strict=True))


@st.composite
def volumes(draw: st.DrawFn) -> Array:
    """Arrays of few labels, extreme ones too, of any order in memory."""
    dtype = np.dtype(draw(st.sampled_from(["u1", "u2", "u4", "u8", "i1", "i2", "i4", "i8", "?", ">u4", ">i8"])))
    shape = draw(npst.array_shapes(min_dims=2, max_dims=5, min_side=1, max_side=4))
    if dtype.kind == "b":
        palette = [False, True]
    else:
        limits = np.iinfo(dtype)
        palette = [0, 1, limits.min, limits.max]
    picks = draw(npst.arrays(np.intp, shape, elements=st.integers(0, len(palette) - 1)))
    volume = np.asarray(np.array(palette, dtype)[picks], order=draw(st.sampled_from("CF")))
    return volume[tuple(slice(None, None, draw(st.sampled_from([1, -1, 2]))) for _ in shape)]


@given(volumes(), st.integers(1, 3), st.sampled_from([None, 0, 1, 300, -(2**63)]), st.data())
def test_contacts_of_parts_are_those_of_the_whole(
    volume: Array, most_steps: int, background: int | None, data: st.DataObject
) -> None:
    spatial = (False, False, True, True, True)[-volume.ndim :]
    options: dict[str, Any] = {
        "most_steps": most_steps,
        "background": background,
        "most": data.draw(st.none() | st.integers(1, 3)),
    }
    shape = data.draw(st.tuples(*[st.integers(1, 4)] * volume.ndim))
    halo = Halo((0,) * volume.ndim, tuple(map(int, spatial)))
    parts = []
    for cell in tile(Box.whole(volume.shape), shape):
        box = cell.clip(volume.shape)
        around = box.grow(halo, volume.shape)
        parts += count_contacts(volume[around.slices], box.shape, spatial, **options)
    assert all(len(part.first) <= (options["most"] or np.inf) for part in parts)
    found = reduce(merge_contacts, data.draw(st.permutations(parts)))
    assert told(found) == oracle(volume, spatial, most_steps, background)
    assert found.first.dtype == found.second.dtype == volume.dtype.newbyteorder("=")


@pytest.mark.parametrize("dtype", ["u1", "u2", "u4", "u8"])
def test_long_rows_of_long_runs(dtype: str) -> None:
    """What is passed many voxels at a time ends where it has to, and rows that are looked at again are the same."""
    rng = np.random.default_rng(0)
    for most_steps, order, shape in ((1, "C", (4, 11, 99)), (3, "C", (9, 3, 150)), (2, "F", (99, 4, 9))):
        runs = np.repeat(rng.integers(0, 5, 7000), rng.integers(1, 70, 7000))
        volume = runs[: np.prod(shape)].reshape(shape, order=order).astype(dtype)  # type: ignore[call-overload]
        ordered = np.asarray(volume, order=order)  # type: ignore[call-overload]
        (counts,) = count_contacts(ordered, volume.shape, (True,) * 3, most_steps=most_steps, background=None)
        assert told(counts) == oracle(volume, (True,) * 3, most_steps, None)


def test_pairs_that_agree_in_many_bits() -> None:
    labels = np.arange(6000, dtype=np.uint64) * np.uint64(2**51)
    (counts,) = count_contacts(labels[None], (1, 6000), (True, True), most_steps=1, background=None)
    assert told(counts) == oracle(labels[None], (True, True), 1, None)


LABELS = np.repeat(np.repeat(np.random.default_rng(0).integers(0, 9, (7, 9, 30)), 3, 0), 2, 1).astype(np.uint64)
LABELS[LABELS == 3] = 2**63 + 5


def stored(**options: Any) -> zarr.Array[Any]:
    array = zarr.create_array(MemoryStore(), shape=LABELS.shape, dtype=LABELS.dtype, **options)
    array[...] = LABELS
    return array


SOURCES: dict[str, Any] = {
    "numpy": lambda: LABELS,
    "zarr": lambda: stored(chunks=(8, 9, 16)),
    "sharded": lambda: stored(chunks=(4, 8, 8), shards=(16, 16, 16)),
    "dask": lambda: da.from_array(LABELS, chunks=(10, 18, 7)),
}
EXPECTED = {26: oracle(LABELS, (True,) * 3, 3, 0), 6: oracle(LABELS, (True,) * 3, 1, 0)}


@pytest.mark.parametrize("source", SOURCES)
def test_contacts_are_those_of_the_whole_array(source: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "PAIRS_AT_A_TIME", 25)
    with dask.config.set(scheduler="threads"):
        assert told(cp.labels.contacts(SOURCES[source](), connectivity=26)) == EXPECTED[26]


@pytest.mark.parametrize("source", ["zarr", "dask", "numpy"])
def test_in_little_memory(source: str) -> None:
    volume = SOURCES[source]()
    with dask.config.set(scheduler="synchronous"):
        assert told(cp.labels.contacts(volume, memory_limit=BASELINE + 64 * 2**20)) == EXPECTED[6]


def test_workers_in_other_processes(tmp_path: Path) -> None:
    source = zarr.create_array(tmp_path / "labels.zarr", data=LABELS, chunks=(11, 9, 30))
    with dask.config.set(scheduler="processes", num_workers=2):
        assert told(cp.labels.contacts(source)) == EXPECTED[6]


def test_nothing_touches_along_time_and_channels() -> None:
    volume = np.random.default_rng(0).integers(0, 4, (2, 3, 4, 5, 6)).astype(np.int16)
    table = cp.labels.contacts(volume, connectivity=18, background=None)
    assert told(table) == oracle(volume, (False, False, True, True, True), 2, None)
    assert table.to_dataset()["axis"].values.tolist() == ["z", "y", "x"]


@pytest.mark.parametrize(("connectivity", "steps"), [(4, 1), (6, 1), (8, 2), (18, 2), (26, 2)])
def test_an_image_is_a_volume_of_one_plane(connectivity: int, steps: int) -> None:
    image = np.random.default_rng(1).integers(0, 5, (9, 11))
    assert told(cp.labels.contacts(image, connectivity=connectivity)) == oracle(image, (True, True), steps, 0)


def test_areas_are_physical() -> None:
    volume = np.zeros((2, 3, 4), np.uint8)
    volume[0], volume[1], volume[:, 2] = 1, 2, 9
    table = cp.labels.contacts(volume, voxel_size=(40.0, 5.0, 3.0))
    assert (table[1, 2].faces, table[1, 2].area) == (8, 8 * 5 * 3)
    assert (table[1, 9].faces, table[9, 1].area) == (4, 4 * 40 * 3)
    edges = cp.labels.contacts(volume, connectivity=26, voxel_size=(40.0, 5.0, 3.0))
    assert edges[1, 2].count > edges[1, 2].faces == table[1, 2].faces
    assert edges[1, 2].area == table[1, 2].area


def test_a_table_is_a_mapping_of_pairs() -> None:
    volume = np.array([[-5, -5, 3], [0, 4, 3], [7, 7, 0]], np.int8)
    table = cp.labels.contacts(volume)
    assert list(table) == [(-5, 3), (-5, 4), (3, 4), (4, 7)]
    assert len(table) == 4
    assert (4, 3) in table
    assert table[4, 3] == table[3, 4] == cp.labels.ContactRow(first=3, second=4, count=1, faces=1, area=1.0)
    for absent in ((3, 7), (0, 7), 3, (3,), (3, 2**70), ("a", 3), (3, 3)):
        assert absent not in table
    with pytest.raises(KeyError, match=r"no contact of \(3, 7\)"):
        table[3, 7]
    assert table.neighbours(4).tolist() == [-5, 3, 7]
    assert table.neighbours(-5).tolist() == [3, 4]
    assert table.neighbours(100).tolist() == table.neighbours(1000).tolist() == []
    assert repr(table).splitlines()[0] == "<ContactTable of 4 pairs of labels (int8), axes y, x>"
    assert repr(table).splitlines()[-1].split() == ["4", "7", "1", "1", "1"]
    assert repr(cp.labels.contacts(LABELS)).endswith("\n...")
    nothing = cp.labels.contacts(np.ones((3, 3), np.uint8))
    assert (len(nothing), list(nothing), len(nothing.neighbours(1)), len(repr(nothing).splitlines())) == (0, [], 0, 1)


def test_a_table_is_a_dataset_and_a_dataframe() -> None:
    pytest.importorskip("pandas")
    table = cp.labels.contacts(LABELS, voxel_size=2.0, connectivity=26)
    dataset, frame = table.to_dataset(), table.to_dataframe()
    np.testing.assert_array_equal(dataset["area"], 4.0 * dataset["faces_per_axis"].sum("axis"))
    assert dataset.sizes == {"contact": len(table), "axis": 3}
    row = table[1, 2]
    assert frame.loc[(1, 2), ["count", "faces", "area"]].tolist() == [row.count, row.faces, row.area]
    assert frame.columns.tolist() == ["count", "faces", "area", "z_faces", "y_faces", "x_faces"]


def test_a_table_that_is_kept_opens_in_xarray_and_is_not_computed_again(tmp_path: Path) -> None:
    target = tmp_path / "contacts.zarr"
    source = stored(chunks=(8, 16, 16))
    table = cp.labels.contacts(source, target=target, voxel_size=2.0)
    with xr.open_zarr(target) as opened:
        assert {*opened.variables} == {*table.to_dataset().variables}
        np.testing.assert_array_equal(opened["area"], table.area)
        assert opened["faces_per_axis"].dims == ("contact", "axis")
    for key in [key for key in source.store._store_dict if "/c/" in f"/{key}"]:
        del source.store._store_dict[key]
    assert cp.labels.contacts(source, target=target, voxel_size=2.0) == table
    for other in ({"connectivity": 18}, {"background": None}, {"voxel_size": 3.0}):
        with pytest.raises(cp.TargetExistsError, match="overwrite=True"):
            cp.labels.contacts(source, target=target, **{"voxel_size": 2.0, **other})


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"source": np.zeros((3, 3))}, "labels"),
        ({"connectivity": 8}, "connectivity must be one of 6, 18, 26 for 3 spatial axes"),
        ({"connectivity": "all"}, "connectivity"),
        ({"source": np.zeros((3, 3), int), "connectivity": 5}, "for 2 spatial axes"),
        ({"background": 1.5}, "background"),
        ({"memory_limit": "1 MiB"}, "at least"),
        ({"overwrite": "yes"}, "overwrite"),
        ({"progress": 3}, "progress"),
    ],
)
def test_bad_arguments_are_named(arguments: dict[str, Any], message: str) -> None:
    with pytest.raises(cp.ChunkPyramidError, match=message):
        cp.labels.contacts(**{"source": LABELS, **arguments})


CHILD = """
import sys, chunkpyramid as cp
cp.labels.contacts(sys.argv[1], target=sys.argv[2], connectivity=26)
"""


def test_kills_change_nothing(tmp_path: Path) -> None:
    """Processes are killed when so many blocks are done; those are not read again."""
    path, target = tmp_path / "labels.zarr", tmp_path / "table.zarr"
    volume = np.random.default_rng(1).integers(0, 50, (48, 64, 64)).astype(np.uint32)
    zarr.create_array(path, data=volume, chunks=(8, 16, 16))
    done = target / ".chunkpyramid" / "done" / "0" / "0.0.0"
    for most in (2, 6):
        with started(CHILD, str(path), str(target)) as child:
            while not child.has_ended and (not done.is_dir() or len(os.listdir(done)) < most):
                time.sleep(0.001)
            child.kill()
            assert child.end().returncode == -signal.SIGKILL
    steps: list[int] = []
    table = cp.labels.contacts(path, target=target, connectivity=26, progress=lambda so_far, _: steps.append(so_far))
    assert steps[0] >= 6
    assert table == cp.labels.contacts(volume, connectivity=26)
    assert not (target / ".chunkpyramid").exists()
