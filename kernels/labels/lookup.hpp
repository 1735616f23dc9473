// What labels become: a table from labels to values, and arrays that are rewritten by it.
#pragma once

#include "common/axes.hpp"

#include <cstdint>

namespace chunkpyramid {

// What a label becomes that is not in the table.
enum class Missing { KEEP, FILL, STOP };

class Lookup {
public:
    virtual ~Lookup() = default;

    // Rewrites the labels from `begin` to `end`, and returns the first one that is missing and stops it, or `end`.
    // Several threads may do so at once. The target may be the array itself if it has items of as many bytes.
    virtual Index apply(const void* labels, int itemsize, void* target, Index begin, Index end) const noexcept = 0;
};

// Keys and values are bits; of two values of one key the last one counts. Values have 1, 2, 4 or 8 bytes. The more
// labels are to be rewritten, the larger a table may be. Returns nullptr if there is not enough memory.
Lookup* make_lookup(
    const std::uint64_t* keys, const std::uint64_t* values, Index size, int value_itemsize, Missing missing,
    std::uint64_t fill, Index labels) noexcept;

}  // namespace chunkpyramid
