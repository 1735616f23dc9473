#include "runs.hpp"

#include <algorithm>
#include <cstdlib>
#include <new>
#include <stdexcept>
#include <vector>

#define INLINE inline __attribute__((always_inline))
#define NEVER_INLINE __attribute__((noinline))
#define INLINE_LAMBDA __attribute__((always_inline))
#define UNROLLED _Pragma("GCC unroll 8")
#define INDEPENDENT _Pragma("GCC ivdep")

namespace chunkpyramid {

namespace {

// Of one footprint, this many labels are found one after the other. Those beyond are sorted, so that no footprint takes
// quadratic time; nearly all footprints of real segmentations have fewer.
constexpr Index SOUGHT_LABELS = 8;

// Runs are merged in blocks of this length, which are unrolled, with runs of no voxels at the end.
constexpr Index BLOCK = 8;

// So many output rows are made of input rows that are read at a time.
constexpr Index STRIP = 8;

// Hardly ever are there more runs than this in a row of children.
constexpr Index FEW = 4;

template <class Key>
struct Bits {
    static constexpr int WIDTH = 8 * sizeof(Key);
    static constexpr int MANTISSA = WIDTH == 64 ? 52 : WIDTH == 32 ? 23 : 10;  // of floats
    static constexpr Key SIGN = Key(Key(1) << (WIDTH - 1));
    static constexpr Key INFINITE = Key((Key(~Key(0)) >> 1) & ~Key((Key(1) << (MANTISSA % WIDTH)) - 1));
    static constexpr Key NOT_A_NUMBER = Key(INFINITE | (Key(1) << ((MANTISSA - 1) % WIDTH)));
};

// NaNs are one label, after all numbers, and so are the two zeros.
template <Kind kind, class Key>
Key to_key(Key bits) {
    using B = Bits<Key>;
    if constexpr (kind == SIGNED_LABELS) {
        return bits ^ B::SIGN;
    }
    if constexpr (kind == FLOAT_LABELS) {
        const Key magnitude = Key(bits & ~B::SIGN);
        if (magnitude > B::INFINITE) bits = B::NOT_A_NUMBER;
        if (magnitude == 0) bits = 0;
        return bits & B::SIGN ? Key(~bits) : Key(bits | B::SIGN);
    }
    return bits;
}

template <Kind kind, class Key>
Key from_key(Key key) {
    using B = Bits<Key>;
    if constexpr (kind == SIGNED_LABELS) return key ^ B::SIGN;
    if constexpr (kind == FLOAT_LABELS) return key & B::SIGN ? Key(key ^ B::SIGN) : Key(~key);
    return key;
}

struct TooManyRuns {};

template <class Key, class Count>
struct Run {
    Key key;
    Count count;
};

template <class Key, class Count>
bool before(const Run<Key, Count>& a, const Run<Key, Count>& b) {
    return a.key < b.key;
}

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
    INLINE void become(const Writer other) { *this = other; }

    void begin_voxel() {
        mode = background;
        most = 0;
    }

    INLINE void add(Key key, Count count) {
        if (sparse && key == background) return;
        keys[length] = key;
        counts[length++] = count;
        mode = count > most ? key : mode;
        most = std::max(most, count);
    }
};

// Steps through the indices of a box, the last axis fastest, and sums up index times stride.
struct Odometer {
    std::vector<Index> sizes, strides, index;
    Index position = 0;

    bool next() {
        for (std::size_t axis = sizes.size(); axis-- > 0;) {
            position += strides[axis];
            if (++index[axis] < sizes[axis]) return true;
            position -= sizes[axis] * strides[axis];
            index[axis] = 0;
        }
        return false;
    }
};

template <Kind kind, class Key, class Count>
class Folder {
public:
    explicit Folder(RunsJob& job) : job_(job), last_(job.axis[job.axes - 1]) {
        std::memcpy(&background_, job.background, sizeof(Key));
        background_ = to_key<kind>(background_);
        columns_ = (last_.size - 1) / last_.factor + 1;
    }

