// Writes the folded runs, into memory that grows with them. Only included by fold.cpp.
#pragma once

#include "common/hints.hpp"
#include "runs.hpp"

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <cstdlib>
#include <cstring>
#include <new>

namespace chunkpyramid {
namespace {

struct TooManyRuns {};

// Takes the runs of one voxel after the other, the smallest label first. Kept in registers while a row is made: what is
// written through pointers might be any member of the folder, as far as the compiler knows.
template <class Key, class Count>
struct Writer {
    Key* keys;
    Count* counts;
    std::int64_t* offsets;  // where the runs of the next voxel end
    Index length, capacity;
    Key background;
    bool sparse;
    Key mode;  // of the voxel so far
    Count most;

    bool has_room(Index runs) const { return length + runs <= capacity; }

    // An assignment, but not to memory whose address a function was given: that would not be kept in registers.
    ALWAYS_INLINE void become(const Writer other) { *this = other; }

    void begin_voxel() {
        mode = background;
        most = 0;
    }

    ALWAYS_INLINE void add(Key key, Count count) {
        if (sparse && key == background) return;
        keys[length] = key;
        counts[length++] = count;
        mode = count > most ? key : mode;
        most = std::max(most, count);
    }
};

// The memory of the folded runs. All is in one piece: what is freed in several, the C library gives back to the system,
// and to get it anew, cleared, would take longer than all the rest.
template <class Key, class Count>
class RunsMemory {
public:
    RunsMemory(RunsJob& job, Key background) : job_(job), background_(background) {}

    // For so many voxels, and runs to begin with.
    void allocate(Index voxels, Index runs) {
        job_.kept.keys = job_.keep ? (voxels + 1) * Index(sizeof(std::int64_t)) : 0;
        grow(runs);
        if (job_.keep) *offsets_ = 0;
    }

    Writer<Key, Count> writer() const {
        return {keys_, counts_, offsets_ + finished_ + 1, length_, capacity_, background_, job_.sparse, background_, 0};
    }

    // The writer with room for so many runs more.
    Writer<Key, Count> with_room(Writer<Key, Count> to, Index runs) {
        length_ = to.length;
        check_length();
        const Index voxels = to.offsets - offsets_;
        grow(std::max(length_ + runs, std::min(length_ + length_ / 2, job_.most_runs)));
        to.keys = keys_;
        to.counts = counts_;
        to.offsets = offsets_ + voxels;
        to.capacity = capacity_;
        return to;
    }

    void end_row(const Writer<Key, Count>& to, Index voxels) {
        length_ = to.length;
        finished_ += voxels;
        check_length();
    }

    void finish() {
        job_.kept.runs = length_;
        // a little that is too much stays: the C library likes to hand out sizes again that it knows
        if (length_ < capacity_ - capacity_ / 4) grow(length_);
    }

private:
    void check_length() const {
        if (job_.keep && length_ > job_.most_runs) throw TooManyRuns();
    }

    // Makes room for so many runs, which may be fewer than now.
    void grow(Index wanted) {
        const Index capacity = std::max<Index>(1, wanted);
        KeptRuns& kept = job_.kept;
        const Index align = Index(sizeof(Count));
        const Index counts = kept.keys + (capacity * Index(sizeof(Key)) + align - 1) / align * align;
        const Index bytes = counts + capacity * align;
        const Index used = length_ * align;
        if (capacity < capacity_) std::memmove(kept.memory + counts, kept.memory + kept.counts, used);
        char* const moved = static_cast<char*>(std::realloc(kept.memory, std::size_t(bytes)));
        if (!moved) throw std::bad_alloc();
        if (capacity > capacity_) std::memmove(moved + counts, moved + kept.counts, used);
        kept.memory = moved;
        kept.bytes = bytes;
        kept.counts = counts;
        capacity_ = capacity;
        offsets_ = reinterpret_cast<std::int64_t*>(moved);
        keys_ = reinterpret_cast<Key*>(moved + kept.keys);
        counts_ = reinterpret_cast<Count*>(moved + counts);
    }

    RunsJob& job_;
    const Key background_;
    Index capacity_ = 0;
    Index length_ = 0;    // runs so far
    Index finished_ = 0;  // voxels so far
    Key* keys_ = nullptr;
    Count* counts_ = nullptr;
    std::int64_t* offsets_ = nullptr;
};

}  // namespace
}  // namespace chunkpyramid
