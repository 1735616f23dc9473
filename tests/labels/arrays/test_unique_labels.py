"""Unique labels, their counts, places and inverse are those that NumPy finds."""

from __future__ import annotations

from typing import Any

import _chunkpyramid_labels as kernels
import numpy as np
import numpy.typing as npt
import pytest
from helpers.label_arrays import INTEGERS, in_memory, label_arrays
from hypothesis import given, settings

import chunkpyramid as cp
from chunkpyramid.labels import arrays

Array = npt.NDArray[Any]


@settings(max_examples=60)
@given(label_arrays((*INTEGERS, "?")))
def test_they_are_those_of_numpy(labels: Array) -> None:
    told = arrays.unique(labels, return_index=True, return_inverse=True, return_counts=True)
    expected, counts = np.unique(labels, return_counts=True)
    np.testing.assert_array_equal(told[0], expected)
    assert told[0].dtype == labels.dtype
    np.testing.assert_array_equal(labels.reshape(-1)[told[1]], expected)
    np.testing.assert_array_equal(expected[told[2]], labels)
    np.testing.assert_array_equal(told[3], counts)
    np.testing.assert_array_equal(arrays.unique(labels), expected)


@settings(max_examples=30)
@given(label_arrays(("u1", "i4", "u8")))
def test_places_are_the_first_ones_in_memory_or_in_c_order(labels: Array) -> None:
    uniques, places = arrays.unique(labels, return_index=True)
    met = in_memory(labels)
    order: Any = "F" if labels.flags.f_contiguous and not labels.flags.c_contiguous else "C"
    for label, place in zip(uniques.tolist(), places.tolist(), strict=True):
        at = np.unravel_index(met.index(label), labels.shape, order)
        first = int(np.ravel_multi_index(at, labels.shape))
        assert place in (first, labels.reshape(-1).tolist().index(label))


@pytest.mark.parametrize("instructions", range(kernels.instruction_sets()))
@pytest.mark.parametrize("dtype", INTEGERS)
def test_instructions_and_ways_of_looking_up_are_the_same(dtype: str, instructions: int) -> None:
    random = np.random.default_rng(instructions)
    kernels.use_instruction_set(instructions)
    try:
        for spread in (3, 200, 30_000, 2**31, 2**63):
            high = min(spread, int(np.iinfo(dtype).max))
            low = 0 if dtype.startswith("u") else -high
            for repeats in (1, 5, 70):
                labels = np.repeat(random.integers(low, high, 6000 // repeats, dtype, endpoint=True), repeats)
                told = arrays.unique(labels, return_index=True, return_inverse=True, return_counts=True)
                expected = np.unique(labels, return_index=True, return_inverse=True, return_counts=True)
                for one, other in zip(told, expected, strict=True):
                    np.testing.assert_array_equal(one, other)
                assert arrays.pixel_pairs(labels) == np.count_nonzero(labels[1:] == labels[:-1])
    finally:
        kernels.use_instruction_set(kernels.instruction_sets() - 1)


def test_labels_that_come_closer_and_then_farther_apart() -> None:
    """The table that numbers are looked up in grows, and then gives way to hashing."""
    parts = [np.arange(50), np.arange(5000) * 2, np.arange(300_000), np.arange(9) * 2**40, np.arange(70_000) * 2**20]
    labels = np.concatenate(parts).astype(np.uint64)
    for array in (labels, labels + np.uint64(2**62), labels[::-1].copy()):
        told = arrays.unique(array, return_counts=True, return_index=True)
        for one, other in zip(told, np.unique(array, return_counts=True, return_index=True), strict=True):
            np.testing.assert_array_equal(one, other)


@pytest.mark.parametrize("step", [2**32, 2**12, 0x9E3779B97F4A7C15])
def test_labels_that_agree_in_many_bits(step: int) -> None:
    labels = np.arange(50_000, dtype=np.uint64) * np.uint64(step)
    np.testing.assert_array_equal(arrays.unique(labels), np.sort(labels))


@pytest.mark.parametrize(
    "labels",
    [np.array([1.0, np.nan, np.nan, -0.0, 0.0]), np.array(["b", "a", "b"]), [3, 1, 3], np.array([1j, 2, 1j]), 5, True],
)
def test_other_dtypes_and_lists(labels: Any) -> None:
    np.testing.assert_array_equal(arrays.unique(labels), np.unique(labels))
    _, counts = arrays.unique(labels, return_counts=True)
    np.testing.assert_array_equal(counts, np.unique(labels, return_counts=True)[1])


def test_along_an_axis() -> None:
    pairs = np.random.default_rng(0).integers(0, 5, (200, 2), np.uint32)
    told = arrays.unique(pairs, axis=0, return_counts=True, return_index=True, return_inverse=True)
    expected = np.unique(pairs, axis=0, return_counts=True, return_index=True, return_inverse=True)
    for one, other in zip(told, expected, strict=True):
        np.testing.assert_array_equal(one, other)


@pytest.mark.parametrize("dtype", INTEGERS)
def test_pairs(dtype: str) -> None:
    limits = np.iinfo(dtype)
    pool = np.array([limits.min, limits.max, 0, 1, 7, limits.max // 2], dtype)
    pairs = pool[np.random.default_rng(0).integers(0, 6, (100, 2))]
    for rows in (pairs, pairs[:1], pairs[:0], pairs[::2], np.asfortranarray(pairs)):
        told = arrays.unique(rows, axis=0)
        np.testing.assert_array_equal(told, np.unique(rows, axis=0))
        assert told.dtype == rows.dtype


def test_threads_and_what_is_refused() -> None:
    labels = np.random.default_rng(0).integers(0, 1000, 300_000, np.uint64)
    _, inverse = arrays.unique(labels, return_inverse=True, threads=3)
    np.testing.assert_array_equal(inverse, np.unique(labels, return_inverse=True)[1])
    with pytest.raises(cp.ArgumentError, match="threads"):
        arrays.unique(labels, return_inverse=True, threads=0)
    with pytest.raises(cp.ArgumentError, match="byte order"):
        arrays.unique(np.array([1, 2], ">u4"))
    with pytest.raises(ValueError, match="axes"):
        arrays.unique(np.array(5), return_inverse=True)
