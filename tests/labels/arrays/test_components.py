"""Connected components of arrays are those that flooding voxel by voxel finds, in the order of their first voxels."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as npst

import chunkpyramid as cp
from chunkpyramid.labels.arrays.components import ComponentRules, connected_components, label_components
from tests.helpers.component_oracle import components_by_flooding, renumbered

Array = npt.NDArray[Any]

DTYPES = ["u1", "u2", "u4", "u8", "i1", "i2", "i4", "i8", "?", ">u4", ">i8"]
CONNECTIVITIES = {1: [2], 2: [4, 8], 3: [6, 18, 26]}


@st.composite
def arrays(draw: st.DrawFn) -> Array:
    """Arrays of few labels, extreme ones too, of any order in memory."""
    dtype = np.dtype(draw(st.sampled_from(DTYPES)))
    shape = draw(npst.array_shapes(min_dims=1, max_dims=5, min_side=1, max_side=5))
    limits = (0, 1) if dtype.kind == "b" else (np.iinfo(dtype).min, np.iinfo(dtype).max)
    palette = [0, 0, 1, *limits][: draw(st.integers(2, 5))]
    picks = draw(npst.arrays(np.intp, shape, elements=st.integers(0, len(palette) - 1)))
    array = np.asarray(np.array(palette, dtype)[picks], order=draw(st.sampled_from("CF")))
    steps = draw(st.tuples(*[st.sampled_from([1, -1, 2])] * array.ndim))
    return array[tuple(slice(None, None, step) for step in steps)].transpose(draw(st.permutations(range(array.ndim))))


@given(arrays(), st.data())
@settings(max_examples=200)
def test_components_are_those_of_flooding(array: Array, data: st.DataObject) -> None:
    connectivity = data.draw(st.sampled_from(CONNECTIVITIES[min(3, array.ndim)]))
    background = data.draw(st.sampled_from([0, 1, None, 2**64 - 1, -(2**63)]))
    dust = data.draw(st.integers(0, 4))
    before = array.copy()
    numbers = connected_components(array, connectivity=connectivity, background=background, dust=dust)
    np.testing.assert_array_equal(numbers, components_by_flooding(array, connectivity, background, dust))
    assert numbers.dtype == np.uint32
    np.testing.assert_array_equal(array, before)


@pytest.mark.parametrize("order", ["C", "F", "strided"])
@pytest.mark.parametrize("connectivity", [6, 18, 26])
@pytest.mark.parametrize("size", [1, 3])
def test_larger_arrays_are_as_other_libraries_have_them(order: str, connectivity: int, size: int) -> None:
    cc3d = pytest.importorskip("cc3d")
    rng = np.random.default_rng(connectivity)
    array = np.kron(rng.integers(0, 4, (17, 33, 25)), np.ones((size,) * 3)).astype(np.uint64) * np.uint64(2**61)
    expected = renumbered(cc3d.connected_components(array, connectivity=connectivity))
    given_array = np.repeat(array, 2, axis=1)[:, ::2] if order == "strided" else np.asarray(array, order=order)  # type: ignore[call-overload]
    np.testing.assert_array_equal(connected_components(given_array, connectivity=connectivity), expected)


@pytest.mark.parametrize("wide", [False, True])
@pytest.mark.parametrize("order", ["C", "F"])
def test_what_is_told_of_components(order: str, wide: bool) -> None:
    rng = np.random.default_rng(0)
    array = np.asarray(rng.integers(0, 3, (9, 10, 70)), order=order)  # type: ignore[call-overload]
    rules = ComponentRules.checked(array.dtype, 3, 18, 0, None, 3)
    found = label_components(array, rules, np.uint64 if wide else np.uint32)
    np.testing.assert_array_equal(found.numbers, components_by_flooding(array, 18, 0, 3))
    assert found.numbers.dtype == found.sizes.dtype == found.firsts.dtype == (np.uint64 if wide else np.uint32)
    kept, firsts, sizes = np.unique(found.numbers, return_index=True, return_counts=True)
    np.testing.assert_array_equal(found.firsts, firsts[kept > 0])
    np.testing.assert_array_equal(found.sizes, sizes[kept > 0])
    everything = label_components(array, rules, np.uint32, dust=0)
    assert everything.sizes.min() < 3 <= found.sizes.min()


@pytest.mark.parametrize(
    ("values", "threshold", "inside"),
    [
        (np.array([0.5, 0.25, np.nan, -np.inf, np.inf, 0.75], np.float32), (0.5, None), [1, 0, 0, 0, 1, 1]),
        (np.array([0.5, 0.25, np.nan, -np.inf, np.inf, 0.75]), (None, 0.5), [1, 1, 0, 1, 0, 0]),
        (np.array([0.5, 0.1, 7.0], np.float16), (0.1, 1e9), [1, 1, 1]),
        (np.array([2**64 - 1, 2**64 - 2, 0], np.uint64), (2**64 - 1, None), [1, 0, 0]),
        (np.array([2**64 - 1, 2**64 - 2, 0], np.uint64), (0.5, float("inf")), [1, 1, 0]),
        (np.array([-3, -2, 2, 3], np.int8), (-2.5, 300), [0, 1, 1, 1]),
        (np.array([1, 2, 3], ">u2"), (2, 2), [0, 1, 0]),
        (np.array([1, 2, 3], np.uint8), (float("inf"), None), [0, 0, 0]),
        (np.array([1, 2, 3], np.uint8), (float("-inf"), float("inf")), [1, 1, 1]),
        (np.array([False, True, True]), (1, None), [0, 1, 1]),
    ],
)
def test_thresholds_include_both_ends_exactly(values: Array, threshold: Any, inside: list[int]) -> None:
    numbers = connected_components(values, threshold=threshold)
    np.testing.assert_array_equal(numbers, components_by_flooding(np.array(inside), 2))


@given(st.data())
@settings(max_examples=50)
def test_a_threshold_joins_what_is_inside_of_whatever_label(data: st.DataObject) -> None:
    array = data.draw(npst.arrays(np.int16, npst.array_shapes(min_dims=2, max_dims=3), elements=st.integers(-3, 3)))
    low, high = sorted(data.draw(st.tuples(st.integers(-4, 4), st.integers(-4, 4))))
    inside = ((array >= low) & (array <= high)).astype(np.uint8)
    connectivity = CONNECTIVITIES[array.ndim][-1]
    numbers = connected_components(array, connectivity=connectivity, threshold=(low, high), background=None)
    np.testing.assert_array_equal(numbers, components_by_flooding(inside, connectivity))


def test_empty_arrays_lists_and_scalars() -> None:
    assert connected_components(np.zeros((3, 0, 2), np.uint8)).shape == (3, 0, 2)
    assert connected_components(np.zeros((0, 2, 3, 4), np.uint8)).shape == (0, 2, 3, 4)
    assert connected_components(np.array(5)).tolist() == 1
    assert connected_components([[1, 1], [0, 2]]).tolist() == [[1, 1], [0, 2]]
    read_only = np.ones((2, 2), np.uint8)
    read_only.flags.writeable = False
    assert connected_components(read_only).tolist() == [[1, 1], [1, 1]]


@pytest.mark.parametrize("dtype", ["u1", "i8", np.uint16])
def test_the_dtype_of_the_numbers(dtype: Any) -> None:
    numbers = connected_components(np.arange(5), dtype=dtype)
    assert (numbers.dtype, numbers.tolist()) == (np.dtype(dtype), [0, 1, 2, 3, 4])
    with pytest.raises(cp.ArgumentError, match="there are 300 components, which uint8 does not hold"):
        connected_components(np.arange(1, 301), dtype=np.uint8)


def test_many_labels_that_wind_through_each_other() -> None:
    """Components whose parts are joined late, and many times."""
    comb = np.zeros((64, 64), np.uint8)
    comb[:, ::2] = 1
    comb[-1] = 1
    np.testing.assert_array_equal(connected_components(comb), comb)
    spiral = np.zeros((33, 33), np.uint8)
    low, high = 0, 32
    while low <= high:
        spiral[low, low : high + 1] = spiral[low : high + 1, high] = spiral[high, low : high + 1] = 1
        spiral[low + 2 : high + 1, low] = 1
        spiral[min(low + 2, high), low : low + 2] = 1
        low, high = low + 2, high - 2
    for labels in (spiral, spiral.T, spiral[::-1], spiral.astype(np.uint64)):
        np.testing.assert_array_equal(connected_components(labels), labels)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"connectivity": 8}, "connectivity must be 6 or 18 or 26 for a volume of 3 axes, but 8"),
        ({"connectivity": True}, "connectivity must be"),
        ({"connectivity": "26"}, "connectivity must be"),
        ({"background": "0"}, "background must be a label or None"),
        ({"background": 1.0}, "background must be"),
        ({"threshold": 3}, "threshold must be"),
        ({"threshold": (3, 2)}, "threshold must be"),
        ({"threshold": (None, None)}, "threshold must be"),
        ({"threshold": (float("nan"), 1)}, "threshold must be"),
        ({"dust": -1}, "dust must be a whole number"),
        ({"dtype": "f4"}, "dtype must be one of integers"),
        ({"dtype": "no such"}, "dtype must be one of integers"),
    ],
)
def test_what_is_wrong_is_refused(arguments: dict[str, Any], message: str) -> None:
    with pytest.raises(cp.ArgumentError, match=message):
        connected_components(np.zeros((2, 2, 2), np.uint8), **arguments)


def test_what_holds_no_labels_is_refused() -> None:
    with pytest.raises(cp.ArgumentError, match="float64, which are no labels: give threshold="):
        connected_components(np.zeros(3))
    with pytest.raises(cp.ArgumentError, match="source must hold labels"):
        connected_components(np.zeros(3, complex))
