# The items of contiguous arrays. Included by _labels.pyx.
cdef class _Items:
    """Holds the memory of a contiguous array of items of 1, 2, 4 or 8 bytes for as long as it lives."""

    cdef _HeldArray held
    cdef char* data
    cdef Py_ssize_t size
    cdef int itemsize

    def __cinit__(self, array, bint writable):
        cdef Py_buffer* view
        cdef Py_ssize_t stride
        cdef int axis
        self.held = _HeldArray(array, writable)
        view = &self.held.view
        if view.itemsize not in (1, 2, 4, 8):
            raise ValueError(f"items must have 1, 2, 4 or 8 bytes, but they have {view.itemsize}")
        self.size = view.len // view.itemsize
        stride = view.itemsize
        for axis in range(view.ndim - 1, -1, -1):
            if self.size and view.shape[axis] > 1 and view.strides[axis] != stride:
                raise ValueError("an array must be contiguous, in C order")
            stride *= view.shape[axis]
        self.data = <char*>view.buf
        self.itemsize = view.itemsize
