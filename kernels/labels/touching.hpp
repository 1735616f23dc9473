// Which numbers of two planes of voxels that lie on each other touch.
#pragma once

#include "common/axes.hpp"

#include <cstdint>
#include <vector>

namespace chunkpyramid {

// A plane of voxels; strides are in bytes.
struct NumberPlane {
    const char* data;
    Index strides[2];
};

// Collects the pairs of numbers, none of them 0, whose voxels lie on each other or differ along at most `reach` of the
// two axes, by one along each: the number of the first plane in the high word. Most pairs are told once. Returns false
// if there is not enough memory.
bool find_touching(
    const NumberPlane& first, const NumberPlane& second, const Index* shape, int reach,
    std::vector<std::uint64_t>& pairs) noexcept;

}  // namespace chunkpyramid
