#include "contacts.hpp"

#include "rows_of_labels.hpp"

#include <algorithm>
#include <vector>

namespace chunkpyramid {

namespace {

// What is to be known of a kind of neighbours to find them: where they are in memory, and how far along each axis.
struct Kind {
    Index first_row;
    Index second_row;
    Index first_shift;
    Index second_shift;
    Index extent[MAX_AXES];
    int face;

    bool is_in_row(const Index* at, int last) const {
        for (int axis = 0; axis < last; ++axis) {
            if (at[axis] >= extent[axis]) {
                return false;
            }
        }
        return true;
    }
};

Kind kind_of(const TouchedArray& array, const Neighbours& neighbours) {
    const int last = array.axes - 1;
    Kind kind = {0, 0, neighbours.first[last], neighbours.second[last], {}, neighbours.face};
    for (int axis = 0; axis < array.axes; ++axis) {
        const Index first = neighbours.first[axis];
        const Index second = neighbours.second[axis];
        kind.first_row += axis < last ? first * array.strides[axis] : 0;
        kind.second_row += axis < last ? second * array.strides[axis] : 0;
        kind.extent[axis] = std::min(array.core[axis], array.shape[axis] - std::max(first, second));
    }
    return kind;
}

// Returns from where on a row has another label than at `start`. Most voxels are like the one before: those are passed
// many at a time.
template <class Label, bool CONTIGUOUS>
Index end_of_run(const char* row, Index start, Index size, Index stride) {
    const Label label = label_at<Label>(row, start, stride);
    if (CONTIGUOUS) {
        constexpr Index MANY = 32 / sizeof(Label);
        for (; start + MANY <= size; start += MANY) {
            Label differing = 0;
            for (Index i = 0; i < MANY; ++i) {
                differing = static_cast<Label>(differing | (label_at<Label>(row, start + i, sizeof(Label)) ^ label));
            }
            if (differing) {
                break;
            }
        }
    }
    while (start < size && label_at<Label>(row, start, stride) == label) {
        ++start;
    }
    return start;
}

// Where the runs of equal labels of some rows end. Rows are asked for again when the next ones are looked at. What is
// returned stays as it is until two other rows have been asked for.
template <class Label, bool CONTIGUOUS>
class RunsOfRows {
public:
    RunsOfRows(Index size, Index stride) : size_(size), stride_(stride) {}

    const std::vector<Index>& ends(const char* row) {
        for (int at = 0; at < KEPT; ++at) {
            if (kept_[at].row == row) {
                latest_ = at;
                return kept_[at].ends;
            }
        }
        if (oldest_ == latest_) {
            oldest_ = (oldest_ + 1) % KEPT;
        }
        Runs& runs = kept_[oldest_];
        latest_ = oldest_;
        oldest_ = (oldest_ + 1) % KEPT;
        runs.row = row;
        runs.ends.clear();
        for (Index end = 0; end < size_;) {
            end = end_of_run<Label, CONTIGUOUS>(row, end, size_, stride_);
            runs.ends.push_back(end);
        }
        return runs.ends;
    }

private:
    // twice those that are neighbours of one voxel in 3-D
    static constexpr int KEPT = 8;

    struct Runs {
        const char* row = nullptr;
        std::vector<Index> ends;
    };

    const Index size_;
    const Index stride_;
    Runs kept_[KEPT];
    int oldest_ = 0;
    int latest_ = KEPT;
};

// One of two neighbours, on its way along a row: which run it is in.
template <class Label>
class Walker {
public:
    Walker(const char* row, const std::vector<Index>& ends, Index shift, Index at, Index stride)
        : row_(row), shift_(shift), stride_(stride), end_(std::upper_bound(ends.begin(), ends.end(), at + shift)) {}

