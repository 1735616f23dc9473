"""One array is one image, however it is named, and levels beside it replace nothing but its own."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaozarrs
import zarr
from zarr.storage import FsspecStore, LocalStore, MemoryStore, WrapperStore

import chunkpyramid as cp

LABELS = np.repeat(np.array([[1000, 2000]], np.uint16), [33, 31], axis=1).repeat(64, axis=0)
FORMATS = pytest.mark.parametrize("zarr_format", [2, 3])


def contents(root: Path) -> dict[str, bytes]:
    return {str(path.relative_to(root)): path.read_bytes() for path in root.rglob("*") if path.is_file()}


def ome_of(group: zarr.Group) -> dict[str, Any]:
    attributes: dict[str, Any] = group.attrs.asdict()
    return attributes.get("ome", attributes)


def labels(target: Any, zarr_format: int = 3) -> zarr.Group:
    cp.build_pyramid(
        LABELS,
        target,
        levels=2,
        method="mode",
        chunks=16,
        voxel_size=(0.5, 0.25),
        translation=(10, 20),
        unit="um",
        name="cells",
        zarr_format=zarr_format,
    )
    return zarr.open_group(target, mode="r+")


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder of such an image in either format, to be copied."""
    folder = tmp_path_factory.mktemp("made")
    for zarr_format in (2, 3):
        labels(folder / str(zarr_format), zarr_format)
    return folder


HANDLES: dict[str, Callable[[Path, str], Any]] = {
    "path": lambda root, level: root / level,
    "string": lambda root, level: f"{root}/{level}",
    "path with dots": lambda root, level: f"{root}/../{root.name}/{level}",
    "file URL": lambda root, level: (root / level).as_uri(),
    "item of the group": lambda root, level: zarr.open_group(root, mode="r+")[level],
    "array opened alone": lambda root, level: zarr.open_array(root / level, mode="r+"),
    "array opened read-only": lambda root, level: zarr.open_array(root / level, mode="r"),
    "path in a store above": lambda root, level: zarr.open_array(LocalStore(root.parent), path=f"{root.name}/{level}"),
    "store of the array": lambda root, level: LocalStore(root / level),
    "wrapped store": lambda root, level: zarr.open_group(WrapperStore(LocalStore(root)), mode="r+")[level],
    "fsspec store": lambda root, level: FsspecStore.from_url(f"local://{root}/{level}", {"auto_mkdir": True}),
}


@FORMATS
@pytest.mark.parametrize("handle", HANDLES)
@pytest.mark.parametrize("level", ["0", "1"])
def test_a_level_is_the_same_image_however_it_is_named(
    handle: str, level: str, zarr_format: int, made: Path, tmp_path: Path
) -> None:
    root = tmp_path / "image.zarr"
    shutil.copytree(made / str(zarr_format), root)
    before = contents(root)
    pyramid = cp.build_pyramid(HANDLES[handle](root, level), tmp_path / "new.zarr", levels=1)
    assert pyramid.method == "mode"
    assert pyramid.name == "cells"
    assert [axis.unit for axis in pyramid.coordinates[0].axes] == ["micrometer"] * 2
    factor = 2 ** int(level)
    assert pyramid.coordinates[0].scale == (0.5 * factor, 0.25 * factor)
    assert pyramid.coordinates[0].translation == (10 + 0.25 * (factor - 1), 20 + 0.125 * (factor - 1))
    assert set(np.unique(pyramid.levels[1][...])) == {1000, 2000}
    assert contents(root) == before


def test_by_a_store_on_a_file_system_of_fsspec() -> None:
    labels("memory://one-image/image.zarr")
    pyramid = cp.build_pyramid("memory://one-image/image.zarr/1", MemoryStore(), levels=1)
    assert (pyramid.method, pyramid.coordinates[0].scale, pyramid.name) == ("mode", (1.0, 0.5), "cells")


def test_a_link_in_a_group_is_part_of_it_and_one_from_elsewhere_leads_to_it(tmp_path: Path) -> None:
    labels(tmp_path / "image.zarr")
    (tmp_path / "shortcut").symlink_to(tmp_path / "image.zarr" / "0")
    assert cp.build_pyramid(tmp_path / "shortcut", MemoryStore(), levels=1).name == "cells"
    group = zarr.open_group(tmp_path / "view.zarr", mode="w")
    (tmp_path / "view.zarr" / "0").symlink_to(tmp_path / "image.zarr" / "0")
    before = contents(tmp_path / "image.zarr")
    pyramid = cp.build_pyramid(tmp_path / "view.zarr" / "0", levels=1)
    assert pyramid.group.store_path.store.root == tmp_path / "view.zarr"
    assert contents(tmp_path / "image.zarr") == before
    assert set(group.array_keys()) == {"0", "1"}


