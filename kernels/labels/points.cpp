#include "points.hpp"

#include "numbers.hpp"

#include <new>

namespace chunkpyramid {
namespace {

template <class Label, int COLUMNS, bool REVERSED>
void write_row(
    const Label* row, Index length, std::uint16_t slow, std::uint16_t middle, const HashMap& map, std::int64_t* next,
    std::uint16_t* points) {
    for (Index at = 0; at < length; at += BLOCK) {
        const Index size = std::min(BLOCK, length - at);
        for_each_run(run_starts(row + at, size), size, [&](Index start, Index stop) INLINE_LAMBDA {
            const Label label = row[at + start];
            if (label == 0) {
                return;
            }
            const Index number = map.find(label);
            if (number == HashMap::NONE) {
                return;
            }
            std::uint16_t* point = points + next[number] * COLUMNS;
            next[number] += stop - start;
            for (Index fast = at + start; fast < at + stop; ++fast, point += COLUMNS) {
                if (COLUMNS == 2) {
                    point[REVERSED] = middle;
                    point[!REVERSED] = static_cast<std::uint16_t>(fast);
                } else {
                    point[REVERSED ? 2 : 0] = slow;
                    point[1] = middle;
                    point[REVERSED ? 0 : 2] = static_cast<std::uint16_t>(fast);
                }
            }
        });
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
