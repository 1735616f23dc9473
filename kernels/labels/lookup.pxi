# Arrays rewritten by a table from labels to values. Included by _labels.pyx.
cdef extern from "lookup.hpp" namespace "chunkpyramid" nogil:
    cdef enum class Missing:
        KEEP
        FILL
        STOP
    cdef cppclass Lookup:
        Py_ssize_t apply(
            const void* labels, int itemsize, void* target, Py_ssize_t begin, Py_ssize_t end
        ) noexcept
    Lookup* make_lookup(
        const uint64_t* keys, const uint64_t* values, Py_ssize_t size, int value_itemsize, Missing missing,
        uint64_t fill, Py_ssize_t labels
    ) noexcept


cdef class LabelLookup:
    """A table from labels to values; of two values of one label the last one counts.

    Parameters
    ----------
    keys, values : contiguous buffers of uint64
        As many of one as of the other; only their bits matter.
    value_itemsize : int
        How many bytes the items have that are written: 1, 2, 4 or 8.
    missing : {"keep", "fill", "stop"}
        What a label becomes that is not in the table. Where it is kept, labels have as many bytes as values.
    fill : int
        What it becomes if it is filled.
    labels : int
        How many are to be rewritten: for many it pays to make a large table.
    """

    cdef Lookup* lookup
    cdef int value_itemsize
    cdef bint keeps

    def __cinit__(self, keys, values, int value_itemsize, missing, uint64_t fill=0, Py_ssize_t labels=0):
        cdef _Items read_keys = _Items(keys, False)
        cdef _Items read_values = _Items(values, False)
        if read_keys.itemsize != 8 or read_values.itemsize != 8 or read_keys.size != read_values.size:
            raise ValueError("keys and values must be as many items of 8 bytes")
        if value_itemsize not in (1, 2, 4, 8):
            raise ValueError(f"values must have 1, 2, 4 or 8 bytes, not {value_itemsize}")
        cdef Missing chosen = {"keep": Missing.KEEP, "fill": Missing.FILL, "stop": Missing.STOP}[missing]
        self.value_itemsize = value_itemsize
        self.keeps = chosen == Missing.KEEP
        with nogil:
            self.lookup = make_lookup(
                <const uint64_t*>read_keys.data, <const uint64_t*>read_values.data, read_keys.size, value_itemsize,
                chosen, fill, labels,
            )
        if self.lookup == NULL:
            raise MemoryError("there is not enough memory for the table of labels")

    def __dealloc__(self):
        del self.lookup

    def apply(self, labels, target, Py_ssize_t begin, Py_ssize_t end):
        """Rewrite the labels from one on to another; several threads may do so at once.

        Parameters
        ----------
        labels, target : contiguous buffers
            Of as many items. They may be one if these have as many bytes as values have.
        begin, end : int
            The first label, and the one after the last one.

        Returns
        -------
        int
            The first label that is missing and stops the work, or ``end``.
        """
        cdef _Items read = _Items(labels, False)
        cdef _Items written = _Items(target, True)
        cdef Py_ssize_t done
        if written.itemsize != self.value_itemsize or written.size != read.size:
            raise ValueError(f"the target must have {read.size} items of {self.value_itemsize} bytes")
        if self.keeps and read.itemsize != self.value_itemsize:
            raise ValueError(f"labels of {read.itemsize} bytes cannot be kept as values of {self.value_itemsize}")
        if not 0 <= begin <= end <= read.size:
            raise ValueError(f"there are no labels from {begin} to {end}")
        with nogil:
            done = self.lookup.apply(read.data, read.itemsize, written.data, begin, end)
        return done
