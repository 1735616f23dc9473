# What one look at every label tells. Included by _labels.pyx.
from libcpp.vector cimport vector


cdef extern from "scan.hpp" namespace "chunkpyramid" nogil:
    cdef enum class Kind:
        UNSIGNED
        SIGNED
        FLOAT
    Py_ssize_t c_count_nonzero "chunkpyramid::count_nonzero"(
        const void* labels, int itemsize, Py_ssize_t size
    ) noexcept
    Py_ssize_t c_count_pairs "chunkpyramid::count_pairs"(
        const void* labels, int itemsize, Py_ssize_t size
    ) noexcept
    void c_find_extremes "chunkpyramid::find_extremes"(
        const void* values, int itemsize, Kind kind, Py_ssize_t size, void* low, void* high
    ) noexcept
    bint c_is_solid "chunkpyramid::is_solid"(
        const void* values, int itemsize, Kind kind, Py_ssize_t size, const void* value
    ) noexcept
    bint c_is_sorted "chunkpyramid::is_sorted"(
        const void* values, int itemsize, Kind kind, Py_ssize_t size, bint ascending
    ) noexcept
    bint c_find_indices "chunkpyramid::find_indices"(
        const void* values, int itemsize, Kind kind, Py_ssize_t size, const void* value, vector[uint64_t]& found
    ) noexcept


cdef Kind _kind_of(kind, int itemsize) except *:
    if kind not in ("u", "i", "f") or (kind == "f" and itemsize < 4):
        raise ValueError(f"there are no kernels for values of kind {kind!r} of {itemsize} bytes")
    return Kind.UNSIGNED if kind == "u" else Kind.SIGNED if kind == "i" else Kind.FLOAT


cdef _check_value(_Items items, _Items value):
    if value.itemsize != items.itemsize or value.size != 1:
        raise ValueError(f"the value must be one item of {items.itemsize} bytes")


def count_nonzero(labels):
    """Return how many items of a contiguous buffer are not zero."""
    cdef _Items items = _Items(labels, False)
    cdef Py_ssize_t count
    with nogil:
        count = c_count_nonzero(items.data, items.itemsize, items.size)
    return count


def count_pairs(labels):
    """Return how many items of a contiguous buffer are the same as the one before."""
    cdef _Items items = _Items(labels, False)
    cdef Py_ssize_t count
    with nogil:
        count = c_count_pairs(items.data, items.itemsize, items.size)
    return count


def find_extremes(values, kind, extremes):
    """Write the smallest and the largest item of a contiguous buffer of kind "u", "i" or "f" to one of two items."""
    cdef _Items items = _Items(values, False)
    cdef _Items written = _Items(extremes, True)
    cdef Kind chosen = _kind_of(kind, items.itemsize)
    if items.size < 1 or written.size != 2 or written.itemsize != items.itemsize:
        raise ValueError(f"at least one item, and two to write to of {items.itemsize} bytes, are needed")
    with nogil:
        c_find_extremes(items.data, items.itemsize, chosen, items.size, written.data, written.data + items.itemsize)


def is_solid(values, kind, value):
    """Return whether all items of a contiguous buffer are equal to a value, which is a buffer of one."""
    cdef _Items items = _Items(values, False)
    cdef _Items wanted = _Items(value, False)
    cdef Kind chosen = _kind_of(kind, items.itemsize)
    cdef bint answer
    _check_value(items, wanted)
    with nogil:
        answer = c_is_solid(items.data, items.itemsize, chosen, items.size, wanted.data)
    return answer


def is_sorted(values, kind, bint ascending):
    """Return whether no item of a contiguous buffer is smaller (or larger) than the one before."""
    cdef _Items items = _Items(values, False)
    cdef Kind chosen = _kind_of(kind, items.itemsize)
    cdef bint answer
    with nogil:
        answer = c_is_sorted(items.data, items.itemsize, chosen, items.size, ascending)
    return answer


def find_indices(values, kind, value):
    """Return as the bytes of uint64 where the items of a contiguous buffer are that are equal to a value."""
    cdef _Items items = _Items(values, False)
    cdef _Items wanted = _Items(value, False)
    cdef Kind chosen = _kind_of(kind, items.itemsize)
    cdef vector[uint64_t] found
    cdef bint is_done
    _check_value(items, wanted)
    with nogil:
        is_done = c_find_indices(items.data, items.itemsize, chosen, items.size, wanted.data, found)
    if not is_done:
        raise MemoryError("there is not enough memory for all indices")
    return PyByteArray_FromStringAndSize(<const char*>found.data(), found.size() * 8)
