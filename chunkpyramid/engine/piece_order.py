"""The order in which the pieces of a block are walked; what stays open while they are follows from it."""

from __future__ import annotations

import itertools
import math
from collections.abc import Sequence

from chunkpyramid.boxes import Box, Shape, divide, tile

__all__ = ["nested_order"]


def nested_order(box: Box, piece: Sequence[int], units: Sequence[Sequence[int]]) -> list[Box]:
    """Return the pieces of a box, ordered so that a write unit is finished before the next is begun.

    ``units`` are the write-unit shapes of all arrays in coordinates of the box. Pieces are sorted by the largest
    unit that they start in, then by the next smaller one, and so on. Where everything is a power of two this is
    Morton order at the granularity that matters.
    """
    # by size and not by level: the carry of the last level is in chunks, which shards of finer levels can exceed
    coarsest_first = sorted(units, key=math.prod, reverse=True)
    # no two pieces start in one unit that is no larger than they are, and they come in C order
    larger = list(
        itertools.takewhile(lambda unit: any(u > p for u, p in zip(unit, piece, strict=True)), coarsest_first)
    )
    pieces = [cell.shift(box.start) for cell in tile(Box.whole(box.shape), piece)]

    def key(cell: Box) -> list[Shape]:
        return [divide(cell.start, unit) for unit in larger]

    return [cell.intersect(box) for cell in sorted(pieces, key=key)]
