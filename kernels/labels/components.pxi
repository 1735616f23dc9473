# Connected components. Included by _labels.pyx.
cdef extern from "components.hpp" namespace "chunkpyramid" nogil:
    struct LabelArray:
        const char* data
        int itemsize
        Py_ssize_t shape[3]
        Py_ssize_t strides[3]
        Py_ssize_t steps[3]
    struct ComponentRules:
        int reach
        bint has_background
        uint64_t background
        uint64_t least
        bint is_described
    struct ComponentTable:
        void* sizes
        void* firsts
        Py_ssize_t count
    bint label_components(
        const LabelArray& array, const ComponentRules& rules, void* numbers, int number_bytes, ComponentTable& table
    ) noexcept
    void release_components "chunkpyramid::release" (ComponentTable& table) noexcept


def components(array, numbers, steps, int reach, background, uint64_t least, bint is_described):
    """Number the connected components of an array in the order of their first voxels, from 1 on.

    Parameters
    ----------
    array : buffer of three axes, the last one the fastest in memory
        Items of 1, 2, 4 or 8 bytes in native byte order; only their bits matter.
    numbers : writable buffer of the same shape, C-contiguous
        Where the number of each voxel goes: items of 4 bytes for fewer than 2**31 voxels, else of 8.
    steps : tuple of three int
        What a voxel farther along each axis adds to the index of a voxel: it tells which voxel is the first.
    reach : 1, 2 or 3
        Along how many axes neighbours may differ.
    background : int or None
        The bits of the label that is no component; None if there is none.
    least : int
        Components of fewer voxels get the number 0, as the background does.
    is_described : bool
        Whether the sizes and firsts are wanted.

    Returns
    -------
    count : int
        How many components there are.
    sizes, firsts : bytes
        Of each component the number of voxels and the index of the first one, as items of ``numbers``; empty if they are not
        wanted.
    """
    cdef _HeldArray held = _HeldArray(array, False)
    cdef _HeldArray written = _HeldArray(numbers, True)
    cdef Py_buffer* view = &held.view
    cdef Py_buffer* out = &written.view
    cdef LabelArray labels
    cdef ComponentRules rules
    cdef ComponentTable table
    cdef int number_bytes = <int>out.itemsize
    cdef Py_ssize_t stride = out.itemsize
    cdef Py_ssize_t voxels = 1
    cdef bint is_done
    if view.ndim != 3 or out.ndim != 3 or len(steps) != 3:
        raise ValueError(f"there must be three axes, but there are {view.ndim}, {out.ndim} and {len(steps)}")
    if view.itemsize not in (1, 2, 4, 8) or number_bytes not in (4, 8):
        raise ValueError(f"there are no components with {view.itemsize} and {number_bytes} bytes per item")
    if not 1 <= reach <= 3:
        raise ValueError(f"reach must be 1, 2 or 3, but it is {reach}")
    for axis in reversed(range(3)):
        if view.shape[axis] != out.shape[axis] or (out.strides[axis] != stride and out.shape[axis] > 1):
            raise ValueError("numbers must be contiguous and of the shape of the array")
        stride *= out.shape[axis]
        voxels *= out.shape[axis]
        labels.shape[axis] = view.shape[axis]
        labels.strides[axis] = view.strides[axis]
        labels.steps[axis] = steps[axis]
    if number_bytes == 4 and voxels >= 2**31:
        raise ValueError(f"the numbers of {voxels} voxels need 8 bytes")
    labels.data = <const char*>view.buf
    labels.itemsize = <int>view.itemsize
    rules.reach = reach
    rules.has_background = background is not None
    rules.background = 0 if background is None else background
    rules.least = least
    rules.is_described = is_described
    with nogil:
        is_done = label_components(labels, rules, out.buf, number_bytes, table)
    try:
        if not is_done:
            raise MemoryError("there is not enough memory for all components")
        if not is_described:
            return table.count, b"", b""
        return (
            table.count,
            PyBytes_FromStringAndSize(<char*>table.sizes, table.count * number_bytes),
            PyBytes_FromStringAndSize(<char*>table.firsts, table.count * number_bytes),
        )
    finally:
        release_components(table)


cdef extern from "unite.hpp" namespace "chunkpyramid" nogil:
    struct Parts:
        int64_t* parents
        int64_t* sizes
        int64_t* firsts
    void unite_parts "chunkpyramid::unite" (Parts& parts, const int64_t* pairs, Py_ssize_t count) noexcept
    void find_roots(int64_t* parents, int64_t* numbers, Py_ssize_t count) noexcept


