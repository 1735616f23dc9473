// Row functions of the mode: a majority of each footprint. Included by reduce.hpp's users, in the same way.

namespace chunkpyramid {
namespace VARIANT {

// a, b, c, d in scan order: `a` if it has a pair in b or c, else `b` if b and c are a pair, else `d`.
template <class T> INLINE T majority_of_two_by_two(const T (&voxels)[4]) {
    const T a = voxels[0], b = voxels[1], c = voxels[2], d = voxels[3];
    const T other = same(b, c) ? b : d;
    return same(a, b) | same(a, c) ? a : other;
}

template <class T> INLINE T majority_of_two_by_two(const T (&voxels)[4], const Background<T>& background) {
    const T a = voxels[0], b = voxels[1], c = voxels[2], d = voxels[3];
    const bool empty_a = background.matches(a), empty_b = background.matches(b);
    const bool empty_c = background.matches(c), empty_d = background.matches(d);
    T result = empty_b ? background.value : b;
    result = empty_c ? result : c;
    result = empty_a ? result : a;
    result = empty_d ? result : d;
    result = same(b, c) & !empty_b ? b : result;
    return (same(a, b) | same(a, c)) & !empty_a ? a : result;
}

// Every voxel counts its equals further on, so the first voxel of the most frequent value has the largest count.
template <class T, int VOXELS, bool SPARSE>
INLINE T most_frequent(const T (&voxels)[VOXELS], const Background<T>& background) {
    using Count = typename Traits<T>::Bits;
    T result = SPARSE ? background.value : voxels[0];
    Count most = 0;
    UNROLLED for (int i = 0; i < VOXELS; ++i) {
        Count count = 1;
        UNROLLED for (int j = i + 1; j < VOXELS; ++j) count = Count(count + Count(same(voxels[i], voxels[j])));
        if constexpr (SPARSE) count = background.matches(voxels[i]) ? Count(0) : count;
        const bool more = count > most;
        result = more ? voxels[i] : result;
        most = more ? count : most;
    }
    return result;
}

template <class T, int VOXELS, bool TWO_BY_TWO, bool SPARSE>
INLINE T majority(const T (&voxels)[VOXELS], const Background<T>& background) {
    if constexpr (!TWO_BY_TWO) return most_frequent<T, VOXELS, SPARSE>(voxels, background);
    else if constexpr (SPARSE) return majority_of_two_by_two(voxels, background);
    else return majority_of_two_by_two(voxels);
}

template <class T, int ROWS, int FACTOR, bool REVERSED, bool TWO_BY_TWO, bool SPARSE>
INLINE void majorities(const Strip& strip, Target values) {
    const Background<T> background(strip.background);
    const Index full = strip.columns / FACTOR;
    const Index last = strip.columns - 1;
    const bool edge = full * FACTOR < strip.columns;
    each_row<T, ROWS>(strip, [=](const char* const (&rows)[ROWS], Index y) INLINE_LAMBDA {
        char* const __restrict out = row_of(values, y);
        INDEPENDENT for (Index x = 0; x < full; ++x) {
            T voxels[ROWS * FACTOR];
            gather<T, ROWS, FACTOR, REVERSED>(rows, x, voxels);
            store(out, x, majority<T, ROWS * FACTOR, TWO_BY_TWO, SPARSE>(voxels, background));
        }
        if (edge) {
            // At an odd edge the missing column is a replica of the last one.
            T voxels[ROWS * FACTOR];
            for (int i = 0; i < ROWS * FACTOR; ++i) voxels[i] = load<T>(rows[REVERSED ? i % ROWS : i / FACTOR], last);
            store(out, full, majority<T, ROWS * FACTOR, TWO_BY_TWO, SPARSE>(voxels, background));
        }
    });
}

// Any footprint: the distinct values in the order they are met, each with its count.
template <class T, bool SPARSE> INLINE T count_values(const Strip& strip, Index x, Index y) {
    const Background<T> background(strip.background);
    const Index voxels = strip.count * strip.factor;
    char* const counts = strip.scratch;
    char* const values = counts + voxels * Index(sizeof(Index));
    Index distinct = 0;
    Index latest = 0;  // runs of one value are the rule
    for (Index i = 0; i < voxels; ++i) {
        const Index wanted = x * strip.factor + (strip.reversed ? i / strip.count : i % strip.factor);
        const Index column = wanted < strip.columns ? wanted : strip.columns - 1;
        const T value = load<T>(row_of(strip, strip.reversed ? i % strip.count : i / strip.factor, y), column);
        if (SPARSE && background.matches(value)) continue;
        if (distinct == 0 || !same(load<T>(values, latest), value)) {
            for (latest = 0; latest < distinct && !same(load<T>(values, latest), value);) ++latest;
        }
        if (latest == distinct) {
            store(values, latest, value);
            store(counts, latest, Index(0));
            ++distinct;
        }
        store(counts, latest, load<Index>(counts, latest) + 1);
    }
    Index most = 0;
    for (Index i = 1; i < distinct; ++i) {
        if (load<Index>(counts, i) > load<Index>(counts, most)) most = i;
    }
    return distinct == 0 ? background.value : load<T>(values, most);
}

template <class T, bool SPARSE> void most_counted(const Strip& strip, Target values) {
    const Index length = (strip.columns + strip.factor - 1) / strip.factor;
    for (Index y = 0; y < strip.repeats; ++y) {
        for (Index x = 0; x < length; ++x) store(row_of(values, y), x, count_values<T, SPARSE>(strip, x, y));
    }
}

template <class T, bool SPARSE, bool REVERSED> INLINE void mode_in_order(const Strip& strip, Target values) {
    if (strip.factor == 2 && strip.count == 2) majorities<T, 2, 2, REVERSED, true, SPARSE>(strip, values);
    else if (strip.factor == 2 && strip.count == 4) majorities<T, 4, 2, REVERSED, false, SPARSE>(strip, values);
    else if (strip.factor == 2 && strip.count == 1) majorities<T, 1, 2, false, false, SPARSE>(strip, values);
    else if (strip.factor == 1 && strip.two_by_two) majorities<T, 4, 1, false, true, SPARSE>(strip, values);
    else if (strip.factor == 1 && strip.count == 8) majorities<T, 8, 1, false, false, SPARSE>(strip, values);
    else if (strip.factor == 1 && strip.count == 2) majorities<T, 2, 1, false, false, SPARSE>(strip, values);
    else most_counted<T, SPARSE>(strip, values);
}

template <class T, bool SPARSE> void mode(const Strip& strip, Target values, Target) {
    if (strip.reversed) mode_in_order<T, SPARSE, true>(strip, values);
    else mode_in_order<T, SPARSE, false>(strip, values);
}

}  // namespace VARIANT
}  // namespace chunkpyramid
