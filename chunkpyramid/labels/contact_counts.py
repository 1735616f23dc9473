"""Which labels of an array touch, and how often."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import product
from typing import Any

import _chunkpyramid_labels as kernels
import numpy as np
import numpy.typing as npt

from chunkpyramid.boxes import Shape
from chunkpyramid.labels.counts import bits_in_order_of_memory

__all__ = ["ContactCounts", "Neighbours", "count_contacts", "merge_contacts", "neighbours_of"]

Integers = npt.NDArray[np.int64]


@dataclass(frozen=True)
class ContactCounts:
    """The pairs of labels that touch in a part of a volume, in ascending order.

    Attributes
    ----------
    first, second : ndarray of shape (n,)
        In the dtype of the volume, the lesser label first.
    count : ndarray of int64, shape (n,)
        How many pairs of voxels touch.
    faces_per_axis : ndarray of int64, shape (n, number of spatial axes)
        How many of them share a face that is normal to an axis.
    """

    first: npt.NDArray[Any]
    second: npt.NDArray[Any]
    count: Integers
    faces_per_axis: Integers

    def to_arrays(self) -> dict[str, npt.NDArray[Any]]:
        """Return all arrays by name."""
        return dict(self.__dict__)

    @staticmethod
    def from_arrays(arrays: Mapping[str, npt.NDArray[Any]]) -> ContactCounts:
        """Return what `to_arrays` has told."""
        return ContactCounts(**{name: arrays[name] for name in ContactCounts.__dataclass_fields__})


@dataclass(frozen=True)
class Neighbours:
    """Two voxels of a cell of two voxels along each axis that touch: where they are in it.

    Every pair of neighbours of a volume is once in such a cell so that no smaller one has both of them. ``face`` is
    the axis along which they share a face, -1 if they only share an edge or a corner.
    """

    first: Shape
    second: Shape
    face: int


def neighbours_of(spatial: Sequence[bool], most_steps: int) -> list[Neighbours]:
    """Return the kinds of neighbours that differ by at most so many steps along spatial axes."""
    found = []
    for steps in product(*[(0, 1, -1) if is_space else (0,) for is_space in spatial]):
        # of a step and its opposite one is taken
        if not 1 <= np.count_nonzero(steps) <= most_steps or next(step for step in steps if step) < 0:
            continue
        face = next(axis for axis, step in enumerate(steps) if step) if np.count_nonzero(steps) == 1 else -1
        found.append(Neighbours(tuple(int(s < 0) for s in steps), tuple(int(s > 0) for s in steps), face))
    return found


def count_contacts(
    values: npt.NDArray[Any],
    core: Shape,
    spatial: Sequence[bool],
    *,
    most_steps: int,
    background: int | None,
    most: int | None = None,
) -> Iterator[ContactCounts]:
    """Count the contacts of the labels of an array, in one or several parts.

    Parameters
    ----------
    values : ndarray
        Labels: integers or bool. C- and Fortran-ordered arrays are equally fast.
    core : tuple of int
        The shape of the part at the start of the array that is looked at. What is after it along spatial axes is there
        for the neighbours of its last voxels: a volume that is put together of cores has each contact once.
    spatial : sequence of bool
        Which axes contacts are looked for along.
    most_steps : int
        Along how many axes voxels may differ and still touch: 1 for faces, 2 for edges, 3 for corners.
    background : int, optional
        The label that is left out.
    most : int, optional
        A part ends where there are so many pairs of labels, so that what it takes is known beforehand; by default there
        is one part.

    Raises
    ------
    ArgumentError
        If the labels are neither integers nor bool.

    Examples
    --------
    >>> import numpy as np
    >>> labels = np.array([[1, 1, 2], [1, 0, 2]])
    >>> (counts,) = count_contacts(labels, (2, 3), (True, True), most_steps=1, background=0)
    >>> counts.first.tolist(), counts.second.tolist(), counts.count.tolist(), counts.faces_per_axis.tolist()
    ([1], [2], [1], [[0, 1]])
    """
    bits, order = bits_in_order_of_memory(values)
    dtype = values.dtype.newbyteorder("=")
    kinds = [
        ([kind.first[axis] for axis in order], [kind.second[axis] for axis in order], _place(order, kind.face))
        for kind in neighbours_of(spatial, most_steps)
    ]
    # in the order of memory, of which the kernel tells
    faces = [order.index(axis) for axis, is_space in enumerate(spatial) if is_space]
    step, is_finished = 0, False
    while not is_finished:
        pairs, statistics, step, is_finished = kernels.contacts(
            bits,
            [core[axis] for axis in order],
            kinds,
            _bits_of(background, dtype),
            14 * bits.size if most is None else most,
            step,
        )
        both = np.frombuffer(pairs, np.uint64).astype(bits.dtype).view(dtype).reshape(-1, 2)
        told = np.frombuffer(statistics, np.int64).reshape(len(both), 1 + bits.ndim)
        lesser, greater = both.min(axis=1), both.max(axis=1)
        ascending = np.lexsort((greater, lesser))
        told = told[ascending]
        yield ContactCounts(
            lesser[ascending],
            greater[ascending],
            np.ascontiguousarray(told[:, 0]),
            np.ascontiguousarray(told[:, 1:][:, faces]),
        )


def _place(order: Sequence[int], axis: int) -> int:
    return order.index(axis) if axis >= 0 else -1


def _bits_of(background: int | None, dtype: np.dtype[Any]) -> int | None:
    """Return the bits of the background as an unsigned number, None if no voxel can have it."""
    if background is None:
        return None
    limits = (0, 1) if dtype.kind == "b" else (np.iinfo(dtype).min, np.iinfo(dtype).max)
    if not limits[0] <= background <= limits[1]:
        return None
    return int(background) % 2 ** (8 * dtype.itemsize)


def merge_contacts(first: ContactCounts, second: ContactCounts) -> ContactCounts:
    """Return the contacts of two parts of a volume together."""
    both = {name: np.concatenate([values, getattr(second, name)]) for name, values in first.to_arrays().items()}
    ascending = np.lexsort((both["second"], both["first"]))
    if not len(ascending):
        return first
    lesser, greater = both["first"][ascending], both["second"][ascending]
    is_new = (lesser[1:] != lesser[:-1]) | (greater[1:] != greater[:-1])
    begins = np.flatnonzero(np.concatenate([[True], is_new]))
    return ContactCounts(
        lesser[begins],
        greater[begins],
        np.add.reduceat(both["count"][ascending], begins),
        np.add.reduceat(both["faces_per_axis"][ascending], begins, axis=0),
    )
