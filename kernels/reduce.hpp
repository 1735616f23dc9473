// Row functions, as templates over the element type. This header is compiled once per instruction set, in the
// namespace VARIANT; so it calls nothing of the standard library, whose functions are shared between variants.
//
// Elements are read and written with memcpy: rows may be unaligned, and a pair may be read as one wider word.

#define INLINE static inline __attribute__((always_inline))
#define INLINE_LAMBDA __attribute__((always_inline))
#define INDEPENDENT _Pragma("GCC ivdep")
#define UNROLLED _Pragma("GCC unroll 8")

namespace chunkpyramid {
namespace VARIANT {

using uint128 = unsigned __int128;
using int128 = __int128;

// ---------------------------------------------------------------------------------------------- element types

struct Half {
    std::uint16_t bits;
};

template <class T> struct Traits;  // bits: an unsigned integer as wide as T; wider: what sums of T are kept in
template <> struct Traits<std::uint8_t> { using Bits = std::uint8_t; using Wider = std::uint16_t; };
template <> struct Traits<std::uint16_t> { using Bits = std::uint16_t; using Wider = std::uint32_t; };
template <> struct Traits<std::uint32_t> { using Bits = std::uint32_t; using Wider = std::uint64_t; };
template <> struct Traits<std::uint64_t> { using Bits = std::uint64_t; using Wider = uint128; };
template <> struct Traits<uint128> { using Bits = uint128; using Wider = uint128; };
template <> struct Traits<std::int8_t> { using Bits = std::uint8_t; using Wider = std::int16_t; };
template <> struct Traits<std::int16_t> { using Bits = std::uint16_t; using Wider = std::int32_t; };
template <> struct Traits<std::int32_t> { using Bits = std::uint32_t; using Wider = std::int64_t; };
template <> struct Traits<std::int64_t> { using Bits = std::uint64_t; using Wider = int128; };
template <> struct Traits<int128> { using Bits = uint128; using Wider = int128; };
template <> struct Traits<Half> { using Bits = std::uint16_t; using Wider = double; };
template <> struct Traits<float> { using Bits = std::uint32_t; using Wider = double; };
template <> struct Traits<double> { using Bits = std::uint64_t; using Wider = double; };

template <class A, class B> struct Same { static constexpr bool value = false; };
template <class A> struct Same<A, A> { static constexpr bool value = true; };
template <bool, class A, class B> struct Choose { using Type = A; };
template <class A, class B> struct Choose<false, A, B> { using Type = B; };

template <class T> constexpr bool is_floating = Same<typename Traits<T>::Wider, double>::value;
template <class T> constexpr bool is_signed = T(-1) < T(0);
template <class T> constexpr int width = 8 * sizeof(T);

template <class T> INLINE T load(const char* data, Index index) {
    T value;
    __builtin_memcpy(&value, data + index * Index(sizeof(T)), sizeof(T));
    return value;
}
template <class T> INLINE void store(char* data, Index index, T value) {
    __builtin_memcpy(data + index * Index(sizeof(T)), &value, sizeof(T));
}
template <class To, class From> INLINE To reinterpret(From value) {
    To result;
    __builtin_memcpy(&result, &value, sizeof(To));
    return result;
}

INLINE float to_float(Half half) {
    // Shifted into a float the number is too small by 2^112, subnormals included; infinity and NaN keep the
    // largest exponent.
    const std::uint32_t magnitude = std::uint32_t(half.bits & 0x7fff) << 13;
    const std::uint32_t scaled = reinterpret<std::uint32_t>(reinterpret<float>(magnitude) * 0x1p112f);
    const std::uint32_t special = (half.bits & 0x7c00) == 0x7c00 ? magnitude | 0x7f800000u : scaled;
    return reinterpret<float>(special | std::uint32_t(half.bits & 0x8000) << 16);
}
INLINE Half to_half(double value) {
    // Adding and removing a large number leaves a multiple of the spacing of halves, rounded half to even.
    const std::uint64_t bits = reinterpret<std::uint64_t>(value);
    const std::uint16_t sign = std::uint16_t(bits >> 48 & 0x8000);
    const double magnitude = reinterpret<double>(bits & 0x7fffffffffffffffu);
    if (!(magnitude < 65520.0)) {
        return Half{std::uint16_t(sign | (magnitude != magnitude ? 0x7e00 : 0x7c00))};
    }
    const std::uint64_t exponent = bits >> 52 & 0x7ff;
    const std::uint64_t spacing_exponent = (exponent < 1023 - 14 ? 1023 - 14 : exponent) - 10;
    const double large = reinterpret<double>((spacing_exponent + 52) << 52);
    const double rounded = (magnitude + large) - large;
    const float scaled = float(rounded) * 0x1p-112f;
    return Half{std::uint16_t(sign | reinterpret<std::uint32_t>(scaled) >> 13)};
}

template <class T> INLINE typename Traits<T>::Wider widen(T value) { return value; }
INLINE double widen(Half value) { return to_float(value); }

template <class T> INLINE T narrow(double value) { return T(value); }
template <> inline __attribute__((always_inline)) Half narrow<Half>(double value) { return to_half(value); }

template <class T> INLINE bool is_nan(T value) { return value != value; }
INLINE bool is_nan(Half value) { return (value.bits & 0x7fff) > 0x7c00; }

template <class T> INLINE bool same(T a, T b) { return a == b; }
INLINE bool same(Half a, Half b) {
    const bool both_zero = ((a.bits | b.bits) & 0x7fff) == 0;
    return ((a.bits == b.bits) | both_zero) & !is_nan(a);
}

template <class T> INLINE bool not_above(T a, T b) { return a <= b; }
INLINE bool not_above(Half a, Half b) { return to_float(a) <= to_float(b); }

template <class T> struct Background {
    T value;
    bool nan;
    explicit Background(T from) : value(from), nan(is_nan(from)) {}
    explicit Background(const char* data) : Background(load<T>(data, 0)) {}
    inline __attribute__((always_inline)) bool matches(T other) const {
        if constexpr (is_floating<T>) return same(value, other) | (nan & is_nan(other));
        return same(value, other);
    }
};

// ------------------------------------------------------------------------------------------- walking over rows

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

// ------------------------------------------------------------------------------------------------------- sums

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

// -------------------------------------------------------------------------------------------- smallest, largest

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
