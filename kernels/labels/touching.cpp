#include "touching.hpp"

#include <algorithm>
#include <cstdlib>
#include <cstring>
#include <new>

namespace chunkpyramid {

namespace {

std::uint64_t number_at(const NumberPlane& plane, Index row, Index column) {
    std::uint32_t number;
    std::memcpy(&number, plane.data + row * plane.strides[0] + column * plane.strides[1], sizeof(number));
    return number;
}

// Remembers some of the pairs that were told.
class Told {
public:
    bool remembers(std::uint64_t pair) {
        std::uint64_t& place = places_[(pair * 0x9e3779b97f4a7c15ULL) >> (64 - BITS)];
        const bool is_known = place == pair;
        place = pair;
        return is_known;
    }

private:
    static constexpr int BITS = 12;
    std::uint64_t places_[1 << BITS] = {};
};

void find(
    const NumberPlane& first, const NumberPlane& second, const Index* shape, int reach,
    std::vector<std::uint64_t>& pairs) {
    Told told;
    for (Index down = -1; down <= 1; ++down) {
        for (Index right = -1; right <= 1; ++right) {
            if (std::abs(down) + std::abs(right) > reach) {
                continue;
            }
            std::uint64_t before = 0;
            for (Index row = std::max<Index>(0, -down); row < shape[0] - std::max<Index>(0, down); ++row) {
                for (Index column = std::max<Index>(0, -right); column < shape[1] - std::max<Index>(0, right);
                     ++column) {
                    const std::uint64_t here = number_at(first, row, column);
                    const std::uint64_t there = number_at(second, row + down, column + right);
                    const std::uint64_t pair = here << 32 | there;
                    if (pair != before && here && there && !told.remembers(pair)) {
                        pairs.push_back(pair);
                    }
                    before = pair;
                }
            }
        }
    }
}

}  // namespace

bool find_touching(
    const NumberPlane& first, const NumberPlane& second, const Index* shape, int reach,
    std::vector<std::uint64_t>& pairs) noexcept {
    try {
        find(first, second, shape, reach, pairs);
    } catch (const std::bad_alloc&) {
        return false;
    }
    return true;
}

}  // namespace chunkpyramid
