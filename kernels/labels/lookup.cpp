#include "lookup.hpp"

#include "fill_block.hpp"
#include "numbers.hpp"

#include <algorithm>
#include <new>
#include <vector>

namespace chunkpyramid {
namespace {

constexpr std::uint64_t MOST_PLACES = std::uint64_t{1} << 22;

template <class Value, Missing MISSING>
class Table final : public Lookup {
public:
    Table(const std::uint64_t* keys, const std::uint64_t* values, Index size, Value fill, Index labels) : fill_(fill) {
        std::uint64_t any = 0;
        std::uint64_t all = ~std::uint64_t{0};
        for (Index at = 0; at < size; ++at) {
            any |= keys[at];
            all &= keys[at];
        }
        const std::uint64_t varying = size ? any ^ all : 0;
        std::uint64_t places = 256;
        while (places <= varying && places < MOST_PLACES) {
            places *= 2;
        }
        const Index most = std::max({Index{4096}, 16 * size, labels / 16});
        is_direct_ = places > varying && places <= static_cast<std::uint64_t>(most);
        if (is_direct_) {
            mask_ = places - 1;
            base_ = size ? all & ~mask_ : 0;
            // what is missing is in the table, too, as far as it goes: whether a label is there cannot be foreseen
            values_.resize(places, fill);
            for (std::uint64_t place = 0; MISSING == Missing::KEEP && place < places; ++place) {
                values_[place] = static_cast<Value>(base_ | place);
            }
            if (MISSING == Missing::STOP) {
                is_there_.resize(places / 64, 0);
            }
            for (Index at = 0; at < size; ++at) {
                values_[keys[at] & mask_] = static_cast<Value>(values[at]);
                if (MISSING == Missing::STOP) {
                    is_there_[(keys[at] & mask_) / 64] |= std::uint64_t{1} << (keys[at] % 64);
                }
            }
            return;
        }
        values_.reserve(static_cast<std::size_t>(size) + 1);
        values_.push_back(fill);
        for (Index at = 0; at < size; ++at) {
            const Index number = map_.find_or_add(keys[at]);
            if (number + 1 == static_cast<Index>(values_.size())) {
                values_.push_back(0);
            }
            values_[number + 1] = static_cast<Value>(values[at]);
        }
    }

    Index apply(const void* labels, int itemsize, void* target, Index begin, Index end) const noexcept override {
        return with_label_type(itemsize, [&](auto label) {
            return apply_as(static_cast<const decltype(label)*>(labels), static_cast<Value*>(target), begin, end);
        });
    }

private:
    template <class Label>
    Index apply_as(const Label* labels, Value* target, Index begin, Index end) const {
        PartOfLabels part;
        for (Index part_begin = begin; part_begin < end; part_begin += PART) {
            const Index part_size = std::min(PART, end - part_begin);
            look_at_part(labels + part_begin, sizeof(Label), part_size, part);
            for (Index block = 0; block * BLOCK < part_size; ++block) {
                const Index at = part_begin + block * BLOCK;
                ask_for_next(labels + at);
                ask_for_next<true>(target + at);
                const Index size = std::min(BLOCK, end - at);
                const Index stop =
                    is_direct_ ? direct_block(labels + at, target + at, size, part.starts[block])
                               : hashed_block(labels + at, target + at, size, part.starts[block]);
                if (stop < size) {
                    return at + stop;
                }
            }
        }
        return end;
    }

    // The functions of blocks return the first label that is missing and stops the work, or the size. They read all
    // labels before they write, as the target may be the array itself, and as runs are filled beyond their ends.
    template <class Label>
    ALWAYS_INLINE Index
    direct_block(const Label* labels, Value* target, Index size, std::uint64_t starts) const {
        if (__builtin_popcountll(starts) > MANY_RUNS) {
            for (Index at = 0; at < size; ++at) {
                bool is_there;
                const Value value = direct(labels[at], is_there);
                if (MISSING == Missing::STOP && !is_there) {
                    return at;
                }
                target[at] = value;
            }
            return size;
        }
        Value values[BLOCK + SPARE];
        int run = 0;
        for (std::uint64_t left = starts; left; left &= left - 1) {
            bool is_there;
            values[run++] = direct(labels[__builtin_ctzll(left)], is_there);
            if (MISSING == Missing::STOP && !is_there) {
                return __builtin_ctzll(left);
            }
        }
        fill_block(target, size, starts, values);
        return size;
    }

