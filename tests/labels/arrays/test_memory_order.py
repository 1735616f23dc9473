"""Transpositions are done in the memory of the array, and chunks have the bytes of their voxels."""

from __future__ import annotations

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
@given(label_arrays((*INTEGERS, "f4", "f8"), max_dims=4))
def test_orders(values: Array) -> None:
    for function, order in ((arrays.asfortranarray, "F"), (arrays.ascontiguousarray, "C")):
        given_values = values.copy(order="K") if values.flags.forc else values
        is_contiguous = given_values.flags.forc
        told = function(given_values)
        np.testing.assert_array_equal(told, values)
        assert told.flags[f"{order}_CONTIGUOUS"]
        assert not values.size or np.may_share_memory(told, given_values) == is_contiguous


@pytest.mark.parametrize("dtype", ["u1", "u2", "f4", "u8", "c8", "?"])
@pytest.mark.parametrize("shape", [(70, 70), (33, 5, 33), (7, 7, 7), (40, 33), (3, 40, 5), (2, 3, 4, 5), (9, 1, 9, 1)])
def test_transposition_in_place(dtype: str, shape: tuple[int, ...]) -> None:
    values = np.random.default_rng(0).integers(0, 256, shape).astype(dtype)
    memory = values.copy()
    told = arrays.asfortranarray(memory)
    np.testing.assert_array_equal(told, values)
    assert told.flags.f_contiguous
    assert np.shares_memory(told, memory)
    back = arrays.ascontiguousarray(told)
    np.testing.assert_array_equal(back, values)
    assert back.flags.c_contiguous
    assert np.shares_memory(back, memory)
    for order in ("C", "F"):
        given_values = np.asarray(values.copy(), order=order)  # type: ignore[call-overload]
        turned = arrays.transpose(given_values)
        assert (turned.shape, turned.strides) == (given_values.shape, given_values.strides)
        other: Any = "F" if order == "C" else "C"
        np.testing.assert_array_equal(turned.ravel("K"), values.ravel(other))


@settings(max_examples=40)
@given(label_arrays((*INTEGERS, "f4"), min_dims=3, max_dims=3), st.sampled_from("CF"), st.data())
def test_chunks(values: Array, order: Any, data: st.DataObject) -> None:
    if not values.size:
        assert arrays.tobytes(values, (1, 1, 1), order) == []
        return
    sizes = [data.draw(st.sampled_from([d for d in range(1, n + 1) if n % d == 0])) for n in values.shape]
    expected = [
        values[x : x + sizes[0], y : y + sizes[1], z : z + sizes[2]].tobytes(order)
        for z in range(0, values.shape[2], sizes[2])
        for y in range(0, values.shape[1], sizes[1])
        for x in range(0, values.shape[0], sizes[0])
    ]
    assert arrays.tobytes(values, sizes, order) == expected


def test_what_is_refused() -> None:
    values = np.ones((2, 3, 4))
    read_only = values.copy()
    read_only.flags.writeable = False
    cases: list[tuple[type[Exception], Any]] = [
        (cp.ArgumentError, lambda: arrays.asfortranarray(read_only)),
        (TypeError, lambda: arrays.asfortranarray(values.astype(np.float16))),
        (cp.ArgumentError, lambda: arrays.asfortranarray(values.astype(">f8"))),
        (IndexError, lambda: arrays.transpose(values[:0])),
        (cp.ArgumentError, lambda: arrays.tobytes(values, (2, 2, 2))),
        (cp.ArgumentError, lambda: arrays.tobytes(values, (1, 3))),
        (cp.ArgumentError, lambda: arrays.tobytes(values, None)),  # type: ignore[arg-type]
        (cp.ArgumentError, lambda: arrays.tobytes(values, (1, 1, 1), "K")),  # type: ignore[arg-type]
        (TypeError, lambda: arrays.tobytes(values[0], (1, 1))),
        (TypeError, lambda: arrays.tobytes(values, 1)),  # type: ignore[arg-type]
    ]
    for error, call in cases:
        with pytest.raises(error):
            call()
    assert arrays.ascontiguousarray(read_only) is read_only
