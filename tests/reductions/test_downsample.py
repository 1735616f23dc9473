"""The in-memory functions: their values, memory orders and errors."""

from __future__ import annotations

import doctest
import math
import sys
from typing import Any

import numpy as np
import pytest
from helpers.oracles import oracle_levels
from hypothesis import given, settings
from hypothesis import strategies as st

import chunkpyramid
from chunkpyramid.errors import ArgumentError
from chunkpyramid.reductions.downsample import (
    downsample,
    downsample_segmentation,
    downsample_with_averaging,
    downsample_with_max_pooling,
    downsample_with_min_pooling,
    downsample_with_striding,
)

Array = np.ndarray[Any, Any]
Factor = tuple[int, ...]


def assert_levels(actual: list[Array], expected: list[Array]) -> None:
    assert len(actual) == len(expected)
    for level, reference in zip(actual, expected, strict=True):
        assert level.dtype == reference.dtype
        np.testing.assert_array_equal(level, reference)


def labels(shape: tuple[int, ...], dtype: str = "uint64", most: int = 3, seed: int = 0) -> Array:
    return np.random.default_rng(seed).integers(0, most + 1, shape).astype(dtype)


shapes = st.integers(1, 4).flatmap(lambda n: st.tuples(*[st.integers(1, 9)] * n))
orders = st.sampled_from(["C", "F"])
seeds = st.integers(0, 2**32 - 1)


@settings(max_examples=200, deadline=None, database=None)
@given(shapes, orders, seeds, st.integers(1, 3), st.booleans(), st.data())
def test_downsample_is_the_definition(
    shape: tuple[int, ...], order: Any, seed: int, levels: int, sparse: bool, data: st.DataObject
) -> None:
    factor = data.draw(st.tuples(*[st.integers(1, 3)] * len(shape)))
    array = np.array(labels(shape, "uint16", 4, seed), order=order)
    for method in ("mean", "mode", "exact_mode", "min", "max", "stride"):
        rules: dict[str, Any] = (
            {"sparse": True, "background": 1} if sparse and method in ("mean", "mode", "exact_mode") else {}
        )
        actual = downsample(array, factor, method=method, num_levels=levels, **rules)
        assert_levels(actual, oracle_levels(array, [factor] * levels, method, **rules))


@settings(max_examples=200, deadline=None, database=None)
@given(shapes, orders, seeds, st.integers(1, 3), st.booleans(), st.data())
def test_the_five_functions(
    shape: tuple[int, ...], order: Any, seed: int, levels: int, sparse: bool, data: st.DataObject
) -> None:
    given_entries = data.draw(st.integers(1, len(shape)))
    factor = data.draw(st.tuples(*[st.integers(1, 3)] * given_entries))
    full = factor + (1,) * (len(shape) - given_entries)
    array = np.array(labels(shape, "int16", 4, seed) - np.int16(2), order=order)
    several = [full] * levels
    assert_levels(
        downsample_with_averaging(array, factor, levels, sparse),
        oracle_levels(array, several, "mean", sparse, rounding="truncate"),
    )
    reversed_levels = oracle_levels(array.T, [full[::-1]] * levels, "mode", sparse)
    assert_levels(downsample_segmentation(array, factor, levels, sparse), [level.T for level in reversed_levels])
    assert_levels(downsample_with_max_pooling(array, factor, levels), oracle_levels(array, several, "max"))
    assert_levels(downsample_with_min_pooling(array, factor, levels), oracle_levels(array, several, "min"))
    assert_levels(downsample_with_striding(array, factor, levels), oracle_levels(array, several, "stride"))


