# How often each label occurs, and where first. Included by _labels.pyx.
from libcpp.vector cimport vector


cdef extern from "tally.hpp" namespace "chunkpyramid" nogil:
    cdef cppclass Tally:
        vector[uint64_t] labels
        vector[int64_t] counts
        vector[int64_t] firsts
        int64_t pairs
        bint is_ascending
    bint c_tally "chunkpyramid::tally"(
        const void* labels, int itemsize, Py_ssize_t size, bint with_firsts, Tally& result
    ) noexcept


def tally(labels, bint with_firsts):
    """Tell how often each label occurs.

    Parameters
    ----------
    labels : contiguous buffer
        Items of 1, 2, 4 or 8 bytes; only their bits matter.
    with_firsts : bool
        Whether to tell where each label is met first.

    Returns
    -------
    labels, counts, firsts : bytearray
        Of uint64, int64 and int64; the last one is empty if it was not asked for.
    is_ascending : bool
        Whether the labels are in ascending order, as unsigned integers.
    pairs : int
        How many labels are the same as the one before.
    """
    cdef _Items items = _Items(labels, False)
    cdef Tally result
    cdef bint is_done
    with nogil:
        is_done = c_tally(items.data, items.itemsize, items.size, with_firsts, result)
    if not is_done:
        raise MemoryError("there is not enough memory for the counts of all labels")
    return (
        PyByteArray_FromStringAndSize(<const char*>result.labels.data(), result.labels.size() * 8),
        PyByteArray_FromStringAndSize(<const char*>result.counts.data(), result.counts.size() * 8),
        PyByteArray_FromStringAndSize(<const char*>result.firsts.data(), result.firsts.size() * 8),
        result.is_ascending,
        result.pairs,
    )
