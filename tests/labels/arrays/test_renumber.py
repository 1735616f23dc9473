"""New labels are counted in the order in which the old ones are met, in the smallest dtype that holds them."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
from helpers.label_arrays import INTEGERS, in_memory, label_arrays, same_order
from hypothesis import given, settings
from hypothesis import strategies as st

import chunkpyramid as cp
from chunkpyramid.labels import arrays

Array = npt.NDArray[Any]


def expected_mapping(labels: Array, start: int, preserve_zero: bool) -> dict[Any, int]:
    mapping = {0: 0} if preserve_zero else {}
    for label in in_memory(labels):
        if label not in mapping:
            mapping[label] = start + len(mapping) - preserve_zero
    return mapping if labels.size else {}


@settings(max_examples=60)
@given(label_arrays((*INTEGERS, "f4", "f8")), st.integers(0, 3), st.booleans(), st.booleans())
def test_labels_are_counted(labels: Array, start: int, preserve_zero: bool, in_place: bool) -> None:
    before, expected_labels = labels.copy(), expected_mapping(labels, start, preserve_zero)
    renumbered, mapping = arrays.renumber(labels, start=start, preserve_zero=preserve_zero, in_place=in_place)
    assert mapping == expected_labels
    expected = np.array([mapping[label] for label in before.reshape(-1).tolist()]).reshape(labels.shape)
    np.testing.assert_array_equal(renumbered, expected)
    assert not labels.size or same_order(renumbered, labels)
    is_in_place = in_place and labels.flags.writeable and labels.flags.forc and labels.size
    np.testing.assert_array_equal(labels, expected if is_in_place else before)


@pytest.mark.parametrize("count", [3, 254, 255, 256, 65534, 65535, 65536, 70000])
@pytest.mark.parametrize("dtype", ["u4", "i8"])
def test_the_dtype_holds_the_label_that_would_come_next(count: int, dtype: str) -> None:
    labels = np.random.default_rng(0).permutation(np.arange(1, count + 1)).astype(dtype) * 3
    renumbered, mapping = arrays.renumber(labels)
    np.testing.assert_array_equal(renumbered, np.arange(1, count + 1))
    assert renumbered.dtype == arrays.fit_dtype(dtype, count + 1)
    assert mapping == {0: 0, **dict(zip(labels.tolist(), range(1, count + 1), strict=True))}


def test_labels_that_do_not_fit_wrap_around_as_those_of_fastremap() -> None:
    assert arrays.renumber(np.array([3, 7], np.uint8), start=255)[1] == {0: 0, 3: 255, 7: 0}
    renumbered, _ = arrays.renumber(np.array([3, 7], np.uint8), start=300)
    assert (renumbered.tolist(), renumbered.dtype) == ([44, 45], np.uint16)
    renumbered, _ = arrays.renumber(np.array([3, 7], np.int32), start=-3)
    assert (renumbered.tolist(), renumbered.dtype) == ([-3, -2], np.int8)


def test_bool_lists_and_nan() -> None:
    labels = np.array([True, False])
    renumbered, mapping = arrays.renumber(labels)
    assert (renumbered.tolist(), renumbered.dtype, mapping) == ([True, False], np.bool_, {0: 0, 1: 1})
    renumbered, mapping = arrays.renumber(labels, preserve_zero=False)
    assert (renumbered.tolist(), renumbered.dtype, mapping) == ([1, 2], np.uint8, {1: 1, 0: 2})
    assert arrays.renumber([5, 5, 9])[0].tolist() == [1, 1, 2]
    assert arrays.renumber([])[1] == {}
    renumbered, mapping = arrays.renumber(np.array([np.nan, 1.0, np.nan]))
    assert (renumbered.tolist(), renumbered.dtype, len(mapping)) == ([1, 2, 3], np.float32, 4)


def test_what_is_refused() -> None:
    labels = np.array([1, 2], np.uint8)
    for start in ("1", None, 1j):
        with pytest.raises(TypeError, match="start"):
            arrays.renumber(labels, start=start)  # type: ignore[arg-type]
    with pytest.raises(OverflowError, match="start"):
        arrays.renumber(labels, start=2**63)
    with pytest.raises(cp.ArgumentError, match="negative"):
        arrays.renumber(labels, start=-2)
    with pytest.raises(TypeError, match="complex"):
        arrays.renumber(np.array([1j]))
    with pytest.raises(cp.ArgumentError, match="byte order"):
        arrays.renumber(np.array([1, 2], ">u4"))
    with pytest.raises(cp.ArgumentError, match="axes"):
        arrays.renumber(np.array(5))
