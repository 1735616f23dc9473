// Copying between arrays whose fastest axes differ, such as one in Fortran order to one in C order.
#pragma once

#include "axes.hpp"

namespace chunkpyramid {

struct Transposition {
    const char* source;
    char* target;
    Index itemsize;
    int axes;
    int fast;  // the axis that has unit stride in the source; in the target it is the last one
    Index shape[MAX_AXES];
    Index source_strides[MAX_AXES];
    Index target_strides[MAX_AXES];
};

// The shape has no axis of length 0, and itemsize is 1, 2, 4 or 8.
void transpose(const Transposition& job) noexcept;

}  // namespace chunkpyramid
