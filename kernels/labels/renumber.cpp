#include "renumber.hpp"

#include <new>

namespace chunkpyramid {
namespace {

template <class Label, class New>
bool renumber_as(const Label* labels, New* target, Index size, Renumbering& job) {
    Numbers& numbers = job.numbers;
    const Index zeros = job.keeps_zero;
    if (zeros && numbers.size() == 0) {
        numbers.cover(0, 0);
        numbers.find_or_add<true>(0);
    }
    const Index most = job.most + zeros;
    // what is added to a number, of which that of zero is none
    const std::uint64_t offset = job.start - static_cast<std::uint64_t>(zeros);
    const auto new_label = [&](Index number) INLINE_LAMBDA {
        const auto counted = static_cast<New>(offset + static_cast<std::uint64_t>(number));
        return number < zeros ? New{0} : counted;
    };
    const auto visit = [&](Index at, Index length, const NumberedRuns& block) INLINE_LAMBDA {
        const Index* number = block.numbers;
        for (std::uint64_t starts = block.starts; starts; ++number) {
            const Run run(starts, length);
            if (*number >= most) {
                return false;
            }
            fill_run(target + at, run, length, new_label(*number));
            job.done = at + run.stop;
        }
        return true;
    };
    const auto visit_all = [&](Index at, const NumberedRuns& block) INLINE_LAMBDA {
        if (numbers.size() > most) {
            for (Index label = 0; label < BLOCK; ++label) {
                if (block.numbers[label] >= most) {
                    return false;
                }
                target[at + label] = new_label(block.numbers[label]);
                job.done = at + label + 1;
            }
            return true;
        }
        for (Index label = 0; label < BLOCK; ++label) {
            target[at + label] = new_label(block.numbers[label]);
        }
        job.done = at + BLOCK;
        return true;
    };
    return number_blocks(labels, job.done, size, numbers, visit, visit_all);
}

}  // namespace

bool renumber(
    const void* labels, int itemsize, void* target, int target_itemsize, Index size, Renumbering& job) noexcept {
    try {
        return with_label_type(itemsize, [&](auto label) {
            return with_label_type(target_itemsize, [&](auto value) {
                return renumber_as(
                    static_cast<const decltype(label)*>(labels), static_cast<decltype(value)*>(target), size, job);
            });
        });
    } catch (const std::bad_alloc&) {
        job.out_of_memory = true;
        return false;
    }
}

}  // namespace chunkpyramid
