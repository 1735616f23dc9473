// Walks the output rows of an N-d reduction and calls the row functions. Not templated: all it knows of the
// elements is their size.
#include "kernels.hpp"

#include <algorithm>
#include <new>
#include <vector>

namespace chunkpyramid {
namespace {

// Output elements handled at one time along a row: their sums stay in the first-level cache until they are rounded.
constexpr Index TILE = 2048;

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
    if (kept == 0) {
        Axis axis = {};
        axis.size = axis.out_size = axis.factor = axis.weight = 1;
        job.axis[kept++] = axis;
    }
    job.axes = kept;
    job.axis[kept - 1].weight *= scalar_weight;
    if (job.axis[kept - 1].weights) {
        // The scalar has no place beside a weight per element: give it an axis of its own.
        job.axis[kept - 1].weight = 1;
        if (scalar_weight != 1) {
            std::copy_backward(job.axis, job.axis + kept, job.axis + kept + 1);
            Axis axis = {};
            axis.size = axis.out_size = axis.factor = 1;
            axis.weight = scalar_weight;
            job.axis[0] = axis;
            job.axes = kept + 1;
        }
    }
}

bool has_unit_stride(const Job& job) {
    const Axis& axis = job.axis[job.axes - 1];
    for (int role = 0; role < ROLES; ++role) {
        const Index size = role == VALUES || role == COUNTS ? axis.size : axis.out_size;
        if (job.data[role] && size > 1 && axis.strides[role] != job.itemsize[role]) return false;
    }
    return true;
}

struct Run {  // output elements of one weight along the row
    Index begin, end;
    std::int64_t weight;
};

class Walk {
  public:
    explicit Walk(const Job& job) : job_(job), row_axis_(job.axis[job.axes - 1]), outer_(job.axes - 1) {
        Index rows = 1;
        int halved = 0;
        int other = 0;
        for (int i = 0; i < job.axes; ++i) {
            if (i < outer_) rows *= job.axis[i].factor;
            halved += job.axis[i].factor == 2;
            other += job.axis[i].factor > 2;
        }
        two_by_two_ = halved == 2 && other == 0;
        value_offsets_.reserve(rows);
        count_offsets_.reserve(rows);
        pointers_.resize(rows);
        if (job.replicate) scratch_.resize(rows * row_axis_.factor * COUNTING_BYTES);
        if (job.render) {
            sums_.resize(TILE * 16);
            counts_.resize(TILE * 16);
            for (Index x = 0; x < row_axis_.out_size;) {
                const std::int64_t weight = row_axis_.weights ? row_axis_.weights[x] : row_axis_.weight;
                Index end = row_axis_.weights ? x + 1 : row_axis_.out_size;
                while (end < row_axis_.out_size && row_axis_.weights[end] == weight) ++end;
                runs_.push_back({x, end, weight});
                x = end;
            }
        }
    }

    void all_rows() {
        Index position[MAX_AXES + 1] = {};
        for (;;) {
            one_row(position);
            int i = outer_ - 1;
            for (; i >= 0; --i) {
                if (++position[i] < job_.axis[i].out_size) break;
                position[i] = 0;
            }
            if (i < 0) return;
        }
    }

  private:
    // Offsets of the input rows under an output row, in scan order. They change only from the interior to an edge.
    void find_rows(const Index* position) {
        Index available[MAX_AXES + 1];
        bool changed = value_offsets_.empty();
        for (int i = 0; i < outer_; ++i) {
            const Axis& axis = job_.axis[i];
            available[i] = std::min(axis.factor, axis.size - position[i] * axis.factor);
            changed |= available[i] != available_[i];
        }
        if (!changed) return;
        std::copy(available, available + outer_, available_);
        value_offsets_.clear();
        count_offsets_.clear();
        Index inside[MAX_AXES + 1] = {};
        for (;;) {
            Index value_offset = 0, count_offset = 0;
            for (int i = 0; i < outer_; ++i) {
                const Index index = std::min(inside[i], available[i] - 1);
                value_offset += index * job_.axis[i].strides[VALUES];
                count_offset += index * job_.axis[i].strides[COUNTS];
            }
            value_offsets_.push_back(value_offset);
            count_offsets_.push_back(count_offset);
            int step = 0;
            for (; step < outer_; ++step) {
                const int i = job_.reversed ? step : outer_ - 1 - step;
                if (++inside[i] < (job_.replicate ? job_.axis[i].factor : available[i])) break;
                inside[i] = 0;
            }
            if (step == outer_) return;
        }
    }

