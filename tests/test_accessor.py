"""The xarray accessor: coordinates become metadata and back, and lazy levels are those that are built."""

from __future__ import annotations

from contextlib import nullcontext
from pathlib import Path
from typing import Any

import dask
import dask.array as da
import numpy as np
import pandas as pd
import pytest
import xarray as xr
from hypothesis import given
from hypothesis import strategies as st
from zarr.storage import MemoryStore

import chunkpyramid as cp


def grid(nz: int = 5, ny: int = 9, nx: int = 14, **coords: Any) -> xr.DataArray:
    values = np.random.default_rng(1).normal(size=(nz, ny, nx)).astype(np.float32)
    return xr.DataArray(values, dims=("z", "y", "x"), coords=coords, name="height", attrs={"long_name": "height"})


def reopen(path: Path) -> xr.DataTree:
    return xr.open_datatree(path, engine="zarr")


def test_regular_coordinates_become_scale_and_translation() -> None:
    array = grid(x=100 + 4 * np.arange(14), y=("y", -3 + 0.5 * np.arange(9), {"units": "um"}))
    pyramid = array.pyramid.build(MemoryStore(), levels=1)
    level_0, level_1 = pyramid.coordinates
    assert pyramid.axes == ("z", "y", "x")
    assert (level_0.scale, level_0.translation) == ((1, 0.5, 4), (0, -3, 100))
    assert (level_1.scale, level_1.translation) == ((2, 1, 8), (0.5, -2.75, 102))
    assert [axis.unit for axis in level_0.axes] == [None, "micrometer", None]
    assert pyramid.name == "height"


@pytest.mark.parametrize("chunks", [None, 4])
def test_levels_are_those_that_build_writes(chunks: int | None, tmp_path: Path) -> None:
    array = grid(x=100 + 4 * np.arange(14), y=np.linspace(50, 51, 9))
    if chunks:
        array = array.chunk(chunks)
    array.pyramid.build(tmp_path / "p.zarr", levels=2, layout="datatree", chunks=4)
    lazy = array.pyramid.levels(2)
    assert list(lazy.children) == ["s0", "s1", "s2"]
    with reopen(tmp_path / "p.zarr") as built:
        for node in lazy.children:
            a, b = lazy[f"{node}/height"], built[f"{node}/height"]
            np.testing.assert_array_equal(a.values, b.values)
            assert a.dtype == b.dtype
            for dim in ("x", "y"):
                np.testing.assert_allclose(a[dim].values, b[dim].values)
    assert lazy["s1/height"].x.values[:2].tolist() == [102, 110]
    assert lazy["s2/height"].attrs == {"long_name": "height"}


class Counter:
    """A block function that counts its calls."""

    def __init__(self) -> None:
        self.calls = 0

    def __call__(self, block: np.ndarray) -> np.ndarray:
        self.calls += 1
        return block


def test_levels_compute_nothing_before_they_are_asked() -> None:
    counter = Counter()
    source = da.map_blocks(counter, da.ones((8, 8, 8), chunks=4, dtype=np.uint8), meta=np.empty((0, 0, 0), np.uint8))
    with dask.config.set(scheduler="synchronous"):
        tree = xr.DataArray(source, dims=("z", "y", "x")).pyramid.levels(2)
        _ = tree["s2/image"].shape, tree["s1/image"].x, repr(tree)
        assert counter.calls == 0
        tree["s1/image"].isel(z=slice(1), y=slice(1), x=slice(1)).compute()
        assert counter.calls == 1


def test_plan_reads_and_writes_nothing() -> None:
    counter = Counter()
    source = da.map_blocks(counter, da.ones((8, 8), chunks=4, dtype=np.uint8), meta=np.empty((0, 0), np.uint8))
    plan = xr.DataArray(source, dims=("y", "x")).pyramid.plan(levels=2, chunks=4)
    assert [level.shape for level in plan.levels] == [(8, 8), (4, 4), (2, 2)]
    assert counter.calls == 0


