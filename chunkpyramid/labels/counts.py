"""How many voxels each label of an array has, and where they are."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import _chunkpyramid_labels as kernels
import numpy as np
import numpy.typing as npt

from chunkpyramid.boxes import Box
from chunkpyramid.errors import ArgumentError

__all__ = ["LabelCounts", "bits_in_order_of_memory", "count_labels", "merge_counts"]

Integers = npt.NDArray[np.int64]

# Sums of coordinates are kept as high * 2**32 + low: those of a volume of 10**15 voxels exceed 64 bits.
WORD = 32
LOW_WORD = 2**WORD - 1


@dataclass(frozen=True)
class LabelCounts:
    """The labels of a part of a volume, in ascending order, each with its count and place.

    Attributes
    ----------
    label : ndarray of shape (n,)
        In the dtype of the volume.
    count : ndarray of int64, shape (n,)
        Numbers of voxels.
    border_count : ndarray of int64, shape (n,)
        Numbers of voxels at the border of the volume; zeros if only counts were asked for.
    start, stop : ndarray of int64, shape (n, ndim)
        Half-open bounding boxes, in voxels of the volume; shape (n, 0) if only counts were asked for.
    sum_high, sum_low : ndarray of int64, shape (n, ndim)
        Sums of the coordinates, exact: ``sum_high * 2**32 + sum_low``.
    """

    label: npt.NDArray[Any]
    count: Integers
    border_count: Integers
    start: Integers
    stop: Integers
    sum_high: Integers
    sum_low: Integers

    @property
    def centroid(self) -> npt.NDArray[np.float64]:
        """Mean coordinates of the voxels, shape (n, ndim)."""
        sums = np.ldexp(self.sum_high.astype(np.float64), WORD) + self.sum_low
        means: npt.NDArray[np.float64] = sums / self.count[:, None]
        return means

    def without(self, label: Any) -> LabelCounts:
        """Return the counts of all other labels."""
        kept = self.label != label
        return LabelCounts.from_arrays({name: values[kept] for name, values in self.to_arrays().items()})

    def to_arrays(self) -> dict[str, npt.NDArray[Any]]:
        """Return all arrays by name."""
        return dict(self.__dict__)

    @staticmethod
    def from_arrays(arrays: Mapping[str, npt.NDArray[Any]]) -> LabelCounts:
        """Return what `to_arrays` has told."""
        return LabelCounts(**{name: arrays[name] for name in LabelCounts.__dataclass_fields__})


def count_labels(
    values: npt.NDArray[Any],
    start: Sequence[int],
    *,
    interior: Box | None = None,
    with_boxes: bool = True,
    most: int | None = None,
) -> Iterator[LabelCounts]:
    """Count the labels of an array, which begins at the voxel ``start`` of a volume, in one or several parts.

    Voxels of the volume that are not in its ``interior`` are at its border; by default none is. C- and Fortran-ordered
    arrays are equally fast. Without boxes only counts are told, which is faster. A part ends where there are ``most``
    labels, so that what it takes is known beforehand; by default there is one part.

    Raises
    ------
    ArgumentError
        If the labels are neither integers nor bool.

    Examples
    --------
    >>> import numpy as np
    >>> (counts,) = count_labels(np.array([[0, 7, 7], [0, 0, 7]]), (10, 20))
    >>> counts.label.tolist(), counts.count.tolist(), counts.start.tolist(), counts.stop.tolist()
    ([0, 7], [3, 3], [[10, 20], [10, 21]], [[12, 22], [12, 23]])
    """
    bits, order = bits_in_order_of_memory(np.atleast_1d(values))
    dtype = values.dtype.newbyteorder("=")
    inner = Box.whole(values.shape) if interior is None else interior.relative_to(start)
    ranges = [(inner.start[axis], inner.stop[axis]) if axis < values.ndim else (0, 1) for axis in order]
    voxel, is_first = 0, True
    while is_first or voxel < values.size:
        labels, statistics, voxel = kernels.count(
            bits, with_boxes, bits.size + 1 if most is None else most, voxel, ranges
        )
        label = np.frombuffer(labels, np.uint64).astype(bits.dtype).view(dtype)
        told = np.frombuffer(statistics, np.int64).reshape(len(label), 2 + 3 * bits.ndim if with_boxes else 1)
        yield _part(label, told, order[: values.ndim] if with_boxes else [], start)
        is_first = False


def bits_in_order_of_memory(labels: npt.NDArray[Any]) -> tuple[npt.NDArray[Any], list[int]]:
    """Return the bits of labels, transposed so that kernels run along the last axis, and the order of the axes then.

    Raises
    ------
    ArgumentError
        If the labels are neither integers nor bool.
    """
    if labels.dtype.kind not in "iub":
        raise ArgumentError(f"labels must be integers or bool, but they are {labels.dtype}")
    native = np.require(labels, labels.dtype.newbyteorder("="))
    order = sorted(range(native.ndim), key=lambda axis: (native.shape[axis] > 1, -abs(native.strides[axis])))
    return native.transpose(order).view(f"u{native.itemsize}"), order


def _part(label: npt.NDArray[Any], told: Integers, order: Sequence[int], start: Sequence[int]) -> LabelCounts:
    """Return what the kernel has told, in ascending order of labels and in the coordinates of the volume."""
    ascending = np.argsort(label, kind="stable")
    label, told = label[ascending], told[ascending]
    count = np.ascontiguousarray(told[:, 0])
    border_count = np.ascontiguousarray(told[:, 1]) if told.shape[1] > 1 else np.zeros_like(count)
    placed = np.zeros((3, len(label), len(order)), np.int64)
    for at, axis in enumerate(order):
        placed[:, :, axis] = told[:, 2 + 3 * at : 5 + 3 * at].T
    offset = np.asarray(start, np.int64)[: len(order)]
    high, low = _product(offset, count[:, None])
    low += placed[2] & LOW_WORD
    high += (placed[2] >> WORD) + (low >> WORD)
    return LabelCounts(label, count, border_count, placed[0] + offset, placed[1] + offset + 1, high, low & LOW_WORD)


def _product(offset: Integers, count: Integers) -> tuple[Integers, Integers]:
    """Return the high and low words of ``offset * count``, which can exceed 64 bits far from the origin."""
    # the low words are multiplied unsigned, as their product has up to 64 bits
    low = (offset & LOW_WORD).astype(np.uint64) * (count & LOW_WORD).astype(np.uint64)
    high = (offset >> WORD) * count + (offset & LOW_WORD) * (count >> WORD) + (low >> np.uint64(WORD)).astype(np.int64)
    return high, (low & np.uint64(LOW_WORD)).astype(np.int64)


def merge_counts(first: LabelCounts, second: LabelCounts) -> LabelCounts:
    """Return the counts of two parts of a volume together."""
    labels = np.concatenate([first.label, second.label])
    ascending = np.argsort(labels, kind="stable")
    labels = labels[ascending]
    begins = np.flatnonzero(np.concatenate([[True], labels[1:] != labels[:-1]])) if len(labels) else np.zeros(0, int)

    def merged(name: str, ufunc: np.ufunc) -> Integers:
        both: Integers = np.concatenate([getattr(first, name), getattr(second, name)])[ascending]
        return ufunc.reduceat(both, begins, axis=0) if len(begins) else both

    high, low = merged("sum_high", np.add), merged("sum_low", np.add)
    return LabelCounts(
        labels[begins],
        merged("count", np.add),
        merged("border_count", np.add),
        merged("start", np.minimum),
        merged("stop", np.maximum),
        high + (low >> WORD),
        low & LOW_WORD,
    )
