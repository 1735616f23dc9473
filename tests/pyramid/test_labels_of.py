"""Labels are labels: their metadata say so, and with ``labels_of`` they belong to an image."""

from __future__ import annotations

import itertools
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaozarrs
import zarr
from zarr.storage import MemoryStore

import chunkpyramid as cp
from chunkpyramid.pyramid import build

IMAGE = np.random.default_rng(3).integers(0, 255, (2, 24, 40, 36)).astype(np.uint8)
LABELS = (IMAGE[0] // 60).astype(np.uint32)
FORMATS = pytest.mark.parametrize("zarr_format", [2, 3])


def ome_of(group: zarr.Group) -> dict[str, Any]:
    attributes: dict[str, Any] = group.attrs.asdict()
    return attributes.get("ome", attributes)


@pytest.fixture(params=[2, 3])
def image(request: pytest.FixtureRequest, tmp_path: Path) -> Path:
    factor = [(1, 1, 2, 2), (1, 2, 2, 2)]
    size = {"z": 40.0, "y": 4.0, "x": 4.0}
    path = tmp_path / "image.zarr"
    cp.build_pyramid(
        IMAGE,
        path,
        factor=factor,
        voxel_size=size,
        translation={"x": 7},
        unit="nm",
        chunks=8,
        zarr_format=request.param,
    )
    return path


def test_labels_of_an_image_are_as_the_image_is(image: Path) -> None:
    pyramid = cp.build_pyramid(LABELS, labels_of=image, name="cells", chunks=8)
    assert pyramid.method == "mode"
    assert Path(str(pyramid.group.store_path).removeprefix("file://")) == image / "labels" / "cells"
    for own, of_image in zip(pyramid.coordinates, cp.open_pyramid(image).coordinates, strict=True):
        assert own.names == ("z", "y", "x")
        assert (own.scale, own.translation, own.axes) == (
            of_image.scale[1:],
            of_image.translation[1:],
            of_image.axes[1:],
        )
    for level, wanted in zip(
        pyramid.levels[1:], cp.downsample_segmentation(LABELS.T, (2, 2, 1), num_mips=1)[:1], strict=False
    ):
        np.testing.assert_array_equal(level[...], wanted.T)
    group = zarr.open_group(image, mode="r")
    assert ome_of(group["labels"])["labels"] == ["cells"]  # type: ignore[arg-type]
    assert ome_of(pyramid.group)["image-label"]["source"] == {"image": "../../"}
    cp.build_pyramid(LABELS > 2, labels_of=zarr.open_group(image, mode="r+"), name="mask", chunks=8)
    assert ome_of(zarr.open_group(image / "labels", mode="r"))["labels"] == ["cells", "mask"]
    cp.build_pyramid(LABELS, labels_of=image, name="cells", chunks=8, overwrite=True, method="exact_mode")
    assert ome_of(zarr.open_group(image / "labels", mode="r"))["labels"] == ["cells", "mask"]


def test_other_libraries_take_them_for_labels(image: Path) -> None:
    from ome_zarr_models.v04.image_label import ImageLabel as ImageLabel04
    from ome_zarr_models.v04.labels import Labels as Labels04
    from ome_zarr_models.v05.image_label import ImageLabel as ImageLabel05
    from ome_zarr_models.v05.labels import Labels as Labels05

    cp.build_pyramid(LABELS, labels_of=image, name="cells", chunks=8)
    is_new = zarr.open_group(image, mode="r").metadata.zarr_format == 3
    group = zarr.open_group(image / "labels", mode="r")
    (Labels05 if is_new else Labels04).from_zarr(group)
    (ImageLabel05 if is_new else ImageLabel04).from_zarr(group["cells"])  # type: ignore[arg-type]
    yaozarrs.validate_zarr_store(str(image))


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"voxel_size": (40, 4, 5)}, "along 'x' at level 0"),
        ({"factor": (2, 2, 2), "voxel_size": (40, 4, 4)}, "along 'z' at level 1"),
        ({"levels": 1}, "levels=1 was given"),
        ({"target": "elsewhere.zarr"}, "leave target out"),
        ({"name": ""}, "name"),
        ({"name": "cells.zip"}, "name='cells.zip'"),
        ({"method": "mean"}, "method='mean'"),
        ({"zarr_format": 7}, "zarr_format=7"),
    ],
    ids=str,
)
def test_what_does_not_fit_the_image_is_refused(options: dict[str, Any], message: str, image: Path) -> None:
    before = sorted(image.rglob("*"))
    with pytest.raises(cp.ArgumentError, match=message):
        cp.build_pyramid(LABELS, **{"labels_of": image, "name": "cells", **options})
    assert sorted(image.rglob("*")) == before


