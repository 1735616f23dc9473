"""Shapes of blocks and pieces, and what follows from them: how often a chunk is read, how many units stay open."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from functools import lru_cache
from itertools import pairwise

import numpy as np
import numpy.typing as npt

from chunkpyramid.boxes import Box, Shape, ceil_div, ceil_shape, inside
from chunkpyramid.engine.piece_order import nested_order

__all__ = ["clip_to_extent", "grow_block", "grow_piece", "is_direct", "open_units", "read_amplification"]

# Pieces near this size stream as fast as larger ones: the folds stay in cache, the reads span several chunks.
PIECE_BYTES = 32 * 2**20

# Blocks smaller than this spend their time in scheduling, so small ones are joined while enough remain: a kill costs a
# slot no more than a block, and ten of them should cost no more than half of a build.
BLOCK_BYTES = 64 * 2**20
BLOCKS_PER_SLOT = 20
MOST_BLOCKS = 1_000_000

# Walks of more pieces or write units than this are not followed step by step while planning.
LONGEST_WALK = 50_000


def clip_to_extent(shape: Shape, extent: Shape, factor: Shape) -> Shape:
    """Return ``shape``, cut where it spans the whole axis, but kept a multiple of the stage's factor."""
    return tuple(min(n, ceil_div(e, f) * f) for n, e, f in zip(shape, extent, factor, strict=True))


def grow_block(block: Shape, extent: Shape, factor: Shape, itemsize: int, slots: int, largest: float) -> Shape:
    """Double a block along its shortest axes while it is small and enough blocks remain to fill the slots.

    ``largest`` bounds the bytes of the block, for sources whose blocks are held in memory as a whole.
    """
    while True:
        axes = [axis for axis in range(len(block)) if block[axis] < extent[axis]]
        if not axes:
            return block
        shortest = min(reversed(axes), key=lambda axis: block[axis])
        doubled = tuple(2 * n if axis == shortest else n for axis, n in enumerate(block))
        doubled = clip_to_extent(doubled, extent, factor)
        nbytes = math.prod(block) * itemsize
        too_many = math.prod(ceil_shape(extent, block)) > MOST_BLOCKS
        enough_remain = math.prod(ceil_shape(extent, doubled)) >= BLOCKS_PER_SLOT * slots
        if 2 * nbytes > largest or not (too_many or (nbytes < BLOCK_BYTES and enough_remain)):
            return block
        block = doubled


def grow_piece(granule: Shape, block: Shape, extent: Shape, itemsize: int) -> Iterator[Shape]:
    """Yield piece shapes from ``granule`` up to about `PIECE_BYTES`: multiples of it that divide the block."""
    piece = granule
    while True:
        yield piece
        steps = []
        for axis, (n, b) in enumerate(zip(piece, block, strict=True)):
            if n < b:
                ratio = ceil_div(b, n)
                divisor = next((p for p in range(2, math.isqrt(ratio) + 1) if ratio % p == 0), ratio)
                steps.append((min(n * divisor, b), -axis))
        if not steps:
            return
        length, axis = min(steps)
        piece = tuple(length if i == -axis else n for i, n in enumerate(piece))
        if math.prod(inside(piece, extent)) * itemsize > PIECE_BYTES:
            return


def read_amplification(extent: Shape, block: Shape, piece: Shape, chunks: Shape) -> float:
    """Return how many times a chunk is read on average: 1 if pieces and blocks are whole numbers of chunks."""
    product = 1.0
    for n, b, p, c in zip(extent, block, piece, chunks, strict=True):
        if b % p == 0 and p % c == 0:
            continue
        touched = 0
        for start in range(0, n, b):
            stop = min(start + b, n)
            touched += sum(ceil_div(min(a + p, stop), c) - a // c for a in range(start, stop, p))
        product *= touched / ceil_div(n, c)
    return product


def is_direct(piece: Shape, unit: Shape, extent: Shape) -> bool:
    """Whether every piece is a whole number of write units, so that no buffer is needed."""
    return all(p % u == 0 or p >= e for p, u, e in zip(piece, unit, extent, strict=True))


def open_units(block: Shape, piece: Shape, units: Sequence[Shape], unit: Shape, extent: Shape) -> int:
    """Return how many write units of one array are incomplete at the same time while a block is walked.

    ``units`` are the write units of all arrays of the stage, and ``unit`` is one of them, all in voxels of the level
    that is read. Walks that are very long and do not nest in the units get an upper bound.
    """
    whole = inside(block, extent)
    chain = sorted(units, key=math.prod)
    nested = all(b % a == 0 for first, second in pairwise(chain) for a, b in zip(first, second, strict=True)) and all(
        p % u == 0 or u % p == 0 or p >= n for each in chain for p, u, n in zip(piece, each, whole, strict=True)
    )
    if nested:
        return math.prod(ceil_shape(inside(piece, whole), unit))
    all_units = math.prod(ceil_shape(whole, unit))
    if max(all_units, math.prod(ceil_shape(whole, piece))) > LONGEST_WALK:
        return all_units
    first = last = _walk(whole, piece, tuple(chain))
    for axis, (n, p, u) in enumerate(zip(whole, piece, unit, strict=True)):
        # the pieces that touch a unit are a range along every axis; reduceat takes the ends of all ranges in turn, and
        # the padding lets ranges end at the end
        starts = np.arange(0, n, u)
        ends = np.stack([starts // p, -(-np.minimum(starts + u, n) // p)], axis=1).ravel()
        padding = [(0, int(other == axis)) for other in range(len(whole))]
        every_other = (slice(None),) * axis + (slice(None, None, 2),)
        first = np.minimum.reduceat(np.pad(first, padding), ends, axis=axis)[every_other]
        last = np.maximum.reduceat(np.pad(last, padding), ends, axis=axis)[every_other]
    steps = np.bincount(first.ravel(), minlength=last.max() + 2) - np.bincount(last.ravel() + 1)
    return int(np.cumsum(steps).max())


@lru_cache(maxsize=1)
def _walk(whole: Shape, piece: Shape, units: tuple[Shape, ...]) -> npt.NDArray[np.intp]:
    """Return the position in `nested_order` of every piece of a block, as an array over the grid of pieces."""
    counts = ceil_shape(whole, piece)
    pieces = nested_order(Box.whole(whole), piece, units)
    index = np.array([cell.start for cell in pieces]) // piece
    position = np.empty(counts, dtype=np.intp)
    position[tuple(index.T)] = np.arange(len(pieces))
    return position
