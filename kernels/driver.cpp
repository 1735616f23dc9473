// Walks the output rows of an N-d reduction and calls the row functions. Not templated: all it knows of the
// elements is their size.
#include "kernels.hpp"

#include <algorithm>
#include <new>
#include <vector>

namespace chunkpyramid {
namespace {

// A row is done in tiles: what a tile reads, and its sums until they are rounded, stay in the first-level cache.
constexpr Index TILE_BYTES = 1 << 14;
constexpr Index SHORTEST_TILE = 64;
constexpr Index LONGEST_TILE = 2048;
constexpr Index CACHE_LINE = 64;

bool unweighted_fold(const Axis& axis) { return axis.factor == 1 && axis.weights == nullptr; }

bool mergeable(const Job& job, const Axis& slow, const Axis& fast) {
    if (!unweighted_fold(slow) || !unweighted_fold(fast)) return false;
    for (int role = 0; role < ROLES; ++role) {
        if (job.data[role] && slow.strides[role] != fast.strides[role] * fast.size) return false;
    }
    return true;
}

// Rewrites the job with as few and as long axes as possible.
void simplify(Job& job) {
    std::int64_t scalar_weight = 1;
    int kept = 0;
    for (int i = 0; i < job.axes; ++i) {
        Axis axis = job.axis[i];
        const std::int64_t* const weights = axis.weights;
        if (weights) {
            const std::int64_t first = weights[0];
            if (std::all_of(weights, weights + axis.out_size, [first](auto weight) { return weight == first; })) {
                axis.weights = nullptr;
                axis.weight = first;
            }
        }
        if (axis.size == 1 && (axis.factor == 1 || !job.replicate)) {
            scalar_weight *= axis.weight;
            continue;
        }
        if (kept > 0 && mergeable(job, job.axis[kept - 1], axis)) {
            const Axis& slow = job.axis[--kept];
            axis.size *= slow.size;
            axis.out_size *= slow.out_size;
            axis.weight *= slow.weight;
        }
        job.axis[kept++] = axis;
    }
    // A row and the axis of its neighbours always exist; the latter takes the weights of the axes left out.
    const int added = kept == 0 ? 2 : 1;
    std::copy_backward(job.axis, job.axis + kept, job.axis + kept + added);
    for (int i = 0; i < added; ++i) {
        job.axis[i] = {};
        job.axis[i].size = job.axis[i].out_size = job.axis[i].factor = job.axis[i].weight = 1;
    }
    job.axis[0].weight = scalar_weight;
    job.axes = kept + added;
}

bool has_unit_stride(const Job& job) {
    const Axis& axis = job.axis[job.axes - 1];
    for (int role = 0; role < ROLES; ++role) {
        const Index size = role == VALUES || role == COUNTS ? axis.size : axis.out_size;
        if (job.data[role] && size > 1 && axis.strides[role] != job.itemsize[role]) return false;
    }
    return true;
}

// The outermost axes form lines of rows: rows of a line are neighbours along the last axis but one.
class Walk {
  public:
    explicit Walk(const Job& job)
        : job_(job), row_axis_(job.axis[job.axes - 1]), line_axis_(job.axis[job.axes - 2]), outer_(job.axes - 2) {
        Index rows = line_axis_.factor;
        for (int i = 0; i < outer_; ++i) rows *= job.axis[i].factor;
        value_offsets_.reserve(rows);
        count_offsets_.reserve(rows);
        pointers_.resize(rows);
        if (job.replicate) scratch_.resize(rows * row_axis_.factor * COUNTING_BYTES);
        const Index bytes_per_element = rows * row_axis_.factor * job.itemsize[VALUES];
        tile_ = std::clamp(TILE_BYTES / bytes_per_element, SHORTEST_TILE, LONGEST_TILE);
        if (job.render) find_runs();
        if (job.render && !job.data[OUT_VALUES]) sums_.resize(tile_ * job.sum_itemsize);
        if (job.sparse && !job.data[OUT_COUNTS]) counts_.resize(tile_ * job.sum_itemsize);
        rows_ = {pointers_.data(), 0, 0, row_axis_.factor, job.reversed, is_two_by_two(job), job.background,
                 scratch_.data()};
    }

    void all_lines() {
        Index position[MAX_AXES] = {};
        for (;;) {
            one_line(position);
            int i = outer_ - 1;
            for (; i >= 0; --i) {
                if (++position[i] < job_.axis[i].out_size) break;
                position[i] = 0;
            }
            if (i < 0) return;
        }
    }

  private:
    struct Run {  // output elements of one weight along a row
        Index begin, end;
        std::int64_t weight;
    };

    static bool is_two_by_two(const Job& job) {
        int halved = 0;
        for (int i = 0; i < job.axes; ++i) {
            if (job.axis[i].factor > 2) return false;
            halved += job.axis[i].factor == 2;
        }
        return halved == 2;
    }

    void find_runs() {
        for (Index x = 0; x < row_axis_.out_size;) {
            const std::int64_t weight = row_axis_.weights ? row_axis_.weights[x] : row_axis_.weight;
            Index end = row_axis_.weights ? x + 1 : row_axis_.out_size;
            while (end < row_axis_.out_size && row_axis_.weights[end] == weight) ++end;
            runs_.push_back({x, end, weight});
            x = end;
        }
    }

