// Walks the output rows of a job and calls the row functions. Not templated: all it knows of the elements is their size.
// Only included by chain.cpp.
#pragma once

#include "buffer.hpp"
#include "simplify.hpp"

#include <algorithm>
#include <cstdint>
#include <cstring>
#include <vector>

namespace chunkpyramid {
namespace {

// A strip has so many rows that it reads about this much: it stays in the first-level cache, beside its sums until they
// are rounded.
constexpr Index STRIP_BYTES = 1 << 12;
// Rows are only cut where a tile would leave the second-level cache: whole rows are read at twice the speed.
constexpr Index TILE_BYTES = 1 << 16;
constexpr Index SHORTEST_TILE = 64;
constexpr Index LONGEST_TILE = 1 << 14;

// So few elements in a row are channels beside each other, as in colour images.
constexpr Index MOST_CHANNELS = 16;

std::int64_t weight_of(const Axis& axis, Index index) {
    return index + 1 < axis.out_size ? axis.weight : axis.last_weight;
}

// The end of the indices from `begin` on that have the same weight.
Index end_of_weight(const Axis& axis, Index begin) {
    return axis.weight == axis.last_weight || begin + 1 == axis.out_size ? axis.out_size : axis.out_size - 1;
}

// Takes `length` bytes out of every `step` bytes, `count` times. Short stretches are copied with what follows them,
// which the next ones overwrite: copies of a known length are faster than calls. What is read has to go on that far.
constexpr Index LONGEST_PICK = 32;
void pick(const char* from, Index step, Index length, Index count, Target to) {
    const bool overlap = to.step == length && length <= LONGEST_PICK;
    const Index overwritten = overlap ? count - LONGEST_PICK / length - 1 : 0;
    for (Index i = 0; i < overwritten; ++i) std::memcpy(to.data + i * length, from + i * step, LONGEST_PICK);
    for (Index i = std::max(overwritten, Index(0)); i < count; ++i) {
        std::memcpy(to.data + i * to.step, from + i * step, std::size_t(length));
    }
}

// Memory that a walk leaves to the next one.
struct Workspace {
    std::vector<Index> value_offsets, count_offsets;
    Buffer columns, footprint, sums, counts, all_sums, all_counts;
};

// The outermost axes form lines of rows: rows of a line are neighbours along the last axis but one. A line is done in
// strips of some output rows, each in tiles of some output columns.
class Walk {
  public:
    Walk(const Job& job, Workspace& workspace)
        : job_(job), row_axis_(job.axis[job.axes - 1]), line_axis_(job.axis[job.axes - 2]), outer_(job.axes - 2),
          own_(workspace) {
        Index rows = line_axis_.factor;
        for (int i = 0; i < outer_; ++i) rows *= job.axis[i].factor;
        own_.value_offsets.clear();
        const Index bytes_per_element = rows * row_axis_.factor * job.itemsize[VALUES];
        tile_ = std::clamp(TILE_BYTES / bytes_per_element, SHORTEST_TILE, LONGEST_TILE);
        const Index row_bytes = rows * std::min(row_axis_.size, tile_ * row_axis_.factor) * job.itemsize[VALUES];
        rows_ = tile_ < row_axis_.out_size ? 1 : std::clamp(STRIP_BYTES / row_bytes, Index(1), line_axis_.out_size);
        tile_ = std::min(tile_, row_axis_.out_size);
        sums_ = own_.sums.reserve(rows_ * tile_ * job.itemsize[OUT_VALUES]);
        counts_ = own_.counts.reserve(rows_ * tile_ * job.itemsize[OUT_COUNTS]);
        strip_ = {nullptr, nullptr, 0, 0, row_axis_.factor, 0, 0, 1, job.reversed,
                  is_two_by_two(job), job.background,
                  own_.columns.reserve(scratch_columns() * COLUMN_BYTES),
                  own_.footprint.reserve(job.replicate ? rows * row_axis_.factor * COUNTING_BYTES : 0)};
    }

