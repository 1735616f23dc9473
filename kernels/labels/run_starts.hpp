// Where runs begin in a part of an array, and which bits its labels have: what every operation looks at first.
#pragma once

#include "common/axes.hpp"

#include <cstdint>

namespace chunkpyramid {

// So many labels are looked at together, for their runs are the bits of one word.
constexpr Index BLOCK = 64;

// Parts of this many labels stay in a cache while they are read twice.
constexpr Index PART = 1 << 11;
constexpr Index BLOCKS = PART / BLOCK;

struct PartOfLabels {
    // Of each block a word: bit i tells whether label i is another than the one before it. Every block begins a run.
    std::uint64_t starts[BLOCKS];
    std::uint64_t any;  // the bits that any label has
    std::uint64_t all;  // the bits that all labels have
};

// The size is at most PART. By the best instructions that the machine has.
void look_at_part(const void* labels, int itemsize, Index size, PartOfLabels& part) noexcept;

// How many sets of instructions can be used here, and which one is: 0 is what every machine has.
int instruction_sets() noexcept;
void use_instruction_set(int chosen) noexcept;
int used_instruction_set() noexcept;

}  // namespace chunkpyramid
