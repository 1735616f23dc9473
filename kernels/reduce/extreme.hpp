// Row functions of the smallest and the largest voxel.

namespace chunkpyramid {
namespace VARIANT {

struct Smaller {
    template <class T> INLINE T of(T a, T b) { return not_above(a, b) | is_nan(a) ? a : b; }
};
struct Larger {
    template <class T> INLINE T of(T a, T b) { return not_above(b, a) | is_nan(a) ? a : b; }
};

template <class T, class Extreme, int ROWS, int FACTOR>
INLINE void extremes(const Strip& strip, Index full, Target values) {
    each_row<T, ROWS>(strip, [=](const char* const (&rows)[ROWS], Index y) INLINE_LAMBDA {
        char* const __restrict out = row_of(values, y);
        INDEPENDENT for (Index x = 0; x < full; ++x) {
            T voxels[ROWS * FACTOR];
            gather<T, ROWS, FACTOR, false>(rows, x, voxels);
            T extreme = voxels[0];
            UNROLLED for (int i = 1; i < ROWS * FACTOR; ++i) extreme = Extreme::of(extreme, voxels[i]);
            store(out, x, extreme);
        }
    });
}

template <class T, class Extreme> void extreme(const Strip& strip, Target values, Target) {
    Index done = whole_elements(strip);
    if (strip.factor == 2 && strip.count == 2) extremes<T, Extreme, 2, 2>(strip, done, values);
    else if (strip.factor == 2 && strip.count == 4) extremes<T, Extreme, 4, 2>(strip, done, values);
    else if (strip.factor == 1 && strip.count == 4) extremes<T, Extreme, 4, 1>(strip, done, values);
    else done = 0;
    scan<T>(strip, done, [values](T value, Index x, Index y, bool first) INLINE_LAMBDA {
        char* const out = row_of(values, y);
        store(out, x, first ? value : Extreme::of(load<T>(out, x), value));
    });
}

}  // namespace VARIANT
}  // namespace chunkpyramid
