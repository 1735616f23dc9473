#include "points.hpp"

#include "numbers.hpp"

#include <new>

namespace chunkpyramid {
namespace {

template <class Label, int COLUMNS, bool REVERSED>
void write_row(
    const Label* row, Index length, std::uint16_t slow, std::uint16_t middle, const HashMap& map, std::int64_t* next,
    std::uint16_t* points) {
    Index stop;
    for (Index start = 0; start < length; start = stop) {
        const Label label = row[start];
        stop = start + 1;
        while (stop < length && row[stop] == label) {
            ++stop;
        }
        const Index number = label ? map.find(label) : HashMap::NONE;
        if (number == HashMap::NONE) {
            continue;
        }
        std::uint16_t* point = points + next[number] * COLUMNS;
        next[number] += stop - start;
        for (Index fast = start; fast < stop; ++fast, point += COLUMNS) {
            if (COLUMNS == 2) {
                point[REVERSED] = middle;
                point[!REVERSED] = static_cast<std::uint16_t>(fast);
            } else {
                point[REVERSED ? 2 : 0] = slow;
                point[1] = middle;
                point[REVERSED ? 0 : 2] = static_cast<std::uint16_t>(fast);
            }
        }
    }
}

template <class Label, int COLUMNS, bool REVERSED>
void write_as(const PointCloud& cloud) {
    HashMap map;
    for (Index key = 0; key < cloud.keys_size; ++key) {
        map.find_or_add(cloud.keys[key]);
    }
    const auto* row = static_cast<const Label*>(cloud.labels);
    for (Index slow = 0; slow < cloud.shape[0]; ++slow) {
        for (Index middle = 0; middle < cloud.shape[1]; ++middle, row += cloud.shape[2]) {
            write_row<Label, COLUMNS, REVERSED>(
                row, cloud.shape[2], static_cast<std::uint16_t>(slow), static_cast<std::uint16_t>(middle), map,
                cloud.next, cloud.points);
        }
    }
}

}  // namespace

bool write_points(const PointCloud& cloud) noexcept {
    try {
        with_label_type(cloud.itemsize, [&](auto label) {
            using Label = decltype(label);
            if (cloud.columns == 2) {
                cloud.is_reversed ? write_as<Label, 2, true>(cloud) : write_as<Label, 2, false>(cloud);
            } else {
                cloud.is_reversed ? write_as<Label, 3, true>(cloud) : write_as<Label, 3, false>(cloud);
            }
        });
        return true;
    } catch (const std::bad_alloc&) {
        return false;
    }
}

}  // namespace chunkpyramid
