// Connected components of an array of labels.
#pragma once

#include "common/axes.hpp"

#include <cstdint>

namespace chunkpyramid {

// An array of three axes, the last one the fastest in memory; strides are in bytes. `steps` are what a voxel farther
// along each axis adds to the index of a voxel, which counts in the order of the array's user.
struct LabelArray {
    const char* data;
    int itemsize;
    Index shape[3];
    Index strides[3];
    Index steps[3];
};

// What is asked for: voxels are neighbours if they differ along at most `reach` axes, by one along each. Those of the
// background, if there is one, and those of components of fewer than `least` voxels get the number 0. Only if it
// `is_described` has the table more than the count.
struct ComponentRules {
    int reach;
    bool has_background;
    std::uint64_t background;
    std::uint64_t least;
    bool is_described;
};

// Of each component, as many bytes each as the numbers have: how many voxels it has, and the index of the first one.
struct ComponentTable {
    void* sizes;
    void* firsts;
    Index count;
};

// Numbers the components from 1 on in the order of their first voxels, and writes the number of each voxel to
// `numbers`, which are contiguous, of `number_bytes` each: 4 for fewer than 2**31 voxels, else 8. Returns false if there is not enough memory; the table is to be released all the same.
bool label_components(
    const LabelArray& array, const ComponentRules& rules, void* numbers, int number_bytes,
    ComponentTable& table) noexcept;

void release(ComponentTable& table) noexcept;

}  // namespace chunkpyramid
