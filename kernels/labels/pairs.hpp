// Which labels of two contiguous arrays are at the same places.
#pragma once

#include "common/axes.hpp"

#include <cstdint>
#include <vector>

namespace chunkpyramid {

struct LabelPairs {
    std::vector<std::uint64_t> first;
    std::vector<std::uint64_t> second;
};

// For every label of the first array the one at its place in the second array where the last of its runs begins, in the
// order in which they are met. Returns false if there is not enough memory.
bool map_labels(
    const void* first, int first_itemsize, const void* second, int second_itemsize, Index size,
    LabelPairs& pairs) noexcept;

// All pairs that there are, each once, in the order in which they are met.
bool distinct_pairs(
    const void* first, int first_itemsize, const void* second, int second_itemsize, Index size,
    LabelPairs& pairs) noexcept;

}  // namespace chunkpyramid
