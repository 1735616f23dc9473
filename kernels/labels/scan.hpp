// What one look at every label of a contiguous array tells.
#pragma once

#include "common/axes.hpp"

#include <cstdint>
#include <vector>

namespace chunkpyramid {

// The kinds of values of arrays, where they matter.
enum class Kind { UNSIGNED, SIGNED, FLOAT };

Index count_nonzero(const void* labels, int itemsize, Index size) noexcept;

// How many labels are the same as the one before.
Index count_pairs(const void* labels, int itemsize, Index size) noexcept;

// Writes the smallest and the largest value of a non-empty array. NaN is passed over, but for the first one, which is
// then both.
void find_extremes(const void* values, int itemsize, Kind kind, Index size, void* low, void* high) noexcept;

// Whether all values are equal to one of them; floats as numbers.
bool is_solid(const void* values, int itemsize, Kind kind, Index size, const void* value) noexcept;

// Whether no value is smaller (or larger, if not ascending) than the one before.
bool is_sorted(const void* values, int itemsize, Kind kind, Index size, bool ascending) noexcept;

// Where the values are that are equal to one. Returns false if there is not enough memory.
bool find_indices(
    const void* values, int itemsize, Kind kind, Index size, const void* value, std::vector<std::uint64_t>& found) noexcept;

}  // namespace chunkpyramid
