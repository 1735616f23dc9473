"""Labels become others by tables, in place or not; masks are tables of one value."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
from helpers.label_arrays import INTEGERS, label_arrays, same_order
from hypothesis import given, settings
from hypothesis import strategies as st

import chunkpyramid as cp
from chunkpyramid.labels import arrays

Array = npt.NDArray[Any]


def rewritten(labels: Array, table: dict[Any, Any]) -> Array:
    new = [table.get(label, label) for label in labels.reshape(-1).tolist()]
    return np.array(new, dtype=labels.dtype).reshape(labels.shape)


def is_rewritten(labels: Array, in_place: bool) -> bool:
    return bool(in_place and labels.flags.writeable and labels.flags.forc and labels.size)


@st.composite
def tables(draw: st.DrawFn, labels: Array) -> dict[Any, Any]:
    known = sorted({*labels.reshape(-1).tolist()})
    chosen = draw(st.lists(st.sampled_from(known), unique=True)) if known else []
    return {label: draw(st.integers(0, 100)) for label in chosen}


@settings(max_examples=80)
@given(label_arrays((*INTEGERS, "f4", "f8")), st.booleans(), st.data())
def test_remap(labels: Array, in_place: bool, data: st.DataObject) -> None:
    table = data.draw(tables(labels))
    before = labels.copy(order="K")
    expected = rewritten(labels, table)
    known = set(before.reshape(-1).tolist()) <= set(table)
    if not known:
        with pytest.raises(KeyError, match="was not in the remap table"):
            arrays.remap(labels.copy(order="K"), table, in_place=in_place)
    told = arrays.remap(labels, table, preserve_missing_labels=not known, in_place=in_place)
    np.testing.assert_array_equal(told, expected)
    assert told.dtype == labels.dtype
    assert same_order(told, labels)
    assert np.may_share_memory(told, labels) == is_rewritten(labels, in_place) or not labels.size
    np.testing.assert_array_equal(labels, expected if is_rewritten(labels, in_place) else before)


@settings(max_examples=60)
@given(label_arrays((*INTEGERS, "f4")), st.booleans(), st.sampled_from([0, 7, 127]), st.data())
def test_mask(labels: Array, in_place: bool, value: int, data: st.DataObject) -> None:
    chosen = list(data.draw(tables(labels)))
    expected = rewritten(labels, dict.fromkeys(chosen, value))
    before = labels.copy(order="K")
    told = arrays.mask(labels, chosen, in_place=in_place, value=value)
    np.testing.assert_array_equal(told, expected)
    assert told.dtype == labels.dtype
    assert same_order(told, labels)
    np.testing.assert_array_equal(labels, expected if is_rewritten(labels, in_place) else before)


@settings(max_examples=60)
@given(label_arrays((*INTEGERS, "?")), st.booleans(), st.data())
def test_mask_except(labels: Array, in_place: bool, data: st.DataObject) -> None:
    chosen = [int(label) for label in data.draw(tables(labels))]
    value = data.draw(st.sampled_from([0, 1]))
    gone = {label: value for label in labels.reshape(-1).tolist() if label not in chosen}
    expected = rewritten(labels, gone)
    before = labels.copy(order="K")
    told = arrays.mask_except(labels, chosen, in_place=in_place, value=value)
    np.testing.assert_array_equal(told, expected)
    assert told.dtype == labels.dtype
    assert same_order(told, labels)
    np.testing.assert_array_equal(labels, expected if is_rewritten(labels, in_place) else before)


@settings(max_examples=50)
@given(label_arrays(max_dims=1), st.booleans(), st.data())
def test_remap_from_arrays(labels: Array, in_place: bool, data: st.DataObject) -> None:
    labels = labels.copy() if not labels.flags.writeable else labels
    table = data.draw(tables(labels))
    keys, values = np.array(list(table), labels.dtype), np.array(list(table.values()), labels.dtype)
    expected = rewritten(labels, table)
    given_labels = labels.copy()
    if not set(labels.tolist()) <= set(table):
        with pytest.raises(KeyError, match="was not in the remap keys"):
            arrays.remap_from_array_kv(labels.copy(), keys, values, preserve_missing_labels=False)
    told = arrays.remap_from_array_kv(labels, keys, values, in_place=in_place)
    np.testing.assert_array_equal(told, expected)
    assert (told is labels) == in_place
    if labels.dtype.kind == "u":
        row = np.arange(50)[::-1].astype(labels.dtype)
        by_place = rewritten(given_labels, dict(enumerate(row.tolist())))
        np.testing.assert_array_equal(arrays.remap_from_array(given_labels, row, in_place=in_place), by_place)


@pytest.mark.parametrize("dtype", ["u1", "u2", "u4", "u8", "i8"])
@pytest.mark.parametrize("count", [10, 3000, 200_000])
@pytest.mark.parametrize("far", [False, True])
def test_large_tables(dtype: str, count: int, far: bool) -> None:
    """Labels that are close together are looked up otherwise than those that are not."""
    random = np.random.default_rng(count)
    step = max(1, int(np.iinfo(dtype).max) // (count + 1)) if far else 1
    count = min(count, int(np.iinfo(dtype).max))
    keys = np.arange(count, dtype=dtype) * np.dtype(dtype).type(step)
    values = random.permutation(keys)
    for repeats in (1, 20):
        picks = np.repeat(random.integers(0, count, 40_000 // repeats), repeats)
        told = arrays.remap_from_array_kv(keys[picks], keys, values, preserve_missing_labels=False, threads=2)
        np.testing.assert_array_equal(told, values[picks])
        half = arrays.mask_except(keys[picks], keys[::2].tolist())
        np.testing.assert_array_equal(half, np.where(picks % 2 == 0, keys[picks], 0))


def test_the_dtype_grows_where_new_labels_need_it() -> None:
    labels = np.array([[1, 2], [2, 1]], np.uint8)
    told = arrays.remap(labels, {1: 300, 2: 2}, in_place=True)
    assert (told.dtype, told.tolist(), labels.tolist()) == (np.uint16, [[300, 2], [2, 300]], [[1, 2], [2, 1]])
    assert arrays.mask(np.array([1], np.int8), [1], value=-129).dtype == np.int16
    assert arrays.remap(np.array([1.0], np.float16), {1: 2}).dtype == np.float32
    assert arrays.remap([1, 2], {1: 5, 2: 2}).tolist() == [5, 2]


def test_floats_are_compared_by_value() -> None:
    labels = np.array([0.0, -0.0, np.nan])
    told = arrays.remap(labels, {0: 5, np.nan: 7}, preserve_missing_labels=True)
    np.testing.assert_array_equal(told, [5, 5, np.nan])
    with pytest.raises(KeyError, match="nan"):
        arrays.remap(labels, {0: 5, np.nan: 7})


def test_what_is_refused() -> None:
    labels = np.array([1, 2], np.uint32)
    cases: list[tuple[type[Exception], Any]] = [
        (KeyError, lambda: arrays.remap(labels, {})),
        (OverflowError, lambda: arrays.remap(labels, {1: -1, 2: 2, 3: 5})),
        (OverflowError, lambda: arrays.remap(labels, {2**40: 1, 1: 1, 2: 2})),
        (ValueError, lambda: arrays.remap(labels, {1: -9, 2: 2})),
        (ValueError, lambda: arrays.remap(labels, {1: 2**64, 2: 2})),
        (TypeError, lambda: arrays.remap(labels, {"a": 1, 1: 2})),
        (TypeError, lambda: arrays.remap(labels, None)),  # type: ignore[arg-type]
        (AttributeError, lambda: arrays.remap(7, {1: 2})),
        (ValueError, lambda: arrays.remap(labels != 1, {1: 2})),
        (TypeError, lambda: arrays.remap(labels.astype("c8"), {1: 2})),
        (ValueError, lambda: arrays.remap(labels.astype(">u4"), {1: 2})),
        (ValueError, lambda: arrays.remap(np.array(5), {5: 2})),
        (TypeError, lambda: arrays.mask(labels, 3)),  # type: ignore[arg-type]
        (OverflowError, lambda: arrays.mask(labels, [-1])),
        (TypeError, lambda: arrays.mask_except(labels, {1})),  # type: ignore[arg-type]
        (OverflowError, lambda: arrays.mask_except(labels, [1], value=-1)),
        (TypeError, lambda: arrays.mask_except(labels.astype("f4"), [1])),
        (TypeError, lambda: arrays.remap_from_array(labels.astype("i4"), labels.astype("i4"))),
        (TypeError, lambda: arrays.remap_from_array(labels[None], labels)),
        (TypeError, lambda: arrays.remap_from_array(labels, [1, 2])),  # type: ignore[arg-type]
        (ValueError, lambda: arrays.remap_from_array(labels, labels.astype("u8"))),
        (AssertionError, lambda: arrays.remap_from_array_kv(labels, labels, labels[:1])),
        (ValueError, lambda: arrays.remap(labels.copy(), {1: 5, 2: 2}, threads=0)),
    ]
    for error, call in cases:
        with pytest.raises(error):
            call()
    read_only = labels.copy()
    read_only.flags.writeable = False
    with pytest.raises(cp.ArgumentError, match="read-only"):
        arrays.remap_from_array(read_only, labels, in_place=False)