    void run() {
        allocate();
        const int outer = job_.axes - 1;
        Odometer rows;
        std::vector<Index> input_strides(outer), rendered_strides(outer);
        Index stride = last_.size;
        for (int i = outer; i-- > 0;) {
            input_strides[i] = job_.values ? job_.axis[i].stride : stride;
            rendered_strides[i] = job_.axis[i].rendered_stride;
            stride *= job_.axis[i].size;
        }
        for (int i = 0; i < outer; ++i) rows.sizes.push_back((job_.axis[i].size - 1) / job_.axis[i].factor + 1);
        rows.strides = rendered_strides;
        rows.index.assign(outer, 0);
        do {
            children(rows.index, input_strides);
            if (job_.values && outer > 0 && rows.index[outer - 1] % STRIP == 0) read_strip(rows.index[outer - 1]);
            char* rendered = job_.rendered ? job_.rendered + rows.position : nullptr;
            job_.values ? dense_row(rendered) : runs_row(rendered);
        } while (rows.next());
        job_.kept.runs = length_;
        // a little that is too much stays: the C library likes to hand out sizes again that it knows
        if (length_ < capacity_ - capacity_ / 4) grow(length_);
    }

private:
    void allocate() {
        Index voxels = 1, folded = 1;
        for (int i = 0; i < job_.axes; ++i) {
            const RunsAxis& axis = job_.axis[i];
            voxels *= axis.size;
            folded *= (axis.size - 1) / axis.factor + 1;
        }
        runs_ = job_.values ? voxels : Index(job_.runs.offsets[voxels]);
        job_.kept.keys = job_.keep ? Index(folded + 1) * Index(sizeof(std::int64_t)) : 0;
        // folding never makes more runs than there were
        grow(job_.keep ? std::min({folded + folded / 4, runs_, job_.most_runs}) + SOUGHT_LABELS : SOUGHT_LABELS);
        if (job_.keep) *offsets_ = 0;
        if (job_.values) differences_.resize(columns_);
    }

    // Makes room for so many runs. All is in one piece of memory: what is freed in several, the C library gives back to
    // the system, and to get it anew, cleared, would take longer than all the rest.
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

    // Reads the input rows under some output rows in the order of memory, which hardware prefetchers follow: they do not
    // when the rows are read side by side.
    void read_strip(Index begin) const {
        const RunsAxis& line = job_.axis[job_.axes - 2];
        const Index neighbours = child_.sizes.back();
        const Index lines = std::min(STRIP * line.factor, line.size - begin * line.factor);
        constexpr Index cache_line = 64;
        for (std::size_t r = 0; r < rows_.size(); r += std::size_t(neighbours)) {
            for (Index y = 0; y < lines; ++y) {
                const volatile char* at = job_.values + rows_[r] + y * line.stride;
                const volatile char* const end = at + last_.size * Index(sizeof(Key));
                for (; at < end; at += cache_line) static_cast<void>(*at);
            }
        }
    }

    // Where the input rows under an output row begin.
    void children(const std::vector<Index>& index, const std::vector<Index>& strides) {
        child_.strides = strides;
        child_.sizes.resize(index.size());
        child_.index.assign(index.size(), 0);
        child_.position = 0;
        for (std::size_t i = 0; i < index.size(); ++i) {
            const RunsAxis& axis = job_.axis[i];
            const Index begin = index[i] * axis.factor;
            child_.sizes[i] = std::min(axis.factor, axis.size - begin);
            child_.position += begin * strides[i];
        }
        rows_.clear();
        do {
            rows_.push_back(child_.position);
        } while (child_.next());
    }

    Writer<Key, Count> writer() const {
        return {keys_, counts_, offsets_ + finished_ + 1, length_, capacity_, background_, job_.sparse, background_, 0};
    }

    void check_length() const {
        if (job_.keep && length_ > job_.most_runs) throw TooManyRuns();
    }

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

    INLINE void end_voxel(Writer<Key, Count>& to, char* rendered) const {
        if (rendered) store(rendered, to.mode);
        if (job_.keep) {
            *to.offsets++ = to.length;
        } else {
            to.length = 0;
        }
    }

    void end_row(const Writer<Key, Count>& to) {
        length_ = to.length;
        finished_ += columns_;
        check_length();
    }

    void dense_row(char* rendered) {
        rows_.size() == 4 && last_.factor == 2 ? dense_row<4, 2>(rendered) : dense_row<0, 0>(rendered);
    }

