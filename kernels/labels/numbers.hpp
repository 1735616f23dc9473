// Numbers of labels, in the order in which they are met: by a table where all labels are close together, else by hashing.
#pragma once

#include "common/hints.hpp"
#include "hash_map.hpp"
#include "places.hpp"
#include "runs.hpp"

#include <algorithm>
#include <cstdint>
#include <vector>

namespace chunkpyramid {

// Throws std::bad_alloc.
class Numbers {
public:
    explicit Numbers(Index most_labels) : places_(most_labels) {}

    Index size() const { return static_cast<Index>(labels_.size()); }
    const std::vector<std::uint64_t>& labels() const { return labels_; }
    bool is_direct() const { return is_direct_; }
    bool is_large() const { return map_.is_large(); }

    // Has to be called before any label is asked for that has others than these bits.
    void cover(std::uint64_t any, std::uint64_t all) {
        if (!is_direct_) {
            return;
        }
        const std::uint64_t before = places_.size();
        is_direct_ = places_.cover(any, all);
        if (!is_direct_) {
            table_ = std::vector<std::uint32_t>();
            for (const std::uint64_t label : labels_) {
                map_.find_or_add(label);
            }
        } else if (places_.size() != before) {
            table_.assign(places_.size(), 0);
            for (std::size_t number = 0; number < labels_.size(); ++number) {
                table_[places_.of(labels_[number])] = static_cast<std::uint32_t>(number + 1);
            }
        }
    }

    template <bool DIRECT>
    ALWAYS_INLINE Index find_or_add(std::uint64_t label) {
        if (DIRECT) {
            const std::uint32_t next = table_[places_.of(label)];
            return next ? static_cast<Index>(next) - 1 : add_direct(label);
        }
        const Index number = map_.find_or_add(label);
        if (number == size()) {
            labels_.push_back(label);
        }
        return number;
    }

    // As above, with the hash known, and asked for beforehand.
    ALWAYS_INLINE Index find_or_add_hashed(std::uint64_t label, std::uint64_t hash) {
        const Index number = map_.find_or_add(label, hash);
        if (number == size()) {
            labels_.push_back(label);
        }
        return number;
    }

    ALWAYS_INLINE std::uint64_t prefetched_hash(std::uint64_t label) const {
        const std::uint64_t hash = map_.hash(label);
        map_.prefetch(hash);
        return hash;
    }

private:
    NEVER_INLINE Index add_direct(std::uint64_t label) {
        labels_.push_back(label);
        table_[places_.of(label)] = static_cast<std::uint32_t>(labels_.size());
        return size() - 1;
    }

    bool is_direct_ = true;
    Places places_;
    std::vector<std::uint32_t> table_;  // at the place of a label its number and one, or 0
    std::vector<std::uint64_t> labels_;
    HashMap map_;
};

// Blocks of more runs than this are taken label by label: to find the next run takes longer than to look up a label.
constexpr int MANY_RUNS = 24;

// The runs of a block, and the numbers of their labels.
struct NumberedRuns {
    std::uint64_t starts;
    Index numbers[BLOCK];
};

template <class Label, bool DIRECT>
ALWAYS_INLINE void number_runs(const Label* labels, Numbers& numbers, NumberedRuns& runs) {
    int run = 0;
    if (DIRECT || !numbers.is_large()) {
        for (std::uint64_t left = runs.starts; left; left &= left - 1) {
            runs.numbers[run++] = numbers.find_or_add<DIRECT>(labels[__builtin_ctzll(left)]);
        }
        return;
    }
    // the places of all runs are on their way to the cache before the first one is looked at
    std::uint64_t hashes[BLOCK];
    for (std::uint64_t left = runs.starts; left; left &= left - 1) {
        hashes[run++] = numbers.prefetched_hash(labels[__builtin_ctzll(left)]);
    }
    run = 0;
    for (std::uint64_t left = runs.starts; left; left &= left - 1, ++run) {
        runs.numbers[run] = numbers.find_or_add_hashed(labels[__builtin_ctzll(left)], hashes[run]);
    }
}

// Numbers the labels from `begin` to `end`, block by block. For each it calls `visit(at, size, runs)`, where it begins
// at `at`, or `visit_all(at, runs)`, the numbers being those of all labels, if it has 64 labels and many runs, until that returns false; and tells whether
// it never did. Labels are not read any more when their block is visited.
template <class Label, class Visit, class VisitAll>
ALWAYS_INLINE bool
number_blocks(const Label* labels, Index begin, Index end, Numbers& numbers, Visit visit, VisitAll visit_all) {
    PartOfLabels part;
    NumberedRuns runs;
    for (Index part_begin = begin; part_begin < end; part_begin += PART) {
        const Index part_size = std::min(PART, end - part_begin);
        look_at_part(labels + part_begin, sizeof(Label), part_size, part);
        numbers.cover(part.any, part.all);
        for (Index block = 0; block * BLOCK < part_size; ++block) {
            const Index at = part_begin + block * BLOCK;
            ask_for_next(labels + at);
            const Index size = std::min(BLOCK, end - at);
            runs.starts = part.starts[block];
            bool goes_on;
            if (size == BLOCK && numbers.is_direct() && __builtin_popcountll(runs.starts) > MANY_RUNS) {
                for (Index label = 0; label < BLOCK; ++label) {
                    runs.numbers[label] = numbers.find_or_add<true>(labels[at + label]);
                }
                goes_on = visit_all(at, runs);
            } else {
                if (numbers.is_direct()) {
                    number_runs<Label, true>(labels + at, numbers, runs);
                } else {
                    number_runs<Label, false>(labels + at, numbers, runs);
                }
                goes_on = visit(at, size, runs);
            }
            if (!goes_on) {
                return false;
            }
        }
    }
    return true;
}

}  // namespace chunkpyramid
