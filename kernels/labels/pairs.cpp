#include "pairs.hpp"

#include "numbers.hpp"

#include <new>

namespace chunkpyramid {
namespace {

template <class First, class Second>
void map_labels_as(const First* first, const Second* second, Index size, LabelPairs& pairs) {
    Numbers numbers(size);
    Index last = -1;
    const auto put = [&](Index number, Index at) INLINE_LAMBDA {
        if (number >= static_cast<Index>(pairs.second.size())) {
            pairs.second.push_back(0);
        }
        // blocks begin runs, even where they go on with one
        if (number != last) {
            pairs.second[number] = second[at];
            last = number;
        }
    };
    const auto visit = [&](Index at, Index length, const NumberedRuns& block) INLINE_LAMBDA {
        const Index* number = block.numbers;
        for (std::uint64_t starts = block.starts; starts; ++number) {
            put(*number, at + Run(starts, length).start);
        }
        return true;
    };
    const auto visit_all = [&](Index at, const NumberedRuns& block) INLINE_LAMBDA {
        for (Index label = 0; label < BLOCK; ++label) {
            put(block.numbers[label], at + label);
        }
        return true;
    };
    number_blocks(first, 0, size, numbers, visit, visit_all);
    pairs.first = numbers.labels();
}

template <class First, class Second>
void distinct_pairs_as(const First* first, const Second* second, Index size, LabelPairs& pairs) {
    HashMap firsts, seconds, both;
    for (Index at = 0; at < size; ++at) {
        if (at && first[at] == first[at - 1] && second[at] == second[at - 1]) {
            continue;
        }
        const auto pair = static_cast<std::uint64_t>(firsts.find_or_add(first[at])) << 32 |
                          static_cast<std::uint64_t>(seconds.find_or_add(second[at]));
        if (both.find_or_add(pair) == static_cast<Index>(pairs.first.size())) {
            pairs.first.push_back(first[at]);
            pairs.second.push_back(second[at]);
        }
    }
}

}  // namespace

bool map_labels(
    const void* first, int first_itemsize, const void* second, int second_itemsize, Index size,
    LabelPairs& pairs) noexcept {
    try {
        with_label_type(first_itemsize, [&](auto one) {
            with_label_type(second_itemsize, [&](auto other) {
                map_labels_as(
                    static_cast<const decltype(one)*>(first), static_cast<const decltype(other)*>(second), size, pairs);
            });
        });
        return true;
    } catch (const std::bad_alloc&) {
        return false;
    }
}

bool distinct_pairs(
    const void* first, int first_itemsize, const void* second, int second_itemsize, Index size,
    LabelPairs& pairs) noexcept {
    try {
        with_label_type(first_itemsize, [&](auto one) {
            with_label_type(second_itemsize, [&](auto other) {
                distinct_pairs_as(
                    static_cast<const decltype(one)*>(first), static_cast<const decltype(other)*>(second), size, pairs);
            });
        });
        return true;
    } catch (const std::bad_alloc&) {
        return false;
    }
}

}  // namespace chunkpyramid
