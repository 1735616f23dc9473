// Merges the runs that are met under a voxel. Only included by fold.cpp.
#pragma once

#include "common/hints.hpp"
#include "writer.hpp"

#include <algorithm>
#include <cstddef>
#include <vector>

namespace chunkpyramid {
namespace {

// Of one footprint, this many labels are found one after the other. Those beyond are sorted, so that no footprint takes
// quadratic time; nearly all footprints of real segmentations have fewer.
constexpr Index SOUGHT_LABELS = 8;

// Runs are merged in blocks of this length, which are unrolled, with runs of no voxels at the end.
constexpr Index BLOCK = 8;

template <class Key, class Count>
struct Run {
    Key key;
    Count count;
};

template <class Key, class Count>
bool before(const Run<Key, Count>& a, const Run<Key, Count>& b) {
    return a.key < b.key;
}

// The keys that are met under a voxel, in any order, and how often each is.
template <class Key, class Count>
class MetRuns {
public:
    explicit MetRuns(RunsMemory<Key, Count>& memory) : memory_(memory) {}

    Key* keys() { return keys_.data(); }
    Count* counts() { return counts_.data(); }

    // Room for so many, and for what is written beyond them.
    void prepare(Index length) {
        if (Index(keys_.size()) >= length + BLOCK) return;
        keys_.resize(2 * length + BLOCK);
        counts_.resize(2 * length + BLOCK);
    }

    // Adds up the counts of equal keys, of which there are a block of single voxels, or any number. Where there is more
    // than one label there are mostly two.
    template <bool ONE_BLOCK>
    ALWAYS_INLINE void merge(Writer<Key, Count>& to, Index length) {
        Key* const keys = keys_.data();
        Count* const counts = counts_.data();
        if (ONE_BLOCK) length = BLOCK;
        if (length % BLOCK) {
            std::fill_n(keys + length, BLOCK, keys[0]);
            std::fill_n(counts + length, BLOCK, Count(0));
        }
        Key low = keys[0], high = keys[0];
        Count total = ONE_BLOCK ? BLOCK : 0;
        for (Index i = 0; i < length; i += BLOCK) {
            UNROLLED for (Index j = i; j < i + BLOCK; ++j) {
                low = std::min(low, keys[j]);
                high = std::max(high, keys[j]);
                if (!ONE_BLOCK) total += counts[j];
            }
        }
        if (low == high) {
            to.add(low, total);
            return;
        }
        const Count of_low = count<ONE_BLOCK>(low, length), of_high = count<ONE_BLOCK>(high, length);
        to.add(low, of_low);
        if (of_low + of_high < total) to.become(merge_between<ONE_BLOCK>(to, low, high, total - of_low - of_high, length));
        to.add(high, of_high);
    }

private:
    template <bool ONE_BLOCK>
    NEVER_INLINE Writer<Key, Count> merge_between(Writer<Key, Count> to, Key key, Key high, Count left, Index length) {
        for (Index label = 2; left > 0; ++label) {
            if (label == SOUGHT_LABELS) return sort_between(to, key, high, length);
            key = next(key, high, length);
            const Count of_key = count<ONE_BLOCK>(key, length);
            to.add(key, of_key);
            left -= of_key;
        }
        return to;
    }

    template <bool ONE_BLOCK>
    ALWAYS_INLINE Count count(Key key, Index length) const {
        const Key* const keys = keys_.data();
        const Count* const counts = counts_.data();
        Count total = 0;
        for (Index i = 0; i < length; i += BLOCK) {
            UNROLLED for (Index j = i; j < i + BLOCK; ++j) {
                const Count is_equal = keys[j] == key;
                total += ONE_BLOCK ? is_equal : counts[j] & Count(-is_equal);
            }
        }
        return total;
    }

    // The smallest key above another one; there is one up to `high`.
    Key next(Key above, Key high, Index length) const {
        const Key* const keys = keys_.data();
        for (Index i = 0; i < length; i += BLOCK) {
            for (Index j = i; j < i + BLOCK; ++j) high = keys[j] > above ? std::min(high, keys[j]) : high;
        }
        return high;
    }

    Writer<Key, Count> sort_between(Writer<Key, Count> to, Key low, Key high, Index length) {
        scratch_.clear();
        for (Index i = 0; i < length; ++i) {
            if (keys_[i] > low && keys_[i] < high) scratch_.push_back({keys_[i], counts_[i]});
        }
        std::sort(scratch_.begin(), scratch_.end(), before<Key, Count>);
        std::size_t labels = 0;
        for (std::size_t i = 1; i < scratch_.size(); ++i) {
            if (scratch_[i].key == scratch_[labels].key) {
                scratch_[labels].count += scratch_[i].count;
            } else {
                scratch_[++labels] = scratch_[i];
            }
        }
        scratch_.resize(labels + 1);
        // and for the highest
        if (!to.has_room(Index(scratch_.size()) + 1)) to = memory_.with_room(to, Index(scratch_.size()) + 1);
        for (const Run<Key, Count>& run : scratch_) to.add(run.key, run.count);
        return to;
    }

    RunsMemory<Key, Count>& memory_;
    std::vector<Key> keys_;
    std::vector<Count> counts_;
    std::vector<Run<Key, Count>> scratch_;
};

}  // namespace
}  // namespace chunkpyramid