    // Loops of known length are unrolled: nearly all levels are made by factors of 2.
    template <int ROWS, int FACTOR>
    void dense_row(char* rendered) {
        compare_rows<ROWS, FACTOR>();
        const Key* const first = row(0);
        const Key* const differences = differences_.data();
        const Index rows = ROWS ? ROWS : Index(rows_.size());
        const Index factor = FACTOR ? FACTOR : last_.factor;
        const Index size = last_.size, columns = columns_, rendered_stride = last_.rendered_stride;
        const bool in_blocks = job_.keep && !job_.sparse && rendered && rendered_stride == Index(sizeof(Key));
        const Index last_block = in_blocks ? size / factor - BLOCK : -1;
        Writer<Key, Count> to = writer();
        for (Index x = 0; x < columns; ++x) {
            if (!to.has_room(SOUGHT_LABELS)) to.become(with_room(to, SOUGHT_LABELS));
            // most often all footprints of a block have one label each
            if (x <= last_block) {
                Key difference = 0;
                for (Index i = x; i < x + BLOCK; ++i) difference |= differences[i];
                if (difference == 0) {
                    Key* const modes = reinterpret_cast<Key*>(rendered) + x;
                    add_block(to, first + x * factor, factor, Count(rows * factor), modes);
                    x += BLOCK - 1;
                    continue;
                }
            }
            const Index begin = x * factor;
            const Index end = std::min(begin + factor, size);
            to.begin_voxel();
            if (differences[x] == 0) {
                to.add(to_key<kind>(first[begin]), Count(rows * (end - begin)));
            } else {
                const Index voxels = rows * (end - begin);
                prepare(voxels);
                Key* at = keys_met_.data();
                for (Index r = 0; r < rows; ++r) {
                    const Key* const values = row(r);
                    for (Index j = begin; j < end; ++j) *at++ = to_key<kind>(values[j]);
                }
                if (ROWS * FACTOR == BLOCK && voxels == BLOCK) {
                    merge<true>(to, BLOCK);
                } else {
                    std::fill_n(counts_met_.begin(), voxels, Count(1));
                    merge<false>(to, voxels);
                }
            }
            end_voxel(to, rendered ? rendered + x * rendered_stride : nullptr);
        }
        end_row(to);
    }

    // Which voxels have more than one label under them: zero for those with one.
    template <int ROWS, int FACTOR>
    void compare_rows() {
        const Index rows = ROWS ? ROWS : Index(rows_.size());
        const Index factor = FACTOR ? FACTOR : last_.factor;
        const Index whole = last_.size / factor;
        Key* const __restrict differences = differences_.data();
        const Key* const first = row(0);
        const Key* values[ROWS ? ROWS : 1];
        for (int r = 0; r < ROWS; ++r) values[r] = row(r);
        const auto differs = [&](Index x, Index count) INLINE_LAMBDA {
            const Index begin = x * factor;
            Key difference = 0;
            UNROLLED for (Index r = 0; r < rows; ++r) {
                const Key* const other = ROWS ? values[r] : row(r);
                UNROLLED for (Index j = 0; j < count; ++j) difference |= Key(other[begin + j] ^ first[begin]);
            }
            return difference;
        };
        INDEPENDENT for (Index x = 0; x < whole; ++x) differences[x] = differs(x, factor);
        if (whole < columns_) differences[whole] = differs(whole, last_.size - whole * factor);
    }

    // Voxels with one label each.
    static INLINE void add_block(Writer<Key, Count>& to, const Key* first, Index factor, Count count, Key* modes) {
        Key* const __restrict keys = to.keys + to.length;
        Count* const __restrict counts = to.counts + to.length;
        std::int64_t* const __restrict offsets = to.offsets;
        INDEPENDENT for (Index i = 0; i < BLOCK; ++i) {
            keys[i] = to_key<kind>(first[i * factor]);
            modes[i] = from_key<kind>(keys[i]);
            counts[i] = count;
            offsets[i] = to.length + i + 1;
        }
        to.length += BLOCK;
        to.offsets += BLOCK;
    }

    void runs_row(char* rendered) {
        rows_.size() == 4 && last_.factor == 2 ? runs_row<4, 2>(rendered) : runs_row<0, 0>(rendered);
    }

