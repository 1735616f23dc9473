"""Windows of channels: the smallest and largest value that there is, seen while the levels are made."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import dask
import dask.array as da
import numpy as np
import pytest
import zarr
from hypothesis import given
from hypothesis import strategies as st
from zarr.storage import MemoryStore

import chunkpyramid as cp
from chunkpyramid.metadata.omero import channel_extremes, merged_extremes

IMAGE = np.random.default_rng(0).integers(100, 60000, (2, 3, 9, 33, 40)).astype(np.uint16)


def omero_of(pyramid: cp.Pyramid) -> Any:
    attributes: dict[str, Any] = pyramid.group.attrs.asdict()
    return attributes.get("ome", attributes).get("omero")


def windows(pyramid: cp.Pyramid) -> list[tuple[Any, Any]]:
    return [(c["window"]["min"], c["window"]["max"]) for c in omero_of(pyramid)["channels"]]


def extremes(image: Any, axis: int) -> list[tuple[Any, Any]]:
    channels = np.moveaxis(np.asarray(image), axis, 0)
    return [(np.nanmin(c).item(), np.nanmax(c).item()) for c in channels]


DTYPES = ("u1", "u2", "i8", "f4", "?")
KINDS = ("numpy", "dask", "zarr")


# every two of them meet
@pytest.mark.parametrize(
    ("dtype", "kind", "zarr_format"),
    [(dtype, kind, 2 + (n + m) % 2) for n, dtype in enumerate(DTYPES) for m, kind in enumerate(KINDS)],
)
def test_windows_are_exact(dtype: str, kind: str, zarr_format: int) -> None:
    image = (IMAGE % 251 if dtype == "u1" else IMAGE > 9000 if dtype == "?" else IMAGE).astype(dtype)
    source: Any = {
        "numpy": image,
        "dask": da.from_array(image, chunks=(1, 2, 9, 20, 20)),
        "zarr": zarr.create_array({}, data=image, chunks=(1, 2, 4, 16, 16)),
    }[kind]
    pyramid = cp.build_pyramid(
        source, MemoryStore(), levels=2, method="mean", chunks=(1, 1, 4, 8, 8), zarr_format=zarr_format
    )
    assert windows(pyramid) == [tuple(map(int, w)) if dtype == "?" else w for w in extremes(image, 1)]
    for channel in omero_of(pyramid)["channels"]:
        assert len(channel["color"]) == 6
        assert channel["window"]["start"] <= channel["window"]["end"]


def test_images_without_channels_have_none_and_so_have_labels() -> None:
    assert omero_of(cp.build_pyramid(IMAGE[0, 0], MemoryStore(), levels=1)) is None
    assert omero_of(cp.build_pyramid(IMAGE[0], MemoryStore(), levels=1, method="mode")) is None


def test_what_does_not_count_is_in_no_window() -> None:
    image = IMAGE.astype("f4")
    image[0, 0, 0, 0, :3] = np.nan, np.inf, -np.inf
    image[:, 2] = np.nan
    found = windows(cp.build_pyramid(image, MemoryStore(), levels=1))
    finite = np.where(np.isfinite(image[:, :2]), image[:, :2], np.nan)
    assert found == [*extremes(finite, 1), (0, 0)]
    image = IMAGE.copy()
    image[:, :, :4] = 7
    assert windows(cp.build_pyramid(image, MemoryStore(), levels=1, sparse=True, background=7)) == extremes(
        image[:, :, 4:], 1
    )


@pytest.mark.parametrize("in_place", [True, False])
def test_what_the_source_tells_is_kept(in_place: bool, tmp_path: Path) -> None:
    cp.build_pyramid(IMAGE[0, 0], tmp_path / "image.zarr", levels=0, chunks=16)
    group = zarr.open_group(tmp_path / "image.zarr", mode="r+")
    told = {
        "channels": [{"color": "00FFFF", "label": "DAPI", "window": {"min": 0, "start": 5, "end": 99, "max": 65535}}]
    }
    group.attrs["ome"] = {**group.attrs["ome"], "omero": {**told, "rdefs": {"model": "color"}}}  # type: ignore[dict-item]
    target = None if in_place else tmp_path / "new.zarr"
    omero = omero_of(cp.build_pyramid(tmp_path / "image.zarr", target, levels=1))
    assert omero["rdefs"] == {"model": "color"}
    (channel,) = omero["channels"]
    assert (channel["color"], channel["label"]) == ("00FFFF", "DAPI")
    ((low, high),) = extremes(IMAGE[0, 0][None], 0)
    seen = {"min": 0, "max": 65535} if in_place else {"min": low, "max": high}
    assert channel["window"] == {"start": 5, "end": 99, **seen}


def test_blocks_that_were_done_before_count_too(tmp_path: Path) -> None:
    source = zarr.create_array(tmp_path / "s.zarr", data=IMAGE, chunks=(1, 1, 4, 8, 8))
    options: dict[str, Any] = {"levels": 1, "chunks": (1, 1, 4, 8, 8)}

    def interrupt(done: int, total: int) -> None:
        if done == total // 2:
            raise KeyboardInterrupt

    with dask.config.set(scheduler="threads", num_workers=8):
        with pytest.raises(KeyboardInterrupt):
            cp.build_pyramid(source, tmp_path / "t.zarr", progress=interrupt, **options)
        assert windows(cp.build_pyramid(source, tmp_path / "t.zarr", **options)) == extremes(IMAGE, 1)


def test_viewers_libraries_accept_them(tmp_path: Path) -> None:
    import yaozarrs
    from ome_zarr_models.common.omero import Omero
    from ome_zarr_models.v05.image import Image

    pyramid = cp.build_pyramid(IMAGE, tmp_path / "image.zarr", levels=1)
    assert len(Omero.model_validate(omero_of(pyramid)).channels) == 3
    Image.from_zarr(zarr.open_group(tmp_path / "image.zarr", mode="r"))
    yaozarrs.validate_zarr_store(str(tmp_path / "image.zarr"))


@given(st.data())
def test_extremes_of_parts_are_those_of_all(data: st.DataObject) -> None:
    shape = data.draw(st.tuples(*[st.integers(1, 6)] * 3))
    image = data.draw(st.sampled_from([np.int8, np.float32]))(np.random.default_rng(sum(shape)).integers(-9, 9, shape))
    background = data.draw(st.sampled_from([None, np.asarray(0, image.dtype)]))
    axis = data.draw(st.sampled_from([None, 0, 1, 2]))
    cut = data.draw(st.integers(0, shape[1]))
    parts = [
        channel_extremes(part, axis, start if axis == 1 else 0, background)
        for part, start in ((image[:, :cut], 0), (image[:, cut:], cut))
        if part.size
    ]
    counted = image.astype(float)
    if background is not None:
        counted[image == 0] = np.nan
    expected = {}
    for channel, voxels in enumerate([counted] if axis is None else np.moveaxis(counted, axis, 0)):
        if not np.isnan(voxels).all():
            expected[channel] = (np.nanmin(voxels), np.nanmax(voxels))
    assert merged_extremes(parts) == expected
