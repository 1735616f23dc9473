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
    number_runs(labels, 0, size, numbers, [&](Index number, Index start, Index stop) INLINE_LAMBDA {
        if (number == static_cast<Index>(counts.size())) {
            counts.push_back(0);
            if (with_firsts) {
                firsts.push_back(start);
            }
        }
        counts[number] += stop - start;
        ++runs;
        return true;
    });
    // runs end at every 64th label, too, where the next may be the same
    for (Index at = BLOCK; at < size; at += BLOCK) {
        runs -= labels[at] == labels[at - 1];
    }
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
