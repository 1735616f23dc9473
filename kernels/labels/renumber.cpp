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
    const auto visit = [&](Index at, Index length, std::uint64_t starts, auto number_all) INLINE_LAMBDA {
        // all labels of a block are read before any is written, as the target may be the array itself
        Index found[BLOCK];
        number_all([&](int run, Index number) INLINE_LAMBDA { found[run] = number; });
        for (int index = 0; starts; ++index) {
            const Run run(starts, length);
            const Index number = found[index];
            if (number >= most) {
                return false;
            }
            const New value = number < zeros ? New{0} : static_cast<New>(offset + static_cast<std::uint64_t>(number));
            fill_run(target + at, run, length, value);
            job.done = at + run.stop;
        }
        return true;
    };
    return number_blocks(labels, job.done, size, numbers, visit);
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
