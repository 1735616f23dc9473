// From labels to what belongs to them: a hash table with open addressing, at most half full.
#pragma once

#include "common/axes.hpp"
#include "common/hints.hpp"
#include "hash.hpp"

#include <cstdint>
#include <vector>

namespace chunkpyramid {

// Numbers labels 0, 1, ... in the order in which they are put in. Throws std::bad_alloc.
class HashMap {
public:
    static constexpr Index NONE = -1;

    Index size() const { return size_; }

    ALWAYS_INLINE std::uint64_t hash(std::uint64_t label) const { return mixed(label, seed_); }

    ALWAYS_INLINE void prefetch(std::uint64_t hash) const { __builtin_prefetch(places_.data() + (hash & mask_)); }

    // Returns the number of a label, or NONE.
    ALWAYS_INLINE Index find(std::uint64_t label, std::uint64_t hash) const {
        std::uint64_t place = hash & mask_;
        while (places_[place].number != NONE && places_[place].label != label) {
            place = (place + 1) & mask_;
        }
        return places_[place].number;
    }

    ALWAYS_INLINE Index find(std::uint64_t label) const { return find(label, hash(label)); }

    // Returns the number of a label, that of a new one the size before the call.
    ALWAYS_INLINE Index find_or_add(std::uint64_t label, std::uint64_t hash) {
        std::uint64_t place = hash & mask_;
        while (places_[place].number != NONE) {
            if (places_[place].label == label) {
                return places_[place].number;
            }
            place = (place + 1) & mask_;
        }
        return add(label, hash);
    }

    ALWAYS_INLINE Index find_or_add(std::uint64_t label) { return find_or_add(label, hash(label)); }

private:
    struct Place {
        std::uint64_t label;
        Index number;
    };

    NEVER_INLINE Index add(std::uint64_t label, std::uint64_t hash) {
        if (2 * (size_ + 1) > static_cast<Index>(places_.size())) {
            std::vector<Place> larger(2 * places_.size(), Place{0, NONE});
            const std::uint64_t mask = larger.size() - 1;
            for (const Place& old : places_) {
                if (old.number != NONE) {
                    put(larger, mask, old, mixed(old.label, seed_));
                }
            }
            places_.swap(larger);
            mask_ = mask;
        }
        put(places_, mask_, Place{label, size_}, hash);
        return size_++;
    }

    static void put(std::vector<Place>& places, std::uint64_t mask, Place added, std::uint64_t hash) {
        std::uint64_t place = hash & mask;
        while (places[place].number != NONE) {
            place = (place + 1) & mask;
        }
        places[place] = added;
    }

    const std::uint64_t seed_ = seed();
    std::vector<Place> places_ = std::vector<Place>(256, Place{0, NONE});
    std::uint64_t mask_ = 255;
    Index size_ = 0;
};

}  // namespace chunkpyramid
