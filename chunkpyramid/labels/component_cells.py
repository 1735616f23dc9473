"""The cells in which the components of a volume are found, one after the other, and what is recorded of each."""

from __future__ import annotations

import hashlib
import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
import numpy.typing as npt

from chunkpyramid.boxes import Box, Shape, ceil_div
from chunkpyramid.engine.records import Records
from chunkpyramid.labels.arrays.components import Components, padded

__all__ = ["CellComponents", "CellGrid", "CellRecords", "described"]

Array = npt.NDArray[Any]
Integers = npt.NDArray[np.int64]

# a cell: which of the volumes of the array it is in, and where in the grid of that along its three axes
Cell = Shape


@dataclass(frozen=True)
class CellGrid:
    """The cells of an array: pieces of blocks, of which each of the volumes along the ``leading`` axes is one.

    Volumes have three axes; those that are missing have length 1.
    """

    extent: Shape
    block: Shape
    piece: Shape
    leading: int

    @cached_property
    def volumes(self) -> int:
        """How many volumes there are."""
        return math.prod(self.extent[: self.leading])

    @cached_property
    def shape(self) -> Shape:
        """The shape of a volume."""
        return padded(self.extent[self.leading :])

    @cached_property
    def counts(self) -> Shape:
        """How many cells there are along each axis of a volume."""
        return tuple(
            n // b * ceil_div(b, p) + ceil_div(n % b, p)
            for n, b, p in zip(self.shape, self._block, self._piece, strict=True)
        )

    def box(self, cell: Cell) -> Box:
        """Return the voxels of a cell in its volume."""
        start, stop = [], []
        for at, n, b, p in zip(cell[1:], self.shape, self._block, self._piece, strict=True):
            block, piece = divmod(at, ceil_div(b, p))
            start.append(block * b + piece * p)
            stop.append(min(start[-1] + p, block * b + b, n))
        return Box(tuple(start), tuple(stop))

    def cells_in(self, piece: Box) -> Iterator[tuple[Cell, Shape]]:
        """Yield the cells of a piece, and where they are in it along the leading axes."""
        at = [
            start // b * ceil_div(b, p) + start % b // p
            for start, b, p in zip(self._spatial(piece.start, 0), self._block, self._piece, strict=True)
        ]
        for index in np.ndindex(piece.shape[: self.leading]):
            place = [i + start for i, start in zip(index, piece.start, strict=False)]
            volume = int(np.ravel_multi_index(place, self.extent[: self.leading])) if place else 0
            yield (volume, at[0], at[1], at[2]), index

    def ends(self, cell: Cell) -> list[tuple[int, int]]:
        """Return at which ends of a cell there are others: the axis, and 0 for its start or 1 for its end."""
        return [
            (axis, side)
            for axis in range(3)
            for side in (0, 1)
            if (cell[1 + axis] > 0 if side == 0 else cell[1 + axis] + 1 < self.counts[axis])
        ]

    @cached_property
    def _block(self) -> Shape:
        return self._spatial(self.block, 1)

    @cached_property
    def _piece(self) -> Shape:
        return self._spatial(self.piece, 1)

    def _spatial(self, entries: Shape, missing: int) -> Shape:
        spatial = entries[self.leading :]
        return (missing,) * (3 - len(spatial)) + spatial


@dataclass(frozen=True)
class CellComponents:
    """What is recorded of the components of a cell.

    ``firsts`` are voxels of the cell in C order. ``border`` has the numbers of the components that touch other cells,
    and ``digest`` tells these components, and where they touch other cells, from those of other voxels.
    """

    sizes: Integers
    firsts: Integers
    border: Integers
    digest: bytes


@dataclass(frozen=True)
class CellFaces:
    """Where the components of a cell touch other cells.

    ``planes`` has the outermost voxels at either end of each axis at which there are other cells: 1 + the place in
    ``border`` of their component, and 0 for the background. ``labels`` are those of the components of ``border``.
    """

    planes: Mapping[tuple[int, int], npt.NDArray[np.uint32]]
    labels: Array


