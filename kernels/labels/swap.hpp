// Transposition in place, without other memory.
#pragma once

#include "common/axes.hpp"

namespace chunkpyramid {

// Exchanges the first and the last axis, both of length `side`, of a contiguous array of shape (side, middle, side).
// Items have 1, 2, 4, 8 or 16 bytes.
void swap_axes(void* items, int itemsize, Index side, Index middle) noexcept;

}  // namespace chunkpyramid
