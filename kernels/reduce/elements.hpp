// Element types of the row functions. All headers that are compiled once per instruction set are included by variant.hpp,
// in the namespace VARIANT; so they call nothing of the standard library, whose functions are shared between variants.
//
// Elements are read and written with memcpy: rows may be unaligned, and a pair may be read as one wider word.

#include "common/hints.hpp"

#define INLINE static ALWAYS_INLINE

namespace chunkpyramid {
namespace VARIANT {

using uint128 = unsigned __int128;
using int128 = __int128;

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
template <> ALWAYS_INLINE Half narrow<Half>(double value) { return to_half(value); }

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
    ALWAYS_INLINE bool matches(T other) const {
        if constexpr (is_floating<T>) return same(value, other) | (nan & is_nan(other));
        return same(value, other);
    }
};

}  // namespace VARIANT
}  // namespace chunkpyramid
