# cython: language_level=3, boundscheck=False, wraparound=False, embedsignature=True
"""Compiled copies between memory orders. Everything checks its arguments; nothing here knows about NumPy."""

include "arrays.pxi"


cdef extern from "transpose.hpp" namespace "chunkpyramid" nogil:
    enum:
        MAX_AXES
    struct Transposition:
        const char* source
        char* target
        Py_ssize_t itemsize
        int axes
        int fast
        Py_ssize_t shape[64]
        Py_ssize_t source_strides[64]
        Py_ssize_t target_strides[64]
    void transpose(const Transposition& job) noexcept


def copy_transposed(source, target):
    """Copy an array with unit stride along some axis to one of the same shape with unit stride along the last one.

    Both have items of 1, 2, 4 or 8 bytes, and no axis of length 0.
    """
    cdef _HeldArray read = _HeldArray(source, False)
    cdef _HeldArray write = _HeldArray(target, True)
    cdef Transposition job
    cdef int axis
    job.source, job.target = <const char*>read.view.buf, <char*>write.view.buf
    job.itemsize, job.axes, job.fast = read.view.itemsize, read.view.ndim, -1
    if write.view.itemsize != job.itemsize or job.itemsize not in (1, 2, 4, 8):
        raise ValueError(f"items of {job.itemsize} and {write.view.itemsize} bytes cannot be copied")
    if not 2 <= job.axes <= MAX_AXES or write.view.ndim != job.axes:
        raise ValueError(f"arrays of {job.axes} and {write.view.ndim} axes cannot be copied")
    for axis in range(job.axes):
        job.shape[axis] = read.view.shape[axis]
        job.source_strides[axis] = read.view.strides[axis]
        job.target_strides[axis] = write.view.strides[axis]
        if write.view.shape[axis] != job.shape[axis] or job.shape[axis] < 1:
            raise ValueError(f"axis {axis} has {job.shape[axis]} items here and {write.view.shape[axis]} there")
        if job.fast < 0 and job.source_strides[axis] == job.itemsize and axis < job.axes - 1:
            job.fast = axis
    if job.fast < 0 or job.target_strides[job.axes - 1] != job.itemsize:
        raise ValueError("an axis of the source, and the last one of the target, must have unit stride")
    with nogil:
        transpose(job)
