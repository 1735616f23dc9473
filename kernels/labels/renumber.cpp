#include "renumber.hpp"

#include <new>

namespace chunkpyramid {
namespace {

template <class Label>
void put_zero_first(Numbers& numbers) {
    const Label zero = 0;
    numbers.cover(&zero, 1);
    if (numbers.is_direct()) {
        numbers.find_or_add<true>(0);
    } else {
        numbers.find_or_add<false>(0);
    }
}

template <class Label, class New>
bool renumber_as(const Label* labels, New* target, Index size, Renumbering& job) {
    Numbers& numbers = job.numbers;
    const Index zeros = job.keeps_zero;
    if (zeros && numbers.size() == 0) {
        put_zero_first<Label>(numbers);
    }
    const Index most = job.most + zeros;
    return number_runs(labels, job.done, size, numbers, [&](Index number, Index start, Index stop) INLINE_LAMBDA {
        if (number >= most) {
            return false;
        }
        const New value = number < zeros ? New{0} : static_cast<New>(job.start + static_cast<std::uint64_t>(number - zeros));
        for (Index at = start; at < stop; ++at) {
            target[at] = value;
        }
        job.done = stop;
        return true;
    });
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