    char* output(Role role, const Index* position) const {
        char* data = job_.data[role];
        if (data) {
            for (int i = 0; i < outer_; ++i) data += position[i] * job_.axis[i].strides[role];
        }
        return data;
    }
    const char* input(Role role, const Index* position) const {
        const char* data = job_.data[role];
        if (data) {
            for (int i = 0; i < outer_; ++i) {
                data += position[i] * job_.axis[i].factor * job_.axis[i].strides[role];
            }
        }
        return data;
    }

    Rows rows_at(const char* base, const std::vector<Index>& offsets, Index first_column, Index itemsize) {
        const Index count = Index(offsets.size());
        base += first_column * itemsize;
        for (Index i = 0; i < count; ++i) pointers_[i] = base + offsets[i];
        const Index columns = std::min(TILE * row_axis_.factor, row_axis_.size - first_column);
        return {pointers_.data(), count, columns, row_axis_.factor, job_.reversed, two_by_two_,
                job_.background, scratch_.data()};
    }

    void one_row(const Index* position) {
        find_rows(position);
        const char* const values = input(VALUES, position);
        const char* const counts = input(COUNTS, position);
        char* const out_values = output(OUT_VALUES, position);
        char* const out_counts = output(OUT_COUNTS, position);
        char* const rendered = output(RENDERED, position);
        std::int64_t weight = 1;
        for (int i = 0; i < outer_; ++i) {
            const Axis& axis = job_.axis[i];
            weight *= axis.weights ? axis.weights[position[i]] : axis.weight;
        }
        std::size_t run = 0;
        for (Index begin = 0; begin < row_axis_.out_size; begin += TILE) {
            const Index end = std::min(begin + TILE, row_axis_.out_size);
            const Index column = begin * row_axis_.factor;
            const char* sums = values + column * job_.itemsize[VALUES];
            const char* sum_counts = counts ? counts + column * job_.itemsize[COUNTS] : nullptr;
            if (job_.fold) {
                char* const to = out_values ? out_values + begin * job_.itemsize[OUT_VALUES] : sums_.data();
                char* const to_counts = out_counts ? out_counts + begin * job_.itemsize[OUT_COUNTS] : counts_.data();
                job_.fold(rows_at(values, value_offsets_, column, job_.itemsize[VALUES]), to, to_counts);
                if (counts) {
                    job_.fold(rows_at(counts, count_offsets_, column, job_.itemsize[COUNTS]), to_counts, nullptr);
                }
                sums = to;
                sum_counts = to_counts;
            }
            if (!job_.render) continue;
            for (; run < runs_.size() && runs_[run].begin < end; ++run) {
                const Index from = std::max(runs_[run].begin, begin);
                const Index to = std::min(runs_[run].end, end);
                const Index skipped = from - begin;
                job_.render({weight * runs_[run].weight, job_.truncate, job_.background},
                            sums + skipped * job_.sum_itemsize,
                            job_.sparse ? sum_counts + skipped * job_.sum_itemsize : nullptr,
                            to - from, rendered + from * job_.itemsize[RENDERED]);
                if (runs_[run].end > end) break;
            }
        }
    }

    const Job& job_;
    const Axis& row_axis_;
    const int outer_;
    bool two_by_two_;
    Index available_[MAX_AXES + 1] = {};
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
        Walk(job).all_rows();
        return DONE;
    } catch (const std::bad_alloc&) {
        return NO_MEMORY;
    }
}

}  // namespace chunkpyramid
