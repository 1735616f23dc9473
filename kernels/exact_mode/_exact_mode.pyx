# cython: language_level=3, boundscheck=False, wraparound=False, embedsignature=True
"""Compiled folding of runs of labels. Everything checks its arguments; nothing here knows about NumPy."""

from cpython.buffer cimport PyBuffer_FillInfo
from libc.stdint cimport int64_t
from libc.stdlib cimport free
from libc.string cimport memcpy, memset

include "../common/arrays.pxi"
include "../common/dtypes.pxi"


cdef extern from "Python.h":
    const Py_ssize_t PY_SSIZE_T_MAX

cdef extern from "runs.hpp" namespace "chunkpyramid" nogil:
    enum:
        MAX_AXES
    enum Kind:
        UNSIGNED_LABELS
        SIGNED_LABELS
        FLOAT_LABELS
    enum RunsOutcome:
        RUNS_DONE
        RUNS_NO_MEMORY
        RUNS_TOO_MANY
    struct RunsAxis:
        Py_ssize_t size
        Py_ssize_t factor
        Py_ssize_t stride
        Py_ssize_t rendered_stride
    struct Runs:
        const int64_t* offsets
        const char* keys
        const char* counts
    struct KeptRuns:
        char* memory
        Py_ssize_t bytes
        Py_ssize_t keys
        Py_ssize_t counts
        Py_ssize_t runs
    struct RunsJob:
        int axes
        RunsAxis axis[64]
        Kind kind
        int itemsize
        int count_itemsize
        bint sparse
        char background[8]
        const char* values
        Runs runs
        char* rendered
        bint keep
        Py_ssize_t most_runs
        KeptRuns kept
    RunsOutcome run_runs "chunkpyramid::fold_runs"(RunsJob& job) noexcept


class TooManyRuns(Exception):
    """There are more runs than may be kept."""


cdef class _Memory:
    """Memory of the C library, for NumPy to make an array of."""

    cdef void* memory
    cdef Py_ssize_t nbytes

    @staticmethod
    cdef _Memory own(void* memory, Py_ssize_t nbytes):
        cdef _Memory owner = _Memory.__new__(_Memory)
        owner.memory = memory
        owner.nbytes = nbytes
        return owner

    def __getbuffer__(self, Py_buffer* view, int flags):
        PyBuffer_FillInfo(view, self, self.memory, self.nbytes, False, flags)

    def __dealloc__(self):
        free(self.memory)


def fold_runs(
    values,
    runs,
    *,
    str dtype not None,
    tuple shape not None,
    tuple factor not None,
    int count_itemsize,
    rendered=None,
    bint keep=True,
    most_runs=None,
    bytes background not None,
    bint sparse=False,
):
    """Fold dense `values`, or the `runs` of voxels in C order if `values` is None, by `factor`; without the GIL.

    dtype: of `values` and `rendered`. runs: contiguous arrays of offsets (int64), keys and counts. Keys have the width
    of the labels and their order, as unsigned integers; counts have 4 or 8 bytes. Returns memory that begins
    with the folded offsets, where the keys and counts begin in it, in bytes, and how many there are; or None if they
    are not to be kept. Raises TooManyRuns beyond `most_runs`.
    """
    cdef RunsJob job
    cdef RunsOutcome outcome
    cdef int axes = len(shape)
    cdef int itemsize = ITEMSIZES[dtype]
    if not 1 <= axes <= MAX_AXES or len(factor) != axes:
        raise ValueError(f"1 to {MAX_AXES} axes and as many factors are needed, not {axes} and {len(factor)}")
    if itemsize > 8 or count_itemsize not in (4, 8):
        raise TypeError(f"no kernel for runs of {dtype} with counts of {count_itemsize} bytes")
    if (values is None) == (runs is None):
        raise ValueError("either values or runs are needed")
    if (rendered is None) and not keep:
        raise ValueError("no output")
    if len(background) != itemsize:
        raise ValueError("background: one voxel is needed")
    memset(&job, 0, sizeof(RunsJob))
    job.axes = axes
    job.kind = SIGNED_LABELS if dtype.startswith("int") else FLOAT_LABELS if dtype.startswith("f") else UNSIGNED_LABELS
    job.itemsize = itemsize
    job.count_itemsize = count_itemsize
    job.sparse = sparse
    memcpy(job.background, <const char*>background, itemsize)
    job.keep = keep
    job.most_runs = PY_SSIZE_T_MAX if most_runs is None else max(0, min(most_runs, PY_SSIZE_T_MAX))
    _describe_axes(&job, shape, factor)
    held = []
    if values is not None:
        held.append(_describe_values(&job, values))
    if rendered is not None:
        held.append(_describe_rendered(&job, rendered))
    if runs is not None:
        held += _describe_runs(&job, runs)

    with nogil:
        outcome = run_runs(job)
    if outcome == RUNS_NO_MEMORY:
        raise MemoryError
    if outcome == RUNS_TOO_MANY:
        raise TooManyRuns
    if not keep:
        return None
    memory = _Memory.own(job.kept.memory, job.kept.bytes)
    return memory, job.kept.keys, job.kept.counts, job.kept.runs