    template <int ROWS, int FACTOR>
    void runs_row(char* rendered) {
        const std::int64_t* const offsets = job_.runs.offsets;
        const Key* const keys = reinterpret_cast<const Key*>(job_.runs.keys);
        const Count* const counts = reinterpret_cast<const Count*>(job_.runs.counts);
        const Index factor = FACTOR ? FACTOR : last_.factor;
        const Index size = last_.size, columns = columns_;
        const Index rendered_stride = last_.rendered_stride;
        const Index* const rows = rows_.data();
        const Index* const end_of_rows = rows + (ROWS ? ROWS : rows_.size());
        Writer<Key, Count> to = writer();
        for (Index x = 0; x < columns; ++x) {
            const Index begin = x * factor;
            const Index end = std::min(begin + factor, size);
            if (!to.has_room(SOUGHT_LABELS)) to.become(with_room(to, SOUGHT_LABELS));
            to.begin_voxel();
            // most often every child has but one label, and all the same
            Index several = 0;
            for (const Index* child = rows; child < end_of_rows; ++child) {
                several |= offsets[*child + end] - offsets[*child + begin] - factor;
            }
            if (several == 0) {
                const Key key = keys[offsets[rows[0] + begin]];
                Key difference = 0;
                Count total = 0;
                for (const Index* child = rows; child < end_of_rows; ++child) {
                    const Index from = offsets[*child + begin];
                    UNROLLED for (Index j = 0; j < factor; ++j) {
                        difference |= Key(keys[from + j] ^ key);
                        total += counts[from + j];
                    }
                }
                if (difference == 0) {
                    to.add(key, total);
                    end_voxel(to, rendered ? rendered + x * rendered_stride : nullptr);
                    continue;
                }
            }
            const Index met = meet(begin, end);
            if (met > 0) merge<false>(to, met);
            end_voxel(to, rendered ? rendered + x * rendered_stride : nullptr);
        }
        end_row(to);
    }

    // Lays the runs of the children under a voxel side by side, and returns how many there are.
    Index meet(Index begin, Index end) {
        const std::int64_t* const offsets = job_.runs.offsets;
        const Key* const keys = reinterpret_cast<const Key*>(job_.runs.keys);
        const Count* const counts = reinterpret_cast<const Count*>(job_.runs.counts);
        Index met = 0;
        for (const Index child : rows_) {
            const Index from = offsets[child + begin], length = offsets[child + end] - from;
            prepare(met + length);
            // to copy some too many is faster than a loop of unknown length
            if (length <= FEW && from + FEW <= runs_) {
                std::memcpy(&keys_met_[met], keys + from, FEW * sizeof(Key));
                std::memcpy(&counts_met_[met], counts + from, FEW * sizeof(Count));
            } else {
                std::copy_n(keys + from, length, &keys_met_[met]);
                std::copy_n(counts + from, length, &counts_met_[met]);
            }
            met += length;
        }
        return met;
    }

    // Room for so many runs that are met under a voxel, and for what is written beyond them.
    void prepare(Index length) {
        if (Index(keys_met_.size()) >= length + BLOCK) return;
        keys_met_.resize(2 * length + BLOCK);
        counts_met_.resize(2 * length + BLOCK);
    }

    // Adds up the counts of equal keys of those met, of which there are a block of single voxels, or any number. Where
    // there is more than one label there are mostly two.
    template <bool ONE_BLOCK>
    INLINE void merge(Writer<Key, Count>& to, Index length) {
        Key* const keys = keys_met_.data();
        Count* const counts = counts_met_.data();
        if (ONE_BLOCK) length = BLOCK;
        if (length % BLOCK) {
            std::fill_n(keys + length, BLOCK, keys[0]);
            std::fill_n(counts + length, BLOCK, Count(0));
        }
        Key low = keys[0], high = keys[0];
        Count total = ONE_BLOCK ? BLOCK : 0;
        for (Index i = 0; i < length; i += BLOCK) {
            UNROLLED for (Index j = i; j < i + BLOCK; ++j) {
                low = std::min(low, keys[j]);
                high = std::max(high, keys[j]);
                if (!ONE_BLOCK) total += counts[j];
            }
        }
        if (low == high) {
            to.add(low, total);
            return;
        }
        const Count of_low = count<ONE_BLOCK>(low, length), of_high = count<ONE_BLOCK>(high, length);
        to.add(low, of_low);
        if (of_low + of_high < total) to.become(merge_between<ONE_BLOCK>(to, low, high, total - of_low - of_high, length));
        to.add(high, of_high);
    }

    template <bool ONE_BLOCK>
    NEVER_INLINE Writer<Key, Count> merge_between(Writer<Key, Count> to, Key key, Key high, Count left, Index length) {
        for (Index label = 2; left > 0; ++label) {
            if (label == SOUGHT_LABELS) return sort_between(to, key, high, length);
            key = next(key, high, length);
            const Count of_key = count<ONE_BLOCK>(key, length);
            to.add(key, of_key);
            left -= of_key;
        }
        return to;
    }

