#include "unite.hpp"

#include <algorithm>
#include <utility>

namespace chunkpyramid {

namespace {

std::int64_t root_of(std::int64_t* parents, std::int64_t number) {
    while (parents[number] != number) {
        parents[number] = parents[parents[number]];
        number = parents[number];
    }
    return number;
}

}  // namespace

void unite(Parts& parts, const std::int64_t* pairs, Index count) noexcept {
    for (Index pair = 0; pair < count; ++pair) {
        std::int64_t one = root_of(parts.parents, pairs[2 * pair]);
        std::int64_t other = root_of(parts.parents, pairs[2 * pair + 1]);
        if (one == other) {
            continue;
        }
        if (one > other) {
            std::swap(one, other);
        }
        parts.parents[other] = one;
        parts.sizes[one] += parts.sizes[other];
        parts.firsts[one] = std::min(parts.firsts[one], parts.firsts[other]);
    }
}

void find_roots(std::int64_t* parents, std::int64_t* numbers, Index count) noexcept {
    for (Index at = 0; at < count; ++at) {
        numbers[at] = root_of(parents, numbers[at]);
    }
}

}  // namespace chunkpyramid
