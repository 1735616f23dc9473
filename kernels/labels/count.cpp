#include "count.hpp"

#include "common/hints.hpp"
#include "hash_map.hpp"

#include <cstdlib>
#include <cstring>
#include <new>

namespace chunkpyramid {

namespace {

// The numbers of labels, whose statistics lie one after another.
class Table {
public:
    Table(LabelCounts& counts, int fields) : counts_(counts), fields_(fields) {}

    // Returns the statistics of a label, those of a new one not set; nullptr if there is no memory for them.
    ALWAYS_INLINE std::int64_t* find(std::uint64_t label, bool& is_new) {
        const Index number = map_.find_or_add(label);
        is_new = number == counts_.size;
        if (is_new && !add(label)) {
            return nullptr;
        }
        return counts_.statistics + number * fields_;
    }

    Index size() const { return counts_.size; }

private:
    NEVER_INLINE bool add(std::uint64_t label) {
        if (counts_.size == capacity_) {
            const Index capacity = capacity_ ? 2 * capacity_ : 128;
            const auto most = static_cast<std::size_t>(capacity);
            auto* labels = static_cast<std::uint64_t*>(std::realloc(counts_.labels, most * sizeof(std::uint64_t)));
            if (!labels) {
                return false;
            }
            counts_.labels = labels;
            auto* statistics = static_cast<std::int64_t*>(
                std::realloc(counts_.statistics, most * static_cast<std::size_t>(fields_) * sizeof(std::int64_t)));
            if (!statistics) {
                return false;
            }
            counts_.statistics = statistics;
            capacity_ = capacity;
        }
        counts_.labels[counts_.size++] = label;
        return true;
    }

    LabelCounts& counts_;
    const int fields_;
    Index capacity_ = 0;
    HashMap map_;
};

template <class Label>
inline Label label_at(const char* row, Index at, Index stride) {
    Label label;
    std::memcpy(&label, row + at * stride, sizeof(Label));
    return label;
}

inline void extend(std::int64_t* axis, Index low, Index high, Index sum, bool is_new) {
    if (is_new || low < axis[0]) {
        axis[0] = low;
    }
    if (is_new || high > axis[1]) {
        axis[1] = high;
    }
    axis[2] = (is_new ? 0 : axis[2]) + sum;
}

// Neighbours in memory are most often of one label: what there is to do is done once for each run of them.
template <class Label, bool CONTIGUOUS, bool BOXES>
bool count_row(
    const char* row, Index size, Index stride, const Index* at, int axes, Index most, Index& start, Table& table) {
    const Index step = CONTIGUOUS ? static_cast<Index>(sizeof(Label)) : stride;
    while (start < size && table.size() < most) {
        const Label label = label_at<Label>(row, start, step);
        Index stop = start + 1;
        while (stop < size && label_at<Label>(row, stop, step) == label) {
            ++stop;
        }
        bool is_new;
        std::int64_t* statistics = table.find(static_cast<std::uint64_t>(label), is_new);
        if (!statistics) {
            return false;
        }
        const Index length = stop - start;
        statistics[0] = (is_new ? 0 : statistics[0]) + length;
        if (BOXES) {
            for (int axis = 0; axis + 1 < axes; ++axis) {
                extend(statistics + 1 + 3 * axis, at[axis], at[axis], at[axis] * length, is_new);
            }
            // one of two neighbours is even
            const Index both = start + stop - 1;
            const Index sum = length % 2 ? length * (both / 2) : length / 2 * both;
            extend(statistics + 1 + 3 * (axes - 1), start, stop - 1, sum, is_new);
        }
        start = stop;
    }
    return true;
}

template <class Label, bool CONTIGUOUS, bool BOXES>
bool count_rows(const CountedArray& array, Index most, Index& voxel, Table& table) {
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
        if (!count_row<Label, CONTIGUOUS, BOXES>(
                row, length, array.strides[last], at, array.axes, most, start, table)) {
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
    Table table(counts, with_boxes ? 1 + 3 * array.axes : 1);
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

void release(LabelCounts& counts) noexcept {
    std::free(counts.labels);
    std::free(counts.statistics);
    counts = {nullptr, nullptr, 0};
}

}  // namespace chunkpyramid
