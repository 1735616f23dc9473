// Groups of labels that pairs join, by union-find.
#pragma once

#include "common/axes.hpp"
#include "table.hpp"

#include <cstdint>

namespace chunkpyramid {

// One for every label, with the number of the row of the smallest label of its group.
using Groups = Rows<std::uint64_t>;

// Joins the two labels of each of `count` pairs. Returns false if there is not enough memory; what is in `groups` then
// has to be released all the same.
bool join_labels(const Pair* pairs, Index count, Groups& groups) noexcept;

}  // namespace chunkpyramid
