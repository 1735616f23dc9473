# Arrays of Python, for the time of a call. Included by every module, for none of them is to need another one.
from cpython.buffer cimport PyBUF_STRIDES, PyBUF_WRITABLE, PyBuffer_Release, PyObject_GetBuffer


cdef class _HeldArray:
    """Holds the memory of an array for as long as it lives."""

    cdef Py_buffer view
    cdef bint held

    def __cinit__(self, array, bint writable):
        PyObject_GetBuffer(array, &self.view, PyBUF_STRIDES | (PyBUF_WRITABLE if writable else 0))
        self.held = True

    def __dealloc__(self):
        if self.held:
            PyBuffer_Release(&self.view)
