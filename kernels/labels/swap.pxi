# Transposition in place. Included by _labels.pyx.
cdef extern from "swap.hpp" namespace "chunkpyramid" nogil:
    void c_swap_axes "chunkpyramid::swap_axes"(void* items, int itemsize, Py_ssize_t side, Py_ssize_t middle) noexcept


def swap_axes(array):
    """Exchange the first and the last axis of a contiguous array of shape (side, middle, side) in place.

    Items have 1, 2, 4, 8 or 16 bytes.
    """
    cdef _HeldArray held = _HeldArray(array, True)
    cdef Py_buffer* view = &held.view
    cdef Py_ssize_t side, middle
    if view.ndim != 3 or view.shape[0] != view.shape[2]:
        raise ValueError("an array must have three axes, the first and the last one of one length")
    if view.itemsize not in (1, 2, 4, 8, 16):
        raise ValueError(f"items must have 1, 2, 4, 8 or 16 bytes, but they have {view.itemsize}")
    side, middle = view.shape[0], view.shape[1]
    if side == 0 or middle == 0:
        return
    if (
        view.strides[2] != view.itemsize
        or view.strides[1] != side * view.itemsize
        or view.strides[0] != middle * side * view.itemsize
    ):
        raise ValueError("an array must be contiguous, in C order")
    with nogil:
        c_swap_axes(view.buf, view.itemsize, side, middle)
