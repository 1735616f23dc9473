"""Coordinates of the levels: means of footprints, centres of times, and what cannot be written."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import xarray as xr
from hypothesis import given
from hypothesis import strategies as st
from zarr.storage import MemoryStore

import chunkpyramid as cp
from chunkpyramid.pyramid.level_coordinates import level_variables
from chunkpyramid.sources.coordinate_values import regular_step

numbers = st.lists(st.floats(-1e6, 1e6), min_size=1, max_size=20)


@given(numbers, st.integers(1, 7))
def test_uneven_numbers_have_the_mean_of_each_footprint(values: list[float], factor: int) -> None:
    array = np.array(values)
    step = regular_step(array)
    (found,) = level_variables({"x": xr.Variable("x", array)}, ["x"], (factor,), is_first=False).values()
    if factor > 1 and step is not None and step[1] > 0:
        wanted = [step[0] + (factor - 1) / 2 * step[1] + factor * step[1] * i for i in range(-(-len(values) // factor))]
    else:
        wanted = [np.mean(values[i : i + factor]) for i in range(0, len(values), factor)]
    np.testing.assert_allclose(found.values, wanted, rtol=1e-9, atol=1e-6)
    (first,) = level_variables({"x": xr.Variable("x", array)}, ["x"], (factor,), is_first=True).values()
    np.testing.assert_array_equal(first.values, array[::factor])


@given(
    st.lists(st.integers(-(10**9), 10**9), min_size=1, max_size=12),
    st.integers(1, 5),
    st.sampled_from(["M8[s]", "M8[ns]", "m8[ms]", "M8[D]"]),
)
def test_uneven_times_have_the_mean_of_each_footprint(values: list[int], factor: int, dtype: str) -> None:
    values = [v // 10**5 if dtype == "M8[D]" else v for v in values]
    array = np.array(values, "i8").astype(dtype)
    (found,) = level_variables({"t": xr.Variable("t", array)}, ["t"], (factor,), is_first=False).values()
    if len(set(np.diff(values))) > 1:
        for i, time in enumerate(found.values.astype(dtype).astype("i8")):
            part = values[i * factor : (i + 1) * factor]
            assert abs(int(time) * len(part) - sum(part)) <= len(part)


@pytest.mark.parametrize("factor", [2, 3, 4])
@pytest.mark.parametrize("unit", ["s", "ms", "ns"])
@pytest.mark.parametrize("kind", ["dates", "durations"])
def test_even_times_have_the_centres_that_coarsen_gives(kind: str, unit: Any, factor: int) -> None:
    start = np.datetime64("2020-01-01T00:00:01") if kind == "dates" else np.timedelta64(5, "s")
    times = (start + np.arange(4 * factor) * np.timedelta64(7, "s")).astype(f"{start.dtype.kind}8[{unit}]")
    (found,) = level_variables({"t": xr.Variable("t", times)}, ["t"], (factor,), is_first=False).values()
    exact = xr.DataArray(times.astype(f"{start.dtype.kind}8[ns]"), dims="t", coords={"t": times}, name="a")
    wanted = exact.coarsen(t=factor).mean()
    np.testing.assert_array_equal(
        found.values.astype("i8") * (10**9 // scale(found.values)), wanted.values.astype("i8")
    )
    step = regular_step(times)
    assert step is not None
    assert step[1] == pytest.approx(7)


def scale(times: np.ndarray[Any, Any]) -> int:
    return {"s": 1, "ms": 10**3, "us": 10**6, "ns": 10**9}[np.datetime_data(times.dtype)[0]]


@pytest.mark.parametrize(
    ("values", "step"),
    [
        (np.array(["2020-01-01", "2020-01-02", "2020-01-04"], "M8[D]"), None),
        (np.array(["2020-01-01", "2020-01-01"], "M8[D]"), None),
        (np.array(["2020-01-02", "2020-01-01"], "M8[D]"), (1577923200.0, -86400.0)),
        (np.array(["2020-01-01", "NaT"], "M8[D]"), None),
        (np.array(["2020-01", "2020-02"], "M8[M]"), None),
        (np.array([3], "m8[h]"), (10800.0, 1.0)),
        (np.array([3, 5, 7], "m8[h]"), (10800.0, 7200.0)),
        (np.array([True, False]), None),
        (np.array(["a"]), None),
        (np.array([]), None),
    ],
    ids=str,
)
def test_regular_steps(values: Any, step: Any) -> None:
    assert regular_step(values) == step


UNUSUAL: dict[str, Any] = {
    "MultiIndex": xr.Coordinates.from_pandas_multiindex(
        pd.MultiIndex.from_product([[1, 2], ["a", "b", "c"]], names=("r", "k")), "time"
    ),
    "intervals": {"time": pd.interval_range(0, 6)},
    "categories": {"time": pd.CategoricalIndex(list("abcdef"))},
    "time zone": {"time": pd.date_range("2000-01-01", periods=6, tz="UTC")},
    "periods": {"time": pd.period_range("2000-01", periods=6, freq="M")},
    "objects": {"time": np.array([{}, 1, 2, 3, 4, 5], dtype=object)},
}


@pytest.mark.parametrize("kind", UNUSUAL)
@pytest.mark.parametrize("zarr_format", [2, 3])
def test_what_cannot_be_written_is_refused_before_anything_is(kind: str, zarr_format: int, tmp_path: Path) -> None:
    def never(block: Any) -> Any:
        raise AssertionError("the source was read")

    values = xr.DataArray(np.zeros((6, 20, 30), "f4"), dims=("time", "y", "x"), coords=UNUSUAL[kind], name="t")
    source = values.copy(data=values.chunk().data.map_blocks(never, dtype="f4", meta=np.empty((0, 0, 0), "f4")))
    options: dict[str, Any] = {"levels": 1, "zarr_format": zarr_format}
    advice = "reset_index" if kind == "MultiIndex" else "drop_vars"
    with pytest.raises(cp.ArgumentError, match=rf"'time' cannot be written.*source\.{advice}\('time'\)"):
        source.pyramid.plan(target=tmp_path / "x.zarr", **options)
    with pytest.raises(cp.ArgumentError, match=r"'time' cannot be written"):
        source.pyramid.build(tmp_path / "x.zarr", **options)
    assert not (tmp_path / "x.zarr").exists()
    way_out = values.reset_index("time") if kind == "MultiIndex" else values.drop_vars("time")
    assert way_out.pyramid.build(tmp_path / "x.zarr", **options).levels[1].shape == (6, 10, 15)


@pytest.mark.parametrize(("source", "target"), [(2, 3), (3, 2), (2, 2), (3, 3)])
def test_coordinates_go_from_one_format_to_the_other(source: Any, target: Any, tmp_path: Path) -> None:
    array = xr.DataArray(
        np.random.default_rng(0).normal(size=(3, 20, 30)).astype("f4"),
        dims=("time", "y", "x"),
        coords={
            "time": pd.date_range("2000-01-01", periods=3),
            "x": np.arange(30.0),
            "y": np.linspace(5, 0, 20),
            "label": ("time", np.array(["a", "bb", "ccc"], object)),
            "spatial_ref": xr.DataArray(0, attrs={"crs_wkt": "GEOGCS[...]"}),
        },
        name="h",
        attrs={"grid_mapping": "spatial_ref"},
    )
    array.to_dataset().to_zarr(tmp_path / "s.zarr", zarr_format=source, consolidated=source == 2)
    opened = xr.open_zarr(tmp_path / "s.zarr", decode_coords="all", consolidated=source == 2)["h"]
    opened.pyramid.build(tmp_path / "p.zarr", levels=1, chunks=16, zarr_format=target)
    with xr.open_datatree(tmp_path / "p.zarr", engine="zarr") as tree:
        for name in ("time", "x", "y", "label"):
            np.testing.assert_array_equal(tree["s0/h"].coords[name].values, array.coords[name].values)
        np.testing.assert_array_equal(tree["s1/h"].time.values, array.time.values)
        assert tree["s1"].coords["spatial_ref"].attrs == {"crs_wkt": "GEOGCS[...]"}
        assert tree["s1/h"].attrs["grid_mapping"] == "spatial_ref"
        np.testing.assert_allclose(tree["s1/h"].x.values, np.arange(0.5, 30, 2))


def test_a_duration_is_time_and_dates_are_seconds(tmp_path: Path) -> None:
    steps = pd.timedelta_range("0h", periods=6, freq="6h")
    array = xr.DataArray(np.zeros((6, 8, 8), "f4"), dims=("step", "y", "x"), coords={"step": steps}, name="t")
    pyramid = array.pyramid.build(tmp_path / "a.zarr", levels=1)
    first = pyramid.coordinates[1]
    assert [axis.type for axis in first.axes] == ["time", "space", "space"]
    assert (first.axes[0].unit, first.scale, first.translation[0]) == ("second", (21600, 2, 2), 0)
    pyramid = array.pyramid.build(MemoryStore(), levels=1, factor={"step": 2, "x": 2, "y": 2})
    assert (pyramid.coordinates[1].scale[0], pyramid.coordinates[1].translation[0]) == (43200, 10800)
    dates = array.rename(step="time").assign_coords(time=pd.date_range("1970-01-02", periods=6, freq="6h"))
    for layout in ("flat", "datatree"):
        store = MemoryStore()
        pyramid = dates.pyramid.build(store, levels=1, factor=2 if layout == "flat" else (2, 2, 2), layout=layout)
        assert pyramid.coordinates[0].translation[0] == 86400
        assert pyramid.coordinates[0].scale[0] == 21600
        assert pyramid.coordinates[0].axes[0].unit == "second"


def test_cftime_and_bool_coordinates_have_the_first_of_each_footprint(tmp_path: Path) -> None:
    array = xr.DataArray(np.zeros((4, 8, 8), "f4"), dims=("z", "y", "x"), name="t")
    array = array.assign_coords(valid=("x", np.arange(8) % 3 == 0), z=["a", "b", "c", "d"])
    array.pyramid.build(tmp_path / "a.zarr", levels=1)
    with xr.open_datatree(tmp_path / "a.zarr", engine="zarr") as tree:
        assert tree["s1"].valid.values.tolist() == [True, False, False, True]
        assert tree["s1"].z.values.tolist() == ["a", "c"]
