"""Axes in any order are written in that of OME-Zarr; arguments with an entry per axis are in the order given."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import dask.array as da
import numpy as np
import pytest
import zarr
from hypothesis import given, settings
from hypothesis import strategies as st
from zarr.storage import MemoryStore

import chunkpyramid as cp
from chunkpyramid.arguments import reordered

IMAGE = np.random.default_rng(5).integers(0, 255, (48, 40, 3)).astype(np.uint8)


@pytest.mark.parametrize("kind", ["numpy", "dask", "zarr", "zarr path"])
def test_colours_last(kind: str, tmp_path: Path) -> None:
    on_disk = zarr.create_array(tmp_path / "rgb.zarr", data=IMAGE, chunks=(16, 16, 3))
    source: Any = {"numpy": IMAGE, "dask": da.from_array(IMAGE, chunks=(20, 40, 1)), "zarr": on_disk}.get(
        kind, tmp_path / "rgb.zarr"
    )
    options: dict[str, Any] = {"axes": "yxc", "factor": (2, 4, 1), "voxel_size": (3, 5), "chunks": (8, 16, 3)}
    pyramid = cp.build_pyramid(source, tmp_path / "new.zarr", levels=1, **options)
    assert pyramid.axes == ("c", "y", "x")
    assert [level.chunks for level in pyramid.levels] == [(3, 8, 16)] * 2
    assert pyramid.coordinates[1].scale == (1, 6, 20)
    wanted = [IMAGE, cp.downsample(IMAGE, (2, 4, 1))[0]]
    for level, values in zip(pyramid.levels, wanted, strict=True):
        np.testing.assert_array_equal(level[...], values.transpose(2, 0, 1))
    assert cp.verify_pyramid(pyramid).ok


@settings(max_examples=20)
@given(st.data())
def test_any_order_gives_what_the_transposed_source_gives(data: st.DataObject) -> None:
    names = data.draw(st.permutations("tczyx"))
    shape = data.draw(st.tuples(*[st.integers(1, 7)] * 5))
    image = np.random.default_rng(sum(shape)).integers(0, 2**16, shape).astype(np.uint16)
    space = [name for name in names if name in "zyx"]
    factor = {name: data.draw(st.integers(1, 3)) for name in names}
    sizes = {name: data.draw(st.floats(0.5, 9)) for name in space}
    pyramid = cp.build_pyramid(
        image,
        MemoryStore(),
        axes=names,
        levels=1,
        factor=tuple(factor[name] for name in names),
        voxel_size=tuple(sizes[name] for name in space),
    )
    assert pyramid.axes == ("t", "c", *space)
    order = [names.index(name) for name in pyramid.axes]
    wanted = cp.downsample(np.ascontiguousarray(image.transpose(order)), [factor[name] for name in pyramid.axes])
    np.testing.assert_array_equal(pyramid.levels[0][...], image.transpose(order))
    np.testing.assert_array_equal(pyramid.levels[1][...], wanted[0])
    assert pyramid.coordinates[0].scale == (1, 1, *(sizes[name] for name in space))


def test_a_build_that_was_begun_is_resumed(tmp_path: Path) -> None:
    zarr.create_array(tmp_path / "rgb.zarr", data=IMAGE, chunks=(16, 16, 3))

    def stop(done: int, of: int) -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        cp.build_pyramid(tmp_path / "rgb.zarr", tmp_path / "new.zarr", axes="yxc", levels=1, chunks=8, progress=stop)
    pyramid = cp.build_pyramid(tmp_path / "rgb.zarr", tmp_path / "new.zarr", axes="yxc", levels=1, chunks=8)
    np.testing.assert_array_equal(pyramid.levels[0][...], IMAGE.transpose(2, 0, 1))


def test_in_place_the_order_cannot_change(tmp_path: Path) -> None:
    group = zarr.open_group(tmp_path / "g.zarr", mode="w")
    group.create_array("0", data=IMAGE)
    with pytest.raises(cp.ArgumentError, match=r"in place.*give target="):
        cp.build_pyramid(group["0"], axes="yxc")


@pytest.mark.parametrize(
    ("shape", "hint"),
    [
        ((48, 40, 3), "axes='yxc'"),
        ((8, 48, 40, 4), "axes='zyxc'"),
        ((8, 48, 40, 5), None),
        ((48, 3), None),
        ((3, 3, 3), None),
    ],
)
def test_the_plan_has_a_hint_of_colours(shape: tuple[int, ...], hint: str | None) -> None:
    plan = cp.plan_pyramid(np.zeros(shape, np.uint8))
    if hint is None:
        assert not plan.hints
        assert "hint" not in str(plan)
    else:
        assert hint in str(plan).splitlines()[-1]
    named = cp.plan_pyramid(np.zeros(shape, np.uint8), axes="tczyx"[-len(shape) :])
    assert not named.hints


def test_reordered_arguments() -> None:
    order = (2, 0, 1)
    for same in (3, 2.5, "auto", None, {"z": 1}, (1, 2), [(1, 2), (3, 4)]):
        assert reordered(same, order) == same
    assert reordered([1, 2, 3], order) == (3, 1, 2)
    assert reordered(np.array([1, 2, 3]), order) == (3, 1, 2)
    assert reordered([(1, 2, 3), "auto", None, 5], order) == [(3, 1, 2), "auto", None, 5]