def test_copies_of_labels_tell_where_their_image_is(image: Path, tmp_path: Path) -> None:
    cp.build_pyramid(LABELS, labels_of=image, name="cells", chunks=8)
    for source in (image / "labels" / "cells", image / "labels" / "cells" / "0"):
        (tmp_path / "deep").mkdir(exist_ok=True)
        target = tmp_path / "deep" / f"{source.name}.zarr"
        zarr_format = zarr.open_group(image, mode="r").metadata.zarr_format
        copy = cp.build_pyramid(source, target, levels=1, zarr_format=zarr_format)
        assert ome_of(copy.group)["image-label"]["source"] == {"image": "../../image.zarr"}
        assert copy.method == "mode"
        yaozarrs.validate_zarr_store(str(target))
        assert cp.build_pyramid(source, target, levels=1, zarr_format=zarr_format).plan is None
    with pytest.warns(cp.MetadataWarning, match=r"labels of the image .* is left out"):
        copy = cp.build_pyramid(image / "labels" / "cells", MemoryStore(), levels=1)
    assert ome_of(copy.group)["image-label"]["source"] == {}


def test_lists_of_labels_that_cannot_be_added_to_are_refused_beforehand(image: Path) -> None:
    own: Any = zarr.open_group(image, mode="r").metadata.zarr_format
    for zarr_format, attributes in (
        (5 - own, {"labels": ["old"]}),
        (own, {"ome": None} if own == 3 else {"labels": "abc"}),
        (own, {"ome": {"labels": "abc"}} if own == 3 else {"labels": {"a": 1}}),
    ):
        zarr.open_group(image / "labels", mode="w", zarr_format=zarr_format, attributes=attributes)
        before = sorted(image.rglob("*"))
        with pytest.raises(cp.ArgumentError, match="labels"):
            cp.build_pyramid(LABELS, labels_of=image, name="cells", chunks=8)
        assert sorted(image.rglob("*")) == before
        shutil.rmtree(image / "labels")


