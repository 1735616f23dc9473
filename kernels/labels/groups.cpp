#include "groups.hpp"

namespace chunkpyramid {

namespace {

// Every row leads to another of its group, the one of the smallest label to itself. Ways become shorter as they are gone.
Index smallest_of_group(std::int64_t* leads_to, Index row) {
    while (leads_to[row] != row) {
        leads_to[row] = leads_to[leads_to[row]];
        row = static_cast<Index>(leads_to[row]);
    }
    return row;
}

}  // namespace

bool join_labels(const Pair* pairs, Index count, Groups& groups) noexcept try {
    groups = {nullptr, nullptr, 0};
    Table<std::uint64_t> table(groups, 1);
    for (Index number = 0; number < count; ++number) {
        Index rows[2];
        const std::uint64_t labels[2] = {pairs[number].first, pairs[number].second};
        for (int side = 0; side < 2; ++side) {
            const Index before = table.size();
            rows[side] = table.find(labels[side]);
            if (rows[side] < 0) {
                return false;
            }
            if (rows[side] == before) {
                *table.statistics(before) = before;
            }
        }
        const Index first = smallest_of_group(groups.statistics, rows[0]);
        const Index second = smallest_of_group(groups.statistics, rows[1]);
        if (groups.keys[first] < groups.keys[second]) {
            groups.statistics[second] = first;
        } else {
            groups.statistics[first] = second;
        }
    }
    for (Index row = 0; row < groups.size; ++row) {
        groups.statistics[row] = smallest_of_group(groups.statistics, row);
    }
    return true;
} catch (const std::bad_alloc&) {
    return false;
}

}  // namespace chunkpyramid