@pytest.mark.parametrize("function", ["mean", "mode", "segmentation", "max", "stride"])
@pytest.mark.parametrize("order", ["C", "F"])
def test_memory_order_is_kept(function: str, order: Any) -> None:
    array = np.array(labels((8, 9, 10)), order=order)
    if function == "segmentation":
        levels = downsample_segmentation(array, 2, 2)
    else:
        levels = downsample(array, 2, method=function, num_levels=2)
    for level in levels:
        assert level.flags.c_contiguous if order == "C" else level.flags.f_contiguous
        assert not np.may_share_memory(level, array)


def test_levels_do_not_darken() -> None:
    array = np.tile(np.array([0, 1, 1, 1], np.uint8), 1024)
    exact = downsample(array, 2, num_levels=2)[1]
    np.testing.assert_array_equal(exact, np.ones(1024))
    np.testing.assert_array_equal(downsample_with_averaging(array + np.uint8(1), 2, 2)[1], np.ones(1024))


def test_auto_is_mode_for_labels_only() -> None:
    array = np.array([1, 5, 5, 9])
    assert downsample(array.astype(np.uint32), 4, method="auto")[0] == 5
    assert downsample(array.astype(np.uint8), 2, method="auto")[0].tolist() == [3, 7]


def test_factor_one_copies() -> None:
    array = labels((3, 4))
    for method in ("mean", "mode", "exact_mode", "min", "stride"):
        (level,) = downsample(array, 1, method=method)
        np.testing.assert_array_equal(level, array)
        assert not np.may_share_memory(level, array)


def test_channels_keep_their_size() -> None:
    array = labels((8, 6, 4, 3), "uint8", 255)
    for levels in (
        downsample_with_averaging(array, (2, 2, 1)),
        downsample_segmentation(array, (2, 2, 1)),
        downsample_with_striding(array, (2, 2)),
    ):
        assert levels[0].shape == (4, 3, 4, 3)


def test_array_likes_are_arrays() -> None:
    assert downsample([[1, 3], [5, 7]], 2)[0].tolist() == [[4]]
    assert downsample(np.arange(4), np.array([2]))[0].tolist() == [0, 2]
    assert downsample(np.arange(4), np.int64(2), method="max")[0].tolist() == [1, 3]


@pytest.mark.parametrize(
    ("arguments", "rules", "said"),
    [
        ((np.zeros((4, 4)), "a"), {}, "factor"),
        ((np.zeros((4, 4)), 0), {}, "factor"),
        ((np.zeros((4, 4)), -2), {}, "factor"),
        ((np.zeros((4, 4)), 2.0), {}, "factor"),
        ((np.zeros((4, 4)), True), {}, "factor"),
        ((np.zeros((4, 4)), None), {}, "factor"),
        ((np.zeros((4, 4)), (2,)), {}, "exactly 2"),
        ((np.zeros((4, 4)), (2, 2, 2)), {}, "exactly 2"),
        ((np.zeros((4, 4)), (2, 1.5)), {}, "factor"),
        ((np.zeros((4, 4)), ()), {}, "factor"),
        ((np.zeros((4, 4)), 2), {"num_levels": 0}, "num_levels"),
        ((np.zeros((4, 4)), 2), {"num_levels": 1.5}, "num_levels"),
        ((np.zeros((4, 4)), 2), {"num_levels": None}, "num_levels"),
        ((np.zeros((4, 4)), 2), {"method": "median"}, "'auto'"),
        ((np.zeros((4, 4)), 2), {"method": None}, "'auto'"),
        ((np.zeros((4, 4)), 2), {"method": ["mean"]}, "'auto'"),
        ((np.zeros((4, 4)), 2), {"rounding": "down"}, "rounding"),
        ((np.zeros((4, 4), np.uint8), 2), {"sparse": True, "background": 256}, "background"),
        ((np.zeros((4, 4)), 2), {"method": "max", "sparse": True}, "sparse"),
        ((np.zeros((4, 0)), 2), {}, "array"),
        ((np.float32(1), 2), {}, "array"),
        (([[1, 2], [3]], 2), {}, "array"),
        ((np.array(["a", "b"]), 2), {}, "dtype"),
        ((np.array([None, 1]), 2), {"method": "stride"}, "dtype"),
    ],
)
def test_bad_arguments_are_named(arguments: tuple[Any, ...], rules: dict[str, Any], said: str) -> None:
    with pytest.raises(ArgumentError, match=said):
        downsample(*arguments, **rules)


