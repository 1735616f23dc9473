// Row functions of the mode: a majority of each footprint.

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

// Whether all columns of all rows have one label, which most stretches of a segmentation do, and few of random voxels
// seem to after a look at the first row.
template <class T, int ROWS, int COLUMNS> INLINE bool is_uniform(const char* const (&rows)[ROWS], Index begin) {
    using Bits = typename Traits<T>::Bits;
    const Bits label = load<Bits>(rows[0], begin);
    for (int i = 0; i < ROWS; ++i) {
        Bits differing = 0;
        for (int j = 0; j < COLUMNS; ++j) differing |= Bits(load<Bits>(rows[i], begin + j) ^ label);
        if (differing != 0) return false;
    }
    return true;
}

template <class T, int ROWS, int FACTOR, bool REVERSED, bool TWO_BY_TWO, bool SPARSE>
INLINE void majorities(const Strip& strip, Target values) {
    // So many that vectors are at their best, and few enough to often have one label.
    constexpr Index stretch = 256 / (FACTOR * sizeof(T));
    constexpr bool worth_a_look = ROWS * FACTOR == 8 && FACTOR == 2;
    const Background<T> background(strip.background);
    const Index full = strip.columns / FACTOR;
    const Index last = strip.columns - 1;
    const bool edge = full * FACTOR < strip.columns;
    each_row<T, ROWS>(strip, [=](const char* const (&rows)[ROWS], Index y) INLINE_LAMBDA {
        char* const __restrict out = row_of(values, y);
        const auto count = [&](Index begin, Index end) INLINE_LAMBDA {
            INDEPENDENT for (Index x = begin; x < end; ++x) {
                T voxels[ROWS * FACTOR];
                gather<T, ROWS, FACTOR, REVERSED>(rows, x, voxels);
                store(out, x, majority<T, ROWS * FACTOR, TWO_BY_TWO, SPARSE>(voxels, background));
            }
        };
        Index done = 0;
        if constexpr (worth_a_look) {
            for (; done + stretch <= full; done += stretch) {
                if (is_uniform<T, ROWS, FACTOR * stretch>(rows, done * FACTOR)) {
                    const T label = load<T>(rows[0], done * FACTOR);
                    for (Index x = done; x < done + stretch; ++x) store(out, x, label);
                } else {
                    count(done, done + stretch);
                }
            }
        }
        count(done, full);
        if (edge) {
            // At an odd edge the missing column is a replica of the last one.
            T voxels[ROWS * FACTOR];
            for (int i = 0; i < ROWS * FACTOR; ++i) voxels[i] = load<T>(rows[REVERSED ? i % ROWS : i / FACTOR], last);
            store(out, full, majority<T, ROWS * FACTOR, TWO_BY_TWO, SPARSE>(voxels, background));
        }
    });
}

// The values of a footprint in the order they are met, each with its count, and a hash table of their positions.
template <class T> struct Counter {
    using Position = std::int32_t;

    char* const counts;
    char* const table;
    char* const values;
    const int shift;  // leaves the bits of an index of the table, which is at least twice as long as there are voxels
    const Index mask;
    Position distinct = 0;

    Counter(char* scratch, Index voxels)
        : Counter(scratch, voxels, 64 - __builtin_clzll(static_cast<unsigned long long>(2 * voxels - 1))) {}
    Counter(char* scratch, Index voxels, int bits)
        : counts(scratch), table(counts + voxels * Index(sizeof(Position))),
          values(table + (Index(sizeof(Position)) << bits)), shift(64 - bits), mask((Index(1) << bits) - 1) {
        __builtin_memset(table, -1, std::size_t(mask + 1) * sizeof(Position));
    }

    ALWAYS_INLINE Index slot(T value) const {
        using Bits = typename Traits<T>::Bits;
        const Bits bits = same(value, T{}) ? Bits(0) : reinterpret<Bits>(value);  // -0.0 is 0.0
        const std::uint64_t mixed = std::uint64_t(bits) ^ std::uint64_t(bits) >> 32;
        return Index(mixed * 0x9e3779b97f4a7c15u >> shift);
    }

    ALWAYS_INLINE Position position(T value) {
        if (is_nan(value)) return add(value);  // which equals nothing
        Index at = slot(value);
        for (; load<Position>(table, at) >= 0; at = (at + 1) & mask) {
            const Position found = load<Position>(table, at);
            if (same(load<T>(values, found), value)) return found;
        }
        store(table, at, distinct);
        return add(value);
    }

    ALWAYS_INLINE Position add(T value) {
        store(values, distinct, value);
        store(counts, distinct, Position(0));
        return distinct++;
    }

    ALWAYS_INLINE T most_frequent(T otherwise) const {
        if (distinct == 0) return otherwise;
        Position most = 0;
        for (Position i = 1; i < distinct; ++i) {
            if (load<Position>(counts, i) > load<Position>(counts, most)) most = i;
        }
        return load<T>(values, most);
    }
};

