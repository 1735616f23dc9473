"""Dask arrays whose blocks are not as they declare, clients that do not wait, and arrays in any memory order."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

import dask
import dask.array as da
import numpy as np
import numpy.typing as npt
import pytest
import zarr
from hypothesis import given
from hypothesis import strategies as st
from zarr.storage import MemoryStore

import chunkpyramid as cp
from chunkpyramid.storage.transpose import c_contiguous, copy_values

IMAGE = np.random.default_rng(1).integers(1, 1000, (50, 47)).astype("u2")
BLOCKS = {
    "one row short": IMAGE[:49],
    "one column": IMAGE[:, :1],
    "one row": IMAGE[:1],
    "three rows too many": np.vstack([IMAGE, IMAGE[:3]]),
    "an axis before": IMAGE[None],
    "an axis behind": IMAGE[..., None],
    "a number": np.uint16(3),
}


@pytest.mark.parametrize("kind", BLOCKS)
@pytest.mark.parametrize("chunks", [8, (50, 47), (64, 64)])
@pytest.mark.parametrize("place", ["alone", "among others", "cut"])
def test_blocks_of_another_shape_are_an_error(kind: str, chunks: Any, place: str) -> None:
    lazy = da.from_delayed(dask.delayed(lambda: BLOCKS[kind])(), shape=IMAGE.shape, dtype=IMAGE.dtype)
    if place == "among others":
        lazy = da.concatenate([da.from_array(IMAGE), lazy])
    elif place == "cut":
        lazy = lazy[1:, :20]
    if place == "cut" and np.ndim(BLOCKS[kind]) != 2:
        pytest.skip("Dask itself cannot cut what has other axes")
    index = {"alone": (0, 0), "among others": (1, 0), "cut": (0, 0)}[place]
    expected = (49, 20) if place == "cut" else IMAGE.shape
    found = np.shape(BLOCKS[kind][1:50, :20]) if place == "cut" else np.shape(BLOCKS[kind])
    if found == expected:
        pytest.skip("what is wrong was cut off")
    store = MemoryStore()
    message = rf"block \({index[0]}, 0\) of the dask source has shape .*but the array declares"
    with pytest.raises(cp.BuildError, match=message) as error:
        cp.build_pyramid(lazy, store, levels=1, chunks=chunks)
    assert str(found) in str(error.value)
    assert str(expected) in str(error.value)


def test_an_asynchronous_client_is_refused(tmp_path: Path) -> None:
    from distributed import Client

    async def build() -> None:
        async with Client(
            n_workers=1, threads_per_worker=1, processes=False, dashboard_address=":0", asynchronous=True
        ):
            with pytest.raises(cp.ArgumentError, match="asynchronous"):
                cp.build_pyramid(IMAGE, tmp_path / "new.zarr")

    asyncio.run(build())
    assert not (tmp_path / "new.zarr").exists()


ORDERS = {
    "Fortran": np.asfortranarray,
    "middle first": lambda a: np.ascontiguousarray(a.transpose(1, 0, 2)).transpose(1, 0, 2),
    "reversed": lambda a: np.ascontiguousarray(a[::-1, :, ::-1])[::-1, :, ::-1],
    "strided": lambda a: np.repeat(a, 2, axis=2)[..., ::2],
}


DTYPES = ("u1", "i2", "f4", "u8", "?")
METHODS = ("mean", "mode", "max")
# every two of an order, a dtype and a method meet
ORDERS_DTYPES_AND_METHODS = [
    (order, dtype, METHODS[(number + other) % len(METHODS)])
    for number, order in enumerate(ORDERS)
    for other, dtype in enumerate(DTYPES)
]


@pytest.mark.parametrize(("order", "dtype", "method"), ORDERS_DTYPES_AND_METHODS)
def test_the_order_in_memory_changes_nothing(order: str, dtype: str, method: str) -> None:
    volume = np.random.default_rng(2).integers(0, 99, (33, 40, 37)).astype(dtype)
    array = ORDERS[order](volume)
    options: dict[str, Any] = {"levels": 2, "chunks": 16, "method": method}
    wanted = [level[...] for level in cp.build_pyramid(volume, MemoryStore(), **options).levels]
    for source in (array, da.from_array(array, chunks=20)):
        found = cp.build_pyramid(source, MemoryStore(), **options)
        for level, values in zip(found.levels, wanted, strict=True):
            np.testing.assert_array_equal(level[...], values)
    np.testing.assert_array_equal(array, volume)


@given(st.data())
def test_copies_in_c_order(data: st.DataObject) -> None:
    ndim = data.draw(st.integers(1, 5))
    shape = data.draw(st.tuples(*[st.integers(0, {1: 9000, 2: 130, 3: 30, 4: 12, 5: 8}[ndim])] * ndim))
    dtype = np.dtype(data.draw(st.sampled_from(["u1", "i2", "f4", "f8", "?", "M8[s]", ">i4", "c16"])))
    values: npt.NDArray[Any] = np.arange(np.prod(shape)).reshape(shape) % 120
    values = values.astype("i8").astype(dtype).transpose(data.draw(st.permutations(range(ndim))))
    values = values[tuple(slice(None, None, data.draw(st.sampled_from([1, 1, -1, 2]))) for _ in shape)]
    copied = c_contiguous(values, dtype)
    assert copied.flags.c_contiguous
    np.testing.assert_array_equal(copied, values, strict=True)
    around = np.zeros(tuple(n + 2 for n in values.shape), dtype)
    inside = tuple(slice(1, -1) for _ in shape)
    copy_values(around[inside], values)
    np.testing.assert_array_equal(around[inside], values)
    assert np.count_nonzero(around) == np.count_nonzero(values)


def test_a_transposed_dask_array_has_chunks_of_its_own_by_default() -> None:
    slices = zarr.create_array({}, shape=(64, 512, 512), chunks=(1, 512, 512), dtype="u1")
    plan = cp.plan_pyramid(da.from_zarr(slices).T, {})
    assert plan.levels[0].shape == (512, 512, 64)
    assert plan.levels[0].chunks == (128, 128, 64)
