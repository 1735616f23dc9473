// Hash tables of labels, or of pairs of them, each with numbers that are gathered of it.
#pragma once

#include "common/axes.hpp"
#include "hash.hpp"

#include <cstdint>
#include <cstdlib>
#include <cstring>

namespace chunkpyramid {

// The labels in the order in which they were met, and one after another their statistics, so many for each.
template <class Key>
struct Rows {
    Key* keys;
    std::int64_t* statistics;
    Index size;
};

template <class Key>
void release(Rows<Key>& rows) noexcept {
    std::free(rows.keys);
    std::free(rows.statistics);
    rows = {nullptr, nullptr, 0};
}

struct Pair {
    std::uint64_t first;
    std::uint64_t second;

    bool operator==(const Pair& other) const { return first == other.first && second == other.second; }
};

inline std::uint64_t mixed(const Pair& pair, std::uint64_t seed) {
    return mixed(pair.second ^ mixed(pair.first, seed), seed);
}

// A hash table with open addressing: places in it hold the numbers of rows.
template <class Key>
class Table {
public:
    Table(Rows<Key>& rows, int fields) : rows_(rows), fields_(fields) {}
    ~Table() { std::free(places_); }
    Table(const Table&) = delete;
    Table& operator=(const Table&) = delete;

    // Returns the number of the row of a key, whose statistics are zeros if it is new; -1 if there is no memory for it.
    Index find(const Key& key) {
        if (last_ < rows_.size && rows_.keys[last_] == key) {
            return last_;
        }
        if (2 * (rows_.size + 1) > capacity_ && !grow()) {
            return NONE;
        }
        Index place = first_place(key);
        while (places_[place] != NONE) {
            if (rows_.keys[places_[place]] == key) {
                return last_ = places_[place];
            }
            place = (place + 1) & (capacity_ - 1);
        }
        last_ = places_[place] = rows_.size++;
        rows_.keys[last_] = key;
        std::memset(statistics(last_), 0, static_cast<std::size_t>(fields_) * sizeof(std::int64_t));
        return last_;
    }

    std::int64_t* statistics(Index row) { return rows_.statistics + row * fields_; }
    Index size() const { return rows_.size; }

private:
    static constexpr Index NONE = -1;

    Index first_place(const Key& key) const {
        return static_cast<Index>(mixed(key, seed_) & static_cast<std::uint64_t>(capacity_ - 1));
    }

    bool grow() {
        const Index capacity = capacity_ ? 2 * capacity_ : 256;
        auto* places = static_cast<Index*>(std::malloc(static_cast<std::size_t>(capacity) * sizeof(Index)));
        if (!places) {
            return false;
        }
        std::free(places_);
        places_ = places;
        capacity_ = capacity;
        // half of the places are ever taken
        const auto most = static_cast<std::size_t>(capacity / 2);
        auto* keys = static_cast<Key*>(std::realloc(rows_.keys, most * sizeof(Key)));
        if (!keys) {
            return false;
        }
        rows_.keys = keys;
        auto* statistics = static_cast<std::int64_t*>(
            std::realloc(rows_.statistics, most * static_cast<std::size_t>(fields_) * sizeof(std::int64_t)));
        if (!statistics) {
            return false;
        }
        rows_.statistics = statistics;
        for (Index place = 0; place < capacity; ++place) {
            places_[place] = NONE;
        }
        for (Index number = 0; number < rows_.size; ++number) {
            Index place = first_place(keys[number]);
            while (places_[place] != NONE) {
                place = (place + 1) & (capacity - 1);
            }
            places_[place] = number;
        }
        return true;
    }

    Rows<Key>& rows_;
    const int fields_;
    const std::uint64_t seed_ = seed();
    Index* places_ = nullptr;
    Index capacity_ = 0;
    Index last_ = 0;
};

}  // namespace chunkpyramid
