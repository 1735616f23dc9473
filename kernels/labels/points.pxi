# The coordinates of all voxels, label by label. Included by _labels.pyx.
from libc.stdint cimport uint16_t


cdef extern from "points.hpp" namespace "chunkpyramid" nogil:
    struct PointCloud:
        const void* labels
        int itemsize
        Py_ssize_t shape[3]
        const uint64_t* keys
        int64_t* next
        Py_ssize_t keys_size
        uint16_t* points
        int columns
        bint is_reversed
    bint c_write_points "chunkpyramid::write_points"(const PointCloud& cloud) noexcept


def write_points(labels, keys, next_points, points, bint is_reversed):
    """Write the coordinates of all voxels that have one of some labels.

    Parameters
    ----------
    labels : contiguous buffer of two or three axes
        Items of 1, 2, 4 or 8 bytes; only their bits matter. Zero is written for no key.
    keys : contiguous buffer of uint64
        The labels that are wanted, each once.
    next_points : writable contiguous buffer of int64
        For each of them the row at which its first voxel goes. What is there afterwards is the row behind its last one.
    points : writable contiguous buffer of uint16
        Rows of as many coordinates as there are axes.
    is_reversed : bool
        Whether the coordinate of the last axis comes first.
    """
    cdef _Items read = _Items(labels, False)
    cdef _Items wanted = _Items(keys, False)
    cdef _Items rows = _Items(next_points, True)
    cdef _Items written = _Items(points, True)
    cdef PointCloud cloud
    cdef Py_buffer* view = &read.held.view
    cdef int axes = view.ndim
    cdef Py_ssize_t row, all_rows
    cdef Py_ssize_t key
    cdef bint is_done
    if axes not in (2, 3):
        raise ValueError(f"an array must have 2 or 3 axes, but it has {axes}")
    if wanted.itemsize != 8 or rows.itemsize != 8 or wanted.size != rows.size:
        raise ValueError("keys and rows must be as many items of 8 bytes")
    all_rows = written.size // axes
    if written.itemsize != 2 or written.size != all_rows * axes:
        raise ValueError(f"points must be rows of {axes} items of 2 bytes")
    for key in range(rows.size):
        row = (<int64_t*>rows.data)[key]
        if not 0 <= row <= all_rows:
            raise ValueError(f"there is no row {row} among {all_rows}")
    cloud.labels = read.data
    cloud.itemsize = read.itemsize
    cloud.shape[0] = view.shape[0] if axes == 3 else 1
    cloud.shape[1] = view.shape[axes - 2]
    cloud.shape[2] = view.shape[axes - 1]
    cloud.keys = <const uint64_t*>wanted.data
    cloud.next = <int64_t*>rows.data
    cloud.keys_size = wanted.size
    cloud.points = <uint16_t*>written.data
    cloud.columns = axes
    cloud.is_reversed = is_reversed
    with nogil:
        is_done = c_write_points(cloud)
    if not is_done:
        raise MemoryError("there is not enough memory for the table of labels")
