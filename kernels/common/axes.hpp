// How the elements and the axes of arrays are counted.
#pragma once

#include <cstddef>

namespace chunkpyramid {

using Index = std::ptrdiff_t;

constexpr int MAX_AXES = 64;

}  // namespace chunkpyramid
