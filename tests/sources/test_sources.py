"""Whatever holds the voxels, the levels are the same."""

from __future__ import annotations

import functools
from collections.abc import Callable
from pathlib import Path
from typing import Any

import dask.array as da
import numpy as np
import pytest
import xarray as xr
import zarr
from hypothesis import given, settings
from hypothesis import strategies as st
from zarr.storage import LocalStore, MemoryStore

import chunkpyramid as cp

VOLUME = np.random.default_rng(1).integers(0, 1000, (13, 21, 18)).astype(np.uint16)
OPTIONS: dict[str, Any] = {"levels": 2, "chunks": 8}


def levels_of(source: Any, **options: Any) -> list[np.ndarray]:
    pyramid = cp.build_pyramid(source, MemoryStore(), **{**OPTIONS, **options})
    return [level[...] for level in pyramid.levels]


@functools.cache
def expected() -> list[np.ndarray]:
    """Means straight from level 0, one voxel at a time."""
    result = [VOLUME]
    for f in (2, 4):
        level = np.empty([-(-n // f) for n in VOLUME.shape], VOLUME.dtype)
        for index in np.ndindex(level.shape):
            footprint = VOLUME[tuple(slice(i * f, (i + 1) * f) for i in index)].astype(float)
            level[index] = np.round(footprint.mean())
        result.append(level)
    return result


def assert_expected(levels: list[np.ndarray]) -> None:
    for level, wanted in zip(levels, expected(), strict=True):
        assert level.dtype == wanted.dtype
        np.testing.assert_array_equal(level, wanted)


def read_only(array: np.ndarray) -> np.ndarray:
    copy = array.copy()
    copy.flags.writeable = False
    return copy


IN_MEMORY: dict[str, Callable[[], Any]] = {
    "C order": lambda: VOLUME,
    "F order": lambda: np.asfortranarray(VOLUME),
    "big-endian": lambda: VOLUME.astype(">u2"),
    "read-only": lambda: read_only(VOLUME),
    "strided view": lambda: np.repeat(VOLUME, 2, axis=1)[:, ::2],
    "reversed twice": lambda: VOLUME[::-1].copy()[::-1],
    "dask": lambda: da.from_array(VOLUME, chunks=8),
    "dask, odd chunks": lambda: da.from_array(VOLUME, chunks=((1, 5, 7), (21,), (2, 13, 3))),
    "dask, big-endian": lambda: da.from_array(VOLUME.astype(">u2"), chunks=5),
    "dask, computed": lambda: (da.from_array(VOLUME, chunks=6) + 1 - np.uint16(1)).astype(np.uint16),
    "DataArray of numpy": lambda: xr.DataArray(VOLUME, dims=("z", "y", "x")),
    "DataArray of dask": lambda: xr.DataArray(da.from_array(VOLUME, chunks=7), dims=("z", "y", "x")),
}


@pytest.mark.parametrize("kind", IN_MEMORY)
def test_sources_in_memory_give_the_same_levels(kind: str) -> None:
    assert_expected(levels_of(IN_MEMORY[kind]()))


def test_memory_mapped_source(tmp_path: Path) -> None:
    np.save(tmp_path / "volume.npy", VOLUME)
    assert_expected(levels_of(np.load(tmp_path / "volume.npy", mmap_mode="r")))


STORED: dict[str, dict[str, Any]] = {
    "v3": {"zarr_format": 3, "chunks": (5, 9, 4)},
    "v3 sharded": {"zarr_format": 3, "chunks": (4, 4, 4), "shards": (8, 12, 8)},
    "v3, chunks larger than the array": {"zarr_format": 3, "chunks": (64, 64, 64)},
    "v2": {"zarr_format": 2, "chunks": (5, 9, 4)},
    "v2, F order": {"zarr_format": 2, "chunks": (5, 9, 4), "order": "F"},
    "v2, big-endian": {"zarr_format": 2, "chunks": (5, 9, 4), "dtype": ">u2"},
}
HANDLES: dict[str, Callable[[Path], Any]] = {
    "array": lambda path: zarr.open_array(path, mode="r"),
    "string": str,
    "Path": lambda path: path,
    "file URL": lambda path: f"file://{path}",
    "store": LocalStore,
}


@pytest.mark.parametrize("handle", HANDLES)
@pytest.mark.parametrize("kind", STORED)
def test_zarr_sources_give_the_same_levels(kind: str, handle: str, tmp_path: Path) -> None:
    path = tmp_path / "source.zarr"
    zarr.create_array(path, shape=VOLUME.shape, **{"dtype": "u2", **STORED[kind]})[...] = VOLUME
    assert_expected(levels_of(HANDLES[handle](path)))


def test_source_and_target_by_fsspec_url() -> None:
    url = "memory://chunkpyramid-test"
    zarr.create_array(f"{url}/source", shape=VOLUME.shape, dtype="u2", chunks=(5, 9, 4), overwrite=True)[...] = VOLUME
    cp.build_pyramid(f"{url}/source", f"{url}/target", overwrite=True, **OPTIONS)
    assert_expected([level[...] for level in cp.open_pyramid(f"{url}/target").levels])


def test_target_by_file_url(tmp_path: Path) -> None:
    cp.build_pyramid(VOLUME, f"file://{tmp_path}/new/target.zarr", **OPTIONS)
    assert_expected([level[...] for level in cp.open_pyramid(tmp_path / "new" / "target.zarr").levels])


@pytest.mark.parametrize("zarr_format", [2, 3])
@pytest.mark.parametrize("as_array", [False, True])
def test_ome_zarr_source_gives_its_level_0_and_its_coordinates(
    zarr_format: int, as_array: bool, tmp_path: Path
) -> None:
    cp.build_pyramid(
        VOLUME,
        tmp_path / "first.zarr",
        axes="zyx",
        voxel_size=(40, 4, 5),
        translation=(7, 8, 9),
        unit="nm",
        name="cells",
        zarr_format=zarr_format,
        **OPTIONS,
    )
    source = tmp_path / "first.zarr"
    second = cp.build_pyramid(source / "0" if as_array else source, MemoryStore(), method="max", **OPTIONS)
    np.testing.assert_array_equal(second.levels[0][...], VOLUME)
    np.testing.assert_array_equal(second.levels[1][0, 0, 0], VOLUME[:2, :2, :2].max())
    assert second.coordinates[0].scale == (40, 4, 5)
    assert second.coordinates[0].translation == (7, 8, 9)
    assert [axis.unit for axis in second.coordinates[0].axes] == ["nanometer"] * 3
    assert second.coordinates[1].translation == (27, 10, 11.5)


def test_image_label_source_is_taken_for_labels(tmp_path: Path) -> None:
    labels = np.random.default_rng(2).integers(0, 3, (16, 16)).astype(np.uint8)
    pyramid = cp.build_pyramid(labels, tmp_path / "labels.zarr", levels=1, chunks=8)
    assert pyramid.method == "mean"
    pyramid.group.attrs["ome"] = {**pyramid.group.attrs["ome"], "image-label": {"source": {"image": "../../"}}}
    again = cp.build_pyramid(tmp_path / "labels.zarr", tmp_path / "again.zarr", levels=1)
    assert again.method == "mode"
    assert again.group.attrs["ome"]["image-label"] == {"source": {"image": "../../"}}


@pytest.mark.parametrize(("dtype", "method"), [("u1", "mean"), ("i2", "mean"), ("f4", "mean"), ("f2", "mean")])
@pytest.mark.parametrize("labels", ["?", "i4", "u4", "i8", "u8"])
def test_auto_takes_wide_integers_for_labels(dtype: str, method: str, labels: str) -> None:
    assert cp.plan_pyramid(np.zeros((4, 4), dtype)).method == method
    assert cp.plan_pyramid(np.zeros((4, 4), labels)).method == "mode"


def test_lazily_opened_data_array_is_read_in_chunks_of_its_file(tmp_path: Path) -> None:
    array = xr.DataArray(VOLUME, dims=("z", "y", "x"), name="v")
    array.to_dataset().to_zarr(tmp_path / "x.zarr", encoding={"v": {"chunks": (5, 9, 4)}}, consolidated=False)
    for chunks in (None, {}):
        with xr.open_dataset(tmp_path / "x.zarr", engine="zarr", consolidated=False, chunks=chunks) as lazy:
            assert_expected(levels_of(lazy.v))
            from chunkpyramid.sources.open import open_source

            assert open_source(lazy.v, None).array.chunksize == (5, 9, 4)


@pytest.mark.parametrize(
    ("axes", "shape"),
    [
        ("yx", (9, 14)),
        ("zyx", (5, 9, 14)),
        ("tyx", (3, 9, 14)),
        ("czyx", (2, 5, 9, 14)),
        ("tcyx", (2, 3, 9, 14)),
        ("tczyx", (2, 2, 5, 9, 14)),
    ],
)
@pytest.mark.parametrize("as_dask", [False, True])
def test_time_and_channels_are_not_downsampled(axes: str, shape: tuple[int, ...], as_dask: bool) -> None:
    array = np.random.default_rng(3).integers(0, 255, shape).astype(np.uint8)
    source = da.from_array(array, chunks=2) if as_dask else array
    pyramid = cp.build_pyramid(source, MemoryStore(), axes=axes, levels=2, chunks=4)
    assert pyramid.axes == tuple(axes)
    spatial = [name not in "tc" for name in axes]
    for index, level in enumerate(pyramid.levels):
        f = 2**index
        assert level.shape == tuple(-(-n // f) if s else n for n, s in zip(shape, spatial, strict=True))
        assert level.metadata.dimension_names == tuple(axes)
        factor = tuple(f if s else 1 for s in spatial)
        if f > 1:
            np.testing.assert_array_equal(level[...], cp.downsample(array, factor)[0])


def test_default_axes_are_the_last_of_tczyx() -> None:
    for ndim in range(2, 6):
        pyramid = cp.build_pyramid(np.zeros((2,) * ndim, np.uint8), MemoryStore(), levels=0)
        assert "".join(pyramid.axes) == "tczyx"[-ndim:]


def test_dimension_names_of_a_zarr_array_become_axes(tmp_path: Path) -> None:
    for zarr_format, options in ((3, {"dimension_names": ("c", "row", "col")}), (2, {})):
        path = tmp_path / f"named{zarr_format}.zarr"
        array = zarr.create_array(path, shape=(2, 8, 8), dtype="u1", zarr_format=zarr_format, **options)
        array[...] = 1
        if zarr_format == 2:
            array.attrs["_ARRAY_DIMENSIONS"] = ["c", "row", "col"]
        pyramid = cp.build_pyramid(path, MemoryStore(), levels=1)
        assert pyramid.axes == ("c", "row", "col")
        assert pyramid.levels[1].shape == (2, 4, 4)


def test_chunks_default_to_those_of_the_source() -> None:
    array = zarr.create_array(MemoryStore(), shape=(20, 30), dtype="u1", chunks=(6, 7))
    array[...] = 1
    assert {level.chunks for level in cp.build_pyramid(array, MemoryStore(), levels=2).levels} == {(6, 7)}


@settings(max_examples=40)
@given(
    shape=st.lists(st.integers(1, 9), min_size=2, max_size=2) | st.lists(st.integers(1, 6), min_size=3, max_size=3),
    chunks=st.integers(1, 10),
    read=st.integers(1, 10),
    factor=st.integers(1, 3),
    seed=st.integers(0, 9),
)
def test_numpy_dask_and_zarr_agree(shape: list[int], chunks: int, read: int, factor: int, seed: int) -> None:
    array = np.random.default_rng(seed).integers(0, 4, shape).astype(np.int32)
    stored = zarr.create_array(MemoryStore(), shape=array.shape, dtype="i4", chunks=(read,) * array.ndim)
    stored[...] = array
    options = {"levels": 2, "chunks": chunks, "factor": factor}
    plain = levels_of(array, **options)
    for source in (da.from_array(array, chunks=read), stored):
        for a, b in zip(plain, levels_of(source, **options), strict=True):
            np.testing.assert_array_equal(a, b)


@pytest.mark.parametrize("kind", ["C order", "big-endian", "dask, big-endian", "DataArray of numpy"])
def test_voxels_of_a_volume_are_in_native_order_and_never_the_users_own_to_write(kind: str) -> None:
    before = VOLUME.copy()
    volume = cp.open_volume(IN_MEMORY[kind]())
    found = volume[2:5]
    assert found.dtype == volume.dtype == volume.to_dask().dtype == VOLUME.dtype
    np.testing.assert_array_equal(found, VOLUME[2:5])
    if found.flags.writeable:
        found[...] = 0
    np.testing.assert_array_equal(VOLUME, before)
