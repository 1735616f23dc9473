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
    const auto visit = [&](Index at, Index length, std::uint64_t starts, auto number_all) INLINE_LAMBDA {
        number_all([&](int, Index number) INLINE_LAMBDA {
            const Run run(starts, length);
            // blocks begin runs, even where they go on with one
            runs += number != last;
            last = number;
            if (number >= static_cast<Index>(counts.size())) {
                counts.push_back(0);
                if (with_firsts) {
                    firsts.push_back(at + run.start);
                }
            }
            counts[number] += run.stop - run.start;
        });
        return true;
    };
    number_blocks(labels, 0, size, numbers, visit);
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
