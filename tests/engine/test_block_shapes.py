"""Shapes of blocks and pieces, and the two formulas about them, against walks of real grids."""

from __future__ import annotations

import itertools
import math
from collections import Counter
from collections.abc import Iterator

import pytest
from hypothesis import given
from hypothesis import strategies as st

from chunkpyramid.boxes import Box, Shape, ceil_shape, inside, lcm_shape, multiply, tile
from chunkpyramid.engine.block_shapes import (
    BLOCK_BYTES,
    BLOCKS_PER_SLOT,
    MOST_BLOCKS,
    PIECE_BYTES,
    clip_to_extent,
    grow_block,
    grow_piece,
    is_direct,
    open_units,
    read_amplification,
)
from chunkpyramid.engine.piece_order import nested_order

ndims = st.integers(1, 3)


def shapes(ndim: int, most: int) -> st.SearchStrategy[Shape]:
    return st.tuples(*[st.integers(1, most)] * ndim)


def walk(extent: Shape, block: Shape, piece: Shape, units: list[Shape]) -> Iterator[list[Box]]:
    """The pieces of every block in the order in which a task takes them."""
    for cell in tile(Box((0,) * len(extent), extent), block):
        yield nested_order(cell.clip(extent), piece, units)


def most_open(extent: Shape, block: Shape, piece: Shape, units: list[Shape], unit: Shape) -> int:
    """Walk a whole volume and count, voxel for voxel, the units begun and not finished, those of the piece included."""
    most = 0
    for pieces in walk(extent, block, piece, units):
        left: Counter[Shape] = Counter()
        for cell in pieces:
            for voxel in itertools.product(*map(range, cell.start, cell.stop)):
                left[tuple(v // u for v, u in zip(voxel, unit, strict=True))] += 1
        begun: Counter[Shape] = Counter()
        for cell in pieces:
            for voxel in itertools.product(*map(range, cell.start, cell.stop)):
                begun[tuple(v // u for v, u in zip(voxel, unit, strict=True))] += 1
            most = max(most, len(begun))
            begun = Counter({index: n for index, n in begun.items() if n < left[index]})
    return most


@given(st.data(), ndims)
def test_inside_and_clip_to_extent(data: st.DataObject, ndim: int) -> None:
    extent, factor = data.draw(shapes(ndim, 40)), data.draw(shapes(ndim, 4))
    shape = multiply(data.draw(shapes(ndim, 20)), factor)
    clipped = clip_to_extent(shape, extent, factor)
    assert inside(clipped, extent) == inside(shape, extent) == tuple(map(min, shape, extent))
    assert all(n % f == 0 and n <= whole for n, whole, f in zip(clipped, shape, factor, strict=True))
    assert ceil_shape(extent, clipped) == ceil_shape(extent, shape)


@given(st.data(), ndims)
def test_read_amplification_is_what_a_walk_reads(data: st.DataObject, ndim: int) -> None:
    extent, chunks, piece = data.draw(shapes(ndim, 30)), data.draw(shapes(ndim, 8)), data.draw(shapes(ndim, 12))
    block = data.draw(st.one_of(shapes(ndim, 30), shapes(ndim, 3).map(lambda n: multiply(n, piece))))
    reads = sum(len(list(tile(cell, chunks))) for pieces in walk(extent, block, piece, []) for cell in pieces)
    assert read_amplification(extent, block, piece, chunks) == pytest.approx(
        reads / math.prod(ceil_shape(extent, chunks))
    )


@given(st.data(), ndims)
def test_aligned_pieces_read_every_chunk_once(data: st.DataObject, ndim: int) -> None:
    extent, chunks = data.draw(shapes(ndim, 30)), data.draw(shapes(ndim, 8))
    piece = multiply(chunks, data.draw(shapes(ndim, 3)))
    block = multiply(piece, data.draw(shapes(ndim, 3)))
    assert read_amplification(extent, block, piece, chunks) == 1


def test_read_amplification_of_a_petabyte_is_immediate() -> None:
    side = 100_000
    assert read_amplification((side,) * 3, (1024,) * 3, (130,) * 3, (64,) * 3) == pytest.approx(1.5**3, rel=0.2)


@given(st.data(), ndims)
def test_direct_means_that_no_piece_cuts_a_unit(data: st.DataObject, ndim: int) -> None:
    extent, unit = data.draw(shapes(ndim, 20)), data.draw(shapes(ndim, 6))
    piece = data.draw(st.one_of(shapes(ndim, 24), shapes(ndim, 4).map(lambda n: multiply(n, unit))))
    if is_direct(piece, unit, extent):
        block = multiply(piece, data.draw(shapes(ndim, 3)))
        for cell in itertools.chain.from_iterable(walk(extent, block, piece, [unit])):
            for whole in tile(cell, unit):
                assert whole.clip(extent).intersect(cell) == whole.clip(extent)


@given(st.data(), ndims)
def test_open_units_is_no_less_than_a_walk_leaves_open(data: st.DataObject, ndim: int) -> None:
    """With units of any shapes: buffers are what a task's memory promise hangs on."""
    piece = data.draw(shapes(ndim, 4))
    units = data.draw(st.lists(shapes(ndim, 8), min_size=1, max_size=3))
    block = data.draw(shapes(ndim, 12))
    extent = data.draw(st.one_of(st.just(block), shapes(ndim, 14)))
    for unit in units:
        assert open_units(block, piece, units, unit, extent) >= most_open(
            inside(block, extent), block, piece, units, unit
        )


@given(st.data(), ndims)
def test_open_units_of_nested_shapes(data: st.DataObject, ndim: int) -> None:
    """Pieces, write units and block that are whole numbers of each other, as powers of two are."""
    piece, *units = (
        tuple(2**e for e in exponents)
        for exponents in data.draw(st.lists(st.tuples(*[st.integers(0, 3)] * ndim), min_size=2, max_size=4))
    )
    block = (8,) * ndim
    extent = data.draw(st.one_of(st.just(block), shapes(ndim, 20 if ndim < 3 else 11)))
    for unit in units:
        told = open_units(block, piece, units, unit, extent)
        assert told >= most_open(extent, block, piece, units, unit)
        if extent == block:
            assert told == most_open(extent, block, piece, units, unit)


def test_open_units_of_shards_and_a_carry_in_chunks() -> None:
    """The carry is in chunks, finer than the shards of levels that come before it."""
    shards, carry = [(32, 32), (64, 64)], (16, 16)
    units = [*shards, carry]
    block = (128, 128)
    for unit in units:
        assert open_units(block, (8, 8), units, unit, block) == most_open(block, block, (8, 8), units, unit) == 1


@given(st.data(), ndims)
def test_blocks_grow_in_whole_units_and_only_while_they_should(data: st.DataObject, ndim: int) -> None:
    extent = data.draw(st.tuples(*[st.integers(1, 5000)] * ndim))
    factor = data.draw(shapes(ndim, 4))
    start = clip_to_extent(multiply(data.draw(shapes(ndim, 64)), factor), extent, factor)
    itemsize, slots = data.draw(st.sampled_from([1, 2, 8])), data.draw(st.integers(1, 16))
    largest = data.draw(st.sampled_from([math.inf, 2**16, 2**24]))
    block = grow_block(start, extent, factor, itemsize, slots, largest)
    for n, a, e in zip(block, start, extent, strict=True):
        assert n >= e or (n % a == 0 and (n // a).bit_count() == 1)
    if block != start:
        assert math.prod(block) * itemsize <= largest
        before = min(math.prod(ceil_shape(extent, start)), MOST_BLOCKS)
        assert math.prod(ceil_shape(extent, block)) >= min(before, BLOCKS_PER_SLOT * slots)
        assert math.prod(block) * itemsize < 2 * BLOCK_BYTES or math.prod(ceil_shape(extent, start)) > MOST_BLOCKS


def test_blocks_of_huge_grids_are_at_most_a_million() -> None:
    extent = (100_000,) * 3
    block = grow_block((64,) * 3, extent, (2,) * 3, 1, 8, math.inf)
    assert math.prod(ceil_shape(extent, block)) <= MOST_BLOCKS


@given(st.data(), ndims)
def test_pieces_grow_in_granules_that_divide_the_block(data: st.DataObject, ndim: int) -> None:
    granule = data.draw(st.tuples(*[st.integers(1, 100)] * ndim))
    block = multiply(granule, data.draw(shapes(ndim, 30)))
    pieces = list(grow_piece(granule, block, block, 8))
    assert pieces[0] == granule
    for smaller, piece in itertools.pairwise(pieces):
        assert math.prod(piece) > math.prod(smaller)
        assert math.prod(piece) * 8 <= PIECE_BYTES
        assert lcm_shape(piece, granule) == piece
        assert lcm_shape(piece, block) == block


def test_pieces_of_a_large_block_come_near_their_best_size() -> None:
    *_, piece = grow_piece((64,) * 3, (1024,) * 3, (4096,) * 3, 1)
    assert PIECE_BYTES / 4 < math.prod(piece) <= PIECE_BYTES
    assert max(piece) <= 2 * min(piece)
