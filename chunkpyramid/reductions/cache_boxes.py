"""The boxes in which several levels are made, so that what one level leaves to the next is still in a cache."""

from __future__ import annotations

import math
from collections.abc import Sequence

from chunkpyramid.boxes import Shape

__all__ = ["box_shape"]


def box_shape(shape: Sequence[int], factors: Sequence[Sequence[int]], most_voxels: int) -> Shape:
    """Return the shape of the boxes that an array is cut into, of which one after the other goes through all levels.

    Boxes are whole footprints of the last level, and have no more voxels than asked for unless one footprint has. Slow
    axes are cut first, because long rows are read faster; nothing is cut for one level.

    Parameters
    ----------
    shape
        The shape of the array, the slowest axis in memory first.
    factors
        Those of all levels, axes in the same order.
    most_voxels
        How many voxels a box may have.

    Examples
    --------
    >>> box_shape((100, 200, 300), [(2, 2, 2), (2, 2, 2)], most_voxels=1_000_000)
    (16, 200, 300)
    >>> box_shape((100, 200, 300), [(2, 2, 2), (2, 2, 2)], most_voxels=100_000)
    (4, 80, 300)
    """
    box = list(shape)
    if len(factors) == 1:
        return tuple(box)
    for axis in range(len(box)):
        if math.prod(box) <= most_voxels:
            break
        footprint = math.prod(factor[axis] for factor in factors)
        others = math.prod(box) // box[axis]
        box[axis] = min(box[axis], max(1, most_voxels // (others * footprint)) * footprint)
    return tuple(box)
