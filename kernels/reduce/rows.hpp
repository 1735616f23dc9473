// How row functions walk over the rows of a strip.

namespace chunkpyramid {
namespace VARIANT {

// The voxels of output element x, in scan order.
template <class T, int ROWS, int FACTOR, bool REVERSED>
INLINE void gather(const char* const (&rows)[ROWS], Index x, T (&voxels)[ROWS * FACTOR]) {
    UNROLLED for (int i = 0; i < ROWS * FACTOR; ++i) {
        const int row = REVERSED ? i % ROWS : i / FACTOR;
        const int column = REVERSED ? i / ROWS : i % FACTOR;
        voxels[i] = load<T>(rows[row], x * FACTOR + column);
    }
}

INLINE const char* row_of(const Strip& strip, Index i, Index y) { return strip.base + strip.offsets[i] + y * strip.step; }
INLINE char* row_of(const Target& target, Index y) { return target.data + y * target.step; }

static void read_lines(const char* data, Index bytes) {
    constexpr Index line = 64;
    const volatile char* const end = data + bytes;
    for (const volatile char* at = data; at < end; at += line) static_cast<void>(*at);
}

// Reads the input rows under some output rows in the order of memory. The row functions read them side by side, a
// pattern that hardware prefetchers do not follow: without this, arrays larger than the caches take twice as long.
static void read_rows(const Strip& strip, Index bytes) {
    const Index groups = strip.count / strip.neighbours;
    for (Index group = 0; group < groups; ++group) {
        const Index first = strip.reversed ? group : group * strip.neighbours;
        const Index last = first + (strip.neighbours - 1) * (strip.reversed ? groups : 1);
        // replicas of the edge are no neighbours
        const bool adjacent = strip.offsets[last] - strip.offsets[first] == (strip.neighbours - 1) * bytes;
        if (adjacent && strip.step == strip.neighbours * bytes) {
            read_lines(row_of(strip, first, 0), strip.repeats * strip.step);
            continue;
        }
        for (Index y = 0; y < strip.repeats; ++y) {
            for (Index i = 0; i < strip.neighbours; ++i) {
                read_lines(row_of(strip, first + (strip.reversed ? i * groups : i), y), bytes);
            }
        }
    }
}

// Calls body(rows, y) for every output row, with the ROWS input rows under it.
template <class T, int ROWS, class Body> INLINE void each_row(const Strip& strip, const Body& body) {
    const char* rows[ROWS];
    UNROLLED for (int i = 0; i < ROWS; ++i) rows[i] = row_of(strip, i, 0);
    read_rows(strip, strip.columns * Index(sizeof(T)));
    for (Index y = 0; y < strip.repeats; ++y) {
        body(rows, y);
        UNROLLED for (int i = 0; i < ROWS; ++i) rows[i] += strip.step;
    }
}

// Output elements whose voxels are all there. No division for the usual factors: it would take as long as a short row.
INLINE Index whole_elements(const Strip& strip) {
    if (strip.factor == 1) return strip.columns;
    return strip.factor == 2 ? strip.columns / 2 : strip.columns / strip.factor;
}

// Calls step(voxel, x, y, first) for every voxel of the output elements from column `begin` on, such that the voxels
// of an element come in scan order, and those of neighbouring elements one after the other, which vectorises.
template <class T, class Step> INLINE void scan(const Strip& strip, Index begin, const Step& step) {
    if (begin * strip.factor >= strip.columns) return;
    const Index outer = strip.reversed ? strip.factor : strip.count;
    const Index inner = strip.reversed ? strip.count : strip.factor;
    if (begin == 0) read_rows(strip, strip.columns * Index(sizeof(T)));
    for (Index y = 0; y < strip.repeats; ++y) {
        for (Index i = 0; i < outer; ++i) {
            for (Index j = 0; j < inner; ++j) {
                const Index column = strip.reversed ? i : j;
                const char* const data = row_of(strip, strip.reversed ? j : i, y) + column * Index(sizeof(T));
                const bool first = i + j == 0;
                const Index end = (strip.columns - column + strip.factor - 1) / strip.factor;
                if (strip.factor == 1) {
                    INDEPENDENT for (Index x = begin; x < end; ++x) step(load<T>(data, x), x, y, first);
                } else if (strip.factor == 2) {
                    INDEPENDENT for (Index x = begin; x < end; ++x) step(load<T>(data, 2 * x), x, y, first);
                } else {
                    INDEPENDENT for (Index x = begin; x < end; ++x) step(load<T>(data, strip.factor * x), x, y, first);
                }
            }
        }
    }
}

}  // namespace VARIANT
}  // namespace chunkpyramid
