"""Connected components of volumes are those of the whole array in memory, whatever chunks, limits and schedulers."""

from __future__ import annotations

import signal
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path
from typing import Any
from unittest import mock

import dask
import dask.array as da
import numpy as np
import numpy.typing as npt
import pytest
import xarray as xr
import zarr
from helpers.child import run
from helpers.cluster import cluster
from hypothesis import given, settings
from hypothesis import strategies as st
from zarr.storage import MemoryStore

import chunkpyramid as cp
from chunkpyramid.engine import block_shapes
from chunkpyramid.engine.process_memory import BASELINE
from chunkpyramid.labels import component_merge
from chunkpyramid.labels import components as module
from chunkpyramid.labels.arrays import components as arrays
from chunkpyramid.labels.component_cells import CellGrid
from chunkpyramid.labels.components import connected_components
from chunkpyramid.labels.large_array import LargeArray

Array = npt.NDArray[Any]

# runs of some voxels, so that components cross many blocks
LABELS = np.repeat(np.random.default_rng(0).integers(0, 4, (20, 15, 10)), 3, axis=2).astype(np.uint64) * 2**62


def stored(array: Array, store: Any = None, **options: Any) -> zarr.Array[Any]:
    created = zarr.create_array(store or MemoryStore(), shape=array.shape, dtype=array.dtype, **options)
    created[...] = array
    return created


def in_memory(array: Array, **options: Any) -> Array:
    numbers: Array = connected_components(array, **options)
    return numbers


SOURCES: dict[str, Any] = {
    "numpy": lambda: LABELS,
    "zarr": lambda: stored(LABELS, chunks=(4, 5, 6)),
    "sharded": lambda: stored(LABELS, chunks=(4, 4, 4), shards=(8, 16, 8)),
    "dask": lambda: da.from_array(LABELS, chunks=(7, 15, 9)),
    "xarray": lambda: xr.DataArray(LABELS, dims=("z", "y", "x")),
    "volume": lambda: cp.open_volume(stored(LABELS, chunks=(5, 5, 5))),
}


@pytest.mark.parametrize("source", SOURCES)
@pytest.mark.parametrize("connectivity", [6, 18, 26])
def test_the_result_is_that_of_the_whole_array(source: str, connectivity: int) -> None:
    for options in ({"shards": 12, "chunks": 6}, {"zarr_format": 2, "chunks": (3, 7, 50)}):
        volume = connected_components(
            SOURCES[source](),
            MemoryStore(),
            connectivity=connectivity,
            memory_limit=BASELINE + 8 * 2**20,
            **options,
        )
        assert isinstance(volume, cp.Volume)
        assert volume.is_labels
        assert volume.dtype == np.uint32
        np.testing.assert_array_equal(volume[:], in_memory(LABELS, connectivity=connectivity))


@given(st.data())
@settings(max_examples=25)
def test_any_shape_chunks_and_rules(data: st.DataObject) -> None:
    ndim = data.draw(st.integers(2, 5))
    shape = tuple(data.draw(st.tuples(*[st.integers(1, 13 if ndim < 4 else 6)] * ndim)))
    seed, most = data.draw(st.integers(0, 99)), data.draw(st.integers(1, 3))
    array = np.random.default_rng(seed).integers(-1, most, shape).astype(data.draw(st.sampled_from(["i1", "i8", "f4"])))
    told: dict[str, Any] = {
        "connectivity": data.draw(st.sampled_from([4, 8] if ndim == 2 else [6, 18, 26])),
        "background": data.draw(st.sampled_from([0, -1, None])),
        "dust": data.draw(st.sampled_from([0, 0, 2, 6])),
    }
    if array.dtype.kind == "f" or data.draw(st.booleans()):
        told["threshold"] = data.draw(st.sampled_from([(0, 1), (None, 0), (0.5, None)]))
    chunks, written = (data.draw(st.tuples(*[st.integers(1, 5)] * ndim)) for _ in range(2))
    shards = data.draw(st.none() | st.just(tuple(2 * n for n in written)))
    pieces = mock.patch.object(block_shapes, "PIECE_BYTES", data.draw(st.sampled_from([2**3, 2**7, 2**25])))
    with pieces, dask.config.set(scheduler=data.draw(st.sampled_from(["synchronous", "threads"]))):
        volume = connected_components(
            stored(array, chunks=chunks), MemoryStore(), chunks=written, shards=shards, **told
        )
    np.testing.assert_array_equal(volume[:], in_memory(array, **told))