def test_the_datatree_layout_is_an_image_too(tmp_path: Path) -> None:
    root = tmp_path / "tree.zarr"
    cp.build_pyramid(LABELS, root, levels=1, method="mode", layout="datatree", voxel_size=(0.5, 0.25), name="cells")
    for level, scale in (("s0", (0.5, 0.25)), ("s1", (1.0, 0.5))):
        for source in (root / level / "cells", zarr.open_group(root, mode="r")[f"{level}/cells"]):
            pyramid = cp.build_pyramid(source, MemoryStore(), levels=1)
            assert (pyramid.method, pyramid.coordinates[0].scale, pyramid.name) == ("mode", scale, "cells")
    with pytest.raises(cp.ArgumentError, match="give target="):
        cp.build_pyramid(root / "s0" / "cells", levels=1, overwrite=True)


@FORMATS
@pytest.mark.parametrize("handle", [handle for handle in HANDLES if handle != "array opened read-only"])
def test_levels_made_anew_in_place_keep_what_the_metadata_tell(handle: str, zarr_format: int, tmp_path: Path) -> None:
    root = tmp_path / "image.zarr"
    group = labels(root, zarr_format)
    described = ome_of(group)["multiscales"][0]
    described["note"] = "ours"
    described["axes"][0]["longName"] = "down"
    described["datasets"][0]["checksum"] = 7
    other = {**described, "name": "other", "datasets": [{**described["datasets"][0], "path": "elsewhere/0"}]}
    changed = {**ome_of(group), "multiscales": [other, described], "creator": {"name": "lab"}}
    group.attrs.put({"ome": changed, "mine": 1} if zarr_format == 3 else {**changed, "mine": 1})
    first = contents(root / "0")

    pyramid = cp.build_pyramid(HANDLES[handle](root, "0"), levels=1, overwrite=True)
    assert (pyramid.method, pyramid.name, pyramid.coordinates[0].scale) == ("mode", "cells", (0.5, 0.25))
    after = zarr.open_group(root, mode="r")
    assert after.attrs["mine"] == 1
    assert ome_of(after)["creator"] == {"name": "lab"}
    assert ome_of(after)["multiscales"][0] == other
    now = ome_of(after)["multiscales"][1]
    assert now["note"] == "ours"
    assert now["axes"] == described["axes"]
    assert now["datasets"] == described["datasets"][:2]
    assert contents(root / "0") == first
    assert set(after.array_keys()) == {"0", "1"}


def test_arrays_side_by_side_have_levels_of_their_own(tmp_path: Path) -> None:
    group = zarr.open_group(tmp_path / "well.zarr", mode="w", attributes={"ome": {"version": "0.5", "well": {}}})
    for index, name in enumerate(("fov1", "fov2", "0"), 1):
        group.create_array(name, data=np.full((64, 64), 11 * index, np.uint8), chunks=(16, 16))
    group.create_array("0_1", data=np.zeros(3))
    for name, paths in (("fov1", ["fov1", "1", "2"]), ("fov2", ["fov2", "fov2_1", "fov2_2"])):
        assert list(cp.build_pyramid(tmp_path / "well.zarr" / name, levels=2).multiscale.paths) == paths
    before = contents(tmp_path)
    # both names that it could have are taken by others, which it never replaces
    for overwrite in (False, True):
        with pytest.raises(cp.ArgumentError, match=r"\['0_1'\] already.*give target="):
            cp.build_pyramid(tmp_path / "well.zarr" / "0", levels=2, overwrite=overwrite)
    assert contents(tmp_path) == before
    for method in ("min", "max"):
        with pytest.raises(cp.TargetExistsError, match=r"\['fov2_1'.*overwrite=True"):
            cp.build_pyramid(tmp_path / "well.zarr" / "fov2", levels=1, method=method)
        cp.build_pyramid(tmp_path / "well.zarr" / "fov2", levels=1, method=method, overwrite=True)
    found = zarr.open_group(tmp_path / "well.zarr", mode="r")
    assert found.attrs["ome"]["well"] == {}
    for multiscale in found.attrs["ome"]["multiscales"]:
        arrays = [np.asarray(found[dataset["path"]]) for dataset in multiscale["datasets"]]
        assert len({value for array in arrays for value in np.unique(array).tolist()}) == 1
    assert set(found.array_keys()) == {"fov1", "fov2", "0", "0_1", "1", "2", "fov2_1"}


