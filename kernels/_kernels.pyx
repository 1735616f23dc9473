# cython: language_level=3, boundscheck=False, wraparound=False, embedsignature=True
"""Compiled reductions of strided arrays. Everything checks its arguments; nothing here knows about NumPy."""

import os

from cpython.buffer cimport PyBUF_STRIDES, PyBUF_WRITABLE, PyBuffer_FillInfo, PyBuffer_Release, PyObject_GetBuffer
from libc.stdint cimport int64_t
from libc.stdlib cimport free
from libc.string cimport memcpy, memset
from libcpp.vector cimport vector


cdef extern from "kernels.hpp" namespace "chunkpyramid" nogil:
    ctypedef void (*Fold)(...)
    ctypedef void (*Render)(...)
    ctypedef void (*Mean)(...)
    enum:
        MAX_AXES
        VALUES
        COUNTS
        OUT_VALUES
        OUT_COUNTS
        RENDERED
        ROLES
    enum Outcome:
        DONE
        NO_MEMORY
        NOT_UNIT_STRIDE
    struct Table:
        Fold fold[6][13][13]
        Render render[13][13]
        Mean mean[13][13][13]
    struct Axis:
        Py_ssize_t size
        Py_ssize_t out_size
        Py_ssize_t factor
        Py_ssize_t strides[5]
        int64_t weight
        int64_t last_weight
    struct Job:
        char* data[5]
        Py_ssize_t itemsize[5]
        Fold fold
        Render render
        Mean mean
        bint replicate
        bint reversed
        bint truncate
        bint sparse
        char background[16]
        int axes
        Axis axis[66]
    const Table* baseline_table()
    const Table* v3_table()
    const Table* v4_table()
    Outcome run(Job* jobs, int count) noexcept

cdef extern from "Python.h":
    const Py_ssize_t PY_SSIZE_T_MAX

cdef extern from *:
    """
    #if defined(__x86_64__) && defined(__GNUC__)
    static bool supports_v3() {
        return __builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma") && __builtin_cpu_supports("bmi")
            && __builtin_cpu_supports("bmi2");
    }
    static bool supports_v4() {
        return supports_v3() && __builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512bw")
            && __builtin_cpu_supports("avx512cd") && __builtin_cpu_supports("avx512dq")
            && __builtin_cpu_supports("avx512vl");
    }
    #else
    static bool supports_v3() { return false; }
    static bool supports_v4() { return false; }
    #endif
    """
    bint supports_v3() nogil
    bint supports_v4() nogil


# In the order of the enumerations in kernels.hpp.
METHOD_CODES = {
    name: code for code, name in enumerate(("sum", "sparse_sum", "mode", "sparse_mode", "min", "max"))
}
DTYPE_CODES = {
    name: code
    for code, name in enumerate(
        (
            "uint8", "uint16", "uint32", "uint64", "uint128",
            "int8", "int16", "int32", "int64", "int128",
            "float16", "float32", "float64",
        )
    )
}  # fmt: skip
ITEMSIZES = (1, 2, 4, 8, 16, 1, 2, 4, 8, 16, 2, 4, 8)

cdef const Table* _table = NULL
_table_name = None


def variants():
    """Names of the instruction sets compiled in that this machine has, best first."""
    names = []
    if v4_table_exists():
        names.append("v4")
    if v3_table_exists():
        names.append("v3")
    return [*names, "baseline"]


cdef bint v3_table_exists():
    return supports_v3() and v3_table() != NULL


cdef bint v4_table_exists():
    return supports_v4() and v4_table() != NULL


def use(variant=None):
    """Choose the instruction set: a name from `variants()`, or None for CHUNKPYRAMID_KERNELS or else the best."""
    global _table, _table_name
    known = variants()
    if variant is None:
        variant = os.environ.get("CHUNKPYRAMID_KERNELS") or known[0]
    if variant not in known:
        raise RuntimeError(
            f"kernels {variant!r} are not available on this machine: set CHUNKPYRAMID_KERNELS to one of {known}"
        )
    if variant == "v4":
        _table = v4_table()
    elif variant == "v3":
        _table = v3_table()
    else:
        _table = baseline_table()
    _table_name = variant
    return variant