    void all_lines() {
        Index position[MAX_AXES + 2];
        std::fill_n(position, outer_, 0);
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
    static bool is_two_by_two(const Job& job) {
        int halved = 0;
        for (int i = 0; i < job.axes; ++i) {
            if (job.axis[i].factor > 2) return false;
            halved += job.axis[i].factor == 2;
        }
        return halved == 2;
    }

    // Rows of a few channels are folded as one long row of all of them: twice as many folds are computed as are wanted,
    // because that takes less time than to begin a row for each.
    bool is_interleaved(Index stride) const {
        return row_axis_.factor == 1 && row_axis_.size <= MOST_CHANNELS && line_axis_.factor == 2 &&
               strip_.columns == row_axis_.size && strip_.repeats > 1 &&
               stride == row_axis_.size * job_.itemsize[VALUES];
    }
    Index scratch_columns() const {
        const Index columns = std::min(tile_ * row_axis_.factor, row_axis_.size);
        return row_axis_.size <= MOST_CHANNELS ? std::max(columns, columns_of(rows_)) : columns;
    }
    Index columns_of(Index rows) const { return ((rows - 1) * line_axis_.factor + 1) * row_axis_.size; }

    // Offsets of the input rows under an output row, in scan order. `available`: sizes inside the array.
    void find_rows(const Index* available) {
        own_.value_offsets.clear();
        own_.count_offsets.clear();
        const int axes = outer_ + 1;
        Index inside[MAX_AXES + 2];
        std::fill_n(inside, axes, 0);
        for (;;) {
            Index value_offset = 0, count_offset = 0;
            for (int i = 0; i < axes; ++i) {
                const Index index = std::min(inside[i], available[i] - 1);
                value_offset += index * job_.axis[i].strides[VALUES];
                count_offset += index * job_.axis[i].strides[COUNTS];
            }
            own_.value_offsets.push_back(value_offset);
            own_.count_offsets.push_back(count_offset);
            int step = 0;
            for (; step < axes; ++step) {
                const int i = job_.reversed ? step : axes - 1 - step;
                if (++inside[i] < (job_.replicate ? job_.axis[i].factor : available[i])) break;
                inside[i] = 0;
            }
            if (step == axes) return;
        }
    }

    char* at(int role, Index y, Index x) const {
        const Index rows = y * (is_input(role) ? line_axis_.factor : 1);
        const Index columns = x * (is_input(role) ? row_axis_.factor : 1);
        return line_[role] + rows * line_axis_.strides[role] + columns * job_.itemsize[role];
    }

    void one_line(const Index* position) {
        Index available[MAX_AXES + 2];
        std::int64_t weight = 1;
        for (int role = 0; role < ROLES; ++role) {
            line_[role] = job_.data[role];
            for (int i = 0; line_[role] && i < outer_; ++i) {
                const Index step = is_input(role) ? job_.axis[i].factor : 1;
                line_[role] += position[i] * step * job_.axis[i].strides[role];
            }
        }
        for (int i = 0; i < outer_; ++i) {
            const Axis& axis = job_.axis[i];
            available[i] = std::min(axis.factor, axis.size - position[i] * axis.factor);
            weight *= weight_of(axis, position[i]);
        }
        const Index whole = line_axis_.size / line_axis_.factor;
        for (Index y = 0; y < line_axis_.out_size;) {
            const Index end = y < whole ? std::min({y + rows_, whole, end_of_weight(line_axis_, y)}) : y + 1;
            if (y == 0 || y == whole) {
                available[outer_] = y < whole ? line_axis_.factor : line_axis_.size - y * line_axis_.factor;
                if (own_.value_offsets.empty() || !std::equal(available, available + outer_ + 1, found_)) {
                    std::copy_n(available, outer_ + 1, found_);
                    find_rows(available);
                    strip_.count = Index(own_.value_offsets.size());
                    strip_.neighbours = job_.replicate ? line_axis_.factor : available[outer_];
                }
            }
            const std::int64_t line_weight = weight * weight_of(line_axis_, y);
            for (Index x = 0, x_end; x < row_axis_.out_size; x = x_end) {
                x_end = std::min(x + tile_, end_of_weight(row_axis_, x));
                one_tile(y, end, x, x_end, line_weight * weight_of(row_axis_, x));
            }
            y = end;
        }
    }

    void aim(Source from, const std::vector<Index>& offsets) {
        strip_.base = from.data;
        strip_.offsets = offsets.data();
        strip_.step = line_axis_.factor * from.step;
    }

    void fold(Index stride, Target to, Target to_counts) {
        if (!is_interleaved(stride)) {
            job_.fold(strip_, to, to_counts);
            return;
        }
        Strip all = strip_;
        all.columns = columns_of(strip_.repeats);
        all.repeats = 1;
        const auto target_of_all = [&](Buffer& buffer, Role role) -> Target {
            return {buffer.reserve(all.columns * job_.itemsize[role] + LONGEST_PICK), 0};
        };
        const auto pick_wanted = [&](Target from, Role role, Target wanted) {
            const Index length = row_axis_.size * job_.itemsize[role];
            pick(from.data, line_axis_.factor * length, length, strip_.repeats, wanted);
        };
        const Target sums = target_of_all(own_.all_sums, OUT_VALUES);
        const Target counts = target_of_all(own_.all_counts, OUT_COUNTS);
        job_.fold(all, sums, counts);
        pick_wanted(sums, OUT_VALUES, to);
        if (job_.sparse && !line_[COUNTS]) pick_wanted(counts, OUT_COUNTS, to_counts);
    }

    Source source(int role, Index y, Index x) const {
        if (!line_[role]) return {nullptr, 0};
        return {at(role, y, x), line_axis_.strides[role]};
    }

    Target target(int role, char* instead, Index y, Index x) const {
        if (!line_[role]) return {instead, tile_ * job_.itemsize[role]};
        return {at(role, y, x), line_axis_.strides[role]};
    }

    // All elements of a tile have the same weight.
    void one_tile(Index y, Index y_end, Index x, Index x_end, std::int64_t weight) {
        const Divisor divisor = {weight, job_.truncate, job_.background};
        const Target rendered = target(RENDERED, nullptr, y, x);
        Source sums = source(VALUES, y, x);
        Source counts = source(COUNTS, y, x);
        if (job_.fold) {
            strip_.repeats = y_end - y;
            strip_.columns = std::min((x_end - x) * row_axis_.factor, row_axis_.size - x * row_axis_.factor);
            aim(sums, own_.value_offsets);
            const Target wanted = target(OUT_VALUES, nullptr, y, x);
            if (job_.mean && job_.mean(strip_, divisor, wanted, rendered)) return;
            const Target to = target(OUT_VALUES, sums_, y, x);
            const Target to_counts = target(OUT_COUNTS, counts_, y, x);
            fold(sums.step, to, to_counts);
            if (counts.data) {
                aim(counts, own_.count_offsets);
                fold(counts.step, to_counts, {nullptr, 0});
            }
            sums = {to.data, to.step};
            if (job_.sparse) counts = {to_counts.data, to_counts.step};
        }
        if (job_.render) job_.render(divisor, sums, counts, x_end - x, y_end - y, rendered);
    }

    const Job& job_;
    const Axis& row_axis_;
    const Axis& line_axis_;
    const int outer_;
    Workspace& own_;
    char* sums_;
    char* counts_;
    Index tile_;  // output columns of a tile
    Index rows_;  // output rows of a strip
    Strip strip_;
    char* line_[ROLES];
    Index found_[MAX_AXES + 2];  // what find_rows() was called with
};

}  // namespace
}  // namespace chunkpyramid
