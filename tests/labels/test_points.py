"""What is told of the voxels of volumes is what is told of the whole array."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import dask.array as da
import numpy as np
import pytest
import zarr
from hypothesis import given, settings
from hypothesis import strategies as st
from zarr.storage import MemoryStore

import chunkpyramid as cp
from chunkpyramid.labels import points

LABELS = np.repeat(np.repeat(np.random.default_rng(1).integers(0, 9, (5, 7, 13)), 3, 0), 2, 2).astype(np.uint16)


def stored(array: Any, **options: Any) -> zarr.Array[Any]:
    created = zarr.create_array(MemoryStore(), shape=array.shape, dtype=array.dtype, **options)
    created[...] = array
    return created


VOLUMES: dict[str, Callable[[Any], Any]] = {
    "zarr": lambda array: stored(array, chunks=(4,) * array.ndim),
    "sharded": lambda array: stored(array, chunks=(2,) * array.ndim, shards=(4,) * array.ndim),
    "dask": lambda array: da.from_array(array, chunks=5),
    "volume": cp.open_volume,
}


def shell_of(array: Any, label: int) -> Any:
    """Return the voxels of a label of which a face belongs to another one, or to the outside."""
    inside = array == label
    padded, inner = np.pad(inside, 1), inside.copy()
    for axis in range(array.ndim):
        for step in (0, 2):
            at = [slice(1, n + 1) for n in array.shape]
            at[axis] = slice(step, step + array.shape[axis])
            inner &= padded[tuple(at)]
    return np.argwhere(inside & ~inner)


@pytest.mark.parametrize("volume", VOLUMES)
def test_voxels_of_volumes_are_those_of_the_array(volume: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(points, "ROWS_AT_A_TIME", 10)
    source = VOLUMES[volume](LABELS)
    assert cp.labels.minmax(source) == (0, 8)
    assert cp.labels.foreground(source) == np.count_nonzero(LABELS)
    flat = LABELS.reshape(-1)
    assert cp.labels.pixel_pairs(source) == np.count_nonzero(flat[1:] == flat[:-1])
    found, shell = cp.labels.point_cloud(source), cp.labels.point_cloud(source, shell=True)
    assert (list(found), list(shell)) == (list(range(1, 9)), list(range(9)))
    for label in found:
        np.testing.assert_array_equal(found[label], np.argwhere(label == LABELS))
        assert found[label].dtype == np.uint16
    for label, places in cp.labels.point_cloud(LABELS, shell=True).items():
        np.testing.assert_array_equal(shell[label], shell_of(LABELS, label))
        np.testing.assert_array_equal(shell[label], places)
    labels, index, counts = cp.labels.unique(source, return_index=True, return_counts=True)
    for told, expected in zip(
        (labels, index, counts), np.unique(LABELS, return_index=True, return_counts=True), strict=True
    ):
        np.testing.assert_array_equal(told, expected)
    labels, inverse = cp.labels.unique(source, return_inverse=True, target=MemoryStore())
    np.testing.assert_array_equal(labels[inverse[:]], LABELS)


@settings(max_examples=25, deadline=None)
@given(
    shape=st.lists(st.integers(1, 6), min_size=2, max_size=4).map(tuple),
    chunk=st.integers(1, 4),
    many=st.sampled_from([1, 2, 5]),
    seed=st.integers(0, 2**32 - 1),
)
def test_voxels_of_small_volumes(shape: tuple[int, ...], chunk: int, many: int, seed: int) -> None:
    array = np.random.default_rng(seed).integers(-1, many, shape).astype(np.int8)
    source = stored(array, chunks=(chunk,) * len(shape))
    flat = array.reshape(-1)
    assert cp.labels.minmax(source) == (flat.min(), flat.max())
    assert cp.labels.pixel_pairs(source) == np.count_nonzero(flat[1:] == flat[:-1])
    shell = cp.labels.point_cloud(source, shell=True)
    assert set(shell) == {label for label in flat.tolist() if len(shell_of(array, label))}
    for label, places in shell.items():
        np.testing.assert_array_equal(places, shell_of(array, label))


def test_small_labels_become_background() -> None:
    labels, counts = np.unique(LABELS, return_counts=True)
    threshold = int(np.median(counts))
    expected = np.where(np.isin(LABELS, labels[counts < threshold]), 0, LABELS)
    source = VOLUMES["zarr"](LABELS)
    np.testing.assert_array_equal(cp.labels.dust(LABELS, threshold=threshold), expected)
    np.testing.assert_array_equal(cp.labels.dust(source, MemoryStore(), threshold=threshold)[:], expected)
    table = cp.labels.statistics(source)
    np.testing.assert_array_equal(cp.labels.dust(source, MemoryStore(), threshold=threshold, table=table)[:], expected)
    cp.labels.dust(source, threshold=threshold, in_place=True)
    np.testing.assert_array_equal(source[:], expected)
    with pytest.raises(cp.ArgumentError, match="threshold"):
        cp.labels.dust(source, MemoryStore(), threshold=-1)
    with pytest.raises(cp.ArgumentError, match="target is needed"):
        cp.labels.dust(source, threshold=1)


def test_labels_that_belong_together_become_the_smallest_of_them() -> None:
    pairs = [(3, 5), (8, 5), (2, 7), (7, 7), (100, 8)]
    expected = np.where(np.isin(LABELS, [5, 8]), 3, np.where(LABELS == 7, 2, LABELS))
    source = VOLUMES["zarr"](LABELS)
    np.testing.assert_array_equal(cp.labels.agglomerate(LABELS, pairs), expected)
    for told_pairs in (pairs, np.array(pairs), np.array(pairs, np.uint64), ([3, 8, 2, 100], [5, 5, 7, 8])):
        told = tuple(map(np.array, told_pairs)) if isinstance(told_pairs, tuple) else told_pairs
        np.testing.assert_array_equal(cp.labels.agglomerate(source, told, MemoryStore())[:], expected)
    cp.labels.agglomerate(source, pairs, in_place=True)
    np.testing.assert_array_equal(source[:], expected)


def test_arrays_with_options_of_volumes_go_by_blocks() -> None:
    labels, counts = cp.labels.unique(LABELS, return_counts=True, memory_limit="1 GiB")
    np.testing.assert_array_equal(labels, np.unique(LABELS))
    np.testing.assert_array_equal(counts, np.unique(LABELS, return_counts=True)[1])
    assert cp.labels.minmax(LABELS, axes="zyx") == (0, 8)


def test_what_has_no_meaning_for_volumes_is_refused() -> None:
    volume = VOLUMES["zarr"](LABELS)
    with pytest.raises(cp.ArgumentError, match="target is needed for the inverse"):
        cp.labels.unique(volume, return_inverse=True)
    with pytest.raises(cp.ArgumentError, match="is where the inverse goes"):
        cp.labels.unique(volume, target=MemoryStore())
    with pytest.raises(cp.ArgumentError, match="axis is for arrays"):
        cp.labels.unique(volume, axis=0)
    with pytest.raises(cp.ArgumentError, match="chunks cannot be given"):
        cp.labels.minmax(volume, chunks=4)
    with pytest.raises(cp.ArgumentError, match="background cannot be given"):
        cp.labels.dust(volume, MemoryStore(), threshold=3, background=1)
