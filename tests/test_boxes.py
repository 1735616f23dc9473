"""Integer geometry against enumeration of every voxel or cell."""

from __future__ import annotations

import itertools
import math
from collections import Counter

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from chunkpyramid.boxes import (
    AxisFootprint,
    Box,
    Shape,
    axis_footprint,
    ceil_div,
    ceil_shape,
    divide,
    inside,
    lcm_shape,
    multiply,
    tile,
    windows,
)
from chunkpyramid.engine.piece_order import nested_order

ndims = st.integers(1, 4)


def shapes(ndim: int, most: int) -> st.SearchStrategy[Shape]:
    return st.tuples(*[st.integers(1, most)] * ndim)


def voxels(box: Box) -> list[Shape]:
    return list(itertools.product(*(range(s.start, s.stop) for s in box.slices)))


@st.composite
def boxes(draw: st.DrawFn, ndim: int, most: int = 5) -> Box:
    start = draw(st.tuples(*[st.integers(0, 7)] * ndim))
    return Box(start, tuple(a + n for a, n in zip(start, draw(shapes(ndim, most)), strict=True)))


@given(st.integers(-(10**20), 10**20), st.integers(1, 10**10))
def test_ceil_div_is_the_least_number_of_parts(numerator: int, denominator: int) -> None:
    parts = ceil_div(numerator, denominator)
    assert (parts - 1) * denominator < numerator <= parts * denominator


@given(st.data(), ndims)
def test_shapes_per_axis(data: st.DataObject, ndim: int) -> None:
    first, second = data.draw(shapes(ndim, 30)), data.draw(shapes(ndim, 30))
    assert ceil_shape(first, second) == tuple(len(range(0, n, f)) for n, f in zip(first, second, strict=True))
    assert multiply(first, second) == tuple(np.multiply(first, second))
    assert lcm_shape(first, second) == tuple(
        next(n for n in itertools.count(1) if n % a == 0 and n % b == 0) for a, b in zip(first, second, strict=True)
    )


@given(st.data(), ndims)
def test_boxes_hold_the_voxels_they_say(data: st.DataObject, ndim: int) -> None:
    box, other = data.draw(boxes(ndim)), data.draw(boxes(ndim))
    offset = data.draw(st.tuples(*[st.integers(-9, 9)] * ndim))
    own = voxels(box)
    assert box.size == len(own) == math.prod(box.shape)
    assert voxels(box.shift(offset)) == [tuple(np.add(v, offset)) for v in own]
    assert voxels(box.relative_to(offset)) == [tuple(np.subtract(v, offset)) for v in own]
    common = set(own) & set(voxels(other))
    if common:
        assert set(voxels(box.intersect(other))) == common
    extent = data.draw(st.tuples(*(st.integers(a + 1, b + 3) for a, b in zip(box.start, box.stop, strict=True))))
    assert voxels(box.clip(extent)) == [v for v in own if all(i < n for i, n in zip(v, extent, strict=True))]


