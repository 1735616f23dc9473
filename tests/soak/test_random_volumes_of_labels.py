"""Random operations on random volumes of labels are those of NumPy on the whole array."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import dask
import dask.array as da
import numpy as np
import numpy.typing as npt
import pytest
import zarr
from zarr.storage import MemoryStore

import chunkpyramid as cp
from chunkpyramid.engine.process_memory import BASELINE

Array = npt.NDArray[Any]
Random = np.random.Generator

CASES = 200


def labels_of(rng: Random) -> Array:
    """Return runs of labels of any dtype, the extreme ones among them."""
    shape = tuple(int(n) for n in rng.integers(1, 24, rng.integers(2, 5)))
    dtype = np.dtype(str(rng.choice(["u1", "u2", "u4", "u8", "i1", "i2", "i4", "i8", "?"])))
    many = int(rng.choice([2, 5, 60]))
    coarse = rng.integers(0, many, tuple(-(-n // 2) for n in shape))
    for axis in range(len(shape)):
        coarse = np.repeat(coarse, 2, axis)
    values = coarse[tuple(slice(0, n) for n in shape)].astype(dtype)
    if dtype.kind != "b" and rng.random() < 0.5:
        limits = np.iinfo(dtype)
        values[values == 1] = limits.max
        values[values == 2] = limits.min
    return values


def volume_of(array: Array, rng: Random) -> Any:
    """Return a volume of some kind with these labels."""
    kind = rng.choice(["zarr", "shards", "zarr 2", "dask", "volume"])
    chunks = tuple(int(n) for n in rng.integers(3, 12, array.ndim))
    if kind == "dask":
        return da.from_array(array, chunks=chunks)
    if kind == "volume":
        return cp.open_volume(array)
    shards = tuple(int(2 * n) for n in chunks) if kind == "shards" else None
    stored = zarr.create_array(
        MemoryStore(),
        shape=array.shape,
        dtype=array.dtype,
        chunks=chunks,
        shards=shards,
        zarr_format=2 if kind == "zarr 2" else 3,
    )
    stored[...] = array
    return stored


def replaced(array: Array, new_of: dict[int, int]) -> Array:
    labels, inverse = np.unique(array, return_inverse=True)
    # in Python's own numbers, of which none is too large
    made = np.array([new_of.get(int(label), int(label)) for label in labels.tolist()], dtype=object)
    return made[inverse].reshape(array.shape)


def chosen(array: Array, rng: Random) -> list[int]:
    labels = [int(label) for label in np.unique(array).tolist()]
    return [label for label in labels if rng.random() < 0.4] + [77]


def remap(array: Array, volume: Any, rng: Random, **options: Any) -> tuple[Array, Array]:
    table = {label: int(rng.integers(0, 100)) for label in chosen(array, rng)}
    return cp.labels.remap(volume, table, True, **options)[:], replaced(array, table)


def mask(array: Array, volume: Any, rng: Random, **options: Any) -> tuple[Array, Array]:
    some, value = chosen(array, rng), int(rng.integers(0, 100))
    return cp.labels.mask(volume, some, value=value, **options)[:], replaced(array, dict.fromkeys(some, value))


def mask_except(array: Array, volume: Any, rng: Random, **options: Any) -> tuple[Array, Array]:
    some = chosen(array, rng)
    others = {int(label): 0 for label in np.unique(array).tolist() if int(label) not in some}
    return cp.labels.mask_except(volume, some, **options)[:], replaced(array, others)


def renumber(array: Array, volume: Any, rng: Random, **options: Any) -> tuple[Array, Array]:
    start = int(rng.integers(1, 50))
    found, table = cp.labels.renumber(volume, start, **options)
    labels, first = np.unique(array, return_index=True)
    met = [int(label) for label in labels[np.argsort(first)].tolist() if label]
    expected = {label: start + number for number, label in enumerate(met)}
    assert {**expected, 0: 0} == dict(table)
    return found[:], replaced(array, expected)


def dust(array: Array, volume: Any, rng: Random, **options: Any) -> tuple[Array, Array]:
    labels, counts = np.unique(array, return_counts=True)
    threshold = int(rng.choice(counts)) + 1
    target = options.pop("target")
    small = {int(label): 0 for label in labels[counts < threshold].tolist()}
    return cp.labels.dust(volume, target, threshold=threshold, **options)[:], replaced(array, small)


def refit(array: Array, volume: Any, rng: Random, **options: Any) -> tuple[Array, Array]:
    found = cp.labels.refit(volume, **options)
    assert found.dtype == (np.uint8 if array.dtype.kind == "b" else cp.labels.refit(array).dtype)
    return found[:], array


def unique(array: Array, volume: Any, rng: Random, **options: Any) -> tuple[Array, Array]:
    labels, index, inverse, counts = cp.labels.unique(volume, True, True, True, **options)
    for found, expected in zip(
        (labels, index, counts), np.unique(array, return_index=True, return_counts=True), strict=True
    ):
        np.testing.assert_array_equal(found, expected)
    return labels[inverse[:]], array


OPERATIONS: dict[str, Callable[..., tuple[Array, Array]]] = {
    each.__name__: each for each in (remap, mask, mask_except, renumber, dust, refit, unique)
}


@pytest.mark.parametrize("operation", OPERATIONS)
@pytest.mark.parametrize("seed", range(CASES // len(OPERATIONS)))
def test_random_volumes(operation: str, seed: int) -> None:
    rng = np.random.default_rng([seed, len(operation)])
    array = labels_of(rng)
    volume = volume_of(array, rng)
    chunks = tuple(int(n) for n in rng.integers(3, 12, array.ndim))
    limit = None if rng.random() < 0.5 else BASELINE + 64 * 2**20
    with dask.config.set(scheduler=str(rng.choice(["threads", "synchronous"]))):
        found, expected = OPERATIONS[operation](
            array, volume, rng, target=MemoryStore(), chunks=chunks, memory_limit=limit
        )
    np.testing.assert_array_equal(found.astype(object), expected.astype(object))
