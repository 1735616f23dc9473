"""Where the voxels of each label are."""

from __future__ import annotations

import _chunkpyramid_labels as kernels
import numpy as np

from chunkpyramid.errors import ArgumentError
from chunkpyramid.labels.arrays.in_memory import Array, as_bits, check_kind, contiguous, flat
from chunkpyramid.labels.arrays.unique import tally

__all__ = ["point_cloud"]

# coordinates are uint16
LONGEST_AXIS = 1 << 16


def point_cloud(arr: Array, shell: bool = False) -> dict[int, Array]:
    """Return the coordinates of the voxels of each label.

    Parameters
    ----------
    arr : ndarray of two or three axes
        Integers or bool; zero is the background.
    shell : bool, default False
        Whether only voxels at the surface of labels are told, those of the background too: voxels with a face that
        belongs to the border of the image or to another label. For images of three axes.

    Returns
    -------
    dict
        For each label, in ascending order, an ndarray of uint16 of shape (n, 2) or (n, 3): coordinates along all axes.
        Voxels are in the order of memory if the array is in C or in Fortran order, else in C order.

    Raises
    ------
    ArgumentError
        If there are more or fewer axes, one is too long for uint16, or bytes are in the other order.
    NotImplementedError
        If the surface is asked for in an image of two axes.
    TypeError
        If the array is of another dtype.

    Examples
    --------
    >>> import numpy as np
    >>> clouds = point_cloud(np.array([[0, 7, 7], [0, 3, 0]]))
    >>> {label: points.tolist() for label, points in clouds.items()}
    {3: [[1, 1]], 7: [[0, 1], [0, 2]]}
    """
    dtype = arr.dtype
    if arr.ndim not in (2, 3):
        raise ArgumentError(f"an image of 2 or 3 axes has a point cloud, not one of {arr.ndim}")
    if shell and arr.ndim == 2:
        raise NotImplementedError("the shell of an image of 2 axes is not known")
    check_kind(arr, "biu", "labels")
    if arr.size == 0:
        return {}
    if max(arr.shape) > LONGEST_AXIS:
        raise ArgumentError(f"coordinates up to {max(arr.shape) - 1} do not fit uint16")
    array: Array = arr.view("u1") if dtype.kind == "b" else arr
    memory, order = contiguous(array)
    rows = memory if order == "C" else memory.T
    if shell:
        return _shell(rows, order == "F")
    labels, counts, _, _ = tally(flat(memory, order))
    counts, labels = counts[labels != 0], labels[labels != 0]
    stops = np.cumsum(counts)
    begins = stops - counts
    points = np.empty((int(counts.sum()), arr.ndim), np.uint16)
    kernels.write_points(as_bits(rows), as_bits(labels).astype(np.uint64), begins.copy(), points, order == "F")
    return _clouds(labels, begins, stops, points)


def _clouds(labels: Array, begins: Array, stops: Array, points: Array) -> dict[int, Array]:
    parts = zip(labels.tolist(), begins.tolist(), stops.tolist(), strict=True)
    return {label: points[begin:stop] for label, begin, stop in parts}


def _shell(rows: Array, is_reversed: bool) -> dict[int, Array]:
    inside = np.zeros(rows.shape, np.bool_)
    core = rows[1:-1, 1:-1, 1:-1]
    same = np.ones(core.shape, np.bool_)
    for axis in range(3):
        for begin, stop in ((0, -2), (2, None)):
            beside = [slice(1, -1)] * 3
            beside[axis] = slice(begin, stop)
            same &= rows[tuple(beside)] == core
    inside[1:-1, 1:-1, 1:-1] = same
    places = np.flatnonzero(~inside)
    found = rows.reshape(-1)[places]
    ascending = np.argsort(found, kind="stable")
    coordinates = np.unravel_index(places[ascending], rows.shape)
    points = np.stack(coordinates[::-1] if is_reversed else coordinates, axis=1).astype(np.uint16)
    labels, begins, counts = np.unique(found[ascending], return_index=True, return_counts=True)
    return _clouds(labels, begins, begins + counts, points)
