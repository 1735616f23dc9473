// Runs of equal labels: neighbours in memory are most often of one label, so that what there is to do is done once.
#pragma once

#include "common/axes.hpp"
#include "common/hints.hpp"
#include "run_starts.hpp"

#include <algorithm>
#include <cstdint>

namespace chunkpyramid {

// Asks for the block of the next part that is at the place of this block: the memory is busy while labels are looked up.
template <bool TO_WRITE = false, class Label>
ALWAYS_INLINE void ask_for_next(const Label* block) {
    constexpr Index LINE = 64;
    const char* next = reinterpret_cast<const char*>(block) + PART * sizeof(Label);
    for (Index at = 0; at < BLOCK * Index{sizeof(Label)}; at += LINE) {
        __builtin_prefetch(next + at, TO_WRITE);
    }
}

// Takes the first run off a word of starts.
struct Run {
    ALWAYS_INLINE Run(std::uint64_t& starts, Index size) : start(__builtin_ctzll(starts)) {
        starts &= starts - 1;
        stop = starts ? Index{__builtin_ctzll(starts)} : size;
    }

    Index start;
    Index stop;
};

// Fills a run of a block, of which nothing behind the run is needed any more: most runs are short, and to write eight
// items is as fast as to write one.
template <class Value>
ALWAYS_INLINE void fill_run(Value* target, Run run, Index size, Value value) {
    constexpr Index EIGHT = 8;
    Index at = run.start;
    if (run.stop + EIGHT <= size) {
        do {
            for (Index item = 0; item < EIGHT; ++item) {
                target[at + item] = value;
            }
            at += EIGHT;
        } while (at < run.stop);
        return;
    }
    for (; at < run.stop; ++at) {
        target[at] = value;
    }
}

// Calls `work` with a value of the type that has so many bytes.
template <class Work>
auto with_label_type(int itemsize, Work work) {
    switch (itemsize) {
        case 1: return work(std::uint8_t{});
        case 2: return work(std::uint16_t{});
        case 4: return work(std::uint32_t{});
        default: return work(std::uint64_t{});
    }
}

}  // namespace chunkpyramid
