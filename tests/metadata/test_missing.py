"""Values that are declared missing are missing: what the levels hold is what they would hold without them."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import xarray as xr
import zarr
from hypothesis import given
from hypothesis import strategies as st
from zarr.storage import MemoryStore

import chunkpyramid as cp
from chunkpyramid.metadata.missing import declared_missing, plain_attributes, stored_attributes

RNG = np.random.default_rng(4)
HEIGHT = 270 + RNG.random((33, 40)) * 30
HEIGHT[RNG.random(HEIGHT.shape) < 0.3] = np.nan
PACKING: dict[str, Any] = {"dtype": "int16", "scale_factor": 0.01, "add_offset": 273.15, "_FillValue": -32768}
FORMATS = pytest.mark.parametrize("zarr_format", [2, 3])


def wanted(array: xr.DataArray) -> np.ndarray[Any, Any]:
    return np.asarray(array.coarsen(lat=2, lon=2, boundary="pad").mean().values)


@pytest.fixture(params=[2, 3])
def packed(request: pytest.FixtureRequest, tmp_path: Path) -> Path:
    data = xr.Dataset({"t2m": (("lat", "lon"), HEIGHT, {"units": "K", "valid_range": np.array([-7000, 7000], "i2")})})
    data.to_zarr(tmp_path / "src.zarr", encoding={"t2m": PACKING}, zarr_format=request.param, consolidated=False)
    return tmp_path / "src.zarr"


@FORMATS
@pytest.mark.parametrize("kind", ["path", "array", "raw", "decoded", "attributes"])
def test_packed_data_keep_their_meaning(kind: str, zarr_format: Any, packed: Path, tmp_path: Path) -> None:
    decoded = xr.open_zarr(packed, consolidated=False)["t2m"]
    raw = xr.open_zarr(packed, mask_and_scale=False, consolidated=False)["t2m"]
    source: Any = {
        "path": packed / "t2m",
        "array": zarr.open_group(packed, mode="r")["t2m"],
        "raw": raw,
        "decoded": decoded,
        "attributes": xr.DataArray(
            raw.values,
            dims=raw.dims,
            attrs={
                "scale_factor": np.float64(0.01),
                "add_offset": np.float64(273.15),
                "_FillValue": np.int16(-32768),
                "units": "K",
                "valid_range": np.array([-7000, 7000], "i2"),
            },
        ),
    }[kind]
    pyramid = cp.build_pyramid(
        source, tmp_path / "p.zarr", levels=1, layout="datatree", name="t2m", zarr_format=zarr_format, chunks=16
    )
    assert pyramid.multiscale.parameters["sparse"]
    with xr.open_datatree(tmp_path / "p.zarr", engine="zarr") as tree:
        np.testing.assert_allclose(tree["s0/t2m"].values, decoded.values, atol=1e-6)
        np.testing.assert_allclose(tree["s1/t2m"].values, wanted(decoded), atol=0.0051)
        for level in ("s0", "s1"):
            assert tree[f"{level}/t2m"].attrs == {"units": "K", "valid_range": [-7000, 7000]}
    assert cp.verify_pyramid(tmp_path / "p.zarr").ok


def test_levels_of_packed_data_are_those_of_build(packed: Path) -> None:
    raw = xr.open_zarr(packed, mask_and_scale=False, consolidated=False)["t2m"]
    built = raw.pyramid.build(MemoryStore(), levels=1)
    np.testing.assert_array_equal(raw.pyramid.levels(1)["s1/t2m"].values, built.levels[1][...])


@FORMATS
def test_in_place_the_levels_have_the_attributes_of_level_0(zarr_format: Any, tmp_path: Path) -> None:
    data = xr.Dataset({"t2m": (("lat", "lon"), HEIGHT)})
    data.to_zarr(tmp_path / "g.zarr", encoding={"t2m": PACKING}, zarr_format=zarr_format, consolidated=False)
    pyramid = cp.build_pyramid(tmp_path / "g.zarr" / "t2m", levels=1)
    first, second = (level.attrs.asdict() for level in pyramid.levels)
    assert first == second
    assert pyramid.levels[0].fill_value == pyramid.levels[1].fill_value
    found = xr.open_dataset(tmp_path / "g.zarr", engine="zarr", consolidated=False, drop_variables="t2m")["1"]
    decoded = xr.open_zarr(tmp_path / "g.zarr", consolidated=False, drop_variables="1")["t2m"]
    np.testing.assert_allclose(found.values, wanted(decoded), atol=0.0051)


@pytest.mark.parametrize(
    ("attributes", "dtype", "background"),
    [
        ({"_FillValue": 7}, "u1", 7),
        ({"missing_value": 7}, "i4", 7),
        ({"missing_value": np.array([7], "i4")}, "i4", 7),
        ({"missing_value": [7, 7]}, "i4", 7),
        ({"_FillValue": 7, "missing_value": 7.0}, "u2", 7),
        ({"_FillValue": -9999.0}, "f4", -9999.0),
        ({"_FillValue": "NaN"}, "f8", "nan"),
        ({"_FillValue": float("nan")}, "f8", "nan"),
    ],
    ids=str,
)
@pytest.mark.parametrize("kind", ["zarr", "DataArray", "encoding"])
def test_declared_values_do_not_count(attributes: dict[str, Any], dtype: str, background: Any, kind: str) -> None:
    values = RNG.integers(0, 9, (12, 12)).astype(dtype)
    number = float(background) if isinstance(background, str) else background
    values[RNG.random(values.shape) < 0.4] = number
    source: Any = xr.DataArray(values, dims=("y", "x"), attrs=attributes)
    if kind == "encoding":
        if dtype.startswith("f"):
            # decoded floats have NaN where the file has another value
            number = float("nan")
        source = xr.DataArray(values, dims=("y", "x"))
        source.encoding = dict(attributes)
    elif kind == "zarr":
        plain = {k: v.tolist() if isinstance(v, np.ndarray) else v for k, v in attributes.items()}
        source = zarr.create_array(MemoryStore(), data=values, attributes=plain, chunks=(4, 4))
    # what counts is found out in the same way for all methods
    for method in ("mean", "mode", "exact_mode") if kind == "zarr" else ("mode",):
        pyramid = cp.build_pyramid(source, MemoryStore(), levels=1, method=method)
        (expected,) = cp.downsample(values, 2, method=method, sparse=True, background=number)
        np.testing.assert_array_equal(pyramid.levels[1][...], expected)
        pyramid = cp.build_pyramid(source, MemoryStore(), levels=1, method=method, sparse=False)
        np.testing.assert_array_equal(pyramid.levels[1][...], cp.downsample(values, 2, method=method)[0])
    pyramid = cp.build_pyramid(source, MemoryStore(), levels=1, method="mean", sparse=True, background=3)
    (expected,) = cp.downsample(values, 2, method="mean", sparse=True, background=3)
    np.testing.assert_array_equal(pyramid.levels[1][...], expected)
    with pytest.warns(cp.MetadataWarning, match=r"declares .* missing, but method 'max'"):
        cp.build_pyramid(source, MemoryStore(), levels=1, method="max")


@pytest.mark.parametrize(("fill_value", "is_missing"), [(None, False), (0, False), (9, True), (-1, True)])
@pytest.mark.parametrize("named", [True, False])
def test_the_fill_value_of_zarr_format_2_as_xarray_takes_it(fill_value: Any, is_missing: bool, named: bool) -> None:
    array = zarr.create_array(
        MemoryStore(),
        shape=(8, 8),
        dtype="i2",
        chunks=(4, 4),
        zarr_format=2,
        fill_value=fill_value,
        attributes={"_ARRAY_DIMENSIONS": ["y", "x"]} if named else {},
    )
    pyramid = cp.build_pyramid(array, MemoryStore(), levels=1)
    assert pyramid.multiscale.parameters.get("sparse", False) == (is_missing and named)


@pytest.mark.parametrize(
    ("attributes", "dtype"),
    [({"_FillValue": -1}, "u1"), ({"missing_value": 0.5}, "i4"), ({"_FillValue": "none"}, "f4")],
)
def test_values_that_no_voxel_can_have_are_warned_of(attributes: dict[str, Any], dtype: str) -> None:
    source = xr.DataArray(np.zeros((8, 8), dtype), dims=("y", "x"), attrs=attributes)
    with pytest.warns(cp.MetadataWarning, match=next(iter(attributes))):
        pyramid = cp.build_pyramid(source, MemoryStore(), levels=1)
    assert "sparse" not in pyramid.multiscale.parameters


def test_a_second_missing_value_is_warned_of() -> None:
    source = xr.DataArray(np.zeros((8, 8), "i2"), dims=("y", "x"), attrs={"_FillValue": -1, "missing_value": -2})
    with pytest.warns(cp.MetadataWarning, match="missing_value=-2 is not"):
        pyramid = cp.build_pyramid(source, MemoryStore(), levels=1)
    assert pyramid.multiscale.parameters["background"] == -1


def test_attributes_that_json_cannot_hold_are_warned_of() -> None:
    attributes = {"when": np.datetime64("2020-01-01"), "numbers": np.arange(3), "nested": {"a": np.float32(0.5)}}
    source = xr.DataArray(np.zeros((8, 8), "i2"), dims=("y", "x"), attrs=attributes)
    with pytest.warns(cp.MetadataWarning, match="'when' is left out"):
        pyramid = cp.build_pyramid(source, MemoryStore(), levels=1)
    assert pyramid.levels[1].attrs.asdict() == {"numbers": [0, 1, 2], "nested": {"a": 0.5}}


def test_attributes_of_coordinates_that_json_cannot_hold_are_warned_of() -> None:
    attributes = {"since": np.datetime64("2020-01-01"), "valid_max": np.float32(np.inf), "flags": np.arange(2)}
    source = xr.DataArray(np.zeros((8, 8)), dims=("y", "x"), coords={"x": ("x", np.arange(8.0), attributes)})
    with pytest.warns(cp.MetadataWarning, match="'since' of the coordinate 'x' is left out") as warned:
        pyramid = cp.build_pyramid(source, MemoryStore(), levels=1, layout="datatree")
    assert len(warned) == 1
    stored = dict(pyramid.group["s1/x"].attrs)
    assert (stored["valid_max"], stored["flags"], "since" in stored) == ("Infinity", [0, 1], False)
    assert set(source.x.attrs) == set(attributes)


@given(
    st.dictionaries(
        st.text(min_size=1, max_size=5),
        st.recursive(
            st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(max_size=5),
            lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=3), inner, max_size=3),
            max_leaves=6,
        ),
    ),
)
def test_plain_attributes_stay_as_they_are(attributes: dict[str, Any]) -> None:
    assert plain_attributes(attributes, np.dtype("i4")) == attributes


@given(st.floats(allow_nan=False, width=32))
def test_fill_values_of_floats_come_back(value: float) -> None:
    dtype = np.dtype("f4")
    stored = stored_attributes({"_FillValue": value}, dtype, 3, 0)
    assert isinstance(stored["_FillValue"], str)
    plain = plain_attributes(stored, dtype)
    assert declared_missing(plain, dtype) == value
    assert stored_attributes({"_FillValue": value}, dtype, 2, dtype.type(value)) == {}


@FORMATS
@pytest.mark.parametrize("layout", ["flat", "datatree"])
@pytest.mark.parametrize("from_format", [2, 3])
def test_a_fill_value_alone_declares_nothing_missing_in_what_is_built(
    from_format: Any, layout: str, zarr_format: Any, tmp_path: Path
) -> None:
    """In format 2 a fill value is a missing value where dimensions have names, as those of levels have."""
    array = zarr.create_array(
        MemoryStore(), shape=(16, 16), dtype="i2", chunks=(4, 4), zarr_format=from_format, fill_value=5
    )
    values = RNG.integers(4, 7, array.shape).astype("i2")
    values[:4, 4:8] = 5
    array[...] = values
    first = cp.build_pyramid(array, tmp_path / "first.zarr", levels=1, zarr_format=zarr_format, layout=layout)
    second = cp.build_pyramid(
        zarr.open_group(tmp_path / "first.zarr", mode="r")[first.multiscale.paths[0]], MemoryStore(), levels=1
    )
    for pyramid in (first, second):
        assert "sparse" not in pyramid.multiscale.parameters
        np.testing.assert_array_equal(pyramid.levels[0][...], values)
        np.testing.assert_array_equal(pyramid.levels[1][...], cp.downsample(values, 2)[0])
    assert first.to_datatree()["s0"]["image"].dtype == "i2"


@pytest.mark.filterwarnings("ignore::chunkpyramid.MetadataWarning")
@pytest.mark.parametrize(
    "attributes", [{"_FillValue": [1, 2]}, {"_FillValue": -1}, {"_FillValue": 300}, {"_FillValue": "none"}], ids=str
)
@pytest.mark.parametrize("layout", ["flat", "datatree"])
@FORMATS
def test_no_declaration_is_lost(attributes: dict[str, Any], zarr_format: Any, layout: str) -> None:
    array = xr.DataArray(np.ones((8, 8), "u1"), dims=("y", "x"), attrs=attributes)
    pyramid = cp.build_pyramid(array, MemoryStore(), levels=1, zarr_format=zarr_format, layout=layout)
    for level in pyramid.levels:
        assert level.attrs["_FillValue"] == attributes["_FillValue"]


@FORMATS
@pytest.mark.parametrize("layout", ["flat", "datatree"])
def test_metadata_are_json_that_all_can_read(zarr_format: Any, layout: str, tmp_path: Path) -> None:
    values = np.array([[1.0, np.nan], [2.0, 3.0]])
    array = xr.DataArray(
        values,
        dims=("y", "x"),
        coords={"x": ("x", [0.5, 1.5], {"valid_max": np.inf})},
        attrs={"missing_value": np.nan, "valid_range": [-np.inf, np.inf], "deep": {"a": [1.5, np.nan]}},
    )
    pyramid = cp.build_pyramid(array, tmp_path / "p.zarr", levels=1, layout=layout, zarr_format=zarr_format)
    assert pyramid.multiscale.parameters["background"] == "nan"
    np.testing.assert_array_equal(pyramid.levels[1][...], [[2.0]])
    told = {"valid_range": ["-Infinity", "Infinity"], "deep": {"a": [1.5, "NaN"]}}
    for level in pyramid.levels:
        assert {key: level.attrs[key] for key in told} == told
        assert "missing_value" not in level.attrs

    def refuse(number: str) -> None:
        raise AssertionError(number)

    for path in (tmp_path / "p.zarr").rglob("*"):
        if path.name in ("zarr.json", ".zattrs", ".zarray", ".zgroup", ".zmetadata"):
            json.loads(path.read_text(), parse_constant=refuse)
    again = cp.build_pyramid(tmp_path / "p.zarr" / pyramid.multiscale.paths[0], MemoryStore(), levels=1)
    assert again.multiscale.parameters == pyramid.multiscale.parameters


@FORMATS
@pytest.mark.parametrize("source_format", [2, 3])
@pytest.mark.parametrize("declared", [{}, {"_FillValue": np.nan}, {"missing_value": np.nan}, "both"])
def test_xarray_can_save_again_what_it_reads(
    declared: Any, source_format: Any, zarr_format: Any, tmp_path: Path
) -> None:
    declared = {"_FillValue": np.nan, "missing_value": np.nan} if declared == "both" else declared
    values = np.where(RNG.random((8, 6)) < 0.2, np.nan, 1.0)
    array = xr.DataArray(values, dims=("y", "x"), attrs=declared, coords={"y": np.arange(8.0)}, name="t")
    array.to_dataset().to_zarr(tmp_path / "s.zarr", zarr_format=source_format, consolidated=False)
    for index, options in enumerate(({}, {"mask_and_scale": False})):
        with xr.open_zarr(tmp_path / "s.zarr", consolidated=False, **options) as opened:
            opened["t"].pyramid.build(tmp_path / f"p{index}.zarr", levels=1, zarr_format=zarr_format)
        for level in ("s0", "s1"):
            with xr.open_zarr(tmp_path / f"p{index}.zarr" / level, consolidated=False) as found:
                found.load().to_zarr(tmp_path / f"{index}{level}.zarr", zarr_format=zarr_format, consolidated=False)
                assert found["t"].dtype == "f8"
                assert list(found["y"].values) == ([*range(8)] if level == "s0" else [0.5, 2.5, 4.5, 6.5])


def test_an_infinite_fill_value_of_integers_is_warned_of() -> None:
    source = xr.DataArray(np.zeros((8, 8), "i2"), dims=("y", "x"), attrs={"_FillValue": np.inf})
    with pytest.warns(cp.MetadataWarning, match="_FillValue=inf is no value"):
        cp.build_pyramid(source, MemoryStore(), levels=1)


@FORMATS
def test_integers_that_stand_for_others_are_refused_until_they_are_decoded(zarr_format: Any, tmp_path: Path) -> None:
    """200 is -56 in bytes with signs: as netCDF-3 has it, which knows no others."""
    values = np.full((8, 8), 200, np.uint8)
    values[::2] = 100
    data = xr.Dataset({"v": (("y", "x"), values, {})})
    encoding: Any = {"v": {"dtype": "i1", "_Unsigned": "true", "_FillValue": -1}}
    data.to_zarr(tmp_path / "s.zarr", encoding=encoding, zarr_format=zarr_format, consolidated=False)
    raw = xr.open_zarr(tmp_path / "s.zarr", mask_and_scale=False, consolidated=False)["v"]
    for refused in (tmp_path / "s.zarr" / "v", raw):
        with pytest.raises(cp.ArgumentError, match=r"_Unsigned='true' says that the values are unsigned"):
            cp.build_pyramid(refused, tmp_path / "p.zarr", levels=1)
    with pytest.raises(cp.ArgumentError, match="_Unsigned"):
        raw.pyramid.levels(1)
    decoded = xr.open_zarr(tmp_path / "s.zarr", consolidated=False)["v"]
    np.testing.assert_array_equal(decoded.pyramid.build(tmp_path / "p.zarr", levels=1).levels[1][...], 150)
