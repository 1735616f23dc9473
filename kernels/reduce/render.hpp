// Row functions that round sums to means, or add and round in one pass.

namespace chunkpyramid {
namespace VARIANT {

// Half to even: a number this large leaves no room for a fraction. Needs |value| < 2^22 or 2^51.
INLINE float round_to_even(float value) { return (value + 0x1.8p23f) - 0x1.8p23f; }
INLINE double round_to_even(double value) { return (value + 0x1.8p52) - 0x1.8p52; }

template <class T, class Real> INLINE T to_integer(Real value) {
    // Conversions to 32 bits are the ones every instruction set has.
    using Middle = typename Choose<(width<T> < 32 || is_signed<T>), std::int32_t, std::int64_t>::Type;
    return T(Middle(value));
}

// Calls body(quotient), where quotient(sum) is the rounded quotient by a power of two.
template <class Sum, class Body> INLINE void with_shift(const Divisor& by, const Body& body) {
    const int bits = __builtin_ctzll(static_cast<unsigned long long>(by.divisor));
    const Sum mask = Sum((Sum(1) << bits) - 1);
    const Sum below_half = Sum(mask >> 1);
    if (bits == 0) {
        body([](Sum sum) INLINE_LAMBDA { return sum; });
    } else if (by.truncate) {
        body([=](Sum sum) INLINE_LAMBDA { return Sum(Sum(sum + (sum < 0 ? mask : Sum(0))) >> bits); });
    } else {
        body([=](Sum sum) INLINE_LAMBDA { return Sum(Sum(sum + below_half + ((sum >> bits) & 1)) >> bits); });
    }
}

template <class Sum, class T> INLINE void shift(const Divisor& by, const char* sums, Index length, char* __restrict out) {
    with_shift<Sum>(by, [=](auto quotient) INLINE_LAMBDA {
        INDEPENDENT for (Index x = 0; x < length; ++x) store(out, x, T(quotient(load<Sum>(sums, x))));
    });
}

template <class In, class Sum, class T, int ROWS, bool KEEP>
INLINE void mean_of_pairs(const Strip& strip, const Divisor& by, Target sums, Target means) {
    const Index length = strip.columns / 2;
    with_shift<Sum>(by, [&](auto quotient) INLINE_LAMBDA {
        each_row<In, ROWS>(strip, [=](const char* const (&rows)[ROWS], Index y) INLINE_LAMBDA {
            char* const __restrict kept = row_of(sums, y);
            char* const __restrict out = row_of(means, y);
            INDEPENDENT for (Index x = 0; x < length; ++x) {
                const Sum sum = Sum(pair_sum<In, ROWS>(rows, x));
                if constexpr (KEEP) store(kept, x, sum);
                store(out, x, T(quotient(sum)));
            }
        });
    });
}

template <class In, class Sum, class T> bool mean(const Strip& strip, const Divisor& by, Target sums, Target means) {
    const bool power_of_two = (by.divisor & (by.divisor - 1)) == 0;
    if (!power_of_two || strip.factor != 2 || strip.columns % 2 != 0) return false;
    if (strip.count == 2 && sums.data) mean_of_pairs<In, Sum, T, 2, true>(strip, by, sums, means);
    else if (strip.count == 2) mean_of_pairs<In, Sum, T, 2, false>(strip, by, sums, means);
    else if (strip.count == 4 && sums.data) mean_of_pairs<In, Sum, T, 4, true>(strip, by, sums, means);
    else if (strip.count == 4) mean_of_pairs<In, Sum, T, 4, false>(strip, by, sums, means);
    else return false;
    return true;
}

template <class Sum, class T, bool TRUNCATE> INLINE T divide_integer(Sum sum, Sum divisor) {
    const Sum quotient = Sum(sum / divisor);
    if constexpr (TRUNCATE) return T(quotient);
    const Sum rest = Sum(sum - quotient * divisor);
    const Sum distance = rest < 0 ? Sum(-rest) : rest;
    const Sum room = Sum(divisor - distance);
    const bool away = (distance > room) | ((distance == room) & ((quotient & 1) != 0));
    return T(away ? (sum < 0 ? Sum(quotient - 1) : Sum(quotient + 1)) : quotient);
}

template <class Sum, class T, class Real, bool TRUNCATE> INLINE T divide_real(Sum sum, Sum divisor) {
    const Real quotient = Real(sum) / Real(divisor);
    return to_integer<T>(TRUNCATE ? quotient : round_to_even(quotient));
}

template <class Sum, class T, bool TRUNCATE, bool SPARSE>
INLINE void divide(const Divisor& by, const char* sums, const char* counts, Index length, char* __restrict out) {
    const Sum background = Sum(widen(load<T>(by.background, 0)));
    const Sum divisor = Sum(by.divisor);
    const auto each = [=](auto quotient) {
        INDEPENDENT for (Index x = 0; x < length; ++x) {
            const Sum sum = load<Sum>(sums, x);
            if constexpr (SPARSE) {
                const Sum count = load<Sum>(counts, x);
                const bool empty = count == 0;
                store(out, x, quotient(empty ? background : sum, empty ? Sum(1) : count));
            } else {
                store(out, x, quotient(sum, divisor));
            }
        }
    };
    // A quotient of reals rounds to the same integer as the exact one if the sum has a bit to spare in the
    // mantissa; and a sum is below divisor * 2^(bits of T).
    if constexpr (is_floating<T>) {
        each([](Sum sum, Sum count) INLINE_LAMBDA { return narrow<T>(sum / count); });
    } else if constexpr (width<Sum> <= 16) {
        each([](Sum sum, Sum count) INLINE_LAMBDA { return divide_real<Sum, T, float, TRUNCATE>(sum, count); });
    } else if constexpr (width<Sum> <= 32) {
        each([](Sum sum, Sum count) INLINE_LAMBDA { return divide_real<Sum, T, double, TRUNCATE>(sum, count); });
    } else {
        if constexpr (width<T> <= 32) {
            if (by.divisor <= std::int64_t(1) << (52 - width<T>)) {
                each([](Sum sum, Sum count) INLINE_LAMBDA {
                    return divide_real<Sum, T, double, TRUNCATE>(sum, count);
                });
                return;
            }
        }
        each([](Sum sum, Sum count) INLINE_LAMBDA { return divide_integer<Sum, T, TRUNCATE>(sum, count); });
    }
}

template <class Sum, class T>
INLINE void render_row(const Divisor& by, const char* sums, const char* counts, Index length, char* out) {
    if constexpr (is_floating<T>) {
        if (counts) divide<Sum, T, false, true>(by, sums, counts, length, out);
        else divide<Sum, T, false, false>(by, sums, counts, length, out);
    } else {
        const bool power_of_two = (by.divisor & (by.divisor - 1)) == 0;
        if (counts && by.truncate) divide<Sum, T, true, true>(by, sums, counts, length, out);
        else if (counts) divide<Sum, T, false, true>(by, sums, counts, length, out);
        else if (power_of_two) shift<Sum, T>(by, sums, length, out);
        else if (by.truncate) divide<Sum, T, true, false>(by, sums, counts, length, out);
        else divide<Sum, T, false, false>(by, sums, counts, length, out);
    }
}

template <class Sum, class T>
void render(const Divisor& by, Source sums, Source counts, Index length, Index repeats, Target out) {
    const bool adjacent = sums.step == length * Index(sizeof(Sum)) && out.step == length * Index(sizeof(T)) &&
                          (!counts.data || counts.step == sums.step);
    if (adjacent) {
        // short rows take as long to begin as to do
        length *= repeats;
        repeats = 1;
    }
    for (Index y = 0; y < repeats; ++y) {
        render_row<Sum, T>(by, sums.data + y * sums.step, counts.data ? counts.data + y * counts.step : nullptr, length,
                           row_of(out, y));
    }
}

}  // namespace VARIANT
}  // namespace chunkpyramid
