#include "scan.hpp"

#include "runs.hpp"

#include <algorithm>
#include <new>
#include <type_traits>

namespace chunkpyramid {
namespace {

template <class Work>
auto with_value_type(int itemsize, Kind kind, Work work) {
    if (kind == Kind::FLOAT) {
        return itemsize == 4 ? work(float{}) : work(double{});
    }
    return with_label_type(itemsize, [&](auto label) {
        using Label = decltype(label);
        return kind == Kind::SIGNED ? work(std::make_signed_t<Label>{}) : work(Label{});
    });
}

}  // namespace

Index count_nonzero(const void* labels, int itemsize, Index size) noexcept {
    return with_label_type(itemsize, [&](auto label) {
        const auto* at = static_cast<const decltype(label)*>(labels);
        Index count = 0;
        for (Index index = 0; index < size; ++index) {
            count += at[index] != 0;
        }
        return count;
    });
}

Index count_pairs(const void* labels, int itemsize, Index size) noexcept {
    return with_label_type(itemsize, [&](auto label) {
        const auto* at = static_cast<const decltype(label)*>(labels);
        PartOfLabels part;
        Index runs = 0;
        for (Index begin = 0; begin < size; begin += PART) {
            const Index length = std::min(PART, size - begin);
            look_at_part(at + begin, sizeof(label), length, part);
            for (Index block = 0; block * BLOCK < length; ++block) {
                const Index first = begin + block * BLOCK;
                ask_for_next(at + first);
                // blocks begin runs, even where they go on with one
                runs += __builtin_popcountll(part.starts[block]) - (first && at[first] == at[first - 1]);
            }
        }
        return size - runs;
    });
}

void find_extremes(const void* values, int itemsize, Kind kind, Index size, void* low, void* high) noexcept {
    with_value_type(itemsize, kind, [&](auto value) {
        using Value = decltype(value);
        const auto* at = static_cast<const Value*>(values);
        // the first value begins every one of them, so that it is kept where it is NaN
        constexpr Index LANES = 16;
        Value least[LANES], most[LANES];
        std::fill(least, least + LANES, at[0]);
        std::fill(most, most + LANES, at[0]);
        const Index whole = size - size % LANES;
        for (Index index = 0; index < whole; index += LANES) {
            for (Index lane = 0; lane < LANES; ++lane) {
                const Value here = at[index + lane];
                least[lane] = here < least[lane] ? here : least[lane];
                most[lane] = here > most[lane] ? here : most[lane];
            }
        }
        for (Index index = whole; index < size; ++index) {
            least[0] = at[index] < least[0] ? at[index] : least[0];
            most[0] = at[index] > most[0] ? at[index] : most[0];
        }
        for (Index lane = 1; lane < LANES; ++lane) {
            least[0] = least[lane] < least[0] ? least[lane] : least[0];
            most[0] = most[lane] > most[0] ? most[lane] : most[0];
        }
        *static_cast<Value*>(low) = least[0];
        *static_cast<Value*>(high) = most[0];
    });
}

bool is_solid(const void* values, int itemsize, Kind kind, Index size, const void* value) noexcept {
    return with_value_type(itemsize, kind, [&](auto type) {
        using Value = decltype(type);
        const auto* at = static_cast<const Value*>(values);
        const Value wanted = *static_cast<const Value*>(value);
        for (Index begin = 0; begin < size; begin += PART) {
            const Index end = std::min(size, begin + PART);
            bool differs = false;
            for (Index index = begin; index < end; ++index) {
                differs |= !(at[index] == wanted);
            }
            if (differs) {
                return false;
            }
        }
        return true;
    });
}

bool is_sorted(const void* values, int itemsize, Kind kind, Index size, bool ascending) noexcept {
    return with_value_type(itemsize, kind, [&](auto type) {
        const auto* at = static_cast<const decltype(type)*>(values);
        for (Index begin = 1; begin < size; begin += PART) {
            const Index end = std::min(size, begin + PART);
            bool falls = false;
            bool rises = false;
            for (Index index = begin; index < end; ++index) {
                falls |= at[index] < at[index - 1];
                rises |= at[index] > at[index - 1];
            }
            if (ascending ? falls : rises) {
                return false;
            }
        }
        return true;
    });
}

bool find_indices(
    const void* values, int itemsize, Kind kind, Index size, const void* value,
    std::vector<std::uint64_t>& found) noexcept {
    try {
        with_value_type(itemsize, kind, [&](auto type) {
            using Value = decltype(type);
            const auto* at = static_cast<const Value*>(values);
            const Value wanted = *static_cast<const Value*>(value);
            for (Index index = 0; index < size; ++index) {
                if (at[index] == wanted) {
                    found.push_back(static_cast<std::uint64_t>(index));
                }
            }
        });
        return true;
    } catch (const std::bad_alloc&) {
        return false;
    }
}

}  // namespace chunkpyramid