cdef _describe_axes(RunsJob* job, tuple shape, tuple factor):
    cdef int axis
    for axis in range(job.axes):
        if shape[axis] < 1 or factor[axis] < 1:
            raise ValueError("factors and sizes must be at least 1")
        job.axis[axis].size = shape[axis]
        job.axis[axis].factor = factor[axis]


cdef _HeldArray _describe_values(RunsJob* job, values):
    cdef _HeldArray array = _hold_voxels(job, values, False)
    cdef RunsAxis* last = &job.axis[job.axes - 1]
    cdef int axis
    for axis in range(job.axes):
        job.axis[axis].stride = array.view.strides[axis]
        _check_size(array, axis, job.axis[axis].size)
    if last.size > 1 and last.stride != job.itemsize:
        raise ValueError("the last axis must have unit stride")
    job.values = <const char*>array.view.buf
    return array


cdef _HeldArray _describe_rendered(RunsJob* job, rendered):
    cdef _HeldArray array = _hold_voxels(job, rendered, True)
    cdef int axis
    for axis in range(job.axes):
        job.axis[axis].rendered_stride = array.view.strides[axis]
        _check_size(array, axis, (job.axis[axis].size - 1) // job.axis[axis].factor + 1)
    job.rendered = <char*>array.view.buf
    return array


cdef _HeldArray _hold_voxels(RunsJob* job, voxels, bint writable):
    cdef _HeldArray array = _HeldArray(voxels, writable)
    if array.view.ndim != job.axes or array.view.itemsize != job.itemsize:
        raise ValueError(f"an array of {job.axes} axes of {job.itemsize} bytes is needed")
    return array


cdef _check_size(_HeldArray array, int axis, Py_ssize_t size):
    if array.view.shape[axis] != size:
        raise ValueError(f"size {array.view.shape[axis]} on axis {axis} does not fit")


cdef list _describe_runs(RunsJob* job, runs):
    cdef _HeldArray offsets, keys, counts
    cdef const int64_t* ends
    cdef Py_ssize_t index
    cdef Py_ssize_t voxels = 1
    cdef int64_t last = 0
    for index in range(job.axes):
        voxels *= job.axis[index].size
    offsets = _hold_vector(runs[0], sizeof(int64_t), voxels + 1)
    ends = <const int64_t*>offsets.view.buf
    for index in range(voxels + 1):
        if ends[index] < last:
            raise ValueError("offsets must not decrease, from 0 on")
        last = ends[index]
    if ends[0] != 0:
        raise ValueError("offsets must begin with 0")
    keys = _hold_vector(runs[1], job.itemsize, last)
    counts = _hold_vector(runs[2], job.count_itemsize, last)
    job.runs.offsets = ends
    job.runs.keys = <const char*>keys.view.buf
    job.runs.counts = <const char*>counts.view.buf
    return [offsets, keys, counts]


cdef _HeldArray _hold_vector(array, Py_ssize_t itemsize, Py_ssize_t size):
    cdef _HeldArray held = _HeldArray(array, False)
    if (
        held.view.ndim != 1
        or held.view.itemsize != itemsize
        or held.view.shape[0] != size
        or (size > 1 and held.view.strides[0] != itemsize)
    ):
        raise ValueError(f"a contiguous vector of {size} elements of {itemsize} bytes is needed")
    return held
