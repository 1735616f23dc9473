#include "tally.hpp"

#include "numbers.hpp"

#include <new>

namespace chunkpyramid {
namespace {

template <class Label>
void tally_as(const Label* labels, Index size, bool with_firsts, Tally& result) {
    Numbers numbers(size);
    std::vector<std::int64_t> counts, firsts;
    std::int64_t runs = 0;
    Index last = -1;
    const auto add = [&](Index number, Index first) {
        if (number >= static_cast<Index>(counts.size())) {
            counts.push_back(0);
            if (with_firsts) {
                firsts.push_back(first);
            }
        }
    };
    const auto visit = [&](Index at, Index length, const NumberedRuns& block) INLINE_LAMBDA {
        const Index* number = block.numbers;
        // blocks begin runs, even where they go on with one
        runs += __builtin_popcountll(block.starts) - (*number == last);
        for (std::uint64_t starts = block.starts; starts; ++number) {
            const Run run(starts, length);
            add(*number, at + run.start);
            counts[*number] += run.stop - run.start;
            last = *number;
        }
        return true;
    };
    const auto visit_all = [&](Index at, const NumberedRuns& block) INLINE_LAMBDA {
        const Index* found = block.numbers;
        runs += __builtin_popcountll(block.starts) - (found[0] == last);
        last = found[BLOCK - 1];
        if (counts.size() < numbers.labels().size()) {
            for (Index label = 0; label < BLOCK; ++label) {
                add(found[label], at + label);
            }
        }
        std::int64_t* count = counts.data();
        for (Index label = 0; label < BLOCK; ++label) {
            ++count[found[label]];
        }
        return true;
    };
    number_blocks(labels, 0, size, numbers, visit, visit_all);
    result.pairs = size - runs;
    const std::vector<Index> ascending = numbers.ascending();
    result.is_ascending = ascending.size() == counts.size();
    if (!result.is_ascending) {
        result.labels = numbers.labels();
        result.counts.swap(counts);
        result.firsts.swap(firsts);
        return;
    }
    for (const Index number : ascending) {
        result.labels.push_back(numbers.labels()[number]);
        result.counts.push_back(counts[number]);
        if (with_firsts) {
            result.firsts.push_back(firsts[number]);
        }
    }
}

}  // namespace

bool tally(const void* labels, int itemsize, Index size, bool with_firsts, Tally& result) noexcept {
    try {
        with_label_type(itemsize, [&](auto label) {
            tally_as(static_cast<const decltype(label)*>(labels), size, with_firsts, result);
        });
        return true;
    } catch (const std::bad_alloc&) {
        return false;
    }
}

}  // namespace chunkpyramid
