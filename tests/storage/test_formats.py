"""What is written is OME-Zarr to yaozarrs, ome-zarr-models, tensorstore and xarray, and what they write can be read."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

import numpy as np
import ome_zarr_models
import pytest
import tensorstore as ts
import xarray as xr
import yaozarrs
import zarr
from hypothesis import given
from hypothesis import strategies as st
from yaozarrs import v04, v05
from zarr.storage import MemoryStore

import chunkpyramid as cp

IMAGE = np.random.default_rng(1).integers(0, 60000, (2, 11, 18, 23)).astype(np.uint16)
FORMATS = pytest.mark.parametrize("zarr_format", [2, 3])
LAYOUTS = pytest.mark.parametrize("layout", ["flat", "datatree"])


def build(target: Any, **options: Any) -> cp.Pyramid:
    defaults: dict[str, Any] = {
        "axes": "czyx",
        "levels": 2,
        "chunks": 8,
        "voxel_size": (40, 4, 5),
        "translation": (10, 20, 30),
        "unit": "nm",
        "name": "cells",
    }
    return cp.build_pyramid(IMAGE, target, **{**defaults, **options})


def metadata(group: zarr.Group) -> dict[str, Any]:
    attributes = group.attrs.asdict()
    return attributes.get("ome", attributes)


@FORMATS
@LAYOUTS
def test_yaozarrs_accepts_it(zarr_format: int, layout: str, tmp_path: Path) -> None:
    build(tmp_path / "p.zarr", zarr_format=zarr_format, layout=layout)
    image = yaozarrs.validate_zarr_store(str(tmp_path / "p.zarr")).ome_metadata()
    assert isinstance(image, v04.Image if zarr_format == 2 else v05.Image)


@FORMATS
@LAYOUTS
def test_ome_zarr_models_accepts_it(zarr_format: int, layout: str, tmp_path: Path) -> None:
    pyramid = build(tmp_path / "p.zarr", zarr_format=zarr_format, layout=layout)
    image = ome_zarr_models.open_ome_zarr(zarr.open_group(tmp_path / "p.zarr", mode="r"))
    assert image.ome_zarr_version == {2: "0.4", 3: "0.5"}[zarr_format]
    paths = [dataset["path"] for dataset in metadata(pyramid.group)["multiscales"][0]["datasets"]]
    assert paths == (["0", "1", "2"] if layout == "flat" else ["s0/cells", "s1/cells", "s2/cells"])


@FORMATS
@LAYOUTS
@pytest.mark.parametrize("shards", [None, 16])
def test_tensorstore_reads_every_level(zarr_format: int, layout: str, shards: int | None, tmp_path: Path) -> None:
    if zarr_format == 2 and shards:
        pytest.skip("zarr format 2 has no shards")
    pyramid = build(tmp_path / "p.zarr", zarr_format=zarr_format, layout=layout, shards=shards)
    driver = {2: "zarr", 3: "zarr3"}[zarr_format]
    for path, level in zip(pyramid.multiscale.paths, pyramid.levels, strict=True):
        kvstore = {"driver": "file", "path": str(tmp_path / "p.zarr" / path)}
        opened = ts.open({"driver": driver, "kvstore": kvstore}, read=True).result()
        np.testing.assert_array_equal(opened.read().result(), level[...])
        if zarr_format == 3:
            assert opened.domain.labels == ("c", "z", "y", "x")


@FORMATS
@LAYOUTS
def test_levels_are_the_same_in_all_formats(zarr_format: int, layout: str) -> None:
    pyramid = build(MemoryStore(), zarr_format=zarr_format, layout=layout)
    wanted = [IMAGE, *cp.downsample(IMAGE, (1, 2, 2, 2), num_levels=2)]
    for level, values in zip(pyramid.levels, wanted, strict=True):
        np.testing.assert_array_equal(level[...], values)


@FORMATS
def test_chunks_shards_and_names_are_as_asked(zarr_format: int) -> None:
    shards = (1, 4, 16, 8) if zarr_format == 3 else None
    pyramid = build(MemoryStore(), zarr_format=zarr_format, chunks=(1, 2, 8, 4), shards=shards)
    for level in pyramid.levels:
        assert level.chunks == (1, 2, 8, 4)
        assert level.shards == shards
        assert level.dtype == IMAGE.dtype
        if zarr_format == 3:
            assert level.metadata.dimension_names == ("c", "z", "y", "x")
        else:
            assert level.attrs["_ARRAY_DIMENSIONS"] == ["c", "z", "y", "x"]
            assert level.metadata.dimension_separator == "/"


def test_one_number_for_chunks_counts_for_space_alone() -> None:
    for level in build(MemoryStore(), chunks=4, shards=8).levels:
        assert level.chunks == (1, 4, 4, 4)
        assert level.shards == (1, 8, 8, 8)


def test_default_compressor_is_blosc_zstd() -> None:
    for zarr_format in (2, 3):
        (codec,) = build(MemoryStore(), zarr_format=zarr_format).levels[1].compressors
        config = codec.get_config() if zarr_format == 2 else codec.to_dict()["configuration"]
        assert config["cname"] == "zstd"
        assert config["shuffle"] in (1, "shuffle")


def test_compressors_given() -> None:
    gzip = zarr.codecs.GzipCodec(level=1)
    for level in build(MemoryStore(), compressors=gzip).levels:
        assert level.compressors == (gzip,)
    for level in build(MemoryStore(), compressors=None, zarr_format=2).levels:
        assert level.compressors == ()


@FORMATS
@pytest.mark.parametrize(("method", "moves"), [("mean", 1), ("max", 1), ("stride", 0)])
def test_scale_and_translation_of_every_level(zarr_format: int, method: str, moves: int) -> None:
    factors = [(1, 1, 2, 2), (1, 2, 2, 2), (1, 2, 3, 1)]
    pyramid = build(MemoryStore(), zarr_format=zarr_format, method=method, factor=factors, levels=None)
    size, start = (1, 40, 4, 5), (0, 10, 20, 30)
    total = [1, 1, 1, 1]
    for factor, dataset in zip(
        [(1, 1, 1, 1), *factors], metadata(pyramid.group)["multiscales"][0]["datasets"], strict=True
    ):
        total = [a * b for a, b in zip(total, factor, strict=True)]
        scale, translation = dataset["coordinateTransformations"]
        assert scale == {"type": "scale", "scale": [s * f for s, f in zip(size, total, strict=True)]}
        assert translation["translation"] == [
            t + moves * (f - 1) / 2 * s for t, s, f in zip(start, size, total, strict=True)
        ]


@given(size=st.floats(1e-6, 1e6), start=st.floats(-1e6, 1e6), factor=st.integers(1, 4), levels=st.integers(0, 3))
def test_voxel_centres_are_the_means_of_those_below(size: float, start: float, factor: int, levels: int) -> None:
    image = np.zeros((8, factor**levels), np.uint8)
    pyramid = cp.build_pyramid(
        image, MemoryStore(), factor=(1, factor), levels=levels, voxel_size=size, translation=start
    )
    centres = start + size * np.arange(factor**levels)
    last = pyramid.coordinates[-1]
    assert math.isclose(last.translation[1], centres.mean(), rel_tol=1e-9, abs_tol=1e-9 * size)
    assert math.isclose(last.scale[1], size * factor**levels, rel_tol=1e-9)


@FORMATS
def test_type_and_metadata_tell_how_it_was_made(zarr_format: int) -> None:
    pyramid = cp.build_pyramid(
        np.zeros((8, 8), np.uint8), MemoryStore(), zarr_format=zarr_format, levels=1, sparse=True, background=3
    )
    multiscale = metadata(pyramid.group)["multiscales"][0]
    assert multiscale["type"] == "mean"
    assert multiscale["name"] == "image"
    assert multiscale["metadata"]["version"] == cp.__version__
    assert multiscale["metadata"]["method"] == "chunkpyramid.build_pyramid"
    kwargs = {"method": "mean", "rounding": "nearest", "sparse": True, "background": 3}
    assert multiscale["metadata"]["kwargs"] == kwargs


def test_metadata_are_json_even_with_nan_as_background(tmp_path: Path) -> None:
    image = np.full((8, 8), np.nan, np.float32)
    cp.build_pyramid(image, tmp_path / "p.zarr", levels=1, sparse=True, background=np.nan)
    text = (tmp_path / "p.zarr" / "zarr.json").read_text()
    json.loads(text, parse_constant=lambda name: pytest.fail(f"{name} is no JSON"))


@FORMATS
@pytest.mark.parametrize("dtype", ["?", "u1", "i2", "u8", "f2", "f4", "f8"])
def test_xarray_opens_the_datatree_layout_as_it_was_written(zarr_format: int, dtype: str, tmp_path: Path) -> None:
    image = (IMAGE[0] % 5).astype(dtype)
    pyramid = cp.build_pyramid(
        image,
        tmp_path / "p.zarr",
        levels=2,
        chunks=8,
        zarr_format=zarr_format,
        layout="datatree",
        voxel_size={"z": 40, "y": 4, "x": 5},
        translation={"x": 100},
        unit="nm",
    )
    with xr.open_datatree(tmp_path / "p.zarr", engine="zarr") as tree:
        assert list(tree.children) == ["s0", "s1", "s2"]
        for index, level in enumerate(pyramid.levels):
            variable = tree[f"s{index}/image"]
            assert variable.dims == ("z", "y", "x")
            assert variable.dtype == np.dtype(dtype)
            np.testing.assert_array_equal(variable.values, level[...])
            f = 2**index
            np.testing.assert_allclose(variable.x, 100 + 5 * ((f - 1) / 2 + f * np.arange(level.shape[2])))
            np.testing.assert_allclose(variable.z, 40 * ((f - 1) / 2 + f * np.arange(level.shape[0])))
            assert variable.x.attrs["units"] == "nanometer"


@FORMATS
def test_time_in_seconds_stays_a_number_in_xarray(zarr_format: int, tmp_path: Path) -> None:
    cp.build_pyramid(
        IMAGE[:, 0],
        tmp_path / "p.zarr",
        axes="tyx",
        levels=1,
        zarr_format=zarr_format,
        layout="datatree",
        voxel_size={"t": 0.5, "y": 1, "x": 1},
        unit={"t": "second"},
    )
    with xr.open_datatree(tmp_path / "p.zarr", engine="zarr") as tree:
        np.testing.assert_array_equal(tree["s1/t"].values.astype(float), [0, 0.5])
        assert tree["s1/t"].dtype.kind == "f"


@FORMATS
@LAYOUTS
def test_round_trip(zarr_format: int, layout: str, tmp_path: Path) -> None:
    built = build(tmp_path / "p.zarr", zarr_format=zarr_format, layout=layout)
    opened = cp.open_pyramid(tmp_path / "p.zarr")
    assert opened.plan is None
    assert (opened.name, opened.method, opened.axes) == ("cells", "mean", ("c", "z", "y", "x"))
    assert opened.coordinates == built.coordinates
    for a, b, lazy in zip(built.levels, opened.levels, opened.to_dask(), strict=True):
        np.testing.assert_array_equal(a[...], b[...])
        np.testing.assert_array_equal(a[...], lazy.compute(scheduler="synchronous"))
        assert lazy.chunksize == tuple(min(c, n) for c, n in zip(a.chunks, a.shape, strict=True))
    tree = opened.to_datatree()
    np.testing.assert_array_equal(tree["s2/cells"].values, built.levels[2][...])
    np.testing.assert_allclose(tree["s1/x"].values[:2], [32.5, 42.5])


def test_to_dask_takes_shards_for_chunks() -> None:
    assert [a.chunksize for a in build(MemoryStore(), chunks=4, shards=8).to_dask()] == [
        (1, 8, 8, 8),
        (1, 6, 8, 8),
        (1, 3, 5, 6),
    ]


def foreign_group(version: str, *, outer: bool) -> zarr.Group:
    """An image such as other programs write: level names of their own, and maybe a shared transformation."""
    group = zarr.create_group(MemoryStore(), zarr_format={"0.4": 2, "0.5": 3}[version])
    for path, n in (("full", 8), ("half", 4)):
        group.create_array(path, shape=(n, n), dtype="u1")[...] = n
    multiscale: dict[str, Any] = {
        "axes": [{"name": "y", "type": "space", "unit": "micrometer"}, {"name": "x", "type": "space"}],
        "datasets": [
            {"path": "full", "coordinateTransformations": [{"type": "scale", "scale": [1.0, 1.0]}]},
            {
                "path": "half",
                "coordinateTransformations": [
                    {"type": "scale", "scale": [2.0, 2.0]},
                    {"type": "translation", "translation": [0.5, 0.5]},
                ],
            },
        ],
        "omitted": "keys of others do no harm",
    }
    if outer:
        multiscale["coordinateTransformations"] = [{"type": "scale", "scale": [10.0, 3.0]}]
    if version == "0.4":
        group.attrs["multiscales"] = [{**multiscale, "version": version}]
    else:
        group.attrs["ome"] = {"version": version, "multiscales": [multiscale]}
    return group


@pytest.mark.parametrize("version", ["0.4", "0.5"])
@pytest.mark.parametrize("outer", [False, True])
def test_foreign_pyramids_are_read(version: str, outer: bool) -> None:
    group = foreign_group(version, outer=outer)
    pyramid = cp.open_pyramid(group)
    assert [level.shape for level in pyramid.levels] == [(8, 8), (4, 4)]
    assert pyramid.coordinates[1].scale == ((20, 6) if outer else (2, 2))
    assert pyramid.coordinates[1].translation == ((5, 1.5) if outer else (0.5, 0.5))
    assert (pyramid.name, pyramid.method) == (None, None)
    assert "unknown" in repr(pyramid)
    assert list(pyramid.to_datatree()["s1"].data_vars) == ["image"]
    again = cp.build_pyramid(group, MemoryStore(), levels=1)
    assert again.coordinates[0].scale == ((10, 3) if outer else (1, 1))


@FORMATS
def test_a_constant_volume_of_the_fill_value_is_written_too(zarr_format: int, tmp_path: Path) -> None:
    cp.build_pyramid(np.zeros((16, 16), np.uint8), tmp_path / "p.zarr", levels=1, chunks=8, zarr_format=zarr_format)
    for level in cp.open_pyramid(tmp_path / "p.zarr").levels:
        assert not level[...].any()


@FORMATS
@LAYOUTS
def test_nothing_of_the_build_remains(zarr_format: int, layout: str, tmp_path: Path) -> None:
    build(tmp_path / "p.zarr", zarr_format=zarr_format, layout=layout)
    names = {path.name for path in (tmp_path / "p.zarr").iterdir()}
    levels = {"0", "1", "2"} if layout == "flat" else {"s0", "s1", "s2"}
    files = {".zgroup", ".zattrs"} if zarr_format == 2 else {"zarr.json"}
    if zarr_format == 2 and layout == "datatree":
        files |= {".zmetadata"}
    assert names == levels | files
