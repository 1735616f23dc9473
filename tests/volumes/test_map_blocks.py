"""A user's own function on every block gives what it gives for the whole array."""

from __future__ import annotations

import os
import time
from pathlib import Path
from typing import Any

import dask
import dask.array as da
import numpy as np
import numpy.typing as npt
import pytest
import xarray as xr
import zarr
from helpers.child import run, started
from hypothesis import given, settings
from hypothesis import strategies as st
from zarr.storage import MemoryStore

import chunkpyramid as cp
from chunkpyramid.engine.process_memory import BASELINE

Array = npt.NDArray[Any]

IMAGE = np.random.default_rng(0).integers(0, 60000, (33, 40, 37)).astype(np.uint16)


def box_filter(part: Array, radius: int = 1) -> Array:
    """Sum over the voxels that are no farther away along any axis; beyond the edges there are none."""
    total = part.astype(np.int64)
    for axis in range(part.ndim):
        padded = np.pad(total, [(radius * (other == axis),) * 2 for other in range(part.ndim)])
        total = sum(
            np.take(padded, range(shift, shift + part.shape[axis]), axis=axis) for shift in range(2 * radius + 1)
        )
    return total


def stored(array: Array = IMAGE, **options: Any) -> zarr.Array[Any]:
    created = zarr.create_array(MemoryStore(), shape=array.shape, dtype=array.dtype, **options)
    created[...] = array
    return created


SOURCES: dict[str, Any] = {
    "numpy": lambda: IMAGE,
    "zarr": lambda: stored(chunks=(8, 8, 8)),
    "sharded": lambda: stored(chunks=(4, 4, 4), shards=(8, 16, 8)),
    "dask": lambda: da.from_array(IMAGE, chunks=(10, 40, 9)),
    "xarray": lambda: xr.DataArray(IMAGE, dims=("z", "y", "x")),
}


TARGETS: list[dict[str, Any]] = [{}, {"shards": 16}, {"zarr_format": 2}]
# every two of them meet
SOURCES_HALOS_LIMITS_AND_TARGETS = [
    (source, halo, limit, TARGETS[(number + halo + 2 * place) % len(TARGETS)])
    for number, source in enumerate(SOURCES)
    for halo in (0, 1)
    for place, limit in enumerate((None, BASELINE + 8 * 2**20))
]


@pytest.mark.parametrize(("source", "halo", "limit", "options"), SOURCES_HALOS_LIMITS_AND_TARGETS)
def test_the_result_is_that_of_the_whole_array(
    source: str, halo: int, limit: int | None, options: dict[str, Any]
) -> None:
    def function(part: Array) -> Array:
        return box_filter(part, halo)

    volume = cp.map_blocks(
        function,
        SOURCES[source](),
        MemoryStore(),
        dtype="int64",
        halo=halo,
        chunks=8,
        memory_limit=limit,
        **options,
    )
    assert volume.dtype == np.int64
    np.testing.assert_array_equal(volume[:], box_filter(IMAGE, halo))


@given(st.data())
@settings(max_examples=30)
def test_any_halo_shape_and_chunks(data: st.DataObject) -> None:
    ndim = data.draw(st.integers(2, 4))
    shape = tuple(data.draw(st.tuples(*[st.integers(1, 9)] * ndim)))
    array = np.random.default_rng(data.draw(st.integers(0, 9))).integers(-99, 99, shape)
    halo = data.draw(st.integers(0, 3))
    chunks = data.draw(st.tuples(*[st.integers(1, 5)] * ndim))
    axes = "tzyx"[-ndim:]
    spatial = tuple(halo if axis in "zyx" else 0 for axis in axes)

    def function(part: Array) -> Array:
        """Counts the neighbours that a voxel has."""
        total = np.ones(part.shape, np.int64)
        for axis, radius in enumerate(spatial):
            reach = np.arange(part.shape[axis])
            counts = np.minimum(reach, radius) + np.minimum(reach[::-1], radius) + 1
            total = total * counts.reshape([-1 if other == axis else 1 for other in range(part.ndim)])
        return total + part

    volume = cp.map_blocks(function, stored(array, chunks=chunks), MemoryStore(), axes=axes, halo=halo)
    np.testing.assert_array_equal(volume[:], function(array))


