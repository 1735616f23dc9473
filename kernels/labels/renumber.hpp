// New numbers for labels, in the order in which they are met.
#pragma once

#include "numbers.hpp"

#include <cstdint>

namespace chunkpyramid {

// What is known of an array that is numbered in several goes.
struct Renumbering {
    explicit Renumbering(Index size) : numbers(size) {}

    Numbers numbers;
    std::uint64_t start = 1;     // the new label of the first one
    bool keeps_zero = true;      // zero stays zero, and is not counted
    Index most = 0;              // so many labels may there be
    Index done = 0;              // so many voxels are done
    bool out_of_memory = false;
};

// Goes on until the end, or until there are more labels than there may be; tells whether that was the end. The target
// may be the array itself if it has items of as many bytes. Of a new label as many bits are written as the target has.
bool renumber(const void* labels, int itemsize, void* target, int target_itemsize, Index size, Renumbering& job) noexcept;

}  // namespace chunkpyramid
