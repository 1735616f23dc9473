"""One look at every value tells what NumPy tells."""

from __future__ import annotations

from itertools import pairwise
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
from helpers.label_arrays import INTEGERS, in_memory, label_arrays
from hypothesis import given, settings
from hypothesis import strategies as st

import chunkpyramid as cp
from chunkpyramid.labels import arrays

Array = npt.NDArray[Any]


@settings(max_examples=60)
@given(label_arrays((*INTEGERS, "?", "f4", "f8")))
def test_extremes_and_solid_arrays(values: Array) -> None:
    if not values.size:
        assert arrays.minmax(values) == (None, None)
        assert arrays.is_solid(values)
        return
    assert arrays.minmax(values) == (values.min(), values.max())
    assert arrays.is_solid(values) == bool((values == values.reshape(-1)[0]).all())
    assert arrays.is_solid(values, values.min().item()) == bool((values == values.min()).all())
    assert arrays.is_solid(np.full_like(values, values.max()))


@settings(max_examples=50)
@given(label_arrays((*INTEGERS, "?")))
def test_counts(labels: Array) -> None:
    assert arrays.foreground(labels) == np.count_nonzero(labels)
    met = in_memory(labels)
    assert arrays.pixel_pairs(labels) == sum(one == other for one, other in pairwise(met))


@settings(max_examples=50)
@given(label_arrays((*INTEGERS, "?", "f4", "f8"), max_dims=1), st.booleans(), st.data())
def test_places_and_order(values: Array, is_sorted: bool, data: st.DataObject) -> None:
    values = np.sort(values) if is_sorted else values
    assert arrays.is_sorted(values) == all(a <= b for a, b in pairwise(values.tolist()))
    assert arrays.is_sorted(values[::-1], asc=False) == arrays.is_sorted(values)
    wanted = data.draw(st.sampled_from([*values.tolist(), 1]))
    told = arrays.indices(values, wanted)
    assert told.dtype == np.uint64
    np.testing.assert_array_equal(told, np.flatnonzero(values == wanted))


def test_nan_and_zeros() -> None:
    nan = float("nan")
    assert arrays.minmax(np.array([1.0, nan, 2.0])) == (1.0, 2.0)
    assert all(value != value for value in arrays.minmax(np.array([nan, 1.0])))
    assert not arrays.is_solid(np.array([nan]))
    assert arrays.is_solid(np.array([0.0, -0.0]))
    assert arrays.is_solid(np.array([2.5, 2.5], np.float16), 2.5)
    assert not arrays.is_solid(np.array([2.5, 2.0], np.float16))
    assert arrays.is_solid(np.array([nan, nan], np.float16))
    assert arrays.is_solid(np.array([0.1, 0.1], np.float32), 0.1)
    assert arrays.indices(np.array([nan]), nan).size == 0
    assert arrays.is_sorted([1.0, nan, 0.0])


def test_what_is_refused() -> None:
    labels = np.array([1, 2], np.uint8)
    cases: list[tuple[type[Exception], Any]] = [
        (TypeError, lambda: arrays.minmax(np.array([1j]))),
        (TypeError, lambda: arrays.foreground(np.array([1.0]))),
        (TypeError, lambda: arrays.pixel_pairs(np.array([1.0]))),
        (AttributeError, lambda: arrays.minmax([1])),  # type: ignore[arg-type]
        (TypeError, lambda: arrays.indices(labels[None], 1)),
        (TypeError, lambda: arrays.indices([1, 2], 1)),  # type: ignore[arg-type]
        (TypeError, lambda: arrays.indices(labels, "a")),
        (OverflowError, lambda: arrays.indices(labels, 300)),
        (OverflowError, lambda: arrays.is_solid(labels, -1)),
        (TypeError, lambda: arrays.is_solid(labels, "a")),
        (TypeError, lambda: arrays.is_solid(labels.astype(float), "a")),
        (TypeError, lambda: arrays.is_sorted(labels[None])),
        (TypeError, lambda: arrays.is_sorted(["a"])),
        (cp.ArgumentError, lambda: arrays.minmax(labels.astype(">u2"))),
    ]
    for error, call in cases:
        with pytest.raises(error):
            call()