@given(
    start=st.floats(-1e5, 1e5),
    step=st.floats(1e-3, 1e3),
    n=st.integers(2, 40),
    factor=st.integers(2, 3),
    dtype=st.sampled_from(["f4", "f8"]),
)
def test_centres_of_a_level_are_the_means_of_the_coordinates(
    start: float, step: float, n: int, factor: int, dtype: str
) -> None:
    n *= factor
    x = (start + step * np.arange(n)).astype(dtype)
    array = xr.DataArray(np.zeros((2, n), np.uint8), dims=("y", "x"), coords={"x": x})
    tolerance = 1e-6 * step + 8 * np.finfo(dtype).eps * np.abs(x).max()
    level = array.pyramid.levels(1, factor={"x": factor})["s1/image"]
    np.testing.assert_allclose(
        level.x.values, x.astype(float).reshape(-1, factor).mean(axis=1), atol=2 * factor * tolerance
    )


@pytest.mark.parametrize("dims", [("lat", "lon"), ("time", "lat", "lon"), ("band", "row", "col")])
def test_dimensions_of_other_names_become_axes(dims: tuple[str, ...]) -> None:
    array = xr.DataArray(np.zeros((4,) * len(dims), np.uint8), dims=dims)
    pyramid = array.pyramid.build(MemoryStore(), levels=1)
    assert pyramid.axes == dims
    assert pyramid.levels[1].shape == tuple(4 if dim in ("time", "band") else 2 for dim in dims)


def test_latitude_and_longitude_in_degrees(tmp_path: Path) -> None:
    array = xr.DataArray(
        np.arange(32.0).reshape(4, 8),
        dims=("lat", "lon"),
        coords={
            "lat": ("lat", [-30.0, -10, 10, 30], {"units": "degrees_north"}),
            "lon": ("lon", np.arange(0.0, 360, 45), {"units": "degrees_east"}),
        },
        name="temperature",
    )
    array.pyramid.build(tmp_path / "p.zarr", levels=1, layout="datatree")
    with reopen(tmp_path / "p.zarr") as tree:
        level = tree["s1/temperature"]
        assert level.lat.values.tolist() == [-20, 20]
        assert level.lon.values.tolist() == [22.5, 112.5, 202.5, 292.5]
        assert level.lat.attrs["units"] == "degrees_north"
        np.testing.assert_array_equal(level.values, array.coarsen(lat=2, lon=2).mean().values)


def test_descending_and_uneven_coordinates_have_the_means_of_footprints(tmp_path: Path) -> None:
    z = [0.0, 1, 10, 11, 500]
    array = grid(y=np.arange(9)[::-1], z=z)
    with pytest.warns(cp.MetadataWarning, match=r"'[yz]' descends or is not evenly spaced"):
        pyramid = array.pyramid.build(tmp_path / "p.zarr", levels=1)
    assert pyramid.coordinates[1].scale == (2, 2, 2)
    assert pyramid.coordinates[1].translation == (0.5, 0.5, 0.5)
    lazy = array.pyramid.levels(1)
    with reopen(tmp_path / "p.zarr") as tree:
        for found in (tree, lazy):
            assert found["s0/height"].z.values.tolist() == z
            assert found["s1/height"].z.values.tolist() == [0.5, 10.5, 500]
            assert found["s1/height"].y.values.tolist() == [7.5, 5.5, 3.5, 1.5, 0]
            assert found["s0/height"].y.values.tolist() == list(range(8, -1, -1))
    array.pyramid.build(tmp_path / "q.zarr", levels=1, method="stride")
    with reopen(tmp_path / "q.zarr") as tree:
        assert tree["s1/height"].z.values.tolist() == [0, 10, 500]
        assert tree["s1/height"].y.values.tolist() == [8, 6, 4, 2, 0]
    # what is given counts for all levels
    array.pyramid.build(tmp_path / "r.zarr", levels=1, voxel_size={"z": 3}, translation={"z": 1})
    with reopen(tmp_path / "r.zarr") as tree:
        assert tree["s1/height"].z.values.tolist() == [2.5, 8.5, 14.5]


