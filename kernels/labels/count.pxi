# Counts, bounding boxes and sums of coordinates of labels. Included by _labels.pyx.
cdef extern from "count.hpp" namespace "chunkpyramid" nogil:
    enum:
        MAX_AXES
    ctypedef struct LabelCounts:
        uint64_t* keys
        int64_t* statistics
        Py_ssize_t size
    struct CountedArray:
        const char* data
        int itemsize
        int axes
        Py_ssize_t shape[64]
        Py_ssize_t strides[64]
        Py_ssize_t interior_start[64]
        Py_ssize_t interior_stop[64]
    bint count_labels(
        const CountedArray& array, bint with_boxes, Py_ssize_t most, Py_ssize_t& voxel, LabelCounts& counts
    ) noexcept
    void release_counts "chunkpyramid::release"(LabelCounts& counts) noexcept


def count(array, bint with_boxes, Py_ssize_t most, Py_ssize_t voxel, interior):
    """Count the labels of an array whose last axis is the fastest in memory.

    Parameters
    ----------
    array : buffer of at least one axis
        Items of 1, 2, 4 or 8 bytes in native byte order; only their bits matter.
    with_boxes : bool
        Whether coordinates are looked at, too.
    most : int
        Counting ends when there are so many labels.
    voxel : int
        The voxel at which counting begins, in the order of memory.
    interior : sequence of (int, int)
        For each axis from which coordinate on, and before which, a voxel is in the interior.

    Returns
    -------
    labels, statistics : bytes
        In the order in which labels are met: as uint64, and for each as int64 its count, how many of its voxels are
        not in the interior, and then of each axis the least coordinate, the largest and the sum of all.
    voxel : int
        The first voxel that was not counted.
    """
    cdef _HeldArray held = _HeldArray(array, False)
    cdef Py_buffer* view = &held.view
    cdef CountedArray counted
    cdef LabelCounts counts
    cdef Py_ssize_t fields
    cdef bint is_done
    if not 1 <= view.ndim <= MAX_AXES:
        raise ValueError(f"an array must have 1 to {MAX_AXES} axes, but it has {view.ndim}")
    if view.itemsize not in (1, 2, 4, 8):
        raise ValueError(f"labels must have 1, 2, 4 or 8 bytes, but they have {view.itemsize}")
    if most < 1 or voxel < 0:
        raise ValueError(f"most must be at least 1 and voxel at least 0, but they are {most} and {voxel}")
    if len(interior) != view.ndim:
        raise ValueError(f"an array of {view.ndim} axes cannot have an interior of {len(interior)}")
    counted.data = <const char*>view.buf
    counted.itemsize = view.itemsize
    counted.axes = view.ndim
    for axis in range(view.ndim):
        counted.shape[axis] = view.shape[axis]
        counted.strides[axis] = view.strides[axis]
        counted.interior_start[axis], counted.interior_stop[axis] = interior[axis]
    fields = 2 + 3 * view.ndim if with_boxes else 1
    with nogil:
        is_done = count_labels(counted, with_boxes, most, voxel, counts)
    try:
        if not is_done:
            raise MemoryError("there is not enough memory for the statistics of all labels")
        return (
            PyBytes_FromStringAndSize(<char*>counts.keys, counts.size * 8),
            PyBytes_FromStringAndSize(<char*>counts.statistics, counts.size * fields * 8),
            voxel,
        )
    finally:
        release_counts(counts)
