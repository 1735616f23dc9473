// Counts, bounding boxes and sums of coordinates of the labels of an array, in one pass over its runs.
#pragma once

#include "common/axes.hpp"
#include "table.hpp"

#include <cstdint>

namespace chunkpyramid {

// One for every label: its bits, and its statistics. There are 2 + 3 * axes of them (or 1 without boxes): the count, how
// many voxels are not in the interior, and of each axis the least coordinate, the largest, and the sum of all.
using LabelCounts = Rows<std::uint64_t>;

// An array, its last axis the fastest in memory; strides are in bytes. Voxels are in the interior if each coordinate is
// from `interior_start` on and before `interior_stop`.
struct CountedArray {
    const char* data;
    int itemsize;
    int axes;
    Index shape[MAX_AXES];
    Index strides[MAX_AXES];
    Index interior_start[MAX_AXES];
    Index interior_stop[MAX_AXES];
};

// Counts from a voxel on, in the order of memory, until the array ends or there are `most` labels, and moves `voxel` to
// the first that was not counted. Returns false if there is not enough memory; what is in `counts` then has to be
// released all the same.
bool count_labels(
    const CountedArray& array, bool with_boxes, Index most, Index& voxel, LabelCounts& counts) noexcept;

}  // namespace chunkpyramid
