// Which labels of an array touch, and how often, in one pass over its rows.
#pragma once

#include "common/axes.hpp"
#include "table.hpp"

#include <cstdint>

namespace chunkpyramid {

// One for every pair of labels, the lesser of their bits first: how many pairs of voxels touch, and of those along each
// axis how many share a face.
using Contacts = Rows<Pair>;

// Two voxels near a third one that touch each other: so many steps from it along each axis, which are 0 or 1. `face` is
// the axis along which they share a face, or -1.
struct Neighbours {
    Index first[MAX_AXES];
    Index second[MAX_AXES];
    int face;
};

// An array, its last axis the fastest in memory; strides are in bytes. The neighbours near the voxels of `core` are
// looked at, the part of the array at its start, as far as both of them are in the array. Those of which one is the
// background are not, if there is one.
struct TouchedArray {
    const char* data;
    int itemsize;
    int axes;
    Index shape[MAX_AXES];
    Index core[MAX_AXES];
    Index strides[MAX_AXES];
    bool has_background;
    std::uint64_t background;
};

// Goes on from a `step` until the array ends or there are `most` pairs, and moves `step` to the first that was not taken.
// Steps go through the voxels of a row, of that for all kinds of neighbours, and of that for all rows. Returns false if
// there is not enough memory; what is in `contacts` then has to be released all the same.
bool find_contacts(
    const TouchedArray& array,
    const Neighbours* neighbours,
    int kinds,
    Index most,
    Index& step,
    Contacts& contacts) noexcept;

}  // namespace chunkpyramid
