// A job that does the same with as few and as long axes as possible. Only included by chain.cpp.
#pragma once

#include "job.hpp"

#include <algorithm>
#include <cstdint>

namespace chunkpyramid {
namespace {

bool is_plain(const Axis& axis) { return axis.factor == 1 && axis.weight == axis.last_weight; }

bool mergeable(const Job& job, const Axis& slow, const Axis& fast) {
    if (!is_plain(slow) || !is_plain(fast)) return false;
    for (int role = 0; role < ROLES; ++role) {
        if (job.data[role] && slow.strides[role] != fast.strides[role] * fast.size) return false;
    }
    return true;
}

// Rewrites the job with as few and as long axes as possible. `row`: the axis of the rows, which stays even if this box
// has but one element of it, for no other axis has unit stride.
void simplify(Job& job, int row) {
    std::int64_t scalar_weight = 1;
    int kept = 0;
    for (int i = 0; i < job.axes; ++i) {
        Axis axis = job.axis[i];
        if (axis.out_size == 1) axis.weight = axis.last_weight;
        if (axis.size == 1 && i != row && (axis.factor == 1 || !job.replicate)) {
            scalar_weight *= axis.weight;
            continue;
        }
        if (kept > 0 && mergeable(job, job.axis[kept - 1], axis)) {
            const Axis& slow = job.axis[--kept];
            axis.size *= slow.size;
            axis.out_size *= slow.out_size;
            axis.weight = axis.last_weight = axis.weight * slow.weight;
        }
        job.axis[kept++] = axis;
    }
    // A row and the axis of its neighbours always exist; the latter takes the weights of the axes left out.
    const int added = kept == 0 ? 2 : 1;
    std::copy_backward(job.axis, job.axis + kept, job.axis + kept + added);
    for (int i = 0; i < added; ++i) {
        job.axis[i] = {};
        job.axis[i].size = job.axis[i].out_size = job.axis[i].factor = job.axis[i].weight = 1;
        job.axis[i].last_weight = 1;
    }
    job.axis[0].weight = job.axis[0].last_weight = scalar_weight;
    job.axes = kept + added;
}

// The last axis of more than one element, before anything is cut.
int row_axis(const Job& job) {
    int row = job.axes - 1;
    while (row > 0 && job.axis[row].size == 1) --row;
    return row;
}

bool has_unit_stride(const Job& job) {
    const Axis& axis = job.axis[job.axes - 1];
    for (int role = 0; role < ROLES; ++role) {
        const Index size = is_input(role) ? axis.size : axis.out_size;
        if (job.data[role] && size > 1 && axis.strides[role] != job.itemsize[role]) return false;
    }
    return true;
}

}  // namespace
}  // namespace chunkpyramid
