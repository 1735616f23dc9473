"""Between the two passes: which components of cells are one, and the numbers that they have in the whole volume."""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from functools import lru_cache

import _chunkpyramid_labels as kernels
import numpy as np
import numpy.typing as npt

from chunkpyramid.labels.component_cells import Cell, CellComponents, CellFaces, CellGrid, CellRecords
from chunkpyramid.labels.large_array import LargeArray

__all__ = ["merge_components"]

Integers = npt.NDArray[np.int64]

# The largest part of what may be in memory that each array of the parts of components takes, and that the faces and the
# components of cells take that are kept because others need them soon.
PART = 8

BYTES_PER_FACE_VOXEL = 4
BYTES_PER_COMPONENT = 24

# pairs of numbers are told as one, the first number in the high word
WORD = np.uint64(32)
LOW_WORD = np.uint64(2**32 - 1)

# the faces of a cell and of those before it that it touches
LEAST_FACES = 14


def merge_components(
    grid: CellGrid,
    records: CellRecords,
    found: Iterable[Sequence[int]],
    *,
    reach: int,
    dust: int,
    memory: int,
    go_on: Callable[[], None],
) -> int:
    """Store the final number of each component of each cell, and return how many components there are in all.

    Parameters
    ----------
    found : iterable
        Of each cell that has components the cell, how many there are, and how many of these touch other cells.
    memory : int
        Bytes that may be taken.
    go_on : callable
        Called every now and then.
    """
    known = np.array(sorted(map(tuple, found)), np.int64).reshape(-1, 6)
    kept = memory // PART // (BYTES_PER_COMPONENT * int(known[:, 4].max(initial=1)))
    cells = _Cells(
        grid,
        records,
        {tuple(row[:4]): int(row[5]) for row in known.tolist()},
        dict(zip(map(tuple, known[:, :4].tolist()), (np.cumsum(known[:, 5]) - known[:, 5]).tolist(), strict=True)),
        lru_cache(maxsize=max(1, kept))(records.components),
    )
    parts = _Parts.of(int(known[:, 5].sum()), memory // PART)
    _join(cells, parts, reach, memory // PART, go_on)
    return _number(cells, parts, dust, go_on)


@dataclass(frozen=True)
class _Cells:
    """The cells that have components: of how many of these touch other cells, and the number of the first such part."""

    grid: CellGrid
    records: CellRecords
    touching: dict[Cell, int]
    first_part: dict[Cell, int]
    components: Callable[[Cell], CellComponents]

    def parts(self, cell: Cell) -> Integers:
        """Return the numbers of the parts in a cell."""
        first = self.first_part[cell]
        return np.arange(first, first + self.touching[cell])

    def firsts(self, cell: Cell, components: CellComponents) -> Integers:
        """Return the first voxels of the components of a cell as indices into all volumes, in C order."""
        index = np.full(len(components.firsts), cell[0], np.int64)
        box = self.grid.box(cell)
        places = np.unravel_index(components.firsts, box.shape)
        for place, start, size in zip(places, box.start, self.grid.shape, strict=True):
            index = index * size + (place + start)
        return index


@dataclass(frozen=True)
class _Parts:
    """The components of cells that touch other cells, each with the one that it was joined to.

    Of those that were joined to none, the roots, ``sizes`` and ``firsts`` tell of all that were joined to them;
    ``numbers`` are their final numbers.
    """

    parents: LargeArray
    sizes: LargeArray
    firsts: LargeArray
    numbers: LargeArray

    @staticmethod
    def of(count: int, most_bytes: int) -> _Parts:
        return _Parts(*(LargeArray(count, most_bytes=most_bytes) for _ in range(4)))

    def roots(self, parts: Integers) -> Integers:
        """Return the roots of parts."""
        found = parts.copy()
        kernels.roots(self.parents.values, found)
        return found

    def give_back(self) -> None:
        for array in (self.parents, self.sizes, self.firsts, self.numbers):
            array.give_back()


def _join(cells: _Cells, parts: _Parts, reach: int, memory: int, go_on: Callable[[], None]) -> None:
    """Join the components of neighbouring cells that touch."""
    # the first cell is as large as any, and at each end of an axis there is a face
    largest = 6 * math.prod(sorted(cells.grid.box((0, 0, 0, 0)).shape)[1:]) * BYTES_PER_FACE_VOXEL
    faces = lru_cache(maxsize=max(LEAST_FACES, memory // largest))(cells.records.faces)
    offsets = [
        offset
        for offset in itertools.product((-1, 0, 1), repeat=3)
        if offset < (0, 0, 0) and sum(map(abs, offset)) <= reach
    ]
    for cell, count in cells.touching.items():
        if not count:
            continue
        components = cells.components(cell)
        own = cells.parts(cell)
        parts.parents.values[own] = own
        parts.sizes.values[own] = components.sizes[components.border - 1]
        parts.firsts.values[own] = cells.firsts(cell, components)[components.border - 1]
        for offset in offsets:
            other = (cell[0], *(at + step for at, step in zip(cell[1:], offset, strict=True)))
            if not cells.touching.get(other):
                continue
            pairs = _touching(faces(cell), faces(other), offset, reach)
            pairs += [cells.first_part[cell], cells.first_part[other]]
            kernels.unite(parts.parents.values, parts.sizes.values, parts.firsts.values, pairs.ravel())
        parts.give_back()
        go_on()


def _touching(own: CellFaces, other: CellFaces, offset: Sequence[int], reach: int) -> Integers:
    """Return the pairs of places in the borders of two cells whose components touch and are alike."""
    first, second = _adjoining(own, offset, 0), _adjoining(other, offset, 1)
    found = np.frombuffer(kernels.touching(first, second, reach - sum(map(abs, offset))), np.uint64)
    distinct = np.unique(found)
    pairs = np.stack([distinct >> WORD, distinct & LOW_WORD], axis=1).astype(np.int64) - 1
    alike: Integers = pairs[own.labels[pairs[:, 0]] == other.labels[pairs[:, 1]]]
    return alike


def _axis(offset: Sequence[int]) -> int:
    return next(axis for axis, step in enumerate(offset) if step)


def _adjoining(faces: CellFaces, offset: Sequence[int], side: int) -> npt.NDArray[np.uint32]:
    """Return the outermost voxels of a cell towards the other one; ``side`` 1 is that of the one at the offset."""
    axis = _axis(offset)
    ends = [None if step == 0 else int((step > 0) != (side == 1)) for step in offset]
    end = ends[axis]
    plane = faces.planes[axis, 0 if end is None else end]
    rest = ends[:axis] + ends[axis + 1 :]
    return plane[tuple(slice(None) if end is None else slice(-1, None) if end else slice(0, 1) for end in rest)]


def _number(cells: _Cells, parts: _Parts, dust: int, go_on: Callable[[], None]) -> int:
    """Number the components in the order of their first voxels, and store the numbers of each cell."""
    total = 0
    for _, layer in itertools.groupby(cells.touching, key=lambda cell: cell[:2]):
        total = _number_layer(cells, parts, dust, list(layer), total, go_on)
    return total


def _number_layer(
    cells: _Cells, parts: _Parts, dust: int, layer: Sequence[Cell], total: int, go_on: Callable[[], None]
) -> int:
    """Number the components that begin in a layer of cells, and return how many there are so far."""
    grid = cells.grid
    height = grid.box(layer[0]).shape[0]
    # what comes before a component: those of the planes before its own, and of the rows of cells before its own
    begun = np.zeros((height, grid.counts[1]), np.int64)
    for cell in layer:
        planes = _places(cells, parts, dust, cell)[1][0]
        begun[:, cell[2]] += np.bincount(planes, minlength=height)
        go_on()
    begins = total + np.cumsum(begun).reshape(begun.shape) - begun
    for at, row in itertools.groupby(layer, key=lambda cell: cell[2]):
        row_of_cells = list(row)
        # in a row of cells: those of the rows of voxels before its own, and of the cells before its own
        width = grid.box(row_of_cells[0]).shape[1]
        counts = np.zeros((height, width, len(row_of_cells)), np.int64)
        for place, cell in enumerate(row_of_cells):
            z, y, _ = _places(cells, parts, dust, cell)[1]
            counts[:, :, place] = np.bincount(z * width + y, minlength=height * width).reshape(height, width)
        flat = counts.reshape(height, -1)
        starts = (begins[:, at, None] + np.cumsum(flat, axis=1) - flat).reshape(counts.shape)
        for place, cell in enumerate(row_of_cells):
            _number_cell(cells, parts, dust, cell, starts[:, :, place])
            parts.give_back()
            go_on()
    for cell in layer:
        if cells.touching[cell]:
            numbers, digest = cells.records.numbers(cell)
            components = cells.components(cell)
            finished = numbers.astype(np.uint64)
            finished[components.border - 1] = parts.numbers.values[parts.roots(cells.parts(cell))]
            cells.records.put_numbers(cell, _fitting(finished), digest or b"")
            parts.give_back()
            go_on()
    return total + int(begun.sum())


def _number_cell(cells: _Cells, parts: _Parts, dust: int, cell: Cell, starts: Integers) -> None:
    """Number the components that begin in a cell: those of each row of voxels from where they start."""
    chosen, (z, y, _), components = _places(cells, parts, dust, cell)
    begins = starts[z, y]
    rows = z * starts.shape[1] + y
    first_of_row = np.searchsorted(rows, rows)
    given = begins + np.arange(len(rows)) - first_of_row + 1
    numbers = np.zeros(len(components.sizes), np.uint64)
    numbers[chosen] = given
    at_border = np.zeros(len(components.sizes), np.bool_)
    at_border[components.border - 1] = True
    touching = at_border[chosen]
    if touching.any():
        own = cells.parts(cell)[np.searchsorted(components.border - 1, chosen[touching])]
        parts.numbers.values[parts.roots(own)] = given[touching]
    cells.records.put_numbers(cell, _fitting(numbers), components.digest)


def _places(
    cells: _Cells, parts: _Parts, dust: int, cell: Cell
) -> tuple[Integers, tuple[Integers, Integers, Integers], CellComponents]:
    """Return which components of a cell are kept and begin in it, in this order, and where, and all of them."""
    components = cells.components(cell)
    sizes, begins = components.sizes.copy(), np.ones(len(components.sizes), np.bool_)
    if len(components.border):
        roots = parts.roots(cells.parts(cell))
        sizes[components.border - 1] = parts.sizes.values[roots]
        firsts = cells.firsts(cell, components)[components.border - 1]
        begins[components.border - 1] = parts.firsts.values[roots] == firsts
    chosen = np.flatnonzero(begins & (sizes >= dust))
    z, y, x = np.unravel_index(components.firsts[chosen], cells.grid.box(cell).shape)
    return chosen, (z, y, x), components


def _fitting(numbers: npt.NDArray[np.uint64]) -> npt.NDArray[np.unsignedinteger]:
    """Return numbers in as few bytes as they need."""
    return numbers.astype(np.min_scalar_type(int(numbers.max())) if len(numbers) else np.uint8)
