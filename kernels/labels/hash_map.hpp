// From labels, or pairs of them, to what belongs to them: a hash table with open addressing.
#pragma once

#include "common/axes.hpp"
#include "common/hints.hpp"
#include "hash.hpp"

#include <cstdint>
#include <vector>

namespace chunkpyramid {

// Numbers keys 0, 1, ... in the order in which they are put in. Throws std::bad_alloc.
template <class Key>
class HashMapOf {
public:
    static constexpr Index NONE = -1;

    Index size() const { return size_; }

    // Whether its places are more than the nearer caches hold, so that it pays to ask for them beforehand.
    bool is_large() const { return places_.size() > SMALL; }

    ALWAYS_INLINE std::uint64_t hash(const Key& key) const { return mixed(key, seed_); }

    ALWAYS_INLINE void prefetch(std::uint64_t hash) const { __builtin_prefetch(places_.data() + (hash & mask_)); }

    // Returns the number of a key, or NONE.
    ALWAYS_INLINE Index find(const Key& key, std::uint64_t hash) const {
        std::uint64_t place = hash & mask_;
        while (places_[place].number != NONE && !(places_[place].key == key)) {
            place = (place + 1) & mask_;
        }
        return places_[place].number;
    }

    ALWAYS_INLINE Index find(const Key& key) const { return find(key, hash(key)); }

    // Returns the number of a key, that of a new one the size before the call.
    ALWAYS_INLINE Index find_or_add(const Key& key, std::uint64_t hash) {
        std::uint64_t place = hash & mask_;
        while (places_[place].number != NONE) {
            if (places_[place].key == key) {
                return places_[place].number;
            }
            place = (place + 1) & mask_;
        }
        return add(key, hash);
    }

    ALWAYS_INLINE Index find_or_add(const Key& key) { return find_or_add(key, hash(key)); }

private:
    struct Place {
        Key key;
        Index number;
    };

    NEVER_INLINE Index add(const Key& key, std::uint64_t hash) {
        // small tables are at most an eighth full, for then the first place is the right one most of the time
        const Index fullness = is_large() ? 2 : 8;
        if (fullness * (size_ + 1) > static_cast<Index>(places_.size())) {
            std::vector<Place> larger(2 * places_.size(), Place{Key{}, NONE});
            const std::uint64_t mask = larger.size() - 1;
            for (const Place& old : places_) {
                if (old.number != NONE) {
                    put(larger, mask, old, mixed(old.key, seed_));
                }
            }
            places_.swap(larger);
            mask_ = mask;
        }
        put(places_, mask_, Place{key, size_}, hash);
        return size_++;
    }

    static void put(std::vector<Place>& places, std::uint64_t mask, Place added, std::uint64_t hash) {
        std::uint64_t place = hash & mask;
        while (places[place].number != NONE) {
            place = (place + 1) & mask;
        }
        places[place] = added;
    }

    static constexpr std::size_t FIRST = 256;
    static constexpr std::size_t SMALL = 1 << 13;

    const std::uint64_t seed_ = seed();
    std::vector<Place> places_ = std::vector<Place>(FIRST, Place{Key{}, NONE});
    std::uint64_t mask_ = FIRST - 1;
    Index size_ = 0;
};

using HashMap = HashMapOf<std::uint64_t>;

}  // namespace chunkpyramid