def test_datetimes_are_kept_along_time(tmp_path: Path) -> None:
    times = pd.date_range("2024-02-28", periods=3, freq="D")
    array = xr.DataArray(np.arange(48.0).reshape(3, 4, 4), dims=("time", "y", "x"), coords={"time": times}, name="rain")
    array.pyramid.build(tmp_path / "p.zarr", levels=1, layout="datatree")
    with reopen(tmp_path / "p.zarr") as tree:
        assert tree["s1/rain"].shape == (3, 2, 2)
        np.testing.assert_array_equal(tree["s1/rain"].time.values, times.values)
    np.testing.assert_array_equal(array.pyramid.levels(1)["s1/rain"].time.values, times.values)


def test_labelled_channels_are_kept(tmp_path: Path) -> None:
    array = xr.DataArray(
        np.zeros((2, 4, 4), np.uint8), dims=("channel", "y", "x"), coords={"channel": ["DAPI", "GFP"]}, name="cells"
    )
    with reopen(array.pyramid.build(tmp_path / "p.zarr", levels=1, layout="datatree").group.store.root) as tree:
        assert tree["s1/cells"].channel.values.tolist() == ["DAPI", "GFP"]


@pytest.mark.parametrize("name", [None, "x", "a/b", 7, "name of a dask graph"])
def test_names_that_cannot_be_are_replaced(name: Any, tmp_path: Path) -> None:
    array = grid().rename(name)
    if name == "name of a dask graph":
        array = xr.DataArray(da.zeros((4, 4)), dims=("y", "x"))
        assert array.name.startswith("zeros")
    pyramid = array.pyramid.build(tmp_path / "p.zarr", levels=1, layout="datatree")
    assert pyramid.multiscale.paths == ("s0/image", "s1/image")
    assert list(array.pyramid.levels(1)["s1"].data_vars) == ["image"]
    assert list(pyramid.to_datatree()["s1"].data_vars) == ["image"]


def test_the_name_given_wins() -> None:
    assert grid().pyramid.build(MemoryStore(), name="em", levels=0).name == "em"


def test_attributes_are_written_with_every_level(tmp_path: Path) -> None:
    array = grid().assign_attrs(units="m", flags=[1, 2], table={"no": "JSON"}, when=np.datetime64("2024-01-01"))
    pyramid = array.pyramid.build(tmp_path / "p.zarr", levels=1)
    for level in pyramid.levels:
        assert level.attrs["units"] == "m"
        assert level.attrs["flags"] == [1, 2]
        assert "when" not in level.attrs


def test_other_coordinates_travel_along_but_those_of_several_coarser_axes(tmp_path: Path) -> None:
    array = grid(2, x=np.arange(14.0)).assign_coords(
        run=3,
        area=(("y", "x"), np.ones((9, 14))),
        slab=("z", ["top", "bottom"], {"long_name": "slab"}),
        row=("y", np.arange(9) ** 2),
        name=("x", [f"column {x}" for x in range(14)]),
    )
    with pytest.warns(cp.MetadataWarning, match=r"\['area'\]"):
        array.pyramid.build(tmp_path / "p.zarr", levels=1, factor=(1, 2, 2))
    with pytest.warns(cp.MetadataWarning, match=r"\['area'\]"):
        lazy = array.pyramid.levels(1, factor=(1, 2, 2))
    with reopen(tmp_path / "p.zarr") as built:
        for tree in (lazy, built):
            assert set(tree["s0"].coords) >= {"x", "run", "area", "slab", "row", "name"}
            assert set(tree["s1"].coords) >= {"x", "run", "slab", "row", "name"}
            assert "area" not in tree["s1"].coords
            assert set(tree["s1"].data_vars) == {"height"}
            coords = tree["s1"].coords
            assert int(coords["run"]) == 3
            assert coords["slab"].values.tolist() == ["top", "bottom"]
            assert coords["slab"].attrs == {"long_name": "slab"}
            assert coords["row"].values.tolist() == [0.5, 6.5, 20.5, 42.5, 64]
            assert coords["name"].values.tolist() == [f"column {x}" for x in range(0, 14, 2)]
    with pytest.warns(cp.MetadataWarning, match=r"'flat' has no place for the coordinates \['area', 'name', 'row', "):
        array.pyramid.build(MemoryStore(), levels=1, layout="flat")


