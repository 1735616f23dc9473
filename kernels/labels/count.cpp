#include "count.hpp"

#include "rows_of_labels.hpp"

namespace chunkpyramid {

namespace {

inline void extend(std::int64_t* axis, Index low, Index high, Index sum, bool is_new) {
    if (is_new || low < axis[0]) {
        axis[0] = low;
    }
    if (is_new || high > axis[1]) {
        axis[1] = high;
    }
    axis[2] += sum;
}

// The part of a row that is in the interior.
struct Interior {
    Index start;
    Index stop;

    Index voxels_of(Index first, Index end) const {
        const Index low = first < start ? start : first;
        const Index high = end > stop ? stop : end;
        return high > low ? high - low : 0;
    }
};

Interior interior_of_row(const CountedArray& array, const Index* at) {
    const int last = array.axes - 1;
    for (int axis = 0; axis < last; ++axis) {
        if (at[axis] < array.interior_start[axis] || at[axis] >= array.interior_stop[axis]) {
            return {0, 0};
        }
    }
    return {array.interior_start[last], array.interior_stop[last]};
}

// Neighbours in memory are most often of one label: what there is to do is done once for each run of them.
template <class Label, bool CONTIGUOUS, bool BOXES>
bool count_row(const CountedArray& array, const char* row, const Index* at, Index most, Index& start, Table<std::uint64_t>& table) {
    const int last = array.axes - 1;
    const Index size = array.shape[last];
    const Index step = CONTIGUOUS ? static_cast<Index>(sizeof(Label)) : array.strides[last];
    const Interior interior = interior_of_row(array, at);
    while (start < size && table.size() < most) {
        const Label label = label_at<Label>(row, start, step);
        Index stop = start + 1;
        while (stop < size && label_at<Label>(row, stop, step) == label) {
            ++stop;
        }
        const Index before = table.size();
        const Index found = table.find(static_cast<std::uint64_t>(label));
        if (found < 0) {
            return false;
        }
        const bool is_new = found == before;
        std::int64_t* statistics = table.statistics(found);
        const Index length = stop - start;
        statistics[0] += length;
        if (BOXES) {
            statistics[1] += length - interior.voxels_of(start, stop);
            for (int axis = 0; axis < last; ++axis) {
                extend(statistics + 2 + 3 * axis, at[axis], at[axis], at[axis] * length, is_new);
            }
            // one of two neighbours is even
            const Index both = start + stop - 1;
            const Index sum = length % 2 ? length * (both / 2) : length / 2 * both;
            extend(statistics + 2 + 3 * last, start, stop - 1, sum, is_new);
        }
        start = stop;
    }
    return true;
}

template <class Label, bool CONTIGUOUS, bool BOXES>
bool count_rows(const CountedArray& array, Index most, Index& voxel, Table<std::uint64_t>& table) {
    const int last = array.axes - 1;
    const Index length = array.shape[last];
    for (int axis = 0; axis < array.axes; ++axis) {
        if (array.shape[axis] == 0) {
            return true;
        }
    }
    Index at[MAX_AXES] = {};
    Index number = voxel / length;
    Index start = voxel % length;
    const char* row = array.data;
    for (int axis = last - 1; axis >= 0; --axis) {
        at[axis] = number % array.shape[axis];
        number /= array.shape[axis];
        row += at[axis] * array.strides[axis];
    }
    while (true) {
        const Index before = start;
        if (!count_row<Label, CONTIGUOUS, BOXES>(array, row, at, most, start, table)) {
            return false;
        }
        voxel += start - before;
        if (start < length) {
            return true;
        }
        start = 0;
        int axis = last - 1;
        for (; axis >= 0; --axis) {
            row += array.strides[axis];
            if (++at[axis] < array.shape[axis]) {
                break;
            }
            row -= at[axis] * array.strides[axis];
            at[axis] = 0;
        }
        if (axis < 0) {
            return true;
        }
    }
}

template <class Label>
bool count_as(const CountedArray& array, bool with_boxes, Index most, Index& voxel, LabelCounts& counts) {
    Table<std::uint64_t> table(counts, with_boxes ? 2 + 3 * array.axes : 1);
    const bool contiguous = array.strides[array.axes - 1] == static_cast<Index>(sizeof(Label));
    if (with_boxes) {
        return contiguous ? count_rows<Label, true, true>(array, most, voxel, table)
                          : count_rows<Label, false, true>(array, most, voxel, table);
    }
    return contiguous ? count_rows<Label, true, false>(array, most, voxel, table)
                      : count_rows<Label, false, false>(array, most, voxel, table);
}

}  // namespace

bool count_labels(
    const CountedArray& array, bool with_boxes, Index most, Index& voxel, LabelCounts& counts) noexcept {
    counts = {nullptr, nullptr, 0};
    try {
        switch (array.itemsize) {
            case 1: return count_as<std::uint8_t>(array, with_boxes, most, voxel, counts);
            case 2: return count_as<std::uint16_t>(array, with_boxes, most, voxel, counts);
            case 4: return count_as<std::uint32_t>(array, with_boxes, most, voxel, counts);
            default: return count_as<std::uint64_t>(array, with_boxes, most, voxel, counts);
        }
    } catch (const std::bad_alloc&) {
        return false;
    }
}

}  // namespace chunkpyramid
