#include "swap.hpp"

#include "runs.hpp"

#include <algorithm>
#include <complex>
#include <cstdint>

namespace chunkpyramid {
namespace {

// Two tiles on either side of the diagonal are exchanged at a time: each is copied, so that lines of the cache are used
// up when they are there.
template <class Item>
void swap_as(Item* items, Index side, Index middle) {
    constexpr Index TILE = sizeof(Item) == 16 ? 16 : 32;
    const Index step = side * middle;
    Item one[TILE][TILE], other[TILE][TILE];
    for (Index plane = 0; plane < middle; ++plane) {
        Item* origin = items + plane * side;
        for (Index row = 0; row < side; row += TILE) {
            const Index height = std::min(TILE, side - row);
            for (Index column = row; column < side; column += TILE) {
                const Index width = std::min(TILE, side - column);
                for (Index i = 0; i < height; ++i) {
                    const Item* from = origin + (row + i) * step + column;
                    for (Index j = 0; j < width; ++j) one[j][i] = from[j];
                }
                for (Index j = 0; j < width; ++j) {
                    const Item* from = origin + (column + j) * step + row;
                    for (Index i = 0; i < height; ++i) other[i][j] = from[i];
                }
                for (Index i = 0; i < height; ++i) {
                    std::copy(other[i], other[i] + width, origin + (row + i) * step + column);
                }
                for (Index j = 0; j < width; ++j) {
                    std::copy(one[j], one[j] + height, origin + (column + j) * step + row);
                }
            }
        }
    }
}

}  // namespace

void swap_axes(void* items, int itemsize, Index side, Index middle) noexcept {
    if (itemsize == 16) {
        swap_as(static_cast<std::complex<double>*>(items), side, middle);
        return;
    }
    with_label_type(itemsize, [&](auto item) { swap_as(static_cast<decltype(item)*>(items), side, middle); });
}

}  // namespace chunkpyramid