def test_dimensions_in_any_order(tmp_path: Path) -> None:
    array = xr.DataArray(np.arange(2 * 3 * 8).reshape(8, 3, 2) * 1.5, dims=("y", "x", "band"), name="colour")
    array = array.assign_coords(band=["red", "green"], y=np.linspace(0, 7, 8))
    array.pyramid.build(tmp_path / "p.zarr", levels=1, factor=(2, 1, 1))
    with reopen(tmp_path / "p.zarr") as tree:
        assert tree["s1/colour"].dims == ("band", "y", "x")
        wanted = array.coarsen(y=2).mean()
        xr.testing.assert_allclose(tree["s1/colour"].transpose(*array.dims).drop_vars("x"), wanted)


def test_dimensions_by_other_names(tmp_path: Path) -> None:
    array = grid(x=100 + 4 * np.arange(14))
    pyramid = array.pyramid.build(tmp_path / "p.zarr", levels=1, axes="cuv")
    assert pyramid.coordinates[1].scale == (1, 2, 8)
    with reopen(tmp_path / "p.zarr") as tree:
        assert tree["s1/height"].v.values[:2].tolist() == [102, 110]
    with pytest.raises(cp.ArgumentError, match="axes"):
        array.assign_coords(u=3).pyramid.build(tmp_path / "q.zarr", axes="cuv")


@pytest.mark.parametrize("dtype", ["f4", "f8"])
def test_skipna_is_that_of_xarray(dtype: str, tmp_path: Path) -> None:
    array = grid().astype(dtype)
    array.values[np.random.default_rng(0).random(array.shape) < 0.4] = np.nan
    factor = dict.fromkeys(array.dims, 2)
    for skipna in (None, True, False):
        # those of footprints at the edge would be NaN if what pads them counted
        padded = array.coarsen(factor, boundary="pad").mean()
        wanted = array.coarsen(factor, boundary="trim").reduce(np.mean) if skipna is False else padded
        array.pyramid.build(tmp_path / f"{skipna}.zarr", levels=1, skipna=skipna)
        with reopen(tmp_path / f"{skipna}.zarr") as tree:
            for found in (tree, array.pyramid.levels(1, skipna=skipna)):
                values = found["s1/height"].values[tuple(map(slice, wanted.shape))]
                np.testing.assert_allclose(values, wanted.values, rtol=1e-5)
    assert np.isnan(cp.build_pyramid(array, MemoryStore(), levels=1).levels[1][...]).any()
    for options in ({"skipna": True, "sparse": True}, {"skipna": "yes"}, {"skipna": True, "method": "max"}):
        with pytest.raises(cp.ArgumentError, match="skipna"):
            array.pyramid.build(MemoryStore(), levels=1, **options)
        with pytest.raises(cp.ArgumentError, match="skipna"):
            array.pyramid.levels(1, **options)


def test_the_source_is_not_modified() -> None:
    array = grid(x=np.arange(14.0))
    before = array.copy(deep=True)
    array.pyramid.build(MemoryStore(), levels=1)
    tree = array.pyramid.levels(1)
    tree["s0"].attrs["new"] = tree["s1/height"].attrs["new"] = True
    xr.testing.assert_identical(array, before)


@pytest.mark.parametrize("method", ["mean", "mode", "exact_mode", "min", "max", "stride"])
def test_every_method_is_lazy_and_the_same(method: str) -> None:
    values = np.random.default_rng(2).integers(0, 4, (7, 9)).astype(np.int16)
    array = xr.DataArray(da.from_array(values, chunks=(3, 4)), dims=("y", "x"), coords={"x": 2.0 * np.arange(9)})
    built = array.pyramid.build(MemoryStore(), method=method, levels=2, chunks=4, factor=(1, 2))
    tree = array.pyramid.levels(2, method=method, factor=(1, 2))
    for index, level in enumerate(built.levels):
        np.testing.assert_array_equal(tree[f"s{index}/image"].values, level[...])
    assert tree["s2/image"].x.values[0] == (0 if method == "stride" else 3)