def used():
    """The name of the instruction set in use."""
    return _table_name or use()


cdef class _Buffer:
    """Holds the memory of an array for the time of a call."""

    cdef Py_buffer view
    cdef bint held

    def __cinit__(self, array, bint writable):
        PyObject_GetBuffer(array, &self.view, PyBUF_STRIDES | (PyBUF_WRITABLE if writable else 0))
        self.held = True

    def __dealloc__(self):
        if self.held:
            PyBuffer_Release(&self.view)


cdef int _code(dict codes, object name, object otherwise) except -2:
    return codes[name if name is not None else otherwise]


def reduce(
    values,
    counts=None,
    *,
    str dtype not None,
    list steps not None,
    bytes background=b"",
    bint truncate=False,
    bint sparse=False,
    bint reversed=False,
):
    """Make one level after the other from `values` (and `counts`, of the same dtype); all without the GIL.

    dtype: of `values`. steps: what to do for each level, as objects with these attributes. method: a name from
    METHOD_CODES, or None to render what the step reads as it is. factor: one per axis. kept, kept_counts: arrays of
    `sum_dtype` for the folded values, which the next step reads. rendered: array of `rendered_dtype` for the rounded
    sums. footprints: per axis the level-0 voxels under each output index but the last, and under the last; needed to
    render. Arrays that are not wanted are None.
    """
    if _table == NULL:
        use()
    if not steps:
        raise ValueError("no steps")
    if len(background) > 16:
        raise ValueError("background: at most 16 bytes")
    background = background.ljust(16, b"\0")
    cdef vector[Job] jobs
    jobs.resize(len(steps))
    cdef int count = len(steps)
    cdef int axes = len(steps[0].factor)
    cdef int index, axis, role, dtype_code, method_code, sum_code
    cdef Job* job
    cdef _Buffer buffer
    cdef Outcome outcome
    if axes > MAX_AXES:
        raise ValueError(f"at most {MAX_AXES} axes, not {axes}")
    held = []
    shape = tuple(values.shape)
    read_dtype = dtype
    has_counts = counts is not None
    for index in range(count):
        step = steps[index]
        method = step.method
        rendering = step.rendered is not None
        if len(step.factor) != axes or len(shape) != axes or any([f < 1 for f in step.factor]) or min(shape) < 1:
            raise ValueError("one factor for each axis is needed, and factors and sizes must be at least 1")
        if method is None and (any([f != 1 for f in step.factor]) or count > 1):
            raise ValueError("a factor or a further step needs a method")
        if rendering and step.footprints is None:
            raise ValueError("rendering needs footprints")
        if method is not None and not rendering and step.kept is None:
            raise ValueError("no output")
        if has_counts and method is not None and method != "sum":
            raise ValueError("counts can only be summed")
        if sparse and not has_counts and method not in ("sparse_sum", "sparse_mode"):
            raise ValueError("sparse needs counts")
        if method == "sparse_sum" and not rendering and step.kept_counts is None:
            raise ValueError("a sparse sum needs counts")
        has_counts = has_counts or method == "sparse_sum"

        job = &jobs[index]
        memset(job, 0, sizeof(Job))
        dtype_code = DTYPE_CODES[read_dtype]
        sum_code = _code(DTYPE_CODES, step.sum_dtype, read_dtype)
        if method is not None:
            method_code = METHOD_CODES[method]
            job.fold = _table.fold[method_code][dtype_code][sum_code]
        if rendering:
            job.render = _table.render[sum_code][<int>DTYPE_CODES[step.rendered_dtype]]
            if method == "sum" and not has_counts:
                job.mean = _table.mean[dtype_code][sum_code][<int>DTYPE_CODES[step.rendered_dtype]]
        if (method is not None and job.fold == NULL) or (rendering and job.render == NULL):
            raise TypeError(f"no kernel for {method} of {read_dtype}, sums {step.sum_dtype}, {step.rendered_dtype}")
        job.axes = axes
        job.replicate = method == "mode" or method == "sparse_mode"
        job.reversed = reversed
        job.truncate = truncate
        job.sparse = has_counts
        memcpy(job.background, <const char*>background, 16)

        out_shape = tuple([(size - 1) // factor + 1 for size, factor in zip(shape, step.factor)])
        for axis in range(axes):
            job.axis[axis].size = shape[axis]
            job.axis[axis].out_size = out_shape[axis]
            job.axis[axis].factor = step.factor[axis]
            job.axis[axis].weight = job.axis[axis].last_weight = 1
        job.itemsize[VALUES] = job.itemsize[COUNTS] = ITEMSIZES[dtype_code]
        job.itemsize[OUT_VALUES] = job.itemsize[OUT_COUNTS] = ITEMSIZES[sum_code]
        job.itemsize[RENDERED] = ITEMSIZES[_code(DTYPE_CODES, step.rendered_dtype, read_dtype)]
        arrays = (
            values if index == 0 else None,
            counts if index == 0 else None,
            step.kept,
            step.kept_counts,
            step.rendered,
        )
        for role in range(ROLES):
            if arrays[role] is None:
                continue
            buffer = _Buffer(arrays[role], role >= OUT_VALUES)
            held.append(buffer)
            if buffer.view.ndim != axes or buffer.view.itemsize != job.itemsize[role]:
                raise ValueError(
                    f"array {role}: {buffer.view.ndim} axes of {buffer.view.itemsize} bytes, "
                    f"expected {axes} of {job.itemsize[role]}"
                )
            job.data[role] = <char*>buffer.view.buf
            expected = shape if role < OUT_VALUES else out_shape
            for axis in range(axes):
                job.axis[axis].strides[role] = buffer.view.strides[axis]
                if buffer.view.shape[axis] != expected[axis]:
                    raise ValueError(f"array {role}: size {buffer.view.shape[axis]} on axis {axis} does not fit")
        if rendering:
            for axis in range(axes):
                job.axis[axis].weight, job.axis[axis].last_weight = step.footprints[axis]
        shape = out_shape
        read_dtype = step.sum_dtype if step.sum_dtype is not None else read_dtype

    with nogil:
        outcome = run(jobs.data(), count)
    if outcome == NO_MEMORY:
        raise MemoryError
    if outcome == NOT_UNIT_STRIDE:
        raise ValueError("the last axis must have unit stride")


cdef extern from "runs.hpp" namespace "chunkpyramid" nogil:
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
    cdef int axis
    cdef int axes = len(shape)
    cdef int code = DTYPE_CODES[dtype]
    cdef Py_ssize_t voxels = 1
    cdef Py_ssize_t folded = 1
    cdef Py_ssize_t index
    cdef _Buffer buffer
    cdef _Buffer offsets
    cdef RunsOutcome outcome
    cdef int64_t last
    if not 1 <= axes <= MAX_AXES or len(factor) != axes:
        raise ValueError(f"1 to {MAX_AXES} axes and as many factors are needed, not {axes} and {len(factor)}")
    if ITEMSIZES[code] > 8 or count_itemsize not in (4, 8):
        raise TypeError(f"no kernel for runs of {dtype} with counts of {count_itemsize} bytes")
    if (values is None) == (runs is None):
        raise ValueError("either values or runs are needed")
    if (rendered is None) and not keep:
        raise ValueError("no output")
    if len(background) != ITEMSIZES[code]:
        raise ValueError("background: one voxel is needed")
    job.axes = axes
    job.kind = SIGNED_LABELS if dtype.startswith("int") else FLOAT_LABELS if dtype.startswith("f") else UNSIGNED_LABELS
    job.itemsize = ITEMSIZES[code]
    job.count_itemsize = count_itemsize
    job.sparse = sparse
    memcpy(job.background, <const char*>background, job.itemsize)
    job.keep = keep
    job.most_runs = PY_SSIZE_T_MAX if most_runs is None else max(0, min(most_runs, PY_SSIZE_T_MAX))
    for axis in range(axes):
        if shape[axis] < 1 or factor[axis] < 1:
            raise ValueError("factors and sizes must be at least 1")
        job.axis[axis].size = shape[axis]
        job.axis[axis].factor = factor[axis]
        job.axis[axis].stride = job.axis[axis].rendered_stride = 0
        voxels *= job.axis[axis].size
        folded *= (job.axis[axis].size - 1) // job.axis[axis].factor + 1

    held = []
    job.values = NULL
    job.rendered = NULL
    for array, writable in ((values, False), (rendered, True)):
        if array is None:
            continue
        buffer = _Buffer(array, writable)
        held.append(buffer)
        if buffer.view.ndim != axes or buffer.view.itemsize != job.itemsize:
            raise ValueError(f"an array of {axes} axes of {job.itemsize} bytes is needed")
        for axis in range(axes):
            if writable:
                job.axis[axis].rendered_stride = buffer.view.strides[axis]
                index = (job.axis[axis].size - 1) // job.axis[axis].factor + 1
            else:
                job.axis[axis].stride = buffer.view.strides[axis]
                index = job.axis[axis].size
            if buffer.view.shape[axis] != index:
                raise ValueError(f"size {buffer.view.shape[axis]} on axis {axis} does not fit")
        if writable:
            job.rendered = <char*>buffer.view.buf
        else:
            job.values = <const char*>buffer.view.buf
            if job.axis[axes - 1].size > 1 and job.axis[axes - 1].stride != job.itemsize:
                raise ValueError("the last axis must have unit stride")
    if runs is not None:
        offsets = _vector(runs[0], 8, voxels + 1)
        job.runs.offsets = <const int64_t*>offsets.view.buf
        last = 0
        for index in range(voxels + 1):
            if job.runs.offsets[index] < last:
                raise ValueError("offsets must not decrease, from 0 on")
            last = job.runs.offsets[index]
        if job.runs.offsets[0] != 0:
            raise ValueError("offsets must begin with 0")
        held.append(offsets)
        buffer = _vector(runs[1], job.itemsize, last)
        job.runs.keys = <const char*>buffer.view.buf
        held.append(buffer)
        buffer = _vector(runs[2], count_itemsize, last)
        job.runs.counts = <const char*>buffer.view.buf
        held.append(buffer)

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


cdef _Buffer _vector(array, Py_ssize_t itemsize, Py_ssize_t size):
    cdef _Buffer buffer = _Buffer(array, False)
    if (
        buffer.view.ndim != 1
        or buffer.view.itemsize != itemsize
        or buffer.view.shape[0] != size
        or (size > 1 and buffer.view.strides[0] != itemsize)
    ):
        raise ValueError(f"a contiguous vector of {size} elements of {itemsize} bytes is needed")
    return buffer


cdef extern from "transpose.hpp" namespace "chunkpyramid" nogil:
    struct Transposition:
        const char* source
        char* target
        Py_ssize_t itemsize
        int axes
        int fast
        Py_ssize_t shape[66]
        Py_ssize_t source_strides[66]
        Py_ssize_t target_strides[66]
    void transpose(const Transposition& job) noexcept


def copy_transposed(source, target):
    """Copy an array with unit stride along some axis to one of the same shape with unit stride along the last one.

    Both have items of 1, 2, 4 or 8 bytes, and no axis of length 0.
    """
    cdef _Buffer read = _Buffer(source, False)
    cdef _Buffer write = _Buffer(target, True)
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
