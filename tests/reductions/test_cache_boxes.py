"""The boxes that several levels are made in: their shape, and that any of them gives the same levels."""

from __future__ import annotations

import doctest
import math
from collections.abc import Iterator
from types import SimpleNamespace
from typing import Any

import _chunkpyramid_reduce as kernels
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from chunkpyramid.boxes import Box, ceil_shape, tile
from chunkpyramid.reductions import cache_boxes as module
from chunkpyramid.reductions.cache_boxes import box_shape

Shape = tuple[int, ...]


@st.composite
def arrays_and_factors(draw: st.DrawFn, least_levels: int = 1) -> tuple[Shape, list[Shape]]:
    axes = draw(st.integers(1, 4))
    shape = draw(st.tuples(*[st.integers(1, 20)] * axes))
    factors = draw(st.lists(st.tuples(*[st.integers(1, 3)] * axes), min_size=least_levels, max_size=3))
    return shape, factors


def footprint_of(factors: list[Shape]) -> Shape:
    return tuple(math.prod(steps) for steps in zip(*factors, strict=True))


def boxes_largest_first(shape: Shape, footprint: Shape) -> Iterator[Shape]:
    """All boxes of whole footprints that are cut along one axis, slower ones to one footprint and faster ones not."""
    yield shape
    box = list(shape)
    for axis, (size, step) in enumerate(zip(shape, footprint, strict=True)):
        for length in reversed(range(step, size, step)):
            box[axis] = length
            yield tuple(box)


@given(arrays_and_factors(least_levels=2), st.integers(1, 10_000))
def test_a_box_is_the_largest_that_is_asked_for(case: tuple[Shape, list[Shape]], most: int) -> None:
    shape, factors = case
    *larger, least = boxes_largest_first(shape, footprint_of(factors))
    assert box_shape(shape, factors, most) == next((box for box in larger if math.prod(box) <= most), least)


@given(arrays_and_factors(), st.integers(1, 10_000))
def test_boxes_are_whole_footprints_and_cover_the_array(case: tuple[Shape, list[Shape]], most: int) -> None:
    shape, factors = case
    box, footprint = box_shape(shape, factors, most), footprint_of(factors)
    for length, size, step in zip(box, shape, footprint, strict=True):
        assert 1 <= length <= size
        assert length == size or length % step == 0
    smallest = tuple(map(min, shape, footprint))
    assert len(factors) == 1 or math.prod(box) <= most or box == smallest
    times_covered = np.zeros(shape, int)
    for cell in tile(Box((0,) * len(shape), shape), box):
        times_covered[cell.clip(shape).slices] += 1
    assert (times_covered == 1).all()


@given(arrays_and_factors(), st.integers(1, 10_000))
def test_nothing_is_cut_for_one_level(case: tuple[Shape, list[Shape]], most: int) -> None:
    shape, factors = case
    assert box_shape(shape, factors[:1], most) == shape


def test_the_examples_in_the_documentation() -> None:
    results = doctest.testmod(module)
    assert results.attempted > 1
    assert results.failed == 0


# ------------------------------------------------------------------------------------------- boxes in the kernels


def modes(array: np.ndarray[Any, Any], factors: list[Shape], box: tuple[Any, ...]) -> list[np.ndarray[Any, Any]]:
    levels, steps, shape = [], [], array.shape
    for factor in factors:
        shape = ceil_shape(shape, factor)
        levels.append(np.zeros(shape, array.dtype))
        absent = dict.fromkeys(("kept_counts", "rendered", "rendered_dtype", "footprints"))
        step = SimpleNamespace(method="mode", factor=factor, sum_dtype=array.dtype.name, kept=levels[-1], **absent)
        steps.append(step)
    kernels.reduce(array, dtype=array.dtype.name, steps=steps, box=box)
    return levels


@given(arrays_and_factors(), st.data())
def test_any_box_gives_the_same_levels(case: tuple[Shape, list[Shape]], data: st.DataObject) -> None:
    shape, factors = case
    array = np.random.default_rng(math.prod(shape)).integers(0, 3, shape, np.uint8)
    lengths = [[*range(step, size, step), size] for size, step in zip(shape, footprint_of(factors), strict=True)]
    box = data.draw(st.tuples(*map(st.sampled_from, lengths)))
    for level, expected in zip(modes(array, factors, box), modes(array, factors, shape), strict=True):
        np.testing.assert_array_equal(level, expected)


@pytest.mark.parametrize("box", [(), (8,), (8, 12, 1), (0, 12), (-4, 12), (6, 12), (8, 11), (12, 12), (8, 16)])
def test_other_boxes_are_refused(box: tuple[int, ...]) -> None:
    with pytest.raises(ValueError, match="box"):
        modes(np.zeros((9, 12), np.uint8), [(2, 2), (2, 2)], box)