def spiral(side: int) -> Array:
    """One component that winds through every block of a volume, many times."""
    labels = np.zeros((side, side, side), np.uint8)
    labels[::2, ::2] = 1
    for z in range(0, side, 2):
        for y in range(0, side - 2, 2):
            labels[z, y + 1, -1 if y % 4 == 0 else 0] = 1
        if z + 2 < side:
            # rows end where the next plane begins
            labels[z + 1, side - 1 if z % 4 == 0 else 0, 0 if (side - 1) % 4 else -1] = 1
    return labels


def checkerboard(side: int) -> Array:
    """As many components as there can be at every face."""
    return (np.indices((side,) * 3).sum(axis=0) % 2).astype(np.uint8)


WORST = {
    "spiral": spiral(21),
    "checkerboard": checkerboard(14),
    "every voxel": np.arange(14**3).reshape(14, 14, 14),
    "one": np.ones((20, 20, 20), np.uint16),
    "empty": np.zeros((20, 20, 20), np.uint16),
    "line": np.ones((1, 1, 40), np.uint8),
    "column": (np.arange(40) % 3).astype(np.uint8).reshape(40, 1, 1),
    "threads": np.broadcast_to(np.arange(196).reshape(1, 14, 14), (30, 14, 14)),
}


@pytest.mark.parametrize("name", WORST)
@pytest.mark.parametrize("connectivity", [6, 26])
def test_worst_cases(name: str, connectivity: int) -> None:
    labels = WORST[name]
    volume = connected_components(
        stored(labels, chunks=(5, 6, 4)), MemoryStore(), connectivity=connectivity, chunks=(4, 5, 3)
    )
    np.testing.assert_array_equal(volume[:], in_memory(labels, connectivity=connectivity))
    if name == "spiral" and connectivity == 6:
        assert volume[:].max() == 1


def test_a_volume_of_a_single_block() -> None:
    volume = connected_components(LABELS, MemoryStore())
    np.testing.assert_array_equal(volume[:], in_memory(LABELS))


def test_numbers_go_on_over_time_and_channels() -> None:
    labels = np.random.default_rng(3).integers(0, 3, (2, 3, 6, 7, 8)).astype(np.uint8)
    for chunks in ((1, 1, 3, 3, 3), (2, 2, 4, 4, 4)):
        volume = connected_components(stored(labels, chunks=chunks), MemoryStore(), connectivity=26)
        np.testing.assert_array_equal(volume[:], in_memory(labels, connectivity=26))
    # planes over time are no volume
    planes = labels[0, 0]
    volume = connected_components(planes, MemoryStore(), axes="tyx", connectivity=8)
    expected = np.concatenate([in_memory(plane, connectivity=8)[None].astype(int) for plane in planes])
    starts = np.cumsum([0, *expected.reshape(len(planes), -1).max(axis=1)])[:-1]
    np.testing.assert_array_equal(volume[:], np.where(expected, expected + starts[:, None, None], 0))


@pytest.mark.parametrize("scheduler", ["pool", "cluster"])
def test_workers(scheduler: str, tmp_path: Path, worker_processes: ProcessPoolExecutor) -> None:
    source = stored(LABELS, tmp_path / "source.zarr", chunks=(5, 5, 5))
    if scheduler == "pool":
        with dask.config.set(scheduler=worker_processes):
            volume = connected_components(source, tmp_path / "target.zarr", connectivity=26)
    else:
        with cluster(processes=False, threads_per_worker=1):
            volume = connected_components(da.from_zarr(source), tmp_path / "target.zarr", connectivity=26)
    np.testing.assert_array_equal(volume[:], in_memory(LABELS, connectivity=26))


def test_coordinates_are_those_of_the_source(tmp_path: Path) -> None:
    told = {"voxel_size": (40, 4, 4), "unit": "nanometer", "translation": (1, 2, 3)}
    cp.build_pyramid(LABELS, tmp_path / "labels.zarr", levels=1, **told)
    volume = connected_components(tmp_path / "labels.zarr", tmp_path / "components.zarr", name="components")
    assert (volume.axes, volume.voxel_size, volume.translation) == (("z", "y", "x"), (40, 4, 4), (1, 2, 3))
    assert cp.open_volume(tmp_path / "components.zarr").is_labels
    assert connected_components(volume, MemoryStore(), voxel_size=2).voxel_size == (2, 2, 2)
    # light becomes labels, and what its values mean is not told of these
    light = xr.DataArray(LABELS.astype(np.float32), dims=("z", "y", "x"), attrs={"scale_factor": 0.5})
    with pytest.warns(cp.MetadataWarning, match="scale_factor"):
        volume = connected_components(light, MemoryStore(), threshold=(1, None))
    assert "scale_factor" not in volume.array.attrs


