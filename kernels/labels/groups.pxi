# Groups of labels that pairs join. Included by _labels.pyx.
cdef extern from "groups.hpp" namespace "chunkpyramid" nogil:
    ctypedef struct Groups:
        uint64_t* keys
        int64_t* statistics
        Py_ssize_t size
    bint join_labels(const Pair* pairs, Py_ssize_t count, Groups& groups) noexcept
    void release_groups "chunkpyramid::release"(Groups& groups) noexcept


def join(pairs):
    """Join the labels of pairs to groups.

    Parameters
    ----------
    pairs : buffer of shape (n, 2)
        Labels as uint64, C-contiguous.

    Returns
    -------
    labels : bytes
        As uint64, each once, in the order in which they are met.
    smallest : bytes
        As int64, for each label which of them is the smallest of its group.
    """
    cdef _HeldArray held = _HeldArray(pairs, False)
    cdef Py_buffer* view = &held.view
    cdef Groups groups
    cdef Py_ssize_t count
    cdef bint is_done
    if view.ndim != 2 or view.itemsize != 8 or view.shape[1] != 2:
        raise ValueError("pairs must be of shape (n, 2), in 8 bytes each")
    if view.strides[1] != 8 or view.strides[0] != 16:
        raise ValueError(f"pairs must be C-contiguous, but their strides are {view.strides[0]}, {view.strides[1]}")
    count = view.shape[0]
    with nogil:
        is_done = join_labels(<const Pair*>view.buf, count, groups)
    try:
        if not is_done:
            raise MemoryError("there is not enough memory for the groups of all labels")
        return (
            PyBytes_FromStringAndSize(<char*>groups.keys, groups.size * 8),
            PyBytes_FromStringAndSize(<char*>groups.statistics, groups.size * 8),
        )
    finally:
        release_groups(groups)