def test_bad_arguments_of_the_five_functions() -> None:
    array = np.zeros((4, 4))
    for function in (
        downsample_with_averaging,
        downsample_segmentation,
        downsample_with_max_pooling,
        downsample_with_min_pooling,
        downsample_with_striding,
    ):
        with pytest.raises(ArgumentError, match="at most 2"):
            function(array, (2, 2, 2))
        with pytest.raises(ArgumentError, match="num_mips"):
            function(array, 2, 0)


# --------------------------------------------------------------------------------------------------- other software


@pytest.mark.parametrize("dtype", ["bool", "uint8", "int8", "uint16", "int16", "uint32", "int32", "uint64", "int64"])
@pytest.mark.parametrize("shape", [(64, 33, 70), (7, 129)])
def test_means_are_those_of_tensorstore(dtype: str, shape: tuple[int, ...]) -> None:
    tensorstore = pytest.importorskip("tensorstore")
    random = np.random.default_rng(0)
    if dtype == "bool":
        array = random.random(shape) < 0.5
    else:
        limits = np.iinfo(dtype)
        array = random.integers(limits.min, limits.max, shape, dtype=dtype, endpoint=True)
    for factor in [(2,) * len(shape), (1, 3, 2)[-len(shape) :]]:
        levels = downsample(array, factor, num_levels=3)
        for index, level in enumerate(levels, start=1):
            total = [step**index for step in factor]
            reference = tensorstore.downsample(tensorstore.array(array), total, method="mean").read().result()
            np.testing.assert_array_equal(level, reference)


@pytest.mark.parametrize("method", ["min", "max", "stride"])
def test_extremes_are_those_of_tensorstore(method: str) -> None:
    tensorstore = pytest.importorskip("tensorstore")
    for dtype in ("uint8", "int32", "uint64", "float32"):
        array = np.random.default_rng(0).integers(0, 100, (31, 50, 20)).astype(dtype)
        (level,) = downsample(array, (2, 3, 2), method=method)
        reference = tensorstore.downsample(tensorstore.array(array), [2, 3, 2], method=method).read().result()
        np.testing.assert_array_equal(level, reference)


def test_float_means_are_means() -> None:
    array = np.random.default_rng(0).normal(size=(40, 41, 42))
    for dtype, tolerance in (("float64", 1e-14), ("float32", 1e-7), ("float16", 1e-3)):
        level = downsample(array.astype(dtype), 2, num_levels=2)[1][:-1, :-1, :-1]
        blocks = array.astype(dtype).astype(float)[:36, :40, :40].reshape(9, 4, 10, 4, 10, 4)
        expected = blocks.mean(axis=(1, 3, 5))
        np.testing.assert_allclose(level, expected[: level.shape[0]], rtol=tolerance, atol=tolerance)


def test_nan_propagates_unless_it_is_the_background() -> None:
    array = np.array([1.0, math.nan, 3.0, 5.0, math.nan, math.nan])
    np.testing.assert_array_equal(downsample(array, 2)[0], [math.nan, 4, math.nan])
    np.testing.assert_array_equal(downsample(array, 2, sparse=True, background=math.nan)[0], [1, 4, math.nan])
    np.testing.assert_array_equal(downsample(array, 2, method="max")[0], [math.nan, 5, math.nan])


def test_the_examples_in_the_documentation() -> None:
    # The package's attribute of this name is the function.
    results = doctest.testmod(sys.modules["chunkpyramid.reductions.downsample"])
    assert results.attempted > 10
    assert results.failed == 0
    assert chunkpyramid.downsample is downsample
