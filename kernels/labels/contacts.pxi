# Which labels touch, and how often. Included by _labels.pyx.
cdef extern from "contacts.hpp" namespace "chunkpyramid" nogil:
    struct Pair:
        uint64_t first
        uint64_t second
    ctypedef struct Contacts:
        Pair* keys
        int64_t* statistics
        Py_ssize_t size
    struct Neighbours:
        Py_ssize_t first[64]
        Py_ssize_t second[64]
        int face
    struct TouchedArray:
        const char* data
        int itemsize
        int axes
        Py_ssize_t shape[64]
        Py_ssize_t core[64]
        Py_ssize_t strides[64]
        bint has_background
        uint64_t background
    bint find_contacts(
        const TouchedArray& array, const Neighbours* neighbours, int kinds, Py_ssize_t most, Py_ssize_t& step,
        Contacts& contacts
    ) noexcept
    void release_contacts "chunkpyramid::release"(Contacts& contacts) noexcept


cdef enum:
    MOST_KINDS = 13


def contacts(array, core, neighbours, background, Py_ssize_t most, Py_ssize_t step):
    """Find which labels of an array, whose last axis is the fastest in memory, touch.

    Parameters
    ----------
    array : buffer of at least one axis
        Items of 1, 2, 4 or 8 bytes in native byte order; only their bits matter.
    core : sequence of int
        Shape of the part at the start of the array whose voxels are looked at, each along with those after it.
    neighbours : sequence of (sequence of int, sequence of int, int)
        Pairs of voxels that touch: how many steps from a voxel of the core they are along each axis, 0 or 1, and the
        axis along which they share a face, or -1.
    background : int or None
        The bits of the label that is left out.
    most : int
        The search ends when there are so many pairs.
    step : int
        At which step it begins.

    Returns
    -------
    pairs, statistics : bytes
        In the order in which they are met: two uint64 for each pair of labels, the lesser first, and as int64 how many
        pairs of voxels touch, and for each axis how many of them share a face that is normal to it.
    step : int
        The first step that was not taken.
    is_finished : bool
        Whether that is the end.
    """
    cdef _HeldArray held = _HeldArray(array, False)
    cdef Py_buffer* view = &held.view
    cdef TouchedArray touched
    cdef Neighbours kinds[MOST_KINDS]
    cdef Contacts found
    cdef int number = len(neighbours)
    cdef Py_ssize_t steps = number
    cdef bint is_done
    if not 1 <= view.ndim <= MAX_AXES or len(core) != view.ndim:
        raise ValueError(f"an array must have 1 to {MAX_AXES} axes, and so its core, but they have {view.ndim}")
    if view.itemsize not in (1, 2, 4, 8):
        raise ValueError(f"labels must have 1, 2, 4 or 8 bytes, but they have {view.itemsize}")
    if not 1 <= number <= MOST_KINDS:
        raise ValueError(f"there must be 1 to {MOST_KINDS} kinds of neighbours, but there are {number}")
    if most < 1 or step < 0:
        raise ValueError(f"most must be at least 1 and step at least 0, but they are {most} and {step}")
    touched.data = <const char*>view.buf
    touched.itemsize = view.itemsize
    touched.axes = view.ndim
    touched.has_background = background is not None
    touched.background = background or 0
    for axis in range(view.ndim):
        touched.shape[axis] = view.shape[axis]
        touched.core[axis] = core[axis]
        touched.strides[axis] = view.strides[axis]
        if not 0 <= touched.core[axis] <= touched.shape[axis]:
            raise ValueError(f"an axis of {view.shape[axis]} voxels cannot have a core of {core[axis]}")
        steps *= touched.core[axis]
    for kind in range(number):
        first, second, face = neighbours[kind]
        kinds[kind].face = face
        for axis in range(view.ndim):
            kinds[kind].first[axis], kinds[kind].second[axis] = first[axis], second[axis]
            if not (first[axis] in (0, 1) and second[axis] in (0, 1) and -1 <= face < view.ndim):
                raise ValueError(f"neighbours must be 0 or 1 steps away, and share a face or none: {neighbours[kind]}")
    with nogil:
        is_done = find_contacts(touched, kinds, number, most, step, found)
    try:
        if not is_done:
            raise MemoryError("there is not enough memory for all pairs of labels")
        return (
            PyBytes_FromStringAndSize(<char*>found.keys, found.size * 16),
            PyBytes_FromStringAndSize(<char*>found.statistics, found.size * (1 + view.ndim) * 8),
            step,
            step >= steps,
        )
    finally:
        release_contacts(found)
