// Parts of components that turn out to be one.
#pragma once

#include "common/axes.hpp"

#include <cstdint>

namespace chunkpyramid {

// Parts, each with the one that it was joined to (itself at first), and what is known of both together at the last one
// of these, the root: how many voxels there are, and which one is the first.
struct Parts {
    std::int64_t* parents;
    std::int64_t* sizes;
    std::int64_t* firsts;
};

// Joins the parts of each of the pairs, which lie one after the other. The smaller number becomes the root.
void unite(Parts& parts, const std::int64_t* pairs, Index count) noexcept;

// Replaces numbers of parts by those of their roots.
void find_roots(std::int64_t* parents, std::int64_t* numbers, Index count) noexcept;

}  // namespace chunkpyramid