def test_isotropic_takes_the_voxel_sizes_of_the_coordinates() -> None:
    array = grid(nz=8, ny=16, nx=16, z=40.0 * np.arange(8), y=10.0 * np.arange(16), x=10.0 * np.arange(16))
    tree = array.pyramid.levels(3, factor="isotropic")
    assert [tree[f"s{k}/height"].shape for k in range(4)] == [(8, 16, 16), (8, 8, 8), (8, 4, 4), (4, 2, 2)]
    plan = array.pyramid.plan(levels=3, factor="isotropic")
    assert [level.shape for level in plan.levels] == [(8, 16, 16), (8, 8, 8), (8, 4, 4), (4, 2, 2)]


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"n": -1}, "n must be a whole number"),
        ({"n": 1.5}, "n must be a whole number"),
        ({"n": 1, "method": "median"}, "median"),
        ({"n": 1, "factor": 0}, "factor must be"),
        ({"n": 1, "factor": (2, 2)}, "factor"),
        ({"n": 1, "factor": "isotropic"}, "voxel"),
        ({"n": 1, "rounding": "up"}, "rounding"),
        ({"n": 1, "sparse": "yes"}, "sparse"),
        ({"n": 1, "sparse": True, "background": "none"}, "background"),
    ],
)
def test_bad_arguments_of_levels(options: dict[str, Any], message: str) -> None:
    with pytest.raises(cp.ArgumentError, match=message):
        grid().pyramid.levels(**options)


@pytest.mark.parametrize(
    "array",
    [
        xr.DataArray(np.zeros((0, 3)), dims=("y", "x")),
        xr.DataArray(1.0),
        xr.DataArray(np.array([["a", "b"]], dtype=object), dims=("y", "x")),
    ],
    ids=["empty", "scalar", "objects"],
)
def test_arrays_that_have_no_levels(array: xr.DataArray, tmp_path: Path) -> None:
    with pytest.raises(cp.ArgumentError):
        array.pyramid.levels(1)
    with pytest.raises(cp.ArgumentError):
        array.pyramid.build(tmp_path / "p.zarr")
    assert not (tmp_path / "p.zarr").exists()


def test_axes_that_ome_zarr_has_no_word_for(tmp_path: Path) -> None:
    for dims in (("x", "time"), ("a", "b", "c2", "d"), ("x",)):
        array = xr.DataArray(np.zeros((2,) * len(dims)), dims=dims)
        with pytest.raises(cp.ArgumentError, match="OME-Zarr allows"):
            array.pyramid.build(tmp_path / "p.zarr")
    assert not (tmp_path / "p.zarr").exists()


def test_build_wants_a_target() -> None:
    with pytest.raises(cp.ArgumentError, match="target"):
        grid().pyramid.build(None)


@pytest.mark.parametrize("chunked", [False, True])
@pytest.mark.parametrize("name", ["band", "lat"])
@pytest.mark.filterwarnings("ignore::chunkpyramid.MetadataWarning")
def test_a_dataarray_that_is_named_as_a_coordinate(name: str, chunked: bool, tmp_path: Path) -> None:
    values = np.arange(64.0).reshape(8, 8)
    coords = {"band": 3, "lat": (("y", "x"), -values)}
    array = xr.DataArray(values, dims=("y", "x"), coords=coords, name=name)
    array = array.chunk(4) if chunked else array
    pyramid = array.pyramid.build(tmp_path / "p.zarr", levels=1)
    with xr.open_datatree(tmp_path / "p.zarr", engine="zarr") as tree:
        np.testing.assert_array_equal(tree["s0/image"].values, values)
        np.testing.assert_array_equal(tree["s0/lat"].values, -values)
        assert tree["s1/band"].item() == 3
    lazy = array.pyramid.levels(1)
    np.testing.assert_array_equal(lazy["s1/image"].values, pyramid.levels[1][...])
    for layout in ("datatree", "flat"):
        with pytest.raises(cp.ArgumentError, match="name of a coordinate") if layout == "datatree" else nullcontext():
            cp.build_pyramid(array, MemoryStore(), levels=1, layout=layout, name=name)
    (other,) = {"band", "lat"} - {name}
    assert cp.build_pyramid(array.drop_vars(name), MemoryStore(), levels=1, layout="datatree", name=name).name == name
    assert other in array.coords