@pytest.mark.filterwarnings("ignore:Consolidated metadata is currently not part:UserWarning")
@pytest.mark.parametrize("then", ["labels", "consolidated"])
def test_what_a_build_that_was_killed_at_its_very_end_has_left_is_done_when_it_is_run_again(
    then: str, image: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as patch:

        def die(*_: Any, **__: Any) -> None:
            raise KeyboardInterrupt

        patch.setattr(build, "_announce", die)
        if then == "consolidated":
            zarr.consolidate_metadata(image)
        with pytest.raises(KeyboardInterrupt):
            cp.build_pyramid(LABELS, labels_of=image, name="cells", chunks=8)
    assert cp.build_pyramid(LABELS, labels_of=image, name="cells", chunks=8).plan is None
    assert ome_of(zarr.open_group(image / "labels", mode="r"))["labels"] == ["cells"]
    if then == "consolidated":
        assert "labels/cells/0" in zarr.open_group(image, mode="r")


def test_floats_are_no_labels(image: Path) -> None:
    before = sorted(image.rglob("*"))
    for method in ("auto", "mean", "max"):
        with pytest.raises(cp.ArgumentError, match="dtype float32, but labels are integers"):
            cp.build_pyramid(LABELS.astype("f4"), labels_of=image, name="cells", method=method)
    assert sorted(image.rglob("*")) == before


@pytest.mark.parametrize("dtype", ["u2", "?"])
def test_labels_of_other_methods_are_labels_too(dtype: str, image: Path) -> None:
    pyramid = cp.build_pyramid(LABELS.astype(dtype), labels_of=image, name="cells", method="stride", chunks=8)
    assert "image-label" in ome_of(pyramid.group)
    assert pyramid.levels[0].dtype == ("u1" if dtype == "?" else dtype)


def test_labels_of_another_shape_are_warned_of(image: Path) -> None:
    with pytest.warns(cp.MetadataWarning, match=r"30 voxels along 'y', and the image .* has 40"):
        cp.build_pyramid(LABELS[:, :30], labels_of=image, name="part", chunks=8)
    known = cp.open_pyramid(image).coordinates[0].translation[1:]
    moved = tuple(t + 40.0 for t in known)
    size = {"voxel_size": (40, 4, 4), "translation": moved}
    assert cp.build_pyramid(LABELS[1:, 10:, 10:], labels_of=image, name="other part", **size, chunks=8)


@FORMATS
def test_a_format_that_contradicts_the_image_or_the_source_is_refused(zarr_format: Any, tmp_path: Path) -> None:
    cp.build_pyramid(IMAGE, tmp_path / "image.zarr", levels=1, zarr_format=zarr_format)
    if zarr_format == 3:
        with pytest.raises(cp.ArgumentError, match=r"zarr_format=2 .* has zarr format 3"):
            cp.build_pyramid(LABELS, labels_of=tmp_path / "image.zarr", zarr_format=2)
        with pytest.raises(cp.ArgumentError, match=r"zarr_format=2 .* has zarr format 3"):
            cp.build_pyramid(tmp_path / "image.zarr", zarr_format=2, overwrite=True)
    for given in (3, zarr_format):
        cp.build_pyramid(LABELS, labels_of=tmp_path / "image.zarr", zarr_format=given, levels=1)


def test_what_is_no_image_has_no_labels(image: Path, tmp_path: Path) -> None:
    for target in (image / "0", zarr.create_group(MemoryStore())):
        with pytest.raises(cp.ArgumentError, match="labels_of"):
            cp.build_pyramid(LABELS, labels_of=target)
    with pytest.raises(cp.SourceNotFoundError):
        cp.build_pyramid(LABELS, labels_of=tmp_path / "missing.zarr")


def test_labels_of_an_image_in_memory() -> None:
    store = MemoryStore()
    cp.build_pyramid(IMAGE, store, levels=1, chunks=8)
    pyramid = cp.build_pyramid(LABELS, labels_of=store, name="cells", chunks=8)
    assert pyramid.group.path == "labels/cells"
    assert zarr.open_group(store)["labels"].attrs["ome"] == {"version": "0.5", "labels": ["cells"]}
    assert cp.open_pyramid(pyramid.group).levels[1].shape == (12, 20, 18)


@FORMATS
@pytest.mark.parametrize(
    ("method", "dtype", "is_labels"),
    [
        *itertools.product(("mode", "exact_mode"), ("u1", "i2", "u8", "?"), (True,)),
        *itertools.product(("mode", "exact_mode"), ("f4",), (False,)),
        *itertools.product(("mean", "max", "stride"), ("u1", "u8", "?"), (False,)),
    ],
)
def test_modes_of_integers_are_labels(method: str, dtype: str, is_labels: bool, zarr_format: int) -> None:
    values = (IMAGE[0] % 2).astype(dtype)
    pyramid = cp.build_pyramid(values, MemoryStore(), levels=1, method=method, zarr_format=zarr_format)
    assert ("image-label" in ome_of(pyramid.group)) == is_labels
    stored = np.dtype("u1") if dtype == "?" and is_labels else np.dtype(dtype)
    for level, wanted in zip(pyramid.levels, [values, *cp.downsample(values, 2, method=method)], strict=True):
        assert level.dtype == stored
        np.testing.assert_array_equal(level[...], wanted)


def test_labels_in_place_are_marked_as_such(tmp_path: Path) -> None:
    group = zarr.open_group(tmp_path / "g.zarr", mode="w")
    group.create_array("0", data=LABELS > 1, chunks=(8, 8, 8))
    pyramid = cp.build_pyramid(group["0"], levels=1)
    assert pyramid.levels[1].dtype == bool
    group = zarr.open_group(tmp_path / "h.zarr", mode="w")
    group.create_array("0", data=LABELS.astype("u2"), chunks=(8, 8, 8))
    cp.build_pyramid(group["0"], levels=1, method="mode")
    assert "image-label" in ome_of(zarr.open_group(tmp_path / "h.zarr", mode="r"))
    assert cp.build_pyramid(tmp_path / "h.zarr" / "0", MemoryStore(), levels=1).method == "mode"


@pytest.mark.parametrize("dtype", ["int64", "float64", "bool"])
def test_images_that_viewers_do_not_show_are_warned_of(dtype: str) -> None:
    with pytest.warns(cp.MetadataWarning, match=f"no images of {dtype}"):
        cp.build_pyramid(IMAGE[0].astype(dtype), MemoryStore(), levels=1, method="mean")


def test_what_viewers_show_is_not_warned_of(recwarn: pytest.WarningsRecorder) -> None:
    for dtype, method in (("uint8", "mean"), ("float32", "mean"), ("int64", "mode"), ("bool", "mode")):
        cp.build_pyramid(IMAGE[0].astype(dtype), MemoryStore(), levels=1, method=method)
    assert not [w for w in recwarn if issubclass(w.category, cp.MetadataWarning)]