    Label label_at_step(Index at) const { return label_at<Label>(row_, at + shift_, stride_); }
    Index end() const { return *end_ - shift_; }
    void go_to(Index at) { end_ += end() <= at; }

private:
    const char* row_;
    const Index shift_;
    const Index stride_;
    std::vector<Index>::const_iterator end_;
};

template <class Label, bool CONTIGUOUS>
bool touch_row(
    const TouchedArray& array,
    const Kind& kind,
    const char* row,
    Index most,
    Index& at,
    RunsOfRows<Label, CONTIGUOUS>& runs,
    Table<Pair>& table) {
    const int last = array.axes - 1;
    const Index stride = CONTIGUOUS ? static_cast<Index>(sizeof(Label)) : array.strides[last];
    const Index size = kind.extent[last];
    if (at < size) {
        const char* rows[2] = {row + kind.first_row, row + kind.second_row};
        Walker<Label> one(rows[0], runs.ends(rows[0]), kind.first_shift, at, stride);
        Walker<Label> other(rows[1], runs.ends(rows[1]), kind.second_shift, at, stride);
        while (at < size) {
            const Label first = one.label_at_step(at);
            const Label second = other.label_at_step(at);
            const Index stop = std::min({one.end(), other.end(), size});
            const bool is_background =
                array.has_background && (first == array.background || second == array.background);
            if (first != second && !is_background) {
                if (table.size() >= most) {
                    return true;
                }
                const Index found = table.find({std::min(first, second), std::max(first, second)});
                if (found < 0) {
                    return false;
                }
                std::int64_t* statistics = table.statistics(found);
                statistics[0] += stop - at;
                if (kind.face >= 0) {
                    statistics[1 + kind.face] += stop - at;
                }
            }
            at = stop;
            one.go_to(at);
            other.go_to(at);
        }
    }
    at = array.core[last];
    return true;
}

template <class Label, bool CONTIGUOUS>
bool touch_rows(const TouchedArray& array, const std::vector<Kind>& kinds, Index most, Index& step, Table<Pair>& table) {
    const int last = array.axes - 1;
    const Index length = array.core[last];
    Index rows = length > 0 ? 1 : 0;
    for (int axis = 0; axis < last; ++axis) {
        rows *= array.core[axis];
    }
    const auto count = static_cast<Index>(kinds.size());
    const Index steps = rows * count * length;
    RunsOfRows<Label, CONTIGUOUS> runs(array.shape[last], array.strides[last]);
    while (step < steps && table.size() < most) {
        Index row = step / (count * length);
        Index at[MAX_AXES] = {};
        const char* data = array.data;
        for (int axis = last - 1; axis >= 0; --axis) {
            at[axis] = row % array.core[axis];
            row /= array.core[axis];
            data += at[axis] * array.strides[axis];
        }
        for (Index kind = step / length % count; kind < count && table.size() < most; ++kind) {
            const Index before = step % length;
            Index here = before;
            if (!kinds[kind].is_in_row(at, last)) {
                here = length;
            } else if (!touch_row<Label, CONTIGUOUS>(array, kinds[kind], data, most, here, runs, table)) {
                return false;
            }
            step += here - before;
        }
    }
    return true;
}

template <class Label>
bool touch_as(
    const TouchedArray& array, const std::vector<Kind>& kinds, Index most, Index& step, Contacts& contacts) {
    Table<Pair> table(contacts, 1 + array.axes);
    return array.strides[array.axes - 1] == static_cast<Index>(sizeof(Label))
               ? touch_rows<Label, true>(array, kinds, most, step, table)
               : touch_rows<Label, false>(array, kinds, most, step, table);
}

}  // namespace

bool find_contacts(
    const TouchedArray& array,
    const Neighbours* neighbours,
    int kinds,
    Index most,
    Index& step,
    Contacts& contacts) noexcept {
    contacts = {nullptr, nullptr, 0};
    try {
        std::vector<Kind> found;
        for (int kind = 0; kind < kinds; ++kind) {
            found.push_back(kind_of(array, neighbours[kind]));
        }
        switch (array.itemsize) {
            case 1: return touch_as<std::uint8_t>(array, found, most, step, contacts);
            case 2: return touch_as<std::uint16_t>(array, found, most, step, contacts);
            case 4: return touch_as<std::uint32_t>(array, found, most, step, contacts);
            default: return touch_as<std::uint64_t>(array, found, most, step, contacts);
        }
    } catch (...) {
        return false;
    }
}

}  // namespace chunkpyramid