@given(st.data(), ndims)
def test_fold_covers_what_its_voxels_fall_into(data: st.DataObject, ndim: int) -> None:
    factor = data.draw(shapes(ndim, 3))
    cell = data.draw(boxes(ndim))
    box = Box(multiply(cell.start, factor), tuple(a * f + n for a, f, n in zip(cell.start, factor, cell.shape)))  # noqa: B905
    folded = {tuple(i // f for i, f in zip(v, factor, strict=True)) for v in voxels(box)}
    assert set(voxels(box.fold(factor))) == folded


@given(st.data(), ndims)
def test_tile_yields_every_cell_that_meets_the_box_once_in_c_order(data: st.DataObject, ndim: int) -> None:
    box, cell = data.draw(boxes(ndim)), data.draw(shapes(ndim, 4))
    met = sorted({multiply([i // n for i, n in zip(v, cell, strict=True)], cell) for v in voxels(box)})
    assert [c.start for c in tile(box, cell)] == met
    assert all(c.shape == cell for c in tile(box, cell))


@given(st.data(), ndims, st.integers(1, 50))
def test_windows_cover_the_grid_once_and_keep_the_limit(data: st.DataObject, ndim: int, most: int) -> None:
    counts = data.draw(shapes(ndim, 6))
    cut = list(windows(counts, most))
    assert all(1 <= window.size <= most for window in cut)
    covered = [cell for window in cut for cell in voxels(window)]
    assert sorted(covered) == list(itertools.product(*map(range, counts)))
    assert [window.start for window in cut] == sorted(window.start for window in cut)


@given(st.integers(1, 5), st.integers(1, 20))
def test_windows_are_few(slowest: int, most: int) -> None:
    """A window cut along one axis alone is as full as whole cells of that axis allow."""
    counts = (slowest, most)
    assert len(list(windows(counts, most))) == slowest
    assert len(list(windows(counts, slowest * most))) == 1


@given(st.data(), st.integers(1, 3))
def test_nested_order_covers_the_box_exactly_once(data: st.DataObject, ndim: int) -> None:
    piece = data.draw(shapes(ndim, 3))
    units = data.draw(st.lists(shapes(ndim, 8), max_size=3))
    start = multiply(data.draw(shapes(ndim, 4)), piece)
    box = Box(start, tuple(a + n for a, n in zip(start, data.draw(shapes(ndim, 9)), strict=True)))
    pieces = nested_order(box, piece, units)
    assert Counter(v for cell in pieces for v in voxels(cell)) == Counter(voxels(box))
    assert all(n <= p for cell in pieces for n, p in zip(cell.shape, piece, strict=True))


@given(st.data(), st.integers(1, 3))
def test_nested_order_finishes_a_unit_before_it_begins_the_next(data: st.DataObject, ndim: int) -> None:
    """Where each unit is a whole number of the finer ones; in whatever order they are told."""
    piece = data.draw(shapes(ndim, 2))
    chain = [piece]
    for _ in range(data.draw(st.integers(1, 3))):
        chain.append(multiply(chain[-1], data.draw(shapes(ndim, 2))))
    units = data.draw(st.permutations(chain[1:]))
    box = Box((0,) * ndim, multiply(chain[-1], data.draw(shapes(ndim, 2))))
    pieces = nested_order(box, piece, units)
    for unit in units:
        walked = [tuple(a // u for a, u in zip(cell.start, unit, strict=True)) for cell in pieces]
        assert len(list(itertools.groupby(walked))) == len(set(walked))


@given(st.integers(1, 40), st.integers(1, 9), st.data())
def test_footprints_are_the_level_0_voxels_under_each_index(length: int, cumulative: int, data: st.DataObject) -> None:
    count = ceil_div(length, cumulative)
    start = data.draw(st.integers(0, count - 1))
    stop = data.draw(st.integers(start + 1, count))
    under = Counter(voxel // cumulative for voxel in range(length))
    footprint = axis_footprint(start, stop, cumulative, length)
    assert spread(footprint, stop - start) == [under[index] for index in range(start, stop)]
    factor = data.draw(st.integers(1, 5))
    coarser = spread(footprint.coarser(stop - start, factor), ceil_div(stop - start, factor))
    assert coarser == [sum(under[i] for i in range(a, min(a + factor, stop))) for a in range(start, stop, factor)]


@pytest.mark.parametrize("exponent", [31, 40, 62])
def test_footprints_of_axes_beyond_32_bits(exponent: int) -> None:
    length = 2**exponent + 3
    assert axis_footprint(2, 5, 2 ** (exponent - 2), length) == (2 ** (exponent - 2), 3)


def spread(footprint: AxisFootprint, count: int) -> list[int]:
    """The level-0 voxels under every index."""
    return [footprint.each] * (count - 1) + [footprint.last]


@given(st.data(), ndims)
def test_boxes_made_of_shapes(data: st.DataObject, ndim: int) -> None:
    box, factor = data.draw(boxes(ndim)), data.draw(shapes(ndim, 4))
    assert Box.at(box.start, box.shape) == box
    assert Box.whole(box.shape) == box.relative_to(box.start)
    assert divide(box.start, factor) == tuple(np.floor_divide(box.start, factor))
    assert inside(box.stop, factor) == tuple(np.minimum(box.stop, factor))


@given(st.data(), ndims)
def test_the_box_rounded_to_a_grid_is_all_cells_that_have_a_voxel_of_it(data: st.DataObject, ndim: int) -> None:
    box, factor = data.draw(boxes(ndim)), data.draw(shapes(ndim, 4))
    cells = {divide(voxel, factor) for voxel in voxels(box)}
    assert set(voxels(box.fold(factor))) == cells
    assert {divide(voxel, factor) for voxel in voxels(box.rounded_to(factor))} == cells
    assert box.rounded_to(factor).size == len(cells) * math.prod(factor)
