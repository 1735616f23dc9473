#include "runs.hpp"

#include <algorithm>
#include <cstdlib>
#include <new>
#include <stdexcept>
#include <utility>
#include <vector>

namespace chunkpyramid {

namespace {

// Of one footprint, this many labels are counted one after the other. Those beyond are sorted, so that no footprint
// takes quadratic time; nearly all footprints of real segmentations have fewer.
constexpr int COUNTED_LABELS = 4;

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

template <class Key, class Count>
struct Run {
    Key key;
    Count count;
};

template <class Key, class Count>
bool before(const Run<Key, Count>& a, const Run<Key, Count>& b) {
    return a.key < b.key;
}

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

    RunsOutcome run() {
        if (const RunsOutcome outcome = allocate(); outcome != RUNS_DONE) return outcome;
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
            char* rendered = job_.rendered ? job_.rendered + rows.position : nullptr;
            if (!(job_.values ? dense_row(rendered) : runs_row(rendered))) return RUNS_TOO_MANY;
        } while (rows.next());
        job_.kept.runs = length_;
        // a little that is too much stays: the C library likes to hand out sizes again that it knows
        if (length_ < capacity_ - capacity_ / 4) grow(length_);
        return RUNS_DONE;
    }

private:
    RunsOutcome allocate() {
        Index voxels = 1, folded = 1, footprint = 1;
        for (int i = 0; i < job_.axes; ++i) {
            const RunsAxis& axis = job_.axis[i];
            voxels *= axis.size;
            folded *= (axis.size - 1) / axis.factor + 1;
            footprint *= std::min(axis.size, axis.factor);
        }
        runs_ = job_.values ? voxels : Index(job_.runs.offsets[voxels]);
        // folding never makes more runs than there were
        most_ = job_.keep ? std::min(runs_, job_.most_runs) : runs_;
        job_.kept.keys = job_.keep ? Index(folded + 1) * Index(sizeof(std::int64_t)) : 0;
        grow(job_.keep ? folded + folded / 4 : std::min(footprint, runs_));
        if (job_.keep) *offsets_ = 0;
        if (job_.values) differences_.resize(last_.size);
        return RUNS_DONE;
    }

