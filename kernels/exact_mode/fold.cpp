// Folds voxel by voxel, row by row. All headers are compiled as one with this, so that what belongs to a voxel is inlined.
#include "runs.hpp"

#include "children.hpp"
#include "common/hints.hpp"
#include "keys.hpp"
#include "merge.hpp"
#include "writer.hpp"

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <cstdlib>
#include <cstring>
#include <new>
#include <stdexcept>
#include <vector>

namespace chunkpyramid {
namespace {

// Hardly ever are there more runs than this in a row of children.
constexpr Index FEW = 4;

template <Kind kind, class Key, class Count>
class Folder {
public:
    explicit Folder(RunsJob& job)
        : job_(job), last_(job.axis[job.axes - 1]), columns_((last_.size - 1) / last_.factor + 1), children_(job),
          memory_(job, background_of(job)), met_(memory_) {}

    void run() {
        allocate();
        Odometer rows;
        for (int i = 0; i < job_.axes - 1; ++i) {
            rows.sizes.push_back((job_.axis[i].size - 1) / job_.axis[i].factor + 1);
            rows.strides.push_back(job_.axis[i].rendered_stride);
            rows.index.push_back(0);
        }
        do {
            children_.find(rows.index);
            char* rendered = job_.rendered ? job_.rendered + rows.position : nullptr;
            job_.values ? dense_row(rendered) : runs_row(rendered);
        } while (rows.next());
        memory_.finish();
    }

private:
    static Key background_of(const RunsJob& job) {
        Key background;
        std::memcpy(&background, job.background, sizeof(Key));
        return to_key<kind>(background);
    }

    void allocate() {
        Index voxels = 1, folded = 1;
        for (int i = 0; i < job_.axes; ++i) {
            const RunsAxis& axis = job_.axis[i];
            voxels *= axis.size;
            folded *= (axis.size - 1) / axis.factor + 1;
        }
        runs_ = job_.values ? voxels : Index(job_.runs.offsets[voxels]);
        // folding never makes more runs than there were
        const Index runs = job_.keep ? std::min({folded + folded / 4, runs_, job_.most_runs}) : 0;
        memory_.allocate(folded, runs + SOUGHT_LABELS);
        if (job_.values) differences_.resize(columns_);
    }

    ALWAYS_INLINE void end_voxel(Writer<Key, Count>& to, char* rendered) const {
        if (rendered) store(rendered, to.mode);
        if (job_.keep) {
            *to.offsets++ = to.length;
        } else {
            to.length = 0;
        }
    }

    void dense_row(char* rendered) {
        children_.rows().size() == 4 && last_.factor == 2 ? dense_row<4, 2>(rendered) : dense_row<0, 0>(rendered);
    }

    // Loops of known length are unrolled: nearly all levels are made by factors of 2.
    template <int ROWS, int FACTOR>
    void dense_row(char* rendered) {
        compare_rows<ROWS, FACTOR>();
        const Key* const first = row(0);
        const Key* const differences = differences_.data();
        const Index rows = ROWS ? ROWS : Index(children_.rows().size());
        const Index factor = FACTOR ? FACTOR : last_.factor;
        const Index size = last_.size, columns = columns_, rendered_stride = last_.rendered_stride;
        const bool in_blocks = job_.keep && !job_.sparse && rendered && rendered_stride == Index(sizeof(Key));
        const Index last_block = in_blocks ? size / factor - BLOCK : -1;
        Writer<Key, Count> to = memory_.writer();
        for (Index x = 0; x < columns; ++x) {
            if (!to.has_room(SOUGHT_LABELS)) to.become(memory_.with_room(to, SOUGHT_LABELS));
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
                met_.prepare(voxels);
                Key* at = met_.keys();
                for (Index r = 0; r < rows; ++r) {
                    const Key* const values = row(r);
                    for (Index j = begin; j < end; ++j) *at++ = to_key<kind>(values[j]);
                }
                if (ROWS * FACTOR == BLOCK && voxels == BLOCK) {
                    met_.template merge<true>(to, BLOCK);
                } else {
                    std::fill_n(met_.counts(), voxels, Count(1));
                    met_.template merge<false>(to, voxels);
                }
            }
            end_voxel(to, rendered ? rendered + x * rendered_stride : nullptr);
        }
        memory_.end_row(to, columns_);
    }

    // Which voxels have more than one label under them: zero for those with one.
    template <int ROWS, int FACTOR>
    void compare_rows() {
        const Index rows = ROWS ? ROWS : Index(children_.rows().size());
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
    static ALWAYS_INLINE void add_block(Writer<Key, Count>& to, const Key* first, Index factor, Count count, Key* modes) {
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
        children_.rows().size() == 4 && last_.factor == 2 ? runs_row<4, 2>(rendered) : runs_row<0, 0>(rendered);
    }

    template <int ROWS, int FACTOR>
    void runs_row(char* rendered) {
        const std::int64_t* const offsets = job_.runs.offsets;
        const Key* const keys = reinterpret_cast<const Key*>(job_.runs.keys);
        const Count* const counts = reinterpret_cast<const Count*>(job_.runs.counts);
        const Index factor = FACTOR ? FACTOR : last_.factor;
        const Index size = last_.size, columns = columns_;
        const Index rendered_stride = last_.rendered_stride;
        const Index* const rows = children_.rows().data();
        const Index* const end_of_rows = rows + (ROWS ? ROWS : children_.rows().size());
        Writer<Key, Count> to = memory_.writer();
        for (Index x = 0; x < columns; ++x) {
            const Index begin = x * factor;
            const Index end = std::min(begin + factor, size);
            if (!to.has_room(SOUGHT_LABELS)) to.become(memory_.with_room(to, SOUGHT_LABELS));
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
            if (met > 0) met_.template merge<false>(to, met);
            end_voxel(to, rendered ? rendered + x * rendered_stride : nullptr);
        }
        memory_.end_row(to, columns_);
    }

    // Lays the runs of the children under a voxel side by side, and returns how many there are.
    Index meet(Index begin, Index end) {
        const std::int64_t* const offsets = job_.runs.offsets;
        const Key* const keys = reinterpret_cast<const Key*>(job_.runs.keys);
        const Count* const counts = reinterpret_cast<const Count*>(job_.runs.counts);
        Index met = 0;
        for (const Index child : children_.rows()) {
            const Index from = offsets[child + begin], length = offsets[child + end] - from;
            met_.prepare(met + length);
            // to copy some too many is faster than a loop of unknown length
            if (length <= FEW && from + FEW <= runs_) {
                std::memcpy(met_.keys() + met, keys + from, FEW * sizeof(Key));
                std::memcpy(met_.counts() + met, counts + from, FEW * sizeof(Count));
            } else {
                std::copy_n(keys + from, length, met_.keys() + met);
                std::copy_n(counts + from, length, met_.counts() + met);
            }
            met += length;
        }
        return met;
    }

    static void store(char* rendered, Key key) {
        const Key value = from_key<kind>(key);
        std::memcpy(rendered, &value, sizeof(Key));
    }

    const Key* row(std::size_t r) const { return reinterpret_cast<const Key*>(job_.values + children_.rows()[r]); }

    RunsJob& job_;
    const RunsAxis& last_;
    const Index columns_;
    Index runs_ = 0;  // of the input, at most
    Children children_;
    RunsMemory<Key, Count> memory_;
    MetRuns<Key, Count> met_;
    std::vector<Key> differences_;
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
