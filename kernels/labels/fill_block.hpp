// The runs of a block, filled with their values by the best instructions that the machine has.
#pragma once

#include "run_starts.hpp"

#include <cstdint>

namespace chunkpyramid {

// So many items behind the values of a block are read, too.
constexpr Index SPARE = 16;

// Fills 64 items: those of the first run with the first value, and so on. Each bit of `starts` begins a run, the first
// one does. Values are 4 or 8 bytes; there is room for BLOCK + SPARE of them.
template <class Value>
using FillBlock = void (*)(Value* target, std::uint64_t starts, const Value* values);

// nullptr where runs are better filled one after the other.
template <class Value>
FillBlock<Value> best_fill_block() noexcept;

}  // namespace chunkpyramid
