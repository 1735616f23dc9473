"""OME-Zarr 0.1 to 0.3: what their metadata do not tell follows from the arrays."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import zarr
from zarr.storage import MemoryStore

import chunkpyramid as cp

IMAGE = np.arange(2 * 3 * 5 * 33 * 32, dtype=np.uint16).reshape(2, 3, 5, 33, 32)


def old_image(path: Path, version: str | None, axes: Any = None, ndim: int = 5) -> zarr.Group:
    image = IMAGE[(0,) * (5 - ndim)]
    group = zarr.open_group(path, mode="w", zarr_format=2)
    group.create_array("0", data=image)
    group.create_array("1", data=image[..., ::2, ::2])
    multiscale: dict[str, Any] = {"name": "idr", "datasets": [{"path": "0"}, {"path": "1"}]}
    if version is not None:
        multiscale["version"] = version
    if axes is not None:
        multiscale["axes"] = axes
    group.attrs["multiscales"] = [multiscale]
    return group


@pytest.mark.parametrize(
    ("version", "axes", "ndim", "names"),
    [
        ("0.1", None, 5, "tczyx"),
        ("0.2", None, 5, "tczyx"),
        (None, None, 5, "tczyx"),
        ("0.1", None, 2, "yx"),
        ("0.3", ["y", "x"], 2, "yx"),
        ("0.3", ["c", "y", "x"], 3, "cyx"),
        (None, ["c", "y", "x"], 3, "cyx"),
        ("0.3", None, 3, "zyx"),
    ],
)
def test_they_are_read(version: str | None, axes: Any, ndim: int, names: str, tmp_path: Path) -> None:
    old_image(tmp_path / "old.zarr", version, axes, ndim)
    pyramid = cp.open_pyramid(tmp_path / "old.zarr")
    assert pyramid.name == "idr"
    assert "".join(pyramid.axes) == names
    assert pyramid.coordinates[0].scale == (1,) * ndim
    assert pyramid.coordinates[1].scale == (*(1,) * (ndim - 2), 2, 2)
    for source in (tmp_path / "old.zarr", tmp_path / "old.zarr" / "0"):
        built = cp.build_pyramid(source, MemoryStore(), levels=1)
        assert (built.axes, built.name) == (tuple(names), "idr")
    with pytest.raises(cp.ArgumentError, match="voxel_size="):
        cp.build_pyramid(tmp_path / "old.zarr", MemoryStore(), factor="isotropic")


def test_how_the_metadata_spell_it_is_no_difference(tmp_path: Path) -> None:
    target = tmp_path / "new.zarr"
    for version, axes in (("0.1", None), ("0.2", None), ("0.3", ["y", "x"])):
        old_image(tmp_path / "old.zarr", version, axes, ndim=2)
        built = cp.build_pyramid(tmp_path / "old.zarr" / "0", target, axes="yx", voxel_size=1, levels=1)
        assert (built.plan is None) == (version != "0.1")


def test_in_place_they_become_new(tmp_path: Path) -> None:
    old_image(tmp_path / "old.zarr", "0.3", ["t", "c", "z", "y", "x"])
    with pytest.raises(cp.TargetExistsError):
        cp.build_pyramid(tmp_path / "old.zarr", levels=1)
    cp.build_pyramid(tmp_path / "old.zarr", levels=2, overwrite=True)
    (multiscale,) = zarr.open_group(tmp_path / "old.zarr", mode="r").attrs["multiscales"]
    assert (multiscale["version"], multiscale["name"]) == ("0.4", "idr")
    assert cp.verify_pyramid(tmp_path / "old.zarr").ok


@pytest.mark.parametrize("zarr_format", [2, 3])
def test_versions_that_are_not_known_are_named(zarr_format: Any, tmp_path: Path) -> None:
    group = zarr.open_group(tmp_path / "new.zarr", mode="w", zarr_format=zarr_format)
    group.create_array("0", data=IMAGE[0, 0])
    multiscale = {"version": "0.9", "datasets": [{"path": "0"}], "axes": ["z", "y", "x"]}
    group.attrs.put(
        {"multiscales": [multiscale]} if zarr_format == 2 else {"ome": {"version": "0.9", "multiscales": [multiscale]}}
    )
    for call in (cp.open_pyramid, lambda path: cp.build_pyramid(path, MemoryStore())):
        with pytest.raises(cp.ArgumentError, match=r"version '0\.9'.*path of an array"):
            call(tmp_path / "new.zarr")
    with pytest.warns(cp.MetadataWarning, match=r"version '0\.9'"):
        cp.build_pyramid(tmp_path / "new.zarr" / "0", MemoryStore(), axes="zyx", voxel_size=2, levels=1)
