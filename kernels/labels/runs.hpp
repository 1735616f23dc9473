// Runs of equal labels: neighbours in memory are most often of one label, so that what there is to do is done once.
#pragma once

#include "common/axes.hpp"
#include "common/hints.hpp"

#include <cstdint>
#include <cstring>

namespace chunkpyramid {

// So many labels are looked at together, for their runs are the bits of one word.
constexpr Index BLOCK = 64;

// Parts of this many labels stay in a cache while they are read twice.
constexpr Index PART = 1 << 14;

// Bit i tells whether label i is another than the one before it; the first one counts as another.
template <class Label>
ALWAYS_INLINE std::uint64_t run_starts(const Label* labels, Index size) {
    std::uint64_t starts = 1;
    if (size == BLOCK) {
        // whole blocks are compared byte by byte of a result, which compilers vectorise, and packed eight at a time
        unsigned char differs[BLOCK];
        differs[0] = 1;
        for (Index at = 1; at < BLOCK; ++at) {
            differs[at] = labels[at] != labels[at - 1];
        }
        starts = 0;
        for (int byte = 0; byte < 8; ++byte) {
            std::uint64_t eight;
            std::memcpy(&eight, differs + 8 * byte, 8);
            starts |= (eight * 0x0102040810204080ULL >> 56) << (8 * byte);
        }
        return starts;
    }
    for (Index at = 1; at < size; ++at) {
        starts |= std::uint64_t{labels[at] != labels[at - 1]} << at;
    }
    return starts;
}

// Calls `visit(start, stop)` for every run of a block.
template <class Visit>
ALWAYS_INLINE void for_each_run(std::uint64_t starts, Index size, Visit visit) {
    while (starts) {
        const Index start = __builtin_ctzll(starts);
        starts &= starts - 1;
        visit(start, starts ? Index{__builtin_ctzll(starts)} : size);
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