    // Offsets of the input rows under an output row, in scan order. `available`: sizes inside the array.
    void find_rows(const Index* available) {
        value_offsets_.clear();
        count_offsets_.clear();
        const int axes = outer_ + 1;
        Index inside[MAX_AXES + 2] = {};
        for (;;) {
            Index value_offset = 0, count_offset = 0;
            for (int i = 0; i < axes; ++i) {
                const Index index = std::min(inside[i], available[i] - 1);
                value_offset += index * job_.axis[i].strides[VALUES];
                count_offset += index * job_.axis[i].strides[COUNTS];
            }
            value_offsets_.push_back(value_offset);
            count_offsets_.push_back(count_offset);
            int step = 0;
            for (; step < axes; ++step) {
                const int i = job_.reversed ? step : axes - 1 - step;
                if (++inside[i] < (job_.replicate ? job_.axis[i].factor : available[i])) break;
                inside[i] = 0;
            }
            if (step == axes) return;
        }
    }

    void one_line(const Index* position) {
        Index available[MAX_AXES + 2];
        char* data[ROLES];
        Index steps[ROLES];
        std::int64_t outer_weight = 1;
        for (int role = 0; role < ROLES; ++role) {
            const bool input = role == VALUES || role == COUNTS;
            data[role] = job_.data[role];
            for (int i = 0; data[role] && i < outer_; ++i) {
                data[role] += position[i] * job_.axis[i].strides[role] * (input ? job_.axis[i].factor : 1);
            }
            steps[role] = data[role] ? line_axis_.strides[role] * (input ? line_axis_.factor : 1) : 0;
        }
        for (int i = 0; i < outer_; ++i) {
            const Axis& axis = job_.axis[i];
            available[i] = std::min(axis.factor, axis.size - position[i] * axis.factor);
            outer_weight *= axis.weights ? axis.weights[position[i]] : axis.weight;
        }
        const Index whole = line_axis_.size / line_axis_.factor;
        for (Index y = 0; y < line_axis_.out_size; ++y) {
            if (y == 0 || y == whole) {
                available[outer_] = y < whole ? line_axis_.factor : line_axis_.size - y * line_axis_.factor;
                find_rows(available);
            }
            one_row(data, outer_weight * (line_axis_.weights ? line_axis_.weights[y] : line_axis_.weight));
            for (int role = 0; role < ROLES; ++role) data[role] += steps[role];
        }
    }

    // Reads the rows of a tile one after the other. Row functions read them side by side, a pattern that hardware
    // prefetchers do not follow: without this, arrays larger than the caches take more than twice as long.
    void touch(Index bytes) const {
        for (Index i = 0; i < rows_.count; ++i) {
            const volatile char* const row = rows_.rows[i];
            for (Index at = 0; at < bytes; at += CACHE_LINE) static_cast<void>(row[at]);
        }
    }

    const Rows& rows_at(const char* base, const std::vector<Index>& offsets, Index columns) {
        rows_.count = Index(offsets.size());
        rows_.columns = columns;
        for (Index i = 0; i < rows_.count; ++i) pointers_[i] = base + offsets[i];
        touch(columns * job_.itemsize[VALUES]);
        return rows_;
    }

    void one_row(char* const* data, std::int64_t weight) {
        std::size_t run = 0;
        for (Index begin = 0; begin < row_axis_.out_size; begin += tile_) {
            const Index end = std::min(begin + tile_, row_axis_.out_size);
            const Index column = begin * row_axis_.factor;
            const char* sums = data[VALUES] + column * job_.itemsize[VALUES];
            const char* counts = data[COUNTS] ? data[COUNTS] + column * job_.itemsize[COUNTS] : nullptr;
            if (job_.fold) {
                const Index columns = std::min(tile_ * row_axis_.factor, row_axis_.size - column);
                char* const to = data[OUT_VALUES] ? data[OUT_VALUES] + begin * job_.itemsize[OUT_VALUES] : sums_.data();
                char* const to_counts =
                    data[OUT_COUNTS] ? data[OUT_COUNTS] + begin * job_.itemsize[OUT_COUNTS] : counts_.data();
                job_.fold(rows_at(sums, value_offsets_, columns), to, to_counts);
                if (counts) job_.fold(rows_at(counts, count_offsets_, columns), to_counts, nullptr);
                sums = to;
                counts = to_counts;
            }
            if (job_.render) run = render(run, begin, end, weight, sums, job_.sparse ? counts : nullptr, data[RENDERED]);
        }
    }

    std::size_t render(std::size_t run, Index begin, Index end, std::int64_t weight, const char* sums,
                       const char* counts, char* out) const {
        for (; run < runs_.size() && runs_[run].begin < end; ++run) {
            const Index from = std::max(runs_[run].begin, begin);
            const Index to = std::min(runs_[run].end, end);
            const Index skipped = (from - begin) * job_.sum_itemsize;
            job_.render({weight * runs_[run].weight, job_.truncate, job_.background}, sums + skipped,
                        counts ? counts + skipped : nullptr, to - from, out + from * job_.itemsize[RENDERED]);
            if (runs_[run].end > end) break;
        }
        return run;
    }

    const Job& job_;
    const Axis& row_axis_;
    const Axis& line_axis_;
    const int outer_;
    Index tile_;
    Rows rows_;
    std::vector<Index> value_offsets_, count_offsets_;
    std::vector<const char*> pointers_;
    std::vector<char> scratch_, sums_, counts_;
    std::vector<Run> runs_;
};

}  // namespace

Outcome run(Job& job) noexcept {
    try {
        simplify(job);
        if (!has_unit_stride(job)) return NOT_UNIT_STRIDE;
        Walk(job).all_lines();
        return DONE;
    } catch (const std::bad_alloc&) {
        return NO_MEMORY;
    }
}

}  // namespace chunkpyramid
