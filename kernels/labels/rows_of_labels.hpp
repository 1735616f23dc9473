// How labels are read from the rows of an array.
#pragma once

#include "common/axes.hpp"

#include <cstring>

namespace chunkpyramid {

template <class Label>
inline Label label_at(const char* row, Index at, Index stride) {
    Label label;
    std::memcpy(&label, row + at * stride, sizeof(Label));
    return label;
}

}  // namespace chunkpyramid
