// Numbers of labels, in the order in which they are met: by a table where all labels are close together, else by hashing.
#pragma once

#include "common/hints.hpp"
#include "hash_map.hpp"
#include "runs.hpp"

#include <algorithm>
#include <cstdint>
#include <vector>

namespace chunkpyramid {

// Throws std::bad_alloc.
class Numbers {
public:
    // A table has at most four times as many places as there are labels: it is never what takes the time.
    explicit Numbers(Index most_labels)
        : most_places_(std::min(MOST_PLACES, static_cast<std::uint64_t>(std::max(Index{64}, most_labels)) * 4)) {}

    Index size() const { return static_cast<Index>(labels_.size()); }
    const std::vector<std::uint64_t>& labels() const { return labels_; }
    bool is_direct() const { return is_direct_; }
    bool is_large() const { return map_.is_large(); }

    // Has to be called before any label is asked for that has none of other bits than these.
    void cover(std::uint64_t any, std::uint64_t all) {
        if (is_direct_) {
            cover_bits(any, all);
        }
    }

    template <bool DIRECT>
    ALWAYS_INLINE Index find_or_add(std::uint64_t label) {
        if (DIRECT) {
            const std::uint32_t place = places_[label & mask_];
            return place ? static_cast<Index>(place) - 1 : add_direct(label);
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

    // The numbers in ascending order of the labels, if that is known; else empty.
    std::vector<Index> ascending() const {
        std::vector<Index> numbers;
        if (is_direct_) {
            numbers.reserve(labels_.size());
            for (const std::uint32_t place : places_) {
                if (place) {
                    numbers.push_back(static_cast<Index>(place) - 1);
                }
            }
        }
        return numbers;
    }

private:
    static constexpr std::uint64_t MOST_PLACES = std::uint64_t{1} << 21;

    NEVER_INLINE Index add_direct(std::uint64_t label) {
        labels_.push_back(label);
        places_[label & mask_] = static_cast<std::uint32_t>(labels_.size());
        return size() - 1;
    }

    void cover_bits(std::uint64_t any, std::uint64_t all) {
        any_ |= any;
        all_ &= all;
        const std::uint64_t varying = any_ ^ all_;
        if ((varying & ~mask_) == 0 && !places_.empty()) {
            return;
        }
        std::uint64_t places = 64;
        while (places <= varying && places <= most_places_) {
            places *= 2;
        }
        places_.clear();
        if (places > most_places_) {
            is_direct_ = false;
            places_.shrink_to_fit();
            for (const std::uint64_t label : labels_) {
                map_.find_or_add(label);
            }
            return;
        }
        places_.resize(places, 0);
        mask_ = places - 1;
        base_ = all_ & ~mask_;
        for (std::size_t number = 0; number < labels_.size(); ++number) {
            places_[labels_[number] & mask_] = static_cast<std::uint32_t>(number + 1);
        }
    }

    const std::uint64_t most_places_;
    bool is_direct_ = true;
    std::uint64_t any_ = 0;
    std::uint64_t all_ = ~std::uint64_t{0};
    std::uint64_t mask_ = 0;
    std::uint64_t base_ = 0;
    std::vector<std::uint32_t> places_;
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
