# New numbers for labels. Included by _labels.pyx.
from libcpp.vector cimport vector


cdef extern from "renumber.hpp" namespace "chunkpyramid" nogil:
    cdef cppclass Numbers:
        const vector[uint64_t]& labels() const
    cdef cppclass Renumbering:
        Renumbering(Py_ssize_t size) except +
        Numbers numbers
        uint64_t start
        bint keeps_zero
        Py_ssize_t most
        Py_ssize_t done
        bint out_of_memory
    bint c_renumber "chunkpyramid::renumber"(
        const void* labels, int itemsize, void* target, int target_itemsize, Py_ssize_t size, Renumbering& job
    ) noexcept


cdef class Renumberer:
    """Numbers the labels of an array in the order in which they are met, in several goes where there are many.

    Parameters
    ----------
    labels : contiguous buffer
        Items of 1, 2, 4 or 8 bytes; only their bits matter.
    start : int
        The new label of the first one, as unsigned bits.
    keeps_zero : bool
        Whether zero stays zero and is not counted.
    """

    cdef Renumbering* job
    cdef _Items items

    def __cinit__(self, labels, uint64_t start, bint keeps_zero):
        self.items = _Items(labels, False)
        self.job = new Renumbering(self.items.size)
        self.job.start = start
        self.job.keeps_zero = keeps_zero

    def __dealloc__(self):
        del self.job

    def run(self, target, Py_ssize_t most):
        """Write new labels to a contiguous buffer of as many items until there are more than ``most`` labels.

        Returns
        -------
        int
            How many items are done, those of earlier goes among them.
        """
        cdef _Items written = _Items(target, True)
        cdef bint is_done
        if written.size != self.items.size:
            raise ValueError(f"the target has {written.size} items, but there are {self.items.size} labels")
        self.job.most = most
        with nogil:
            is_done = c_renumber(
                self.items.data, self.items.itemsize, written.data, written.itemsize, self.items.size, self.job[0]
            )
        if self.job.out_of_memory:
            raise MemoryError("there is not enough memory for the numbers of all labels")
        return self.items.size if is_done else self.job.done

    def labels(self):
        """Return the labels in the order of their numbers, zero first if it is kept, as the bytes of uint64."""
        cdef const vector[uint64_t]* labels = &self.job.numbers.labels()
        return PyByteArray_FromStringAndSize(<const char*>labels.data(), labels.size() * 8)
