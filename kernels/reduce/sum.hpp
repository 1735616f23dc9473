// Row functions that add: all voxels, or all but the background, and their number.

namespace chunkpyramid {
namespace VARIANT {

template <class In, class Out> INLINE Out add_to(Out sum, In value) { return Out(sum + Out(widen(value))); }

// The sum of pair x of all rows, from both halves of a wider word: no shuffling, whatever the byte order.
template <class In, int ROWS> INLINE typename Traits<In>::Wider pair_sum(const char* const (&rows)[ROWS], Index x) {
    using Wide = typename Traits<In>::Wider;
    using Bits = typename Traits<Wide>::Bits;
    constexpr Bits below = Bits((Bits(1) << width<In>) - 1);
    Wide sum = 0;
    UNROLLED for (int i = 0; i < ROWS; ++i) {
        const Wide pair = load<Wide>(rows[i], x);
        const Wide low = is_signed<In> ? Wide(Wide(Bits(pair) << width<In>) >> width<In>) : Wide(pair & below);
        sum = Wide(sum + low + Wide(pair >> width<In>));
    }
    return sum;
}

template <class In, class Out, int ROWS> INLINE void add_pairs(const Strip& strip, Index full, Target sums) {
    each_row<In, ROWS>(strip, [=](const char* const (&rows)[ROWS], Index y) INLINE_LAMBDA {
        char* const __restrict out = row_of(sums, y);
        INDEPENDENT for (Index x = 0; x < full; ++x) store(out, x, Out(pair_sum<In, ROWS>(rows, x)));
    });
}

template <class In, class Out, int ROWS, int FACTOR, bool REVERSED>
INLINE void add_voxels(const Strip& strip, Index full, Target sums) {
    each_row<In, ROWS>(strip, [=](const char* const (&rows)[ROWS], Index y) INLINE_LAMBDA {
        char* const __restrict out = row_of(sums, y);
        INDEPENDENT for (Index x = 0; x < full; ++x) {
            In voxels[ROWS * FACTOR];
            gather<In, ROWS, FACTOR, REVERSED>(rows, x, voxels);
            Out sum = Out(widen(voxels[0]));
            UNROLLED for (int i = 1; i < ROWS * FACTOR; ++i) sum = add_to(sum, voxels[i]);
            store(out, x, sum);
        }
    });
}

template <class In, class Out, int ROWS> INLINE void add_two_columns(const Strip& strip, Index full, Target sums) {
    if constexpr (!is_floating<In> && width<In> < 64) {
        add_pairs<In, Out, ROWS>(strip, full, sums);
    } else if (is_floating<In> && strip.reversed) {
        add_voxels<In, Out, ROWS, 2, is_floating<In>>(strip, full, sums);
    } else {
        add_voxels<In, Out, ROWS, 2, false>(strip, full, sums);
    }
}

template <class In, class Out>
constexpr bool is_near = Same<Out, In>::value || Same<Out, typename Traits<In>::Wider>::value;

template <class In, class Out> INLINE Index add_fast(const Strip& strip, Target sums) {
    const Index full = whole_elements(strip);
    if (strip.factor == 2 && strip.count == 1) add_two_columns<In, Out, 1>(strip, full, sums);
    else if (strip.factor == 2 && strip.count == 2) add_two_columns<In, Out, 2>(strip, full, sums);
    else if (strip.factor == 2 && strip.count == 4) add_two_columns<In, Out, 4>(strip, full, sums);
    else if (strip.factor == 1 && strip.count == 2) add_voxels<In, Out, 2, 1, false>(strip, full, sums);
    else if (strip.factor == 1 && strip.count == 4) add_voxels<In, Out, 4, 1, false>(strip, full, sums);
    else if (strip.factor == 1 && strip.count == 8) add_voxels<In, Out, 8, 1, false>(strip, full, sums);
    else return 0;
    return full;
}

// Adds the columns of the one row in the scratch. STEP is the factor, or 1 for any.
template <class Out, int STEP> INLINE void add_columns(const Strip& strip, char* __restrict out) {
    const char* const columns = strip.column_scratch;
    const Index factor = STEP == 1 ? strip.factor : STEP;
    const Index full = strip.columns / factor;
    INDEPENDENT for (Index x = 0; x < full; ++x) {
        Out sum = load<Out>(columns, x * factor);
        if constexpr (STEP == 1) {
            for (Index j = 1; j < factor; ++j) sum = Out(sum + load<Out>(columns, x * factor + j));
        } else {
            UNROLLED for (int j = 1; j < STEP; ++j) sum = Out(sum + load<Out>(columns, x * STEP + j));
        }
        store(out, x, sum);
    }
    if (full * factor == strip.columns) return;
    Out sum = 0;
    for (Index i = full * factor; i < strip.columns; ++i) sum = Out(sum + load<Out>(columns, i));
    store(out, full, sum);
}

// Any footprint: first the rows are added, then the columns of that one row. Integers only: what is added first makes
// no difference to them.
template <class In, class Out> INLINE void add_rows_then_columns(const Strip& strip, Target sums) {
    read_rows(strip, strip.columns * Index(sizeof(In)));
    char* const __restrict columns = strip.column_scratch;
    for (Index y = 0; y < strip.repeats; ++y) {
        Index i = 0;
        for (; i + 3 < strip.count; i += 4) {
            const char *const a = row_of(strip, i, y), *const b = row_of(strip, i + 1, y);
            const char *const c = row_of(strip, i + 2, y), *const d = row_of(strip, i + 3, y);
            INDEPENDENT for (Index x = 0; x < strip.columns; ++x) {
                const Out four = Out(Out(load<In>(a, x)) + Out(load<In>(b, x)) + Out(load<In>(c, x)) + Out(load<In>(d, x)));
                store(columns, x, i == 0 ? four : Out(four + load<Out>(columns, x)));
            }
        }
        for (; i < strip.count; ++i) {
            const char* const row = row_of(strip, i, y);
            INDEPENDENT for (Index x = 0; x < strip.columns; ++x) {
                const Out one = Out(load<In>(row, x));
                store(columns, x, i == 0 ? one : Out(one + load<Out>(columns, x)));
            }
        }
        switch (strip.factor) {
            case 2: add_columns<Out, 2>(strip, row_of(sums, y)); break;
            case 3: add_columns<Out, 3>(strip, row_of(sums, y)); break;
            case 4: add_columns<Out, 4>(strip, row_of(sums, y)); break;
            case 8: add_columns<Out, 8>(strip, row_of(sums, y)); break;
            default: add_columns<Out, 1>(strip, row_of(sums, y));
        }
    }
}

template <class In, class Out> void sum(const Strip& strip, Target sums, Target) {
    Index done = 0;
    if constexpr (is_near<In, Out>) done = add_fast<In, Out>(strip, sums);
    if constexpr (!is_floating<In>) {
        if (done == 0) {
            add_rows_then_columns<In, Out>(strip, sums);
            return;
        }
    }
    scan<In>(strip, done, [sums](In value, Index x, Index y, bool first) INLINE_LAMBDA {
        char* const out = row_of(sums, y);
        store(out, x, first ? Out(widen(value)) : add_to(load<Out>(out, x), value));
    });
}

// The foreground of pairs of columns: all voxels are added, and the background is taken away as often as it was met.
template <class In, int ROWS> INLINE void add_foreground_pairs(const Strip& strip, Index full, Target sums, Target counts) {
    using Out = typename Traits<In>::Wider;
    const In background = load<In>(strip.background, 0);
    char* const __restrict empty = strip.column_scratch;
    each_row<In, ROWS>(strip, [=](const char* const (&rows)[ROWS], Index y) INLINE_LAMBDA {
        INDEPENDENT for (Index x = 0; x < 2 * full; ++x) {
            In count = 0;
            UNROLLED for (int i = 0; i < ROWS; ++i) count = In(count + In(load<In>(rows[i], x) == background));
            store(empty, x, count);
        }
        char* const __restrict out = row_of(sums, y);
        char* const __restrict out_counts = row_of(counts, y);
        const char* const empties[1] = {empty};
        INDEPENDENT for (Index x = 0; x < full; ++x) {
            const Out count = pair_sum<In, 1>(empties, x);
            store(out, x, Out(pair_sum<In, ROWS>(rows, x) - Out(Out(background) * count)));
            store(out_counts, x, Out(Out(2 * ROWS) - count));
        }
    });
}

template <class In, int ROWS, int FACTOR, bool REVERSED>
INLINE void add_foreground(const Strip& strip, Index full, Target sums, Target counts) {
    using Out = typename Traits<In>::Wider;
    // Elements are compared and counted in their own width: vectors need no conversions in between. Only halves
    // have no arithmetic.
    using Element = typename Choose<Same<In, Half>::value, Out, In>::Type;
    const Background<In> given(strip.background);
    const Background<Element> background(Element(widen(given.value)));
    each_row<In, ROWS>(strip, [=](const char* const (&rows)[ROWS], Index y) INLINE_LAMBDA {
        char* const __restrict out = row_of(sums, y);
        char* const __restrict out_counts = row_of(counts, y);
        INDEPENDENT for (Index x = 0; x < full; ++x) {
            In voxels[ROWS * FACTOR];
            gather<In, ROWS, FACTOR, REVERSED>(rows, x, voxels);
            Out sum = 0;
            Element count = 0;
            UNROLLED for (int i = 0; i < ROWS * FACTOR; ++i) {
                const Element voxel = Element(widen(voxels[i]));
                const bool empty = background.matches(voxel);
                const Element foreground = empty ? Element(0) : voxel;
                sum = Out(sum + Out(foreground));
                count = Element(count + (empty ? Element(0) : Element(1)));
            }
            store(out, x, sum);
            store(out_counts, x, Out(count));
        }
    });
}

template <class In, bool REVERSED> INLINE Index add_foreground_fast(const Strip& strip, Target sums, Target counts) {
    const Index full = whole_elements(strip);
    if constexpr (!is_floating<In> && width<In> < 64) {
        if (strip.factor != 2 || (strip.count != 2 && strip.count != 4)) return 0;
        if (strip.count == 2) add_foreground_pairs<In, 2>(strip, full, sums, counts);
        else add_foreground_pairs<In, 4>(strip, full, sums, counts);
        return full;
    }
    if (strip.factor == 2 && strip.count == 2) add_foreground<In, 2, 2, REVERSED>(strip, full, sums, counts);
    else if (strip.factor == 2 && strip.count == 4) add_foreground<In, 4, 2, REVERSED>(strip, full, sums, counts);
    else if (strip.factor == 1 && strip.count == 4) add_foreground<In, 4, 1, false>(strip, full, sums, counts);
    else return 0;
    return full;
}

template <class In, class Out> void sparse_sum(const Strip& strip, Target sums, Target counts) {
    Index done = 0;
    if constexpr (is_near<In, Out>) {
        done = is_floating<In> && strip.reversed ? add_foreground_fast<In, is_floating<In>>(strip, sums, counts)
                                                 : add_foreground_fast<In, false>(strip, sums, counts);
    }
    const Background<In> background(strip.background);
    scan<In>(strip, done, [=](In value, Index x, Index y, bool first) INLINE_LAMBDA {
        char* const out = row_of(sums, y);
        char* const out_counts = row_of(counts, y);
        const bool counted = !background.matches(value);
        const Out sum = first ? Out(0) : load<Out>(out, x);
        const Out count = first ? Out(0) : load<Out>(out_counts, x);
        store(out, x, Out(sum + (counted ? Out(widen(value)) : Out(0))));
        store(out_counts, x, Out(count + Out(counted)));
    });
}

}  // namespace VARIANT
}  // namespace chunkpyramid
