"""Levels beside the source: they are added, and nothing else of the group changes by a byte."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import xarray as xr
import zarr
from zarr.storage import LocalStore, MemoryStore

import chunkpyramid as cp

VOLUME = np.random.default_rng(1).integers(0, 255, (9, 14, 11)).astype(np.uint8)
FORMATS = pytest.mark.parametrize("zarr_format", [2, 3])
OWN_METADATA = {"zarr.json", ".zattrs", ".zgroup"}


def contents(root: Path) -> dict[str, bytes]:
    return {str(path.relative_to(root)): path.read_bytes() for path in root.rglob("*") if path.is_file()}


def assert_only_levels_are_new(before: dict[str, bytes], root: Path, levels: set[str]) -> None:
    after = contents(root)
    changed = {name for name, data in before.items() if after.get(name) != data}
    assert changed <= OWN_METADATA
    assert {name.split("/")[0] for name in after.keys() - before.keys()} <= levels | OWN_METADATA


def group_with_array(root: Path, zarr_format: Any, name: str = "raw") -> zarr.Group:
    group = zarr.create_group(root, zarr_format=zarr_format, attributes={"lab": {"microscope": 2}})
    group.create_array(name, shape=VOLUME.shape, dtype="u1", chunks=(4, 4, 4), attributes={"note": "raw"})[...] = VOLUME
    other = group.create_group("labels/neurons", attributes={"image-label": {}})
    other.create_array("0", shape=(4, 4), dtype="u8")[...] = 7
    (root / "README.txt").write_text("not zarr")
    return group


HANDLES = {
    "array": lambda root, name: zarr.open_group(root, mode="r+")[name],
    "array of its own store": lambda root, name: zarr.open_array(root / name, mode="r+"),
    "string": lambda root, name: str(root / name),
    "Path": lambda root, name: root / name,
    "file URL": lambda root, name: f"file://{root / name}",
}


@FORMATS
@pytest.mark.parametrize("handle", HANDLES)
def test_levels_go_beside_the_array(zarr_format: int, handle: str, tmp_path: Path) -> None:
    root = tmp_path / "g.zarr"
    group_with_array(root, zarr_format)
    before = contents(root)
    pyramid = cp.build_pyramid(HANDLES[handle](root, "raw"), levels=2)
    assert pyramid.multiscale.paths == ("raw", "1", "2")
    assert_only_levels_are_new(before, root, {"1", "2"})
    reopened = cp.open_pyramid(root)
    assert reopened.group.attrs["lab"] == {"microscope": 2}
    for level, wanted in zip(reopened.levels, [VOLUME, *cp.downsample(VOLUME, 2, num_levels=2)], strict=True):
        np.testing.assert_array_equal(level[...], wanted)
        assert level.chunks == (4, 4, 4)
        assert level.metadata.zarr_format == zarr_format


@pytest.mark.parametrize(
    ("name", "paths"),
    [("0", ("0", "1", "2")), ("s0", ("s0", "s1", "s2")), ("raw", ("raw", "1", "2")), ("em0", ("em0", "em1", "em2"))],
)
def test_names_of_the_levels_follow_that_of_the_array(name: str, paths: tuple[str, ...], tmp_path: Path) -> None:
    group = group_with_array(tmp_path / "g.zarr", 3, name)
    assert cp.build_pyramid(group[name], levels=2).multiscale.paths == paths


@FORMATS
@pytest.mark.parametrize("by", ["path", "group", "array"])
def test_ome_image_in_place(zarr_format: int, by: str, tmp_path: Path) -> None:
    root = tmp_path / "image.zarr"
    cp.build_pyramid(
        VOLUME, root, levels=0, chunks=4, zarr_format=zarr_format, voxel_size=(4, 2, 2), unit="nm", name="cells"
    )
    group = zarr.open_group(root, mode="r+")
    ome = group.attrs["ome"] if zarr_format == 3 else group.attrs.asdict()
    ome = {**ome, "omero": {"channels": [{"color": "FFFFFF"}]}}
    group.attrs.update({"ome": ome, "other": 1} if zarr_format == 3 else {**ome, "other": 1})
    zarr.create_group(root / "labels", zarr_format=zarr_format)
    before = contents(root)
    source: Any = {"path": root, "group": group, "array": group["0"]}[by]
    pyramid = cp.build_pyramid(source, levels=2, method="max")
    assert pyramid.multiscale.paths == ("0", "1", "2")
    assert pyramid.coordinates[1].scale == (8, 4, 4)
    assert pyramid.coordinates[1].axes[0].unit == "nanometer"
    assert_only_levels_are_new(before, root, {"1", "2"})
    attributes = zarr.open_group(root).attrs.asdict()
    assert attributes["other"] == 1
    assert attributes.get("ome", attributes)["omero"] == {"channels": [{"color": "FFFFFF"}]}


def test_other_multiscales_of_the_group_are_kept(tmp_path: Path) -> None:
    group = group_with_array(tmp_path / "g.zarr", 3)
    group.create_array("second", shape=VOLUME.shape, dtype="u1", chunks=(8, 8, 8))[...] = 255 - VOLUME
    cp.build_pyramid(group["raw"], levels=1)
    first = zarr.open_group(tmp_path / "g.zarr").attrs["ome"]["multiscales"][0]
    before = contents(tmp_path / "g.zarr")
    pyramid = cp.build_pyramid(tmp_path / "g.zarr" / "second", levels=1)
    assert_only_levels_are_new(before, tmp_path / "g.zarr", {"second_1"})
    multiscales = zarr.open_group(tmp_path / "g.zarr").attrs["ome"]["multiscales"]
    assert [[d["path"] for d in m["datasets"]] for m in multiscales] == [["raw", "1"], ["second", "second_1"]]
    assert multiscales[0] == first
    np.testing.assert_array_equal(pyramid.levels[1][...], cp.downsample(255 - VOLUME, 2)[0])
    assert cp.open_pyramid(tmp_path / "g.zarr").multiscale.paths == ("raw", "1")
    for handle in ("second", "second_1"):
        assert cp.open_pyramid(tmp_path / "g.zarr" / handle).multiscale.paths == ("second", "second_1")
    assert cp.verify_pyramid(pyramid).ok
    assert cp.verify_pyramid(tmp_path / "g.zarr" / "second").ok


@FORMATS
def test_existing_levels_are_not_replaced_unless_asked(zarr_format: int, tmp_path: Path) -> None:
    root = tmp_path / "g.zarr"
    group = group_with_array(root, zarr_format, "0")
    cp.build_pyramid(group["0"], levels=3)
    before = contents(root)
    with pytest.raises(cp.TargetExistsError, match="overwrite=True"):
        cp.build_pyramid(group["0"], levels=1)
    assert contents(root) == before
    pyramid = cp.build_pyramid(zarr.open_group(root, mode="r+")["0"], levels=1, method="min", overwrite=True)
    assert pyramid.multiscale.paths == ("0", "1")
    np.testing.assert_array_equal(pyramid.levels[1][...], cp.downsample_with_min_pooling(VOLUME, 2)[0])
    after = contents(root)
    assert not [name for name in after if name.split("/")[0] in ("2", "3")]
    for name in before:
        if name.split("/")[0] in ("0", "labels", "README.txt"):
            assert after[name] == before[name]


def test_the_source_is_only_read(tmp_path: Path) -> None:
    """Chunks that were never written stay away, also where the whole build is in place."""
    group = zarr.create_group(tmp_path / "g.zarr")
    group.create_array("0", shape=(16, 16), dtype="f4", chunks=(4, 4), fill_value=3)
    before = contents(tmp_path)
    pyramid = cp.build_pyramid(group["0"], levels=2)
    assert {name for name in contents(tmp_path) if name.startswith("g.zarr/0/")} == {
        name for name in before if name.startswith("g.zarr/0/")
    }
    assert (pyramid.levels[2][...] == 3).all()


def test_in_memory_group() -> None:
    group = zarr.create_group(MemoryStore())
    group.create_array("a/b/s0", shape=VOLUME.shape, dtype="u1")[...] = VOLUME
    pyramid = cp.build_pyramid(group["a/b/s0"], levels=1, chunks=4)
    assert pyramid.group.path == "a/b"
    assert "a/b/s1" in group
    assert group.attrs.asdict() == {}


@pytest.mark.parametrize("source", [VOLUME, "dask", "DataArray"])
def test_sources_in_memory_have_no_place(source: Any) -> None:
    import dask.array as da
    import xarray as xr

    named = {"dask": da.from_array(VOLUME), "DataArray": xr.DataArray(VOLUME, dims=("z", "y", "x"))}
    with pytest.raises(cp.ArgumentError, match="target is needed"):
        cp.build_pyramid(named[source] if isinstance(source, str) else source)


def test_arrays_without_a_group_are_refused(tmp_path: Path) -> None:
    alone = zarr.create_array(tmp_path / "alone.zarr", shape=(8, 8), dtype="u1")
    before = contents(tmp_path)
    for source in (alone, tmp_path / "alone.zarr", zarr.create_array(MemoryStore(), shape=(8, 8), dtype="u1")):
        with pytest.raises(cp.ArgumentError, match=r"not in a zarr group.*give target="):
            cp.build_pyramid(source, levels=1)
    assert contents(tmp_path) == before


def test_read_only_sources_are_refused(tmp_path: Path) -> None:
    group_with_array(tmp_path / "g.zarr", 3)
    before = contents(tmp_path)
    by_mode = zarr.open_group(tmp_path / "g.zarr", mode="r")["raw"]
    by_store = zarr.open_group(LocalStore(tmp_path / "g.zarr", read_only=True), mode="r")["raw"]
    for source in (by_mode, by_store):
        with pytest.raises(cp.ArgumentError, match="read-only"):
            cp.build_pyramid(source, levels=1)
    assert contents(tmp_path) == before


def test_datatree_layout_needs_a_new_group(tmp_path: Path) -> None:
    group = group_with_array(tmp_path / "g.zarr", 3)
    with pytest.raises(cp.ArgumentError, match="layout='datatree' needs a new group"):
        cp.build_pyramid(group["raw"], layout="datatree")


@pytest.mark.parametrize("options", [{"levels": 0}, {"levels": 1, "factor": 1}])
def test_levels_of_no_smaller_size(options: dict[str, Any], tmp_path: Path) -> None:
    group = group_with_array(tmp_path / "g.zarr", 3)
    pyramid = cp.build_pyramid(group["raw"], **options)
    for level in pyramid.levels:
        np.testing.assert_array_equal(level[...], VOLUME)


@pytest.mark.parametrize("zarr_format", [2, 3])
@pytest.mark.parametrize("overwrite", [False, True])
def test_not_in_a_dataset_that_xarray_could_not_open_any_more(
    tmp_path: Path, zarr_format: Any, overwrite: bool
) -> None:
    dataset = xr.Dataset(
        {"t2m": (("lat", "lon"), np.ones((8, 6), "f4"))}, coords={"lat": np.arange(8.0), "lon": np.arange(6.0)}
    )
    dataset.to_zarr(tmp_path / "d.zarr", zarr_format=zarr_format, consolidated=False)
    with pytest.raises(cp.ArgumentError, match=r"\['lat', 'lon'\].*give target="):
        cp.build_pyramid(tmp_path / "d.zarr" / "t2m", levels=1, overwrite=overwrite)
    with xr.open_zarr(tmp_path / "d.zarr", consolidated=False) as found:
        xr.testing.assert_identical(found.compute(), dataset)
    cp.build_pyramid(tmp_path / "d.zarr" / "t2m", tmp_path / "p.zarr", levels=1)
