#include "transpose.hpp"

#include <algorithm>
#include <cstdint>
#include <cstring>

namespace chunkpyramid {
namespace {

// Rows of a tile are read whole, and so are its columns written: a line of the cache is used up when it is there.
template <typename Item>
void plane(const char* source, Index step, char* target, Index target_step, Index rows, Index columns) noexcept {
    constexpr Index SIDE = sizeof(Item) == 1 ? 64 : 32;
    Item tile[SIDE][SIDE];
    for (Index row = 0; row < rows; row += SIDE) {
        const Index height = std::min(SIDE, rows - row);
        for (Index column = 0; column < columns; column += SIDE) {
            const Index width = std::min(SIDE, columns - column);
            for (Index j = 0; j < width; ++j) {
                std::memcpy(tile[j], source + (column + j) * step + row * Index(sizeof(Item)), height * sizeof(Item));
            }
            for (Index i = 0; i < height; ++i) {
                char* out = target + (row + i) * target_step + column * Index(sizeof(Item));
                Item line[SIDE];
                for (Index j = 0; j < width; ++j) line[j] = tile[j][i];
                std::memcpy(out, line, width * sizeof(Item));
            }
        }
    }
}

template <typename Item>
void planes(const Transposition& job) noexcept {
    const int last = job.axes - 1;
    Index at[MAX_AXES] = {};
    const char* source = job.source;
    char* target = job.target;
    while (true) {
        plane<Item>(source, job.source_strides[last], target, job.target_strides[job.fast], job.shape[job.fast],
                    job.shape[last]);
        int axis = last - 1;
        for (; axis >= 0; --axis) {
            if (axis == job.fast) continue;
            source += job.source_strides[axis];
            target += job.target_strides[axis];
            if (++at[axis] < job.shape[axis]) break;
            source -= job.source_strides[axis] * job.shape[axis];
            target -= job.target_strides[axis] * job.shape[axis];
            at[axis] = 0;
        }
        if (axis < 0) return;
    }
}

}  // namespace

void transpose(const Transposition& job) noexcept {
    switch (job.itemsize) {
        case 1: return planes<std::uint8_t>(job);
        case 2: return planes<std::uint16_t>(job);
        case 4: return planes<std::uint32_t>(job);
        default: return planes<std::uint64_t>(job);
    }
}

}  // namespace chunkpyramid
