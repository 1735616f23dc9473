# Which labels of two arrays are at the same places. Included by _labels.pyx.
from libcpp.vector cimport vector


cdef extern from "pairs.hpp" namespace "chunkpyramid" nogil:
    cdef cppclass LabelPairs:
        vector[uint64_t] first
        vector[uint64_t] second
    bint c_map_labels "chunkpyramid::map_labels"(
        const void* first, int first_itemsize, const void* second, int second_itemsize, Py_ssize_t size,
        LabelPairs& pairs
    ) noexcept
    bint c_distinct_pairs "chunkpyramid::distinct_pairs"(
        const void* first, int first_itemsize, const void* second, int second_itemsize, Py_ssize_t size,
        LabelPairs& pairs
    ) noexcept


def label_pairs(first, second, bint distinct):
    """Tell which labels of two contiguous buffers of as many items are at the same places.

    Parameters
    ----------
    first, second : contiguous buffers
        Items of 1, 2, 4 or 8 bytes; only their bits matter.
    distinct : bool
        Whether all pairs are told. Else each label of the first array has one label of the second: that at the
        beginning of its last run.

    Returns
    -------
    first, second : bytearray
        The labels of all pairs as uint64, in the order in which they are met.
    """
    cdef _Items one = _Items(first, False)
    cdef _Items other = _Items(second, False)
    cdef LabelPairs pairs
    cdef bint is_done
    if one.size != other.size:
        raise ValueError(f"there are {one.size} labels of one and {other.size} of the other")
    with nogil:
        if distinct:
            is_done = c_distinct_pairs(one.data, one.itemsize, other.data, other.itemsize, one.size, pairs)
        else:
            is_done = c_map_labels(one.data, one.itemsize, other.data, other.itemsize, one.size, pairs)
    if not is_done:
        raise MemoryError("there is not enough memory for all pairs of labels")
    return (
        PyByteArray_FromStringAndSize(<const char*>pairs.first.data(), pairs.first.size() * 8),
        PyByteArray_FromStringAndSize(<const char*>pairs.second.data(), pairs.second.size() * 8),
    )