def test_a_level_that_two_multiscales_share_is_never_replaced(tmp_path: Path) -> None:
    group = labels(tmp_path / "image.zarr")
    described = ome_of(group)["multiscales"][0]
    other = {**described, "name": "other", "datasets": described["datasets"][1:]}
    group.attrs["ome"] = {"version": "0.5", "multiscales": [described, other]}
    before = contents(tmp_path / "image.zarr" / "1")
    pyramid = cp.build_pyramid(tmp_path / "image.zarr", levels=1, method="min", overwrite=True)
    assert pyramid.multiscale.paths == ("0", "0_1")
    assert contents(tmp_path / "image.zarr" / "1") == before


@FORMATS
@pytest.mark.parametrize("mine", ["first", "second"])
def test_multiscales_that_share_level_0_keep_their_levels(mine: str, zarr_format: int, tmp_path: Path) -> None:
    """Two pyramids of one volume: one is built anew, and the other one is none of its business."""
    group = labels(tmp_path / "image.zarr", zarr_format)
    described = ome_of(group)["multiscales"][0]
    paths = {"0": "0", "1": "b1", "2": "b2"}
    for path in ("1", "2"):
        group.create_array(paths[path], data=np.asarray(group[path]) + 1, chunks=(16, 16))
    datasets = [{**dataset, "path": paths[dataset["path"]]} for dataset in described["datasets"]]
    other = {**described, "name": "other", "datasets": datasets}
    both = [described, other] if mine == "first" else [other, described]
    changed = {**ome_of(group), "multiscales": both}
    group.attrs.put({"ome": changed} if zarr_format == 3 else changed)
    own, others = (("1", "2"), ("b1", "b2")) if mine == "first" else (("b1", "b2"), ("1", "2"))
    before = {path: contents(tmp_path / "image.zarr" / path) for path in ("0", *others)}

    with pytest.raises(cp.TargetExistsError, match=rf"{list(own)}.*overwrite=True".replace("[", r"\[")):
        cp.build_pyramid(tmp_path / "image.zarr", levels=1, method="max")
    pyramid = cp.build_pyramid(tmp_path / "image.zarr", levels=1, method="max", overwrite=True)
    after = zarr.open_group(tmp_path / "image.zarr", mode="r")
    assert {path: contents(tmp_path / "image.zarr" / path) for path in before} == before
    assert ome_of(after)["multiscales"][1] == both[1]
    now = ome_of(after)["multiscales"][0]
    assert [dataset["path"] for dataset in now["datasets"]] == list(pyramid.multiscale.paths)
    assert (now["name"], now["type"]) == (both[0]["name"], "max")
    assert not (set(own) - set(pyramid.multiscale.paths)) & set(after.array_keys())
    np.testing.assert_array_equal(pyramid.levels[1][...], LABELS.reshape(32, 2, 32, 2).max((1, 3)))


def test_the_multiscale_whose_level_0_it_is_comes_first(tmp_path: Path) -> None:
    group = labels(tmp_path / "image.zarr")
    described = ome_of(group)["multiscales"][0]
    finer = group.create_array("finer", data=LABELS.repeat(2, 0), chunks=(16, 16))
    datasets = [{**described["datasets"][0], "path": finer.basename}, described["datasets"][1]]
    datasets[1] = {**datasets[1], "path": "0"}
    group.attrs["ome"] = {**ome_of(group), "multiscales": [{**described, "datasets": datasets}, described]}
    before = ome_of(group)["multiscales"]
    pyramid = cp.build_pyramid(tmp_path / "image.zarr" / "0", levels=1, overwrite=True)
    assert pyramid.multiscale.paths == ("0", "1")
    after = ome_of(zarr.open_group(tmp_path / "image.zarr", mode="r"))["multiscales"]
    assert after[0] == before[0]
    assert len(after) == 2


def test_levels_of_coarser_levels_do_not_go_in_place(tmp_path: Path) -> None:
    labels(tmp_path / "image.zarr")
    before = contents(tmp_path)
    for overwrite in (False, True):
        with pytest.raises(cp.ArgumentError, match="level 1 of the image"):
            cp.build_pyramid(tmp_path / "image.zarr" / "1", overwrite=overwrite)
    assert contents(tmp_path) == before


def test_unreadable_metadata_around_an_array_are_warned_of_and_not_written_over(tmp_path: Path) -> None:
    group = zarr.open_group(tmp_path / "image.zarr", mode="w")
    group.create_array("0", data=LABELS, chunks=(16, 16))
    for ome in (
        {"version": "0.9", "multiscales": [{"datasets": [{"path": "0"}]}]},
        {"version": "0.5", "multiscales": [{"datasets": [{"path": "0"}], "axes": 3}]},
    ):
        group.attrs["ome"] = ome
        before = contents(tmp_path / "image.zarr")
        with pytest.warns(cp.MetadataWarning, match="left out"):
            pyramid = cp.build_pyramid(tmp_path / "image.zarr" / "0", MemoryStore(), levels=1, voxel_size=3)
        assert pyramid.coordinates[0].scale == (3, 3)
        with pytest.warns(cp.MetadataWarning, match="left out"), pytest.raises(cp.ArgumentError):
            cp.build_pyramid(tmp_path / "image.zarr" / "0", levels=1)
        assert contents(tmp_path / "image.zarr") == before