def test_a_gaussian_filter_is_that_of_scipy() -> None:
    ndimage = pytest.importorskip("scipy.ndimage")
    image = IMAGE.astype(np.float32)

    def smooth(part: Array) -> Array:
        smoothed: Array = ndimage.gaussian_filter(part, 1.0, truncate=3.0)
        return smoothed

    volume = cp.map_blocks(smooth, stored(image, chunks=(8, 8, 8)), MemoryStore(), halo=3)
    np.testing.assert_array_equal(volume[:], smooth(image))


def test_coordinates_are_those_of_the_source(tmp_path: Path) -> None:
    cp.build_pyramid(IMAGE, tmp_path / "image.zarr", voxel_size=(40, 4, 4), unit="nanometer", translation=(1, 2, 3))
    volume = cp.map_blocks(np.negative, tmp_path / "image.zarr", tmp_path / "negative.zarr", name="negative")
    assert (volume.axes, volume.voxel_size, volume.translation) == (("z", "y", "x"), (40, 4, 4), (1, 2, 3))
    assert volume.unit == ("nanometer",) * 3
    again = cp.open_volume(tmp_path / "negative.zarr")
    np.testing.assert_array_equal(again.to_xarray(), -IMAGE)
    assert again.to_xarray().coords["z"][:2].values.tolist() == [1, 41]
    # it is an image as any other, of which a pyramid can be built in place
    cp.build_pyramid(tmp_path / "negative.zarr", levels=1)
    assert cp.open_volume(tmp_path / "negative.zarr", level=1).voxel_size == (80, 8, 8)
    with pytest.raises(cp.ArgumentError, match="level must be below 2"):
        cp.open_volume(tmp_path / "negative.zarr", level=2)


def test_labels_stay_labels(tmp_path: Path) -> None:
    labels = (IMAGE % 7).astype(np.uint32)
    cp.build_pyramid(labels, tmp_path / "labels.zarr", levels=1)
    assert cp.open_volume(tmp_path / "labels.zarr").is_labels
    doubled = cp.map_blocks(lambda part: part * 2, tmp_path / "labels.zarr", tmp_path / "doubled.zarr")
    assert doubled.is_labels
    assert not cp.map_blocks(np.sqrt, labels, tmp_path / "roots.zarr", dtype="f4").is_labels


def test_what_the_values_mean_is_not_told_of_others() -> None:
    source = xr.DataArray(IMAGE, dims=("z", "y", "x"), attrs={"scale_factor": 0.5, "long_name": "light"})
    kept = cp.map_blocks(np.positive, source, MemoryStore())
    assert kept.array.attrs["scale_factor"] == 0.5
    with pytest.warns(cp.MetadataWarning, match="scale_factor"):
        other = cp.map_blocks(np.sqrt, source, MemoryStore(), dtype="f4")
    assert "scale_factor" not in other.array.attrs
    assert other.array.attrs["long_name"] == "light"


def test_the_input_cannot_be_modified() -> None:
    def careless(part: Array) -> Array:
        part[...] = 0
        return part

    before = IMAGE.copy()
    with pytest.raises(cp.BuildError, match="read-only"):
        cp.map_blocks(careless, IMAGE, MemoryStore())
    np.testing.assert_array_equal(IMAGE, before)


@pytest.mark.parametrize("scheduler", ["processes", "threads"])
def test_workers(scheduler: str, tmp_path: Path) -> None:
    with dask.config.set(scheduler=scheduler, num_workers=2):
        volume = cp.map_blocks(np.invert, da.from_array(IMAGE, chunks=20), tmp_path / "inverted.zarr", halo=1)
    np.testing.assert_array_equal(volume[:], ~IMAGE)


