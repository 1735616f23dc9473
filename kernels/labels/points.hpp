// The coordinates of all voxels, label by label.
#pragma once

#include "common/axes.hpp"

#include <cstdint>

namespace chunkpyramid {

// A contiguous array of two or three axes, the last one the fastest; with two, the first one has length 1.
struct PointCloud {
    const void* labels;
    int itemsize;
    Index shape[3];
    const std::uint64_t* keys;   // all labels that are wanted
    std::int64_t* next;          // for each of them the point at which its next voxel goes; moved on
    Index keys_size;
    std::uint16_t* points;       // as many coordinates each as there are columns
    int columns;                 // 2 or 3
    bool is_reversed;            // whether coordinates are written from the last axis to the first
};

// Voxels are written in the order of memory. Returns false if there is not enough memory.
bool write_points(const PointCloud& cloud) noexcept;

}  // namespace chunkpyramid
