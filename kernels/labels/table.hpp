// Tables of labels, or of pairs of them, each with numbers that are gathered of it.
#pragma once

#include "common/axes.hpp"
#include "hash_map.hpp"

#include <cstdint>
#include <cstdlib>
#include <cstring>
#include <new>

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

// The rows of keys, found by a hash map. Throws std::bad_alloc.
template <class Key>
class Table {
public:
    Table(Rows<Key>& rows, int fields) : rows_(rows), fields_(fields) {}

    // Returns the number of the row of a key, whose statistics are zeros if it is new; -1 if there is no memory for it.
    Index find(const Key& key) {
        if (last_ < rows_.size && rows_.keys[last_] == key) {
            return last_;
        }
        if (rows_.size == capacity_ && !grow()) {
            return NONE;
        }
        const Index row = numbers_.find_or_add(key);
        if (row == rows_.size) {
            rows_.keys[rows_.size++] = key;
            std::memset(statistics(row), 0, static_cast<std::size_t>(fields_) * sizeof(std::int64_t));
        }
        return last_ = row;
    }

    std::int64_t* statistics(Index row) { return rows_.statistics + row * fields_; }
    Index size() const { return rows_.size; }

private:
    static constexpr Index NONE = -1;

    bool grow() {
        const Index capacity = capacity_ ? 2 * capacity_ : 128;
        const auto most = static_cast<std::size_t>(capacity);
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
        capacity_ = capacity;
        return true;
    }

    Rows<Key>& rows_;
    const int fields_;
    HashMapOf<Key> numbers_;
    Index capacity_ = 0;
    Index last_ = 0;
};

}  // namespace chunkpyramid
