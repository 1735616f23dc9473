#include "contacts.hpp"

#include "rows_of_labels.hpp"

#include <algorithm>
#include <vector>

namespace chunkpyramid {

namespace {

// What is to be known of a kind of neighbours to find them: where they are in memory, and how far along each axis.
struct Kind {
    Index first;
    Index second;
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
    Kind kind = {0, 0, {}, neighbours.face};
    for (int axis = 0; axis < array.axes; ++axis) {
        const Index first = neighbours.first[axis];
        const Index second = neighbours.second[axis];
        kind.first += first * array.strides[axis];
        kind.second += second * array.strides[axis];
        kind.extent[axis] = std::min(array.core[axis], array.shape[axis] - std::max(first, second));
    }
    return kind;
}

// Most neighbours are of one label: those are passed many at a time.
template <class Label, bool CONTIGUOUS>
Index pass_equal(const char* first, const char* second, Index start, Index stop, Index stride) {
    if (CONTIGUOUS) {
        constexpr Index MANY = 64 / sizeof(Label);
        for (; start + MANY <= stop; start += MANY) {
            Label differing = 0;
            for (Index i = 0; i < MANY; ++i) {
                differing = static_cast<Label>(
                    differing |
                    (label_at<Label>(first, start + i, sizeof(Label)) ^ label_at<Label>(second, start + i, sizeof(Label))));
            }
            if (differing) {
                break;
            }
        }
    }
    while (start < stop && label_at<Label>(first, start, stride) == label_at<Label>(second, start, stride)) {
        ++start;
    }
    return start;
}

template <class Label, bool CONTIGUOUS>
bool touch_row(
    const TouchedArray& array, const Kind& kind, const char* row, Index most, Index& at, Table<Pair>& table) {
    const int last = array.axes - 1;
    const Index stride = CONTIGUOUS ? static_cast<Index>(sizeof(Label)) : array.strides[last];
    const Index size = kind.extent[last];
    const char* first_row = row + kind.first;
    const char* second_row = row + kind.second;
    while (table.size() < most) {
        at = pass_equal<Label, CONTIGUOUS>(first_row, second_row, at, size, stride);
        if (at >= size) {
            at = array.core[last];
            return true;
        }
        const Index start = at;
        const Label first = label_at<Label>(first_row, start, stride);
        const Label second = label_at<Label>(second_row, start, stride);
        do {
            ++at;
        } while (at < size && label_at<Label>(first_row, at, stride) == first &&
                 label_at<Label>(second_row, at, stride) == second);
        if (array.has_background && (first == array.background || second == array.background)) {
            continue;
        }
        const Index found = table.find({std::min(first, second), std::max(first, second)});
        if (found < 0) {
            return false;
        }
        std::int64_t* statistics = table.statistics(found);
        statistics[0] += at - start;
        if (kind.face >= 0) {
            statistics[1 + kind.face] += at - start;
        }
    }
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
            } else if (!touch_row<Label, CONTIGUOUS>(array, kinds[kind], data, most, here, table)) {
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