    template <class Label>
    ALWAYS_INLINE Value direct(Label label, bool& is_there) const {
        const std::uint64_t place = label & mask_;
        is_there = (label & ~mask_) == base_;
        if (MISSING == Missing::STOP) {
            is_there &= is_there_[place / 64] >> (place % 64) & 1;
        }
        const Value missing = MISSING == Missing::KEEP ? static_cast<Value>(label) : fill_;
        return is_there ? values_[place] : missing;
    }

    template <class Label>
    ALWAYS_INLINE Index
    hashed_block(const Label* labels, Value* target, Index size, std::uint64_t starts) const {
        Value values[BLOCK + SPARE];
        int run = 0;
        if (!map_.is_large()) {
            for (std::uint64_t left = starts; left; left &= left - 1) {
                const Label label = labels[__builtin_ctzll(left)];
                if (!hashed(label, map_.find(label), values[run++])) {
                    return __builtin_ctzll(left);
                }
            }
        } else {
            // the places of all runs are on their way to the cache before the first one is looked at
            std::uint64_t hashes[BLOCK];
            for (std::uint64_t left = starts; left; left &= left - 1) {
                hashes[run] = map_.hash(labels[__builtin_ctzll(left)]);
                map_.prefetch(hashes[run++]);
            }
            run = 0;
            for (std::uint64_t left = starts; left; left &= left - 1, ++run) {
                const Label label = labels[__builtin_ctzll(left)];
                if (!hashed(label, map_.find(label, hashes[run]), values[run])) {
                    return __builtin_ctzll(left);
                }
            }
        }
        fill_block(target, size, starts, values);
        return size;
    }

    // Returns false if the label is missing and stops the work.
    template <class Label>
    ALWAYS_INLINE bool hashed(Label label, Index number, Value& value) const {
        if (MISSING == Missing::STOP && number == HashMap::NONE) {
            return false;
        }
        const Value missing = MISSING == Missing::KEEP ? static_cast<Value>(label) : fill_;
        // the first value is that of no label, so that nothing depends on whether there is one
        const Value found = values_[number + 1];
        value = number == HashMap::NONE ? missing : found;
        return true;
    }

    ALWAYS_INLINE void fill_block(Value* target, Index size, std::uint64_t starts, const Value* values) const {
        if (size == BLOCK && fill_whole_block_) {
            fill_whole_block_(target, starts, values);
            return;
        }
        while (starts) {
            fill_run(target, Run(starts, size), size, *values++);
        }
    }

    const Value fill_;
    const FillBlock<Value> fill_whole_block_ = best_fill_block<Value>();
    bool is_direct_ = false;
    std::uint64_t mask_ = 0;
    std::uint64_t base_ = 0;
    std::vector<Value> values_;
    std::vector<std::uint64_t> is_there_;  // a bit for each place, which stay in a cache
    HashMap map_;
};

}  // namespace

Lookup* make_lookup(
    const std::uint64_t* keys, const std::uint64_t* values, Index size, int value_itemsize, Missing missing,
    std::uint64_t fill, Index labels) noexcept {
    try {
        return with_label_type(value_itemsize, [&](auto value) -> Lookup* {
            using Value = decltype(value);
            const auto filled = static_cast<Value>(fill);
            switch (missing) {
                case Missing::KEEP: return new Table<Value, Missing::KEEP>(keys, values, size, filled, labels);
                case Missing::FILL: return new Table<Value, Missing::FILL>(keys, values, size, filled, labels);
                default: return new Table<Value, Missing::STOP>(keys, values, size, filled, labels);
            }
        });
    } catch (const std::bad_alloc&) {
        return nullptr;
    }
}

}  // namespace chunkpyramid