CHILD = """
import sys, time, numpy, chunkpyramid as cp
def slow(part):
    time.sleep(0.02)
    return numpy.invert(part)
cp.map_blocks(slow, sys.argv[1], sys.argv[2], halo=1)
"""


def test_kills_change_nothing(tmp_path: Path) -> None:
    volume = np.random.default_rng(1).integers(0, 50, (32, 64, 64)).astype(np.uint32)
    path, target = tmp_path / "source.zarr", tmp_path / "target.zarr"
    zarr.create_array(path, data=volume, chunks=(4, 16, 16))
    done = target / ".chunkpyramid" / "done" / "0" / "0.0.0"
    for most in (2, 5, 9):
        with started(CHILD, str(path), str(target)) as child:
            while not child.has_ended and (not done.is_dir() or len(os.listdir(done)) < most):
                time.sleep(0.001)
            child.kill()
            child.end()
    done = run(CHILD, str(path), str(target))
    assert done.returncode == 0, done.stderr
    np.testing.assert_array_equal(cp.open_volume(target)[:], ~volume)
    assert not (target / ".chunkpyramid").exists()


def test_a_killed_one_goes_on_with_other_memory(tmp_path: Path) -> None:
    source, target = stored(chunks=(4, 4, 4)), tmp_path / "target.zarr"

    class Interrupted(Exception):
        pass

    def interrupt(done: int, total: int) -> None:
        if done >= 3:
            raise Interrupted

    with dask.config.set(scheduler="synchronous"):
        with pytest.raises(Interrupted):
            cp.map_blocks(np.invert, source, target, progress=interrupt)
        with pytest.raises(cp.TargetExistsError, match="function"):
            cp.map_blocks(np.negative, source, target)
        steps: list[int] = []
        volume = cp.map_blocks(
            np.invert, source, target, memory_limit="300 MiB", progress=lambda done, _: steps.append(done)
        )
    assert steps[0] == 3
    np.testing.assert_array_equal(volume[:], ~IMAGE)
    # and one that is finished is not done again
    np.testing.assert_array_equal(cp.map_blocks(np.invert, source, target)[:], ~IMAGE)


@pytest.mark.parametrize(
    ("arguments", "error", "message"),
    [
        ({"function": None}, cp.ArgumentError, "function must be callable"),
        ({"target": None}, cp.ArgumentError, "target is needed"),
        ({"dtype": "nonsense"}, cp.ArgumentError, "dtype"),
        ({"halo": -1}, cp.ArgumentError, "halo"),
        ({"halo": {"w": 1}}, cp.ArgumentError, "halo names the axes"),
        ({"bytes_per_voxel": 1.5}, cp.ArgumentError, "bytes_per_voxel"),
        ({"resume": 1}, cp.ArgumentError, "resume"),
        ({"memory_limit": "2 MiB"}, cp.PlanError, "at least"),
        ({"function": lambda part: part[1:]}, cp.BuildError, "shape"),
        ({"function": np.sqrt}, cp.BuildError, "give dtype="),
    ],
)
def test_bad_arguments_are_named(arguments: dict[str, Any], error: type[Exception], message: str) -> None:
    with pytest.raises(error, match=message):
        cp.map_blocks(**{"function": np.invert, "source": IMAGE, "target": MemoryStore(), **arguments})


@pytest.mark.parametrize("halo", [0, 1])
def test_functions_are_given_native_byte_order(halo: int) -> None:
    def function(part: Array) -> Array:
        assert part.dtype.isnative
        return part

    for source in (IMAGE.astype(">u2"), da.from_array(IMAGE.astype(">u2"), chunks=16)):
        np.testing.assert_array_equal(cp.map_blocks(function, source, MemoryStore(), halo=halo)[:], IMAGE)
        assert cp.reduce_blocks(lambda part: int(part.dtype.isnative), np.minimum, source) == 1