// The most frequent value of any footprint.
template <class T, bool SPARSE> INLINE T count_values(const Strip& strip, Index x, Index y) {
    const Background<T> background(strip.background);
    const Index voxels = strip.count * strip.factor;
    Counter<T> counter(strip.footprint_scratch, voxels);
    std::int32_t latest = 0;  // runs of one value are the rule
    const auto count = [&](Index row, Index wanted) INLINE_LAMBDA {
        const Index column = wanted < strip.columns ? wanted : strip.columns - 1;
        const T value = load<T>(row_of(strip, row, y), column);
        if (SPARSE && background.matches(value)) return;
        if (counter.distinct == 0 || !same(load<T>(counter.values, latest), value)) latest = counter.position(value);
        store(counter.counts, latest, load<std::int32_t>(counter.counts, latest) + 1);
    };
    const Index begin = x * strip.factor, end = begin + strip.factor;
    if (strip.reversed) {
        for (Index column = begin; column < end; ++column) {
            for (Index row = 0; row < strip.count; ++row) count(row, column);
        }
    } else {
        for (Index row = 0; row < strip.count; ++row) {
            for (Index column = begin; column < end; ++column) count(row, column);
        }
    }
    return counter.most_frequent(background.value);
}

// Where a column of all rows has one label, the bits that differ are none.
template <class T> INLINE void compare_rows(const Strip& strip, Index y) {
    using Bits = typename Traits<T>::Bits;
    char* const __restrict differing = strip.column_scratch;
    const char* const first = row_of(strip, 0, y);
    for (Index i = 0; i < strip.count; i += 4) {
        const char* rows[4];
        for (Index j = 0; j < 4; ++j) rows[j] = row_of(strip, i + j < strip.count ? i + j : strip.count - 1, y);
        INDEPENDENT for (Index x = 0; x < strip.columns; ++x) {
            Bits bits = i == 0 ? Bits(0) : load<Bits>(differing, x);
            UNROLLED for (int j = 0; j < 4; ++j) bits |= Bits(load<Bits>(first, x) ^ load<Bits>(rows[j], x));
            store(differing, x, bits);
        }
    }
}

// Most footprints of a segmentation have one label, which is found without counting.
template <class T, bool SPARSE> void most_counted(const Strip& strip, Target values) {
    using Bits = typename Traits<T>::Bits;
    const Index length = (strip.columns + strip.factor - 1) / strip.factor;
    read_rows(strip, strip.columns * Index(sizeof(T)));
    for (Index y = 0; y < strip.repeats; ++y) {
        compare_rows<T>(strip, y);
        const char* const first = row_of(strip, 0, y);
        for (Index x = 0; x < length; ++x) {
            const Index begin = x * strip.factor;
            const Index end = begin + strip.factor < strip.columns ? begin + strip.factor : strip.columns;
            const Bits label = load<Bits>(first, begin);
            Bits differing = 0;
            for (Index i = begin; i < end; ++i) {
                differing |= Bits(load<Bits>(strip.column_scratch, i) | Bits(load<Bits>(first, i) ^ label));
            }
            if (differing == 0) store(row_of(values, y), x, label);
            else store(row_of(values, y), x, count_values<T, SPARSE>(strip, x, y));
        }
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