def test_the_dtype_of_the_numbers(monkeypatch: pytest.MonkeyPatch) -> None:
    source = stored(LABELS, chunks=(5, 5, 5))
    for dtype in (np.uint16, np.int64):
        volume = connected_components(source, MemoryStore(), dtype=dtype)
        assert volume.dtype == dtype
        np.testing.assert_array_equal(volume[:], in_memory(LABELS))
    with pytest.raises(cp.ArgumentError, match=r"there are \d+ components, which uint8 does not hold"):
        connected_components(source, MemoryStore(), dtype=np.uint8)

    # more components than uint32 holds take long to make: here they are said to be as many
    def wide(count: int, dtype: Any) -> Any:
        return np.dtype(np.uint64)

    monkeypatch.setattr(module, "fitting_dtype", wide)
    for zarr_format in (2, 3):
        volume = connected_components(source, MemoryStore(), zarr_format=zarr_format, chunks=7)
        assert volume.dtype == np.uint64
        np.testing.assert_array_equal(volume[:], in_memory(LABELS))


def test_what_does_not_fit_in_memory_goes_to_a_file(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(component_merge, "PART", 2**60)
    volume = connected_components(stored(LABELS, chunks=(4, 5, 6)), MemoryStore(), connectivity=26, chunks=4)
    np.testing.assert_array_equal(volume[:], in_memory(LABELS, connectivity=26))
    array = LargeArray(10**6, most_bytes=10**6)
    array.values[::7] = np.arange(142858)
    array.give_back()
    np.testing.assert_array_equal(array.values[::7], np.arange(142858))
    assert array.values.sum() == 142858 * 142857 // 2


@pytest.mark.parametrize("changed", ["size", "place", "label at a border", "nothing left", "nothing before"])
def test_a_source_that_changes_between_the_passes_is_an_error(changed: str, tmp_path: Path) -> None:
    labels = np.zeros((8, 8, 8), np.uint8)
    labels[2, 2, 2:4] = 1
    labels[3, 6, 6] = 3
    labels[:, 5, 1] = 2
    if changed == "nothing before":
        labels[4:, 4:, 4:] = 0
    source, target = stored(labels, tmp_path / "source.zarr", chunks=(4, 4, 4)), tmp_path / "target.zarr"
    changes: dict[str, tuple[Any, int]] = {
        "size": (np.s_[2, 2, 3], 0),
        "place": (np.s_[3, 6, 6:], 0),
        "label at a border": (np.s_[:4, 5, 1], 9),
        "nothing left": (np.s_[:4, 4:, :], 0),
        "nothing before": (np.s_[6, 6, 6], 9),
    }
    place, value = changes[changed]

    def change(done: int, total: int) -> None:
        if done == total // 2:
            source[place] = value

    with dask.config.set(scheduler="synchronous"):
        with pytest.raises(cp.BuildError, match=r"block \(.*\) of labels.connected_components .*source has changed"):
            connected_components(source, target, chunks=4, progress=change)
        volume = connected_components(source, target, chunks=4, overwrite=True)
    np.testing.assert_array_equal(volume[:], in_memory(np.asarray(source[...])))


CHILD = """
import os, signal, sys, dask
from chunkpyramid.labels import component_cells
from chunkpyramid.labels.components import connected_components
source, target, when, count = *sys.argv[1:4], int(sys.argv[4])
stored = 0
def kill_at(number):
    if number >= count:
        os.kill(os.getpid(), signal.SIGKILL)
def put_numbers(self, *told, put=component_cells.CellRecords.put_numbers):
    global stored
    stored += 1
    kill_at(stored)
    put(self, *told)
if when == "merge":
    component_cells.CellRecords.put_numbers = put_numbers
with dask.config.set(scheduler="synchronous"):
    connected_components(source, target, connectivity=26, dust=3, chunks=8,
                         progress=(lambda done, total: kill_at(done)) if when == "blocks" else False)
"""


def files_of(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def test_kills_change_nothing(tmp_path: Path) -> None:
    source, target, whole = tmp_path / "source.zarr", tmp_path / "target.zarr", tmp_path / "whole.zarr"
    stored(LABELS, source, chunks=(8, 8, 8))
    kills = [("blocks", 4), ("merge", 3), ("blocks", 15)]
    for when, count in kills:
        child = run(CHILD, str(source), str(target), when, str(count))
        assert child.returncode == -signal.SIGKILL, child.stderr
    with dask.config.set(scheduler="synchronous"):
        told: dict[str, Any] = {"connectivity": 26, "dust": 3, "chunks": 8}
        # with other memory the pieces stay what they are
        volume = connected_components(source, target, memory_limit="3 GiB", **told)
        connected_components(source, whole, **told)
    np.testing.assert_array_equal(volume[:], in_memory(LABELS, connectivity=26, dust=3))
    assert files_of(target) == files_of(whole)


def test_a_killed_one_goes_on_with_the_same_pieces(tmp_path: Path) -> None:
    source, target = stored(LABELS, chunks=(4, 4, 4)), tmp_path / "target.zarr"

    class Interrupted(Exception):
        pass

    def interrupt(done: int, total: int) -> None:
        if done > total // 2 + 1:
            raise Interrupted

    with dask.config.set(scheduler="synchronous"):
        # as if there was little memory
        with mock.patch.object(block_shapes, "PIECE_BYTES", 2**10), pytest.raises(Interrupted):
            connected_components(source, target, shards=16, chunks=4, progress=interrupt)
        with pytest.raises(cp.TargetExistsError, match="dust"):
            connected_components(source, target, shards=16, chunks=4, dust=2)
        steps: list[int] = []
        volume = connected_components(
            source, target, shards=16, chunks=4, memory_limit="2 GiB", progress=lambda done, _: steps.append(done)
        )
    assert steps[0] > 1
    np.testing.assert_array_equal(volume[:], in_memory(LABELS))
    # and one that is finished is not done again
    np.testing.assert_array_equal(connected_components(source, target, shards=16, chunks=4)[:], volume[:])


@given(st.data())
def test_the_grid_of_cells(data: st.DataObject) -> None:
    extent, block, piece = (tuple(data.draw(st.tuples(*[st.integers(1, 9)] * 3))) for _ in range(3))
    piece = tuple(map(min, piece, block))
    grid = CellGrid(extent, block, piece, data.draw(st.integers(0, 1)))
    met = np.zeros(extent, int)
    spatial = met.reshape(grid.volumes, *grid.shape)
    cells = set()
    for cell in np.ndindex(grid.volumes, *grid.counts):
        spatial[(cell[0], *grid.box(cell).slices)] += 1
        cells.add(cell)
    assert (met == 1).all()
    assert {cell for cell in cells if not grid.ends(cell)} == (cells if grid.counts == (1, 1, 1) else set())


@pytest.mark.parametrize(
    ("arguments", "error", "message"),
    [
        ({"target": None}, cp.ArgumentError, "target is needed"),
        ({"connectivity": 4}, cp.ArgumentError, "connectivity must be 6 or 18 or 26"),
        ({"threshold": 5}, cp.ArgumentError, "threshold must be"),
        ({"dust": 0.5}, cp.ArgumentError, "dust must be"),
        ({"dtype": "f4"}, cp.ArgumentError, "dtype must be"),
        ({"resume": 1}, cp.ArgumentError, "resume must be"),
        ({"memory_limit": "1 MiB"}, cp.PlanError, "raise memory_limit"),
        ({"source": stored(np.zeros((3, 3)))}, cp.ArgumentError, "float64, which are no labels"),
    ],
)
def test_what_is_wrong_is_refused(arguments: dict[str, Any], error: type[Exception], message: str) -> None:
    store = MemoryStore()
    given_arguments = {"source": stored(LABELS, chunks=(5, 5, 5)), "target": store, **arguments}
    with pytest.raises(error, match=message):
        connected_components(**given_arguments)
    assert not store._store_dict


def test_arrays_with_options_of_volumes_need_a_target() -> None:
    with pytest.raises(cp.ArgumentError, match="target is needed"):
        connected_components(LABELS, chunks=4)
    np.testing.assert_array_equal(connected_components(LABELS), arrays.connected_components(LABELS))