    // Makes room for so many runs, or for as many as there may be. All is in one piece of memory: what is freed in
    // several, the C library gives back to the system, and to get it anew, cleared, would take longer than all the rest.
    void grow(Index wanted) {
        const Index capacity = std::max<Index>(1, std::min(wanted, most_));
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

    bool dense_row(char* rendered) {
        compare_rows();
        const Key* const first = row(0);
        const Key* const differences = differences_.data();
        const Index rows = Index(rows_.size());
        // in registers: what is written through pointers might be any of these, as far as the compiler knows
        const Index size = last_.size, factor = last_.factor, columns = columns_;
        const Index rendered_stride = last_.rendered_stride;
        const bool keep = job_.keep, sparse = job_.sparse;
        const Key background = background_;
        Key* keys = keys_;
        Count* counts = counts_;
        std::int64_t* offsets_of_row = offsets_ + finished_ + 1;
        Index length = length_, capacity = capacity_;
        const auto reload = [&] {
            keys = keys_, counts = counts_, capacity = capacity_, offsets_of_row = offsets_ + finished_ + 1;
        };
        for (Index x = 0; x < columns; ++x) {
            const Index begin = x * factor;
            const Index end = std::min(begin + factor, size);
            Key difference = 0;
            for (Index j = begin; j < end; ++j) difference |= Key(differences[j] | (first[j] ^ first[begin]));
            Key mode;
            if (difference == 0) {
                mode = to_key<kind>(first[begin]);
                if (!(sparse && mode == background)) {
                    if (length == capacity) {
                        length_ = length;
                        if (!make_room()) return false;
                        reload();
                    }
                    keys[length] = mode;
                    counts[length++] = Count(rows * (end - begin));
                }
            } else {
                length_ = voxel_ = length;
                if (!emit_voxels(begin, end)) return false;
                length = length_;
                reload();
                mode = most_frequent();
            }
            if (rendered) store(rendered + x * rendered_stride, mode);
            if (keep) {
                offsets_of_row[x] = length;
            } else {
                length = 0;
            }
        }
        length_ = length;
        finished_ += columns;
        return true;
    }

    // Which columns of the rows are not all equal: zero where they are.
    void compare_rows() {
        const Index size = last_.size;
        Key* const differences = differences_.data();
        if (rows_.size() == 4) {
            const Key *a = row(0), *b = row(1), *c = row(2), *d = row(3);
            for (Index j = 0; j < size; ++j) differences[j] = Key((a[j] ^ b[j]) | (a[j] ^ c[j]) | (a[j] ^ d[j]));
            return;
        }
        const Key* const first = row(0);
        std::fill(differences_.begin(), differences_.end(), Key(0));
        for (std::size_t r = 1; r < rows_.size(); ++r) {
            const Key* const other = row(r);
            for (Index j = 0; j < size; ++j) differences[j] |= Key(first[j] ^ other[j]);
        }
    }

    bool runs_row(char* rendered) {
        const std::int64_t* const offsets = job_.runs.offsets;
        const Key* const keys = reinterpret_cast<const Key*>(job_.runs.keys);
        const Count* const counts = reinterpret_cast<const Count*>(job_.runs.counts);
        const Index size = last_.size, factor = last_.factor, columns = columns_;
        for (Index x = 0; x < columns; ++x) {
            const Index begin = x * factor;
            const Index end = std::min(begin + factor, size);
            const std::int64_t head = offsets[rows_[0] + begin];
            const Key key = head < runs_ ? keys[head] : background_;
            Key difference = 0;
            Count total = 0;
            Index children = 0;
            for (const Index child : rows_) {
                const std::int64_t from = offsets[child + begin], to = offsets[child + end];
                for (std::int64_t i = from; i < to; ++i) {
                    difference |= Key(keys[i] ^ key);
                    total += counts[i];
                }
                children += to - from;
            }
            voxel_ = length_;
            if (difference != 0) {
                Key* to_keys = reserve(voxels_, children);
                Count* to_counts = reserve(totals_, children);
                for (const Index child : rows_) {
                    for (std::int64_t i = offsets[child + begin]; i < offsets[child + end]; ++i) {
                        *to_keys++ = keys[i];
                        *to_counts++ = counts[i];
                    }
                }
                if (!emit<0, true>(children)) return false;
            } else if (children > 0 && !emit_one(key, total)) {
                return false;
            }
            if (rendered) store(rendered + x * last_.rendered_stride, most_frequent());
            if (job_.keep) {
                offsets_[++finished_] = length_;
            } else {
                length_ = 0;
            }
        }
        return true;
    }

    bool emit_one(Key key, Count count) {
        if (job_.sparse && key == background_) return true;
        if (length_ == capacity_ && !make_room()) return false;
        keys_[length_] = key;
        counts_[length_++] = count;
        return true;
    }

    bool make_room() {
        if (length_ >= most_) return false;
        grow(length_ + length_ / 2 + 1);
        return true;
    }

    bool emit_voxels(Index begin, Index end) {
        const Index voxels = Index(rows_.size()) * (end - begin);
        Key* to = reserve(voxels_, voxels);
        for (const Index position : rows_) {
            const Key* const values = reinterpret_cast<const Key*>(job_.values + position);
            for (Index j = begin; j < end; ++j) *to++ = to_key<kind>(values[j]);
        }
        // loops of known length are unrolled: nearly all levels are made by factors of 2
        if (voxels == 8) return emit<8, false>(voxels);
        return voxels == 4 ? emit<4, false>(voxels) : emit<0, false>(voxels);
    }

    // Adds up the counts (or else ones) of equal keys of `voxels_`.
    template <int LENGTH, bool COUNTED>
    bool emit(Index length) {
        Index left = LENGTH ? LENGTH : length;
        Key* const keys = voxels_.data();
        Count* const counts = totals_.data();
        const Key a = keys[0];
        Key b = a;
        for (Index i = 0; i < left; ++i) b = keys[i] != a ? keys[i] : b;
        Index voxels_of_a = 0, voxels_of_b = 0;
        Count total_of_a = 0, total_of_b = 0;
        for (Index i = 0; i < left; ++i) {
            voxels_of_a += keys[i] == a;
            voxels_of_b += keys[i] == b;
            if constexpr (COUNTED) {
                total_of_a += keys[i] == a ? counts[i] : Count(0);
                total_of_b += keys[i] == b ? counts[i] : Count(0);
            }
        }
        if constexpr (!COUNTED) {
            total_of_a = Count(voxels_of_a);
            total_of_b = Count(voxels_of_b);
        }
        // at least two labels: uniform footprints do not come here, but for floats whose bits differ
        if (!emit_one(std::min(a, b), a <= b ? total_of_a : total_of_b)) return false;
        if (a == b) return true;
        if (!emit_one(std::max(a, b), a <= b ? total_of_b : total_of_a)) return false;
        if (voxels_of_a + voxels_of_b == left) return true;
        left = take_out<COUNTED>(left, [a, b](Key key) { return key == a || key == b; }).left;
        for (int label = 2; label < COUNTED_LABELS && left > 0; ++label) {
            const Key key = keys[0];
            const Taken taken = take_out<COUNTED>(left, [key](Key other) { return other == key; });
            if (!emit_one(key, taken.total)) return false;
            left = taken.left;
        }
        if (left > 0 && !emit_sorted<COUNTED>(left)) return false;
        sort_emitted();
        return true;
    }

    struct Taken {
        Index left;
        Count total;
    };

    template <bool COUNTED, class Predicate>
    Taken take_out(Index length, Predicate is_taken) {
        Key* const keys = voxels_.data();
        Count* const counts = totals_.data();
        Taken taken{0, 0};
        for (Index i = 0; i < length; ++i) {
            const Key key = keys[i];
            const Count count = COUNTED ? counts[i] : Count(1);
            keys[taken.left] = key;
            if constexpr (COUNTED) counts[taken.left] = count;
            taken.total += is_taken(key) ? count : Count(0);
            taken.left += !is_taken(key);
        }
        return taken;
    }

    template <bool COUNTED>
    bool emit_sorted(Index length) {
        Key* const keys = voxels_.data();
        if constexpr (!COUNTED) {
            std::sort(keys, keys + length);
        } else {
            scratch_.clear();
            for (Index i = 0; i < length; ++i) scratch_.push_back({keys[i], totals_[i]});
            std::sort(scratch_.begin(), scratch_.end(), before<Key, Count>);
            for (Index i = 0; i < length; ++i) {
                keys[i] = scratch_[i].key;
                totals_[i] = scratch_[i].count;
            }
        }
        for (Index i = 0; i < length;) {
            const Key key = keys[i];
            Count total = 0;
            for (; i < length && keys[i] == key; ++i) total += COUNTED ? totals_[i] : Count(1);
            if (!emit_one(key, total)) return false;
        }
        return true;
    }

    // The runs of this voxel came in the order in which their labels were met.
    void sort_emitted() {
        const Index runs = length_ - voxel_;
        if (runs <= 2 * COUNTED_LABELS) {
            for (Index i = voxel_ + 1; i < length_; ++i) {
                const Key key = keys_[i];
                const Count count = counts_[i];
                Index j = i;
                for (; j > voxel_ && key < keys_[j - 1]; --j) {
                    keys_[j] = keys_[j - 1];
                    counts_[j] = counts_[j - 1];
                }
                keys_[j] = key;
                counts_[j] = count;
            }
            return;
        }
        scratch_.clear();
        for (Index i = voxel_; i < length_; ++i) scratch_.push_back({keys_[i], counts_[i]});
        std::sort(scratch_.begin(), scratch_.end(), before<Key, Count>);
        for (Index i = 0; i < runs; ++i) {
            keys_[voxel_ + i] = scratch_[i].key;
            counts_[voxel_ + i] = scratch_[i].count;
        }
    }

    // Of this voxel. Keys are sorted, so the first of equal counts is the smallest label.
    Key most_frequent() const {
        Key mode = background_;
        Count most = 0;
        for (Index i = voxel_; i < length_; ++i) {
            if (counts_[i] > most) {
                most = counts_[i];
                mode = keys_[i];
            }
        }
        return mode;
    }

    static void store(char* rendered, Key key) {
        const Key value = from_key<kind>(key);
        std::memcpy(rendered, &value, sizeof(Key));
    }

    template <class T>
    static T* reserve(std::vector<T>& scratch, Index length) {
        if (Index(scratch.size()) < length) scratch.resize(length);
        return scratch.data();
    }

    const Key* row(std::size_t r) const { return reinterpret_cast<const Key*>(job_.values + rows_[r]); }

    RunsJob& job_;
    const RunsAxis& last_;
    Key background_;
    Index columns_;
    Index runs_ = 0;  // of the input, at most
    Index most_ = 0;  // runs that there may be
    Index capacity_ = 0;
    Index length_ = 0;    // runs so far
    Index finished_ = 0;  // voxels so far
    Index voxel_ = 0;   // where those of the present voxel begin
    Key* keys_ = nullptr;
    Count* counts_ = nullptr;
    std::int64_t* offsets_ = nullptr;
    Odometer child_;
    std::vector<Index> rows_;
    std::vector<Key> differences_, voxels_;
    std::vector<Count> totals_;
    std::vector<Run<Key, Count>> scratch_;
};

template <Kind kind, class Key>
RunsOutcome fold(RunsJob& job) {
    if (job.count_itemsize == 4) return Folder<kind, Key, std::uint32_t>(job).run();
    return Folder<kind, Key, std::uint64_t>(job).run();
}

using Fold = RunsOutcome (*)(RunsJob&);

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
    RunsOutcome outcome;
    try {
        outcome = fold_of(job)(job);
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
