// Labels as keys: unsigned integers in the order of the labels' values. Only included by fold.cpp.
#pragma once

#include "runs.hpp"

namespace chunkpyramid {
namespace {

template <class Key>
struct Bits {
    static constexpr int WIDTH = 8 * sizeof(Key);
    static constexpr int MANTISSA = WIDTH == 64 ? 52 : WIDTH == 32 ? 23 : 10;  // of floats
    static constexpr Key SIGN = Key(Key(1) << (WIDTH - 1));
    static constexpr Key INFINITE = Key((Key(~Key(0)) >> 1) & ~Key((Key(1) << (MANTISSA % WIDTH)) - 1));
    static constexpr Key NOT_A_NUMBER = Key(INFINITE | (Key(1) << ((MANTISSA - 1) % WIDTH)));
};

// NaNs are one label, after all numbers, and so are the two zeros.
template <Kind kind, class Key>
Key to_key(Key bits) {
    using B = Bits<Key>;
    if constexpr (kind == SIGNED_LABELS) {
        return bits ^ B::SIGN;
    }
    if constexpr (kind == FLOAT_LABELS) {
        const Key magnitude = Key(bits & ~B::SIGN);
        if (magnitude > B::INFINITE) bits = B::NOT_A_NUMBER;
        if (magnitude == 0) bits = 0;
        return bits & B::SIGN ? Key(~bits) : Key(bits | B::SIGN);
    }
    return bits;
}

template <Kind kind, class Key>
Key from_key(Key key) {
    using B = Bits<Key>;
    if constexpr (kind == SIGNED_LABELS) return key ^ B::SIGN;
    if constexpr (kind == FLOAT_LABELS) return key & B::SIGN ? Key(key ^ B::SIGN) : Key(~key);
    return key;
}

}  // namespace
}  // namespace chunkpyramid
