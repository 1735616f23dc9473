// Counts, bounding boxes and sums of coordinates of the labels of an array, in one pass over its runs.
#pragma once

#include "common/axes.hpp"

#include <cstdint>

namespace chunkpyramid {

// One for every label: its bits, and its statistics. There are 1 + 3 * axes of them (or 1 without boxes): the count,
// and of each axis the least coordinate, the largest, and the sum of all.
struct LabelCounts {
    std::uint64_t* labels;
    std::int64_t* statistics;
    Index size;
};

// An array, its last axis the fastest in memory; strides are in bytes.
struct CountedArray {
    const char* data;
    int itemsize;
    int axes;
    Index shape[MAX_AXES];
    Index strides[MAX_AXES];
};

// Counts from a voxel on, in the order of memory, until the array ends or there are `most` labels, and moves `voxel` to
// the first that was not counted. Returns false if there is not enough memory; what is in `counts` then has to be
// released all the same.
bool count_labels(
    const CountedArray& array, bool with_boxes, Index most, Index& voxel, LabelCounts& counts) noexcept;

void release(LabelCounts& counts) noexcept;

}  // namespace chunkpyramid
