"""Consolidated metadata are not trusted for what there is, and are consolidated again where they were."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import zarr

import chunkpyramid as cp

IMAGE = np.arange(64 * 64, dtype=np.uint16).reshape(64, 64)

pytestmark = [
    pytest.mark.parametrize("zarr_format", [2, 3]),
    pytest.mark.filterwarnings("ignore:Consolidated metadata", "ignore:Object at notes.txt"),
]


def members(path: Path, zarr_format: Any) -> set[str] | None:
    """The nodes that the consolidated metadata of a group name, as they are in its files; None if there are none."""
    if zarr_format == 2:
        file = path / ".zmetadata"
        if not file.exists():
            return None
        keys = json.loads(file.read_text())["metadata"]
        return {key.rpartition("/")[0] for key in keys} - {""}
    consolidated = json.loads((path / "zarr.json").read_text()).get("consolidated_metadata")
    return None if consolidated is None else set(consolidated["metadata"])


def test_in_place(zarr_format: Any, tmp_path: Path) -> None:
    path = tmp_path / "g.zarr"
    group = zarr.open_group(path, mode="w", zarr_format=zarr_format)
    group.create_array("0", data=IMAGE, chunks=(16, 16))
    group.create_array("other", data=IMAGE, chunks=(16, 16))
    zarr.consolidate_metadata(path, zarr_format=zarr_format)
    cp.build_pyramid(path / "0", levels=2)
    assert members(path, zarr_format) == {"0", "1", "2", "other"}
    with pytest.raises(cp.TargetExistsError):
        cp.build_pyramid(path / "0", levels=2, method="max")
    # by a handle that knows the consolidated metadata alone
    pyramid = cp.build_pyramid(zarr.open_group(path, mode="r+")["0"], levels=1, method="max", overwrite=True)
    assert members(path, zarr_format) == {"0", "1", "other"}
    np.testing.assert_array_equal(zarr.open_group(path, mode="r")["1"][...], pyramid.levels[1][...])  # type: ignore[index]


def test_stale_ones_are_not_believed(zarr_format: Any, tmp_path: Path) -> None:
    path = tmp_path / "g.zarr"
    group = zarr.open_group(path, mode="w", zarr_format=zarr_format)
    group.create_array("0", data=IMAGE, chunks=(16, 16))
    zarr.consolidate_metadata(path, zarr_format=zarr_format)
    stale = zarr.open_group(path, mode="r+")
    zarr.open_group(path, mode="r+", use_consolidated=False).create_array("1", data=IMAGE[:5])
    pyramid = cp.build_pyramid(stale["0"], levels=1)
    assert pyramid.multiscale.paths == ("0", "0_1")
    np.testing.assert_array_equal(pyramid.group["1"][...], IMAGE[:5])  # type: ignore[index]
    assert members(path, zarr_format) == {"0", "1", "0_1"}


def test_a_pyramid_that_others_consolidated(zarr_format: Any, tmp_path: Path) -> None:
    path = tmp_path / "p.zarr"
    cp.build_pyramid(IMAGE, path, levels=2, chunks=16, zarr_format=zarr_format)
    assert members(path, zarr_format) is None
    zarr.consolidate_metadata(path, zarr_format=zarr_format)
    cp.build_pyramid(path, levels=1, method="max", overwrite=True)
    assert members(path, zarr_format) == {"0", "1"}
    assert cp.open_pyramid(path).method == "max"
    assert cp.verify_pyramid(zarr.open_group(path, mode="r+")).ok
    cp.update_pyramid(zarr.open_group(path, mode="r+"), np.s_[:8, :8])
    assert members(path, zarr_format) == {"0", "1"}


def test_an_empty_group_as_target(zarr_format: Any, tmp_path: Path) -> None:
    path = tmp_path / "p.zarr"
    zarr.open_group(path, mode="w", zarr_format=zarr_format)
    zarr.consolidate_metadata(path, zarr_format=zarr_format)
    cp.build_pyramid(IMAGE, path, levels=1, chunks=16, zarr_format=zarr_format)
    assert members(path, zarr_format) == {"0", "1"}


@pytest.mark.parametrize("layout", ["flat", "datatree"])
def test_those_of_enclosing_groups(layout: str, zarr_format: Any, tmp_path: Path) -> None:
    root = tmp_path / "plate.zarr"
    group = zarr.open_group(root, mode="w", zarr_format=zarr_format)
    for field in ("A/1", "B/2"):
        group.create_group(field).create_array("0", data=IMAGE, chunks=(16, 16))
    group.create_group("C")
    (root / "notes.txt").write_text("not zarr")
    zarr.consolidate_metadata(root / "A" / "1", zarr_format=zarr_format)
    zarr.consolidate_metadata(root, zarr_format=zarr_format)
    cp.build_pyramid(root / "A" / "1" / "0", levels=1)
    assert members(root / "A" / "1", zarr_format) == {"0", "1"}
    assert members(root / "A", zarr_format) is None
    assert members(root, zarr_format) == {"A", "A/1", "A/1/0", "A/1/1", "B", "B/2", "B/2/0", "C"}
    cp.build_pyramid(root / "A" / "1", root / "C" / "new", levels=1, layout=layout, zarr_format=zarr_format)
    found = members(root, zarr_format)
    assert found is not None
    assert {"C/new/0", "C/new/s0/image"} & found
    assert not any(".chunkpyramid" in name for name in found)


def test_a_build_that_was_killed_and_is_run_again(zarr_format: Any, tmp_path: Path) -> None:
    path = tmp_path / "p.zarr"
    cp.build_pyramid(IMAGE, path, levels=2, chunks=8, zarr_format=zarr_format)
    zarr.consolidate_metadata(path, zarr_format=zarr_format)

    def stop(done: int, of: int) -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        cp.build_pyramid(path, levels=1, method="max", overwrite=True, progress=stop)
    cp.build_pyramid(path, levels=1, method="max")
    assert members(path, zarr_format) == {"0", "1"}
