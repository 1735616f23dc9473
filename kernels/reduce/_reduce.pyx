# cython: language_level=3, boundscheck=False, wraparound=False, embedsignature=True
"""Compiled reductions of strided arrays. Everything checks its arguments; nothing here knows about NumPy."""

import os
from math import prod

from libc.stdint cimport int64_t
from libc.string cimport memcpy, memset
from libcpp.vector cimport vector

include "../common/arrays.pxi"
include "../common/dtypes.pxi"


cdef extern from "job.hpp" namespace "chunkpyramid" nogil:
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
    Outcome run(Job* jobs, int count, const Py_ssize_t* box) noexcept

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


# In the order of the enumerations in table.hpp.
METHOD_CODES = {
    name: code for code, name in enumerate(("sum", "sparse_sum", "mode", "sparse_mode", "min", "max"))
}
DTYPE_CODES = {name: code for code, name in enumerate(ITEMSIZES)}

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


def reduce(
    values,
    counts=None,
    *,
    str dtype not None,
    list steps not None,
    tuple box not None,
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
    render. Arrays that are not wanted are None. box: the shape of the boxes of `values` that are taken through all
    steps one after the other; along each axis whole footprints of the last step, or all there is.
    """
    cdef vector[Job] jobs
    cdef vector[Py_ssize_t] box_shape
    cdef Outcome outcome
    cdef Job* job
    cdef int index
    cdef int count = len(steps)
    if _table == NULL:
        use()
    if not steps:
        raise ValueError("no steps")
    if len(background) > 16:
        raise ValueError("background: at most 16 bytes")
    axes = len(steps[0].factor)
    if axes > MAX_AXES:
        raise ValueError(f"at most {MAX_AXES} axes, not {axes}")
    background = background.ljust(16, b"\0")
    jobs.resize(count)
    held = []
    shape = tuple(values.shape)
    read_dtype = dtype
    has_counts = counts is not None
    for index, step in enumerate(steps):
        _check_step(step, shape, axes, count, has_counts, sparse)
        has_counts = has_counts or step.method == "sparse_sum"
        sum_dtype = read_dtype if step.sum_dtype is None else step.sum_dtype
        job = &jobs[index]
        memset(job, 0, sizeof(Job))
        job.replicate = step.method in ("mode", "sparse_mode")
        job.reversed = reversed
        job.truncate = truncate
        job.sparse = has_counts
        memcpy(job.background, <const char*>background, 16)
        _choose_functions(job, step, read_dtype, sum_dtype)
        out_shape = _describe_axes(job, step, shape)
        _describe_array(job, VALUES, values if index == 0 else None, shape, read_dtype, held)
        _describe_array(job, COUNTS, counts if index == 0 else None, shape, read_dtype, held)
        _describe_array(job, OUT_VALUES, step.kept, out_shape, sum_dtype, held)
        _describe_array(job, OUT_COUNTS, step.kept_counts, out_shape, sum_dtype, held)
        if step.rendered is not None:
            _describe_array(job, RENDERED, step.rendered, out_shape, step.rendered_dtype, held)
        shape, read_dtype = out_shape, sum_dtype
    box_shape = _checked_box(box, tuple(values.shape), steps)

    with nogil:
        outcome = run(jobs.data(), count, box_shape.data())
    if outcome == NO_MEMORY:
        raise MemoryError
    if outcome == NOT_UNIT_STRIDE:
        raise ValueError("the last axis must have unit stride")


cdef _check_step(step, tuple shape, axes, count, has_counts, sparse):
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


cdef _choose_functions(Job* job, step, read_dtype, sum_dtype):
    cdef int read_code = DTYPE_CODES[read_dtype]
    cdef int sum_code = DTYPE_CODES[sum_dtype]
    cdef int method_code, rendered_code
    method = step.method
    rendering = step.rendered is not None
    if method is not None:
        method_code = METHOD_CODES[method]
        job.fold = _table.fold[method_code][read_code][sum_code]
    if rendering:
        rendered_code = DTYPE_CODES[step.rendered_dtype]
        job.render = _table.render[sum_code][rendered_code]
        if method == "sum" and not job.sparse:
            job.mean = _table.mean[read_code][sum_code][rendered_code]
    if (method is not None and job.fold == NULL) or (rendering and job.render == NULL):
        raise TypeError(f"no kernel for {method} of {read_dtype}, sums {step.sum_dtype}, {step.rendered_dtype}")


cdef tuple _describe_axes(Job* job, step, tuple shape):
    """Returns the shape of the level."""
    cdef int axis
    job.axes = len(shape)
    out_shape = tuple([(size - 1) // factor + 1 for size, factor in zip(shape, step.factor)])
    for axis in range(job.axes):
        job.axis[axis].size = shape[axis]
        job.axis[axis].out_size = out_shape[axis]
        job.axis[axis].factor = step.factor[axis]
        job.axis[axis].weight = job.axis[axis].last_weight = 1
        if step.rendered is not None:
            job.axis[axis].weight, job.axis[axis].last_weight = step.footprints[axis]
    return out_shape


cdef _describe_array(Job* job, int role, array, tuple shape, dtype, list held):
    """Adds to `held` what keeps the memory of the array, if there is one."""
    cdef _HeldArray memory
    cdef int axis
    job.itemsize[role] = ITEMSIZES[dtype]
    if array is None:
        return
    memory = _HeldArray(array, role >= OUT_VALUES)
    held.append(memory)
    if memory.view.ndim != job.axes or memory.view.itemsize != job.itemsize[role]:
        raise ValueError(
            f"array {role}: {memory.view.ndim} axes of {memory.view.itemsize} bytes, "
            f"expected {job.axes} of {job.itemsize[role]}"
        )
    job.data[role] = <char*>memory.view.buf
    for axis in range(job.axes):
        job.axis[axis].strides[role] = memory.view.strides[axis]
        if memory.view.shape[axis] != shape[axis]:
            raise ValueError(f"array {role}: size {memory.view.shape[axis]} on axis {axis} does not fit")


cdef vector[Py_ssize_t] _checked_box(tuple box, tuple shape, list steps) except *:
    cdef vector[Py_ssize_t] checked
    if len(box) != len(shape):
        raise ValueError(f"box: {len(shape)} entries are needed, one for each axis, not {len(box)}")
    for axis, (length, size) in enumerate(zip(box, shape)):
        if length != size:
            footprint = prod([step.factor[axis] for step in steps])
            if not 1 <= length < size or length % footprint != 0:
                raise ValueError(
                    f"box: {length} voxels on axis {axis}, where a multiple of {footprint}, or all {size}, are needed"
                )
        checked.push_back(length)
    return checked