cdef Py_ssize_t _parts_in(_HeldArray held) except -1:
    if held.view.ndim != 1 or held.view.itemsize != 8 or held.view.strides[0] != 8:
        raise ValueError("parts must be contiguous items of 8 bytes along one axis")
    return held.view.shape[0]


cdef int _check_parts(const int64_t* numbers, Py_ssize_t count, Py_ssize_t most) except -1:
    for at in range(count):
        if not 0 <= numbers[at] < most:
            raise ValueError(f"there are {most} parts, and no part {numbers[at]}")
    return 0


def unite(parents, sizes, firsts, pairs):
    """Join parts of components: of each root the size becomes the sum, and the first voxel the first of all.

    Parameters
    ----------
    parents, sizes, firsts : writable buffers of int64
        Of each part the one that it was joined to, itself at first; of roots how many voxels, and the first one.
    pairs : buffer of int64
        The numbers of the two parts of each pair, one pair after the other.
    """
    cdef _HeldArray of_parents = _HeldArray(parents, True)
    cdef _HeldArray of_sizes = _HeldArray(sizes, True)
    cdef _HeldArray of_firsts = _HeldArray(firsts, True)
    cdef _HeldArray of_pairs = _HeldArray(pairs, False)
    cdef Py_ssize_t most = _parts_in(of_parents)
    cdef Py_ssize_t count = _parts_in(of_pairs)
    cdef Parts parts
    if _parts_in(of_sizes) != most or _parts_in(of_firsts) != most or count % 2:
        raise ValueError("parents, sizes and firsts must be of one length, and pairs of an even one")
    _check_parts(<const int64_t*>of_pairs.view.buf, count, most)
    parts.parents = <int64_t*>of_parents.view.buf
    parts.sizes = <int64_t*>of_sizes.view.buf
    parts.firsts = <int64_t*>of_firsts.view.buf
    with nogil:
        unite_parts(parts, <const int64_t*>of_pairs.view.buf, count // 2)


def roots(parents, numbers):
    """Replace the numbers of parts by those of the roots that they have been joined to."""
    cdef _HeldArray of_parents = _HeldArray(parents, True)
    cdef _HeldArray of_numbers = _HeldArray(numbers, True)
    cdef Py_ssize_t count = _parts_in(of_numbers)
    _check_parts(<const int64_t*>of_numbers.view.buf, count, _parts_in(of_parents))
    with nogil:
        find_roots(<int64_t*>of_parents.view.buf, <int64_t*>of_numbers.view.buf, count)


from libcpp.vector cimport vector


cdef extern from "touching.hpp" namespace "chunkpyramid" nogil:
    struct NumberPlane:
        const char* data
        Py_ssize_t strides[2]
    bint find_touching(
        const NumberPlane& first,
        const NumberPlane& second,
        const Py_ssize_t* shape,
        int reach,
        vector[uint64_t]& pairs,
    ) noexcept


def touching(first, second, int reach):
    """Return which numbers of two planes that lie on each other touch.

    Parameters
    ----------
    first, second : buffers of uint32 of the same shape, two axes
        Numbers of voxels; 0 touches nothing.
    reach : int
        Along how many of the axes voxels that touch may differ, by one along each.

    Returns
    -------
    bytes
        As uint64, the number of the first plane in the high word and that of the second one in the low word. Some may
        come several times.
    """
    cdef _HeldArray held = _HeldArray(first, False)
    cdef _HeldArray other = _HeldArray(second, False)
    cdef NumberPlane planes[2]
    cdef Py_ssize_t shape[2]
    cdef vector[uint64_t] pairs
    cdef bint is_done
    if held.view.ndim != 2 or other.view.ndim != 2 or held.view.itemsize != 4 or other.view.itemsize != 4:
        raise ValueError("planes must have two axes, and items of 4 bytes")
    for axis in range(2):
        if held.view.shape[axis] != other.view.shape[axis]:
            raise ValueError("planes must be of the same shape")
        shape[axis] = held.view.shape[axis]
        planes[0].strides[axis] = held.view.strides[axis]
        planes[1].strides[axis] = other.view.strides[axis]
    planes[0].data = <const char*>held.view.buf
    planes[1].data = <const char*>other.view.buf
    with nogil:
        is_done = find_touching(planes[0], planes[1], shape, reach, pairs)
    if not is_done:
        raise MemoryError("there is not enough memory for all pairs that touch")
    return PyBytes_FromStringAndSize(<char*>pairs.data(), pairs.size() * 8)
