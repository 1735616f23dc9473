"""Arrays of other values are other sources: what tells them apart is no checksum."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import xarray as xr
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from zarr.storage import MemoryStore

import chunkpyramid as cp
from chunkpyramid import digests
from chunkpyramid.digests import digest_of
from chunkpyramid.sources.coordinate_values import values_digest

ARRAYS = hnp.arrays(
    dtype=st.sampled_from(["?", "u1", "i2", ">u4", "f8", "M8[s]"]), shape=hnp.array_shapes(max_dims=5, max_side=5)
)


@pytest.fixture(params=[digests.SLAB, 7])
def slab(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(digests, "SLAB", request.param)


@pytest.mark.usefixtures("slab")
def test_the_digest_is_that_of_the_values() -> None:
    @given(array=ARRAYS, data=st.data())
    def check(array: np.ndarray[Any, Any], data: st.DataObject) -> None:
        digest = digest_of(array)
        assert digest_of(array.copy()) == digest
        spread = np.zeros([2 * n for n in array.shape], array.dtype)[tuple(slice(None, None, 2) for _ in array.shape)]
        spread[...] = array
        if min(array.shape) > 1:
            assert digest_of(spread) == digest
        at = data.draw(st.integers(0, array.nbytes - 1))
        changed = np.ascontiguousarray(array)
        changed = changed.copy()
        changed.view(np.uint8).reshape(-1)[at] ^= 1
        assert digest_of(changed) != digest

    check()


def test_arrays_of_one_checksum_are_told_apart() -> None:
    """Two pairs of voxels at the same mean place: sums, and sums of sums, are the same."""
    first, second = np.zeros((2, 64, 64), np.uint8)
    first[10, 10] = first[10, 13] = second[10, 11] = second[10, 12] = 1
    store = MemoryStore()
    cp.build_pyramid(first, store, levels=1)
    with pytest.raises(cp.TargetExistsError, match="overwrite=True"):
        cp.build_pyramid(second, store, levels=1)


def test_a_build_does_not_go_on_with_another_array() -> None:
    first, second = np.zeros((2, 64, 64), np.uint8)
    first[10, 10] = first[10, 13] = second[10, 11] = second[10, 12] = 1
    store = MemoryStore()

    def stop(done: int, total: int) -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        cp.build_pyramid(first, store, levels=1, chunks=16, progress=stop)
    with pytest.raises(cp.TargetExistsError, match="unfinished build with another plan"):
        cp.build_pyramid(second, store, levels=1, chunks=16)
    pyramid = cp.build_pyramid(first, store, levels=1, chunks=16)
    np.testing.assert_array_equal(pyramid.levels[0][...], first)


@pytest.mark.parametrize("lazy", [False, True])
@pytest.mark.filterwarnings("ignore::chunkpyramid.MetadataWarning")
def test_coordinates_of_several_axes_are_told_apart(lazy: bool) -> None:
    latitudes = np.add.outer(np.arange(8.0), np.arange(6.0))
    image = xr.DataArray(np.ones((8, 6)), dims=("y", "x"), coords={"lat": (("y", "x"), latitudes)}, name="height")
    image = image.chunk(3) if lazy else image
    store = MemoryStore()
    image.pyramid.build(store, levels=1)
    assert len(image.pyramid.build(store, levels=1).levels) == 2
    moved = image.copy(deep=True)
    moved["lat"] = moved["lat"].where(moved["lat"] != latitudes[7, 5], 0.0)
    with pytest.raises(cp.TargetExistsError, match="overwrite=True"):
        moved.pyramid.build(store, levels=1)
    np.testing.assert_array_equal(
        moved.pyramid.build(store, levels=1, overwrite=True).to_datatree()["s0/lat"], moved.lat
    )


@pytest.mark.parametrize(
    "values",
    [np.array(5), np.arange(4.0), np.array(["a", "b"]), np.array(["a", None], object), np.arange(12).reshape(3, 4)],
)
def test_values_of_variables(values: np.ndarray[Any, Any]) -> None:
    variable = xr.Variable([f"d{axis}" for axis in range(values.ndim)], values)
    assert values_digest(variable) == values_digest(variable.copy(deep=True))
    assert values_digest(variable) == values_digest(variable.chunk(2) if values.dtype.kind == "i" else variable)
    other = values.copy()
    other[(-1,) * other.ndim] = 7
    assert values_digest(xr.Variable(variable.dims, other)) != values_digest(variable)
