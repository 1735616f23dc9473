"""Integer geometry: ceiling division, boxes, tiles and windows of a grid."""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import NamedTuple

__all__ = [
    "AxisFootprint",
    "Box",
    "Halo",
    "Shape",
    "axis_footprint",
    "ceil_div",
    "ceil_shape",
    "divide",
    "inside",
    "lcm_shape",
    "multiply",
    "tile",
    "windows",
]

Shape = tuple[int, ...]


def ceil_div(numerator: int, denominator: int) -> int:
    """Return ``ceil(numerator / denominator)`` for integers."""
    return -(-numerator // denominator)


def ceil_shape(shape: Sequence[int], factor: Sequence[int]) -> Shape:
    """Return the shape of the next level: ``ceil(n / f)`` per axis."""
    return tuple(ceil_div(n, f) for n, f in zip(shape, factor, strict=True))


def multiply(first: Sequence[int], second: Sequence[int]) -> Shape:
    """Return the product per axis."""
    return tuple(a * b for a, b in zip(first, second, strict=True))


def divide(first: Sequence[int], second: Sequence[int]) -> Shape:
    """Return the quotient per axis, rounded down: the index of the chunk of a shape that a voxel is in."""
    return tuple(a // b for a, b in zip(first, second, strict=True))


def inside(shape: Sequence[int], extent: Sequence[int]) -> Shape:
    """Return the part of ``shape`` that an array of ``extent`` can fill."""
    return tuple(min(n, e) for n, e in zip(shape, extent, strict=True))


def lcm_shape(first: Sequence[int], second: Sequence[int]) -> Shape:
    """Return the least common multiple per axis."""
    return tuple(math.lcm(a, b) for a, b in zip(first, second, strict=True))


@dataclass(frozen=True, slots=True)
class Halo:
    """The voxels around a box that are read along with it: how many ``before`` and ``after`` it along each axis."""

    before: Shape
    after: Shape

    @staticmethod
    def around(width: Shape) -> Halo:
        """Return the halo of so many voxels on either side."""
        return Halo(width, width)


@dataclass(frozen=True, slots=True)
class Box:
    """A half-open box of voxels of one level: ``start <= index < stop`` per axis."""

    start: Shape
    stop: Shape

    @staticmethod
    def at(start: Shape, shape: Sequence[int]) -> Box:
        """Return the box of a shape that begins at a voxel."""
        return Box(start, tuple(a + n for a, n in zip(start, shape, strict=True)))

    @staticmethod
    def whole(shape: Sequence[int]) -> Box:
        """Return the box of all voxels of an array."""
        return Box((0,) * len(shape), tuple(shape))

    @property
    def shape(self) -> Shape:
        return tuple(b - a for a, b in zip(self.start, self.stop, strict=True))

    @property
    def size(self) -> int:
        return math.prod(self.shape)

    @property
    def slices(self) -> tuple[slice, ...]:
        return tuple(slice(a, b) for a, b in zip(self.start, self.stop, strict=True))

    def clip(self, shape: Sequence[int]) -> Box:
        """Return the part of the box inside an array of this shape."""
        return Box(self.start, tuple(min(b, n) for b, n in zip(self.stop, shape, strict=True)))

    def fold(self, factor: Sequence[int]) -> Box:
        """Return the box of the coarser level, or of a grid of cells, that has a part of this one in it."""
        return Box(divide(self.start, factor), ceil_shape(self.stop, factor))

    def rounded_to(self, factor: Sequence[int]) -> Box:
        """Return the smallest box around this one that begins and ends at multiples of the factor."""
        cells = self.fold(factor)
        return Box(multiply(cells.start, factor), multiply(cells.stop, factor))

    def grow(self, halo: Halo, shape: Sequence[int]) -> Box:
        """Return the box with the voxels of its halo, as far as there are any in an array of this shape."""
        return Box(
            tuple(max(0, a - h) for a, h in zip(self.start, halo.before, strict=True)),
            tuple(min(n, b + h) for b, h, n in zip(self.stop, halo.after, shape, strict=True)),
        )

    def shift(self, offset: Sequence[int]) -> Box:
        """Return the box moved by ``offset``."""
        return Box(
            tuple(a + o for a, o in zip(self.start, offset, strict=True)),
            tuple(b + o for b, o in zip(self.stop, offset, strict=True)),
        )

    def relative_to(self, origin: Sequence[int]) -> Box:
        """Return the box in coordinates whose zero is ``origin``."""
        return self.shift(tuple(-o for o in origin))

    def overlaps(self, other: Box) -> bool:
        """Whether two boxes have a voxel in common."""
        axes = zip(self.start, self.stop, other.start, other.stop, strict=True)
        return all(max(a, c) < min(b, d) for a, b, c, d in axes)

    def contains(self, other: Box) -> bool:
        """Whether all voxels of another box are in this one."""
        axes = zip(self.start, self.stop, other.start, other.stop, strict=True)
        return all(a <= c and d <= b for a, b, c, d in axes)

    def intersect(self, other: Box) -> Box:
        """Return the common part of two boxes that overlap."""
        return Box(
            tuple(max(a, b) for a, b in zip(self.start, other.start, strict=True)),
            tuple(min(a, b) for a, b in zip(self.stop, other.stop, strict=True)),
        )


def tile(box: Box, shape: Sequence[int]) -> Iterator[Box]:
    """Yield the cells of the grid of ``shape`` that meet ``box``, whole, in C order."""
    ranges = [range(a // n, ceil_div(b, n)) for a, b, n in zip(box.start, box.stop, shape, strict=True)]
    for index in itertools.product(*ranges):
        yield Box.at(multiply(index, shape), shape)


def windows(counts: Sequence[int], most: int) -> Iterator[Box]:
    """Cut a grid of ``counts`` cells into boxes of at most ``most`` cells, in C order."""
    window = list(counts)
    for axis in range(len(window)):
        if math.prod(window) <= most:
            break
        window[axis] = max(1, most // math.prod(window[axis + 1 :]))
    for cell in tile(Box.whole(counts), window):
        yield cell.clip(counts)


class AxisFootprint(NamedTuple):
    """The level-0 voxels under ``each`` index of an axis but the last, and under the ``last``."""

    each: int
    last: int

    def coarser(self, size: int, factor: int) -> AxisFootprint:
        """Return the footprint of the next level of an axis of this size."""
        count = ceil_div(size, factor)
        last = (size - (count - 1) * factor - 1) * self.each + self.last
        return AxisFootprint(factor * self.each if count > 1 else last, last)


def axis_footprint(start: int, stop: int, cumulative: int, length: int) -> AxisFootprint:
    """Return the footprint of the indices ``start..stop`` of a level's axis.

    ``cumulative`` is the level's cumulative factor and ``length`` the level-0 length of that axis.
    """
    last = min(cumulative, length - (stop - 1) * cumulative)
    return AxisFootprint(cumulative if stop - start > 1 else last, last)
