"""Dtypes are the smallest ones that hold what they have to."""

from __future__ import annotations

from itertools import pairwise
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
from helpers.label_arrays import INTEGERS, label_arrays
from hypothesis import given, settings
from hypothesis import strategies as st

import chunkpyramid as cp
from chunkpyramid.labels import arrays

Array = npt.NDArray[Any]


@settings(max_examples=60)
@given(st.sampled_from(INTEGERS), st.integers(-(2**65), 2**65))
def test_the_smallest_dtype_is_found(dtype: str, value: int) -> None:
    fitting = [name for name in INTEGERS if name[0] == dtype[0] and np.iinfo(name).min <= value <= np.iinfo(name).max]
    if fitting:
        assert arrays.fit_dtype(dtype, value) == np.dtype(fitting[0])
    else:
        with pytest.raises(cp.ArgumentError):
            arrays.fit_dtype(dtype, value)


@settings(max_examples=50)
@given(label_arrays())
def test_refitted_arrays_have_the_same_values(values: Array) -> None:
    told = arrays.refit(values)
    np.testing.assert_array_equal(told, values)
    if values.size:
        ends = [arrays.fit_dtype(values.dtype, int(end)) for end in (values.min(), values.max())]
        assert told.dtype.itemsize == max(np.dtype(end).itemsize for end in ends)
    assert arrays.refit(values, increase_only=True) is values


def test_both_ends_are_held_where_they_are_as_far_from_zero() -> None:
    assert arrays.refit(np.array([-128, 128], np.int32)).tolist() == [-128, 128]


def test_floats_and_complex_numbers() -> None:
    assert arrays.fit_dtype(np.float64, 65504) is np.float32
    assert arrays.fit_dtype(np.float64, 65504, exotics=True) is np.float16
    assert arrays.fit_dtype(np.float32, 1e39) is np.float64
    assert arrays.fit_dtype(np.complex128, 1 + 1j) is np.complex64
    assert arrays.fit_dtype(np.complex64, 1e39j, exotics=True) is np.complex128
    for dtype, value in ((np.float32, np.inf), (np.complex64, 1e39), (np.bool_, 1), ("S3", 1), (np.uint8, np.nan)):
        with pytest.raises(cp.ArgumentError):
            arrays.fit_dtype(dtype, value)


def test_the_next_smaller_and_larger_dtypes() -> None:
    chains: list[list[Any]] = [["u1", "u2", "u4", "u8"], ["i1", "i2", "i4", "i8"], ["f4", "f8"]]
    for chain in chains:
        for small, large in pairwise(chain):
            assert arrays.narrow_dtype(large) == np.dtype(small)
            assert arrays.widen_dtype(small) == np.dtype(large)
        assert arrays.narrow_dtype(chain[0]) == np.dtype(chain[0])
        assert arrays.widen_dtype(chain[-1]) == np.dtype(chain[-1])
    assert arrays.narrow_dtype(np.float32, exotics=True) is np.float16
    assert arrays.widen_dtype(np.complex64, exotics=True) is np.complex128
    assert arrays.widen_dtype(np.float64, exotics=True) is np.longdouble
    for call in (lambda: arrays.narrow_dtype(np.float16), lambda: arrays.widen_dtype(np.complex128)):
        with pytest.raises(cp.ArgumentError, match="one of"):
            call()
