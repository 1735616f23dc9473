// Places of labels that are close together: their low bits, where all others are the same.
#pragma once

#include "common/axes.hpp"
#include "common/hints.hpp"

#include <algorithm>
#include <cstdint>

namespace chunkpyramid {

class Places {
public:
    // There are at most four times as many places as there are labels: a table of them is never what takes the time.
    explicit Places(Index most_labels)
        : most_(std::min(MOST, static_cast<std::uint64_t>(std::max(Index{64}, most_labels)) * 4)) {}

    std::uint64_t size() const { return size_; }
    ALWAYS_INLINE std::uint64_t of(std::uint64_t label) const { return label & mask_; }
    std::uint64_t label(std::uint64_t place) const { return base_ | place; }

    // Makes room for labels, which have these bits between them and these ones in common. The places of those before
    // are others if the size changes. Returns false, and does nothing, if there would be too many places.
    bool cover(std::uint64_t any, std::uint64_t all) {
        any |= any_;
        all &= all_;
        const std::uint64_t varying = any ^ all;
        std::uint64_t size = std::max(size_, FIRST);
        while (size <= varying && size <= most_) {
            size *= 2;
        }
        if (size <= varying || size > std::max(most_, FIRST)) {
            return false;
        }
        any_ = any;
        all_ = all;
        size_ = size;
        mask_ = size - 1;
        base_ = all & ~mask_;
        return true;
    }

private:
    static constexpr std::uint64_t FIRST = 64;
    static constexpr std::uint64_t MOST = std::uint64_t{1} << 21;

    std::uint64_t most_;
    std::uint64_t any_ = 0;
    std::uint64_t all_ = ~std::uint64_t{0};
    std::uint64_t size_ = 0;
    std::uint64_t mask_ = 0;
    std::uint64_t base_ = 0;
};

}  // namespace chunkpyramid
