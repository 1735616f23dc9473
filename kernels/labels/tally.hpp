// How often each label occurs, and where first.
#pragma once

#include "common/axes.hpp"

#include <cstdint>
#include <vector>

namespace chunkpyramid {

struct Tally {
    std::vector<std::uint64_t> labels;
    std::vector<std::int64_t> counts;
    std::vector<std::int64_t> firsts;  // where each one is met first; empty if not asked for
    std::int64_t pairs = 0;            // how many labels are the same as the one before
    bool is_ascending = false;
};

// Returns false if there is not enough memory.
bool tally(const void* labels, int itemsize, Index size, bool with_firsts, Tally& result) noexcept;

}  // namespace chunkpyramid