    template <bool ONE_BLOCK>
    INLINE Count count(Key key, Index length) const {
        const Key* const keys = keys_met_.data();
        const Count* const counts = counts_met_.data();
        Count total = 0;
        for (Index i = 0; i < length; i += BLOCK) {
            UNROLLED for (Index j = i; j < i + BLOCK; ++j) {
                const Count is_equal = keys[j] == key;
                total += ONE_BLOCK ? is_equal : counts[j] & Count(-is_equal);
            }
        }
        return total;
    }

    // The smallest key above another one; there is one up to `high`.
    Key next(Key above, Key high, Index length) const {
        const Key* const keys = keys_met_.data();
        for (Index i = 0; i < length; i += BLOCK) {
            for (Index j = i; j < i + BLOCK; ++j) high = keys[j] > above ? std::min(high, keys[j]) : high;
        }
        return high;
    }

    Writer<Key, Count> sort_between(Writer<Key, Count> to, Key low, Key high, Index length) {
        scratch_.clear();
        for (Index i = 0; i < length; ++i) {
            if (keys_met_[i] > low && keys_met_[i] < high) scratch_.push_back({keys_met_[i], counts_met_[i]});
        }
        std::sort(scratch_.begin(), scratch_.end(), before<Key, Count>);
        std::size_t labels = 0;
        for (std::size_t i = 1; i < scratch_.size(); ++i) {
            if (scratch_[i].key == scratch_[labels].key) {
                scratch_[labels].count += scratch_[i].count;
            } else {
                scratch_[++labels] = scratch_[i];
            }
        }
        scratch_.resize(labels + 1);
        // and for the highest
        if (!to.has_room(Index(scratch_.size()) + 1)) to = with_room(to, Index(scratch_.size()) + 1);
        for (const Run<Key, Count>& run : scratch_) to.add(run.key, run.count);
        return to;
    }

    static void store(char* rendered, Key key) {
        const Key value = from_key<kind>(key);
        std::memcpy(rendered, &value, sizeof(Key));
    }

    const Key* row(std::size_t r) const { return reinterpret_cast<const Key*>(job_.values + rows_[r]); }

    RunsJob& job_;
    const RunsAxis& last_;
    Key background_;
    Index columns_;
    Index runs_ = 0;  // of the input, at most
    Index capacity_ = 0;
    Index length_ = 0;    // runs so far
    Index finished_ = 0;  // voxels so far
    Key* keys_ = nullptr;
    Count* counts_ = nullptr;
    std::int64_t* offsets_ = nullptr;
    Odometer child_;
    std::vector<Index> rows_;
    std::vector<Key> differences_;
    std::vector<Key> keys_met_;  // under the present voxel, with their counts
    std::vector<Count> counts_met_;
    std::vector<Run<Key, Count>> scratch_;
};

template <Kind kind, class Key>
void fold(RunsJob& job) {
    job.count_itemsize == 4 ? Folder<kind, Key, std::uint32_t>(job).run() : Folder<kind, Key, std::uint64_t>(job).run();
}

using Fold = void (*)(RunsJob&);

template <class Key>
constexpr Fold FOLDS[] = {fold<UNSIGNED_LABELS, Key>, fold<SIGNED_LABELS, Key>, fold<FLOAT_LABELS, Key>};

Fold fold_of(const RunsJob& job) {
    switch (job.itemsize) {
        case 1: return FOLDS<std::uint8_t>[job.kind == FLOAT_LABELS ? UNSIGNED_LABELS : job.kind];
        case 2: return FOLDS<std::uint16_t>[job.kind];
        case 4: return FOLDS<std::uint32_t>[job.kind];
        default: return FOLDS<std::uint64_t>[job.kind];
    }
}

}  // namespace

RunsOutcome fold_runs(RunsJob& job) noexcept {
    job.kept = KeptRuns{};
    RunsOutcome outcome = RUNS_DONE;
    try {
        fold_of(job)(job);
    } catch (const TooManyRuns&) {
        outcome = RUNS_TOO_MANY;
    } catch (const std::bad_alloc&) {
        outcome = RUNS_NO_MEMORY;
    } catch (const std::length_error&) {
        outcome = RUNS_NO_MEMORY;
    }
    if (outcome != RUNS_DONE || !job.keep) {
        std::free(job.kept.memory);
        job.kept = KeptRuns{};
    }
    return outcome;
}

}  // namespace chunkpyramid