def described(
    grid: CellGrid, cell: Cell, values: Array, found: Components, *, has_labels: bool
) -> tuple[CellComponents, CellFaces]:
    """Return what is recorded of the components of a cell with these voxels; all are alike unless it ``has_labels``."""
    planes = {end: found.numbers.take(-end[1], axis=end[0]) for end in grid.ends(cell)}
    touches = np.zeros(len(found.sizes) + 1, np.bool_)
    for plane in planes.values():
        touches[plane] = True
    touches[0] = False
    border = np.flatnonzero(touches)
    places = np.zeros(len(touches), np.uint32)
    places[border] = np.arange(1, len(border) + 1)
    labels = np.zeros(len(border), np.uint8)
    if has_labels:
        labels = values[np.unravel_index(found.firsts[border - 1], values.shape)]
    faces = CellFaces({end: places[plane] for end, plane in planes.items()}, labels)
    digest = hashlib.blake2b(digest_size=16)
    for part in (found.sizes, found.firsts, labels, *faces.planes.values()):
        digest.update(np.ascontiguousarray(part).data)
    return CellComponents(found.sizes, found.firsts, border, digest.digest()), faces


@dataclass(frozen=True)
class CellRecords:
    """Where what is recorded of cells is stored: in the scratch group of a job."""

    grid: CellGrid
    store: Any
    path: str

    def put(self, cell: Cell, components: CellComponents, faces: CellFaces) -> None:
        """Store what is known of a cell."""
        steps = np.diff(components.firsts.astype(np.int64), prepend=0)
        told = {
            "sizes": _narrow(components.sizes),
            "steps": _narrow(steps),
            "border": _narrow(np.diff(components.border, prepend=0)),
            "digest": np.frombuffer(components.digest, np.uint8),
        }
        if len(faces.labels):
            # in one, as each array takes time
            planes = np.concatenate([plane.ravel() for plane in faces.planes.values()])
            self._of("faces").put(cell, 0, {"labels": faces.labels, "planes": planes})
        self._of("components").put(cell, 0, told)

    def components(self, cell: Cell) -> CellComponents:
        """Return what is known of the components of a cell."""
        found = self._get("components", cell)
        return CellComponents(
            found["sizes"].astype(np.int64),
            np.cumsum(found["steps"], dtype=np.int64),
            np.cumsum(found["border"], dtype=np.int64),
            found["digest"].tobytes(),
        )

    def faces(self, cell: Cell) -> CellFaces:
        """Return where the components of a cell touch others."""
        found = self._get("faces", cell)
        shape = self.grid.box(cell).shape
        shapes = {end: shape[: end[0]] + shape[end[0] + 1 :] for end in self.grid.ends(cell)}
        parts = np.split(found["planes"], np.cumsum([math.prod(shape) for shape in shapes.values()])[:-1])
        planes = {end: part.reshape(shapes[end]) for end, part in zip(shapes, parts, strict=True)}
        return CellFaces(planes, found["labels"])

    def put_numbers(self, cell: Cell, numbers: Array, digest: bytes) -> None:
        """Store the numbers that the components of a cell have in the end, and what these were told from others by."""
        told = {"numbers": numbers, "digest": np.frombuffer(digest, np.uint8)}
        self._of("numbers").put(cell, 0, told)

    def numbers(self, cell: Cell) -> tuple[Array, bytes | None]:
        """Return what `put_numbers` has stored; no numbers, and no digest, if there are no components."""
        found = self._of("numbers").find(cell, 0, alone=False)
        if not isinstance(found, Mapping):
            return np.zeros(0, np.uint8), None
        return found["numbers"], found["digest"].tobytes()

    def _of(self, kind: str) -> Records:
        return Records(self.store, f"{self.path}/{kind}".lstrip("/"), 0)

    def _get(self, kind: str, cell: Cell) -> Mapping[str, Array]:
        found = self._of(kind).get(cell, 0, alone=False)
        if not isinstance(found, Mapping):
            raise TypeError("a record of a cell has several arrays")
        return found


def _narrow(values: Array) -> Array:
    """Return numbers that are not negative in as few bytes as they need."""
    return values.astype(np.min_scalar_type(int(values.max())) if values.size else np.uint8)
