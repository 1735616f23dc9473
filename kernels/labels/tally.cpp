#include "tally.hpp"

#include "numbers.hpp"

#include <limits>
#include <new>
#include <type_traits>

namespace chunkpyramid {
namespace {

// Counts by the place of a label in a table, one look for each, for as long as all labels are close together.
template <class Count>
class CloseCounts {
public:
    CloseCounts(Index size, bool with_firsts) : places_(size), with_firsts_(with_firsts) {}

    // Returns false if the labels are too far apart.
    bool cover(std::uint64_t any, std::uint64_t all) {
        const Places before = places_;
        if (!places_.cover(any, all)) {
            return false;
        }
        if (places_.size() != before.size()) {
            std::vector<Count> counts(places_.size(), 0);
            std::vector<std::int64_t> firsts(with_firsts_ ? places_.size() : 0);
            for (std::uint64_t place = 0; place < before.size(); ++place) {
                if (counts_[place]) {
                    const std::uint64_t moved = places_.of(before.label(place));
                    counts[moved] = counts_[place];
                    if (with_firsts_) {
                        firsts[moved] = firsts_[place];
                    }
                }
            }
            counts_.swap(counts);
            firsts_.swap(firsts);
        }
        return true;
    }

    template <bool FIRSTS>
    ALWAYS_INLINE void add(std::uint64_t label, Index count, Index at) {
        Count& counted = counts_[places_.of(label)];
        if (FIRSTS && !counted) {
            firsts_[places_.of(label)] = at;
        }
        counted += static_cast<Count>(count);
    }

    void tell(Tally& result) const {
        for (std::uint64_t place = 0; place < places_.size(); ++place) {
            if (counts_[place]) {
                result.labels.push_back(places_.label(place));
                result.counts.push_back(static_cast<std::int64_t>(counts_[place]));
                if (with_firsts_) {
                    result.firsts.push_back(firsts_[place]);
                }
            }
        }
        result.is_ascending = true;
    }

private:
    Places places_;
    const bool with_firsts_;
    std::vector<Count> counts_;
    std::vector<std::int64_t> firsts_;
};

// Counts until the labels of a part are too far apart, and returns where that part begins, or the size.
template <bool FIRSTS, class Label, class Count>
Index tally_close(const Label* labels, Index size, CloseCounts<Count>& counts, Index& runs) {
    PartOfLabels part;
    for (Index begin = 0; begin < size; begin += PART) {
        const Index length = std::min(PART, size - begin);
        look_at_part(labels + begin, sizeof(Label), length, part);
        if (!counts.cover(part.any, part.all)) {
            return begin;
        }
        for (Index block = 0; block * BLOCK < length; ++block) {
            const Index at = begin + block * BLOCK;
            const Index block_size = std::min(BLOCK, size - at);
            ask_for_next(labels + at);
            std::uint64_t starts = part.starts[block];
            // blocks begin runs, even where they go on with one
            runs += __builtin_popcountll(starts) - (at && labels[at] == labels[at - 1]);
            if (__builtin_popcountll(starts) > MANY_RUNS) {
                for (Index label = at; label < at + block_size; ++label) {
                    counts.template add<FIRSTS>(labels[label], 1, label);
                }
                continue;
            }
            while (starts) {
                const Run run(starts, block_size);
                counts.template add<FIRSTS>(labels[at + run.start], run.stop - run.start, at + run.start);
            }
        }
    }
    return size;
}

// Counts on from a label, by hashing. What was counted before is in the result.
template <class Label>
void tally_far(const Label* labels, Index begin, Index size, bool with_firsts, Tally& result, Index& runs) {
    Numbers numbers(size);
    numbers.cover(~std::uint64_t{0}, 0);
    for (const std::uint64_t label : result.labels) {
        numbers.find_or_add<false>(label);
    }
    std::vector<std::int64_t>& counts = result.counts;
    const auto visit = [&](Index at, Index length, const NumberedRuns& block) INLINE_LAMBDA {
        const Index* number = block.numbers;
        runs += __builtin_popcountll(block.starts) - (at && labels[at] == labels[at - 1]);
        for (std::uint64_t starts = block.starts; starts; ++number) {
            const Run run(starts, length);
            if (*number >= static_cast<Index>(counts.size())) {
                counts.push_back(0);
                if (with_firsts) {
                    result.firsts.push_back(at + run.start);
                }
            }
            counts[*number] += run.stop - run.start;
        }
        return true;
    };
    number_blocks(labels, begin, size, numbers, visit, [](Index, const NumberedRuns&) { return true; });
    result.labels = numbers.labels();
    result.is_ascending = false;
}

template <class Label, class Count>
void tally_as(const Label* labels, Index size, bool with_firsts, Tally& result) {
    Index runs = 0;
    Index done;
    {
        CloseCounts<Count> counts(size, with_firsts);
        done = with_firsts ? tally_close<true>(labels, size, counts, runs)
                           : tally_close<false>(labels, size, counts, runs);
        counts.tell(result);
    }
    if (done < size) {
        tally_far(labels, done, size, with_firsts, result, runs);
    }
    result.pairs = size - runs;
}

}  // namespace

bool tally(const void* labels, int itemsize, Index size, bool with_firsts, Tally& result) noexcept {
    try {
        with_label_type(itemsize, [&](auto label) {
            const auto* typed = static_cast<const decltype(label)*>(labels);
            // counts of half the size are in a cache where the others are not
            if (size <= static_cast<Index>(std::numeric_limits<std::uint32_t>::max())) {
                tally_as<decltype(label), std::uint32_t>(typed, size, with_firsts, result);
            } else {
                tally_as<decltype(label), std::uint64_t>(typed, size, with_firsts, result);
            }
        });
        return true;
    } catch (const std::bad_alloc&) {
        return false;
    }
}

}  // namespace chunkpyramid