def test_open_pyramid_takes_any_level(tmp_path: Path) -> None:
    labels(tmp_path / "image.zarr")
    for target in (tmp_path / "image.zarr" / "1", zarr.open_array(tmp_path / "image.zarr" / "2", mode="r")):
        assert cp.open_pyramid(target).multiscale.paths == ("0", "1", "2")
        assert cp.verify_pyramid(target).ok


def test_labels_beside_an_image_do_not_make_it_labels(tmp_path: Path) -> None:
    group = zarr.open_group(tmp_path / "both.zarr", mode="w")
    group.create_array("raw", data=(LABELS % 251).astype(np.uint8), chunks=(16, 16))
    group.create_array("seg", data=LABELS, chunks=(16, 16))
    assert cp.build_pyramid(group["seg"], levels=1, method="mode").method == "mode"
    assert cp.build_pyramid(group["raw"], levels=1).method == "mean"


def test_arrays_beside_an_unfinished_build_go_elsewhere_until_it_is_finished(tmp_path: Path) -> None:
    group = zarr.open_group(tmp_path / "g.zarr", mode="w")
    for name in ("a", "b"):
        group.create_array(name, data=LABELS, chunks=(16, 16))

    def stop(done: int, total: int) -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        cp.build_pyramid(group["a"], levels=2, progress=stop)
    for overwrite in (False, True):
        with pytest.raises(cp.ArgumentError, match=r"holds a build of .*g\.zarr/a that has not been finished"):
            cp.build_pyramid(group["b"], levels=2, overwrite=overwrite)
    assert cp.build_pyramid(group["b"], MemoryStore(), levels=2).levels[2].shape == (16, 16)
    with pytest.raises(cp.ArgumentError, match="belongs to a pyramid whose build has not been finished"):
        cp.build_pyramid(tmp_path / "g.zarr" / "1", MemoryStore(), levels=1)
    assert cp.build_pyramid(group["a"], levels=2).multiscale.paths == ("a", "1", "2")
    assert cp.build_pyramid(group["b"], levels=2).multiscale.paths == ("b", "b_1", "b_2")


@pytest.mark.parametrize("layout", ["flat", "datatree"])
@pytest.mark.parametrize("from_format", [2, 3])
@FORMATS
def test_another_pyramid_of_an_image_has_what_its_group_tells(
    zarr_format: int, from_format: int, layout: str, tmp_path: Path
) -> None:
    group = labels(tmp_path / "image.zarr", from_format)
    content = ome_of(group)
    described = content["multiscales"][0]
    described["note"] = "ours"
    described["axes"][0]["orientation"] = {"type": "anatomical", "value": "anterior-to-posterior"}
    other = {**described, "name": "other", "datasets": [{**described["datasets"][1]}]}
    content = {
        **content,
        "multiscales": [described, other],
        "creator": {"name": "lab", "number": float("nan")},
        "image-label": {"colors": [{"label-value": 1000, "rgba": [1, 2, 3, 4]}]},
        "labels": ["cells"],
    }
    mine = {"sample": {"id": 7}}
    group.attrs.put({"ome": content, **mine} if from_format == 3 else {**content, **mine})
    for source in (tmp_path / "image.zarr", tmp_path / "image.zarr" / "1"):
        target = tmp_path / f"copy of {source.name}.zarr"
        options: dict[str, Any] = {"levels": 1, "zarr_format": zarr_format, "layout": layout}
        cp.build_pyramid(source, target, **options)
        copy = zarr.open_group(target, mode="r")
        assert copy.attrs["sample"] == {"id": 7}
        told = ome_of(copy)
        creator = told if from_format == 3 or zarr_format == 2 else copy.attrs
        assert creator["creator"] == {"name": "lab", "number": "NaN"}
        assert told["image-label"]["colors"] == content["image-label"]["colors"]
        assert told["image-label"].get("version") == (None if zarr_format == 3 else "0.4")
        assert "labels" not in told
        (now,) = told["multiscales"]
        assert now["note"] == "ours"
        assert now["axes"] == described["axes"]
        assert len(now["datasets"]) == 2
        assert now.get("version") == (None if zarr_format == 3 else "0.4")
        yaozarrs.validate_zarr_store(str(target))
        # what is told is part of what has been built
        assert cp.build_pyramid(source, target, **options).levels
        group.attrs["sample"] = {"id": 8}
        with pytest.raises(cp.TargetExistsError):
            cp.build_pyramid(source, target, **options)
        group.attrs["sample"] = {"id": 7}
