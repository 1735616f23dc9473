#include "fill_block.hpp"

#include "common/hints.hpp"

#if defined(__x86_64__) && defined(__GNUC__) && !defined(__clang__)
#define HAS_VECTORS 1
#include <immintrin.h>
#else
#define HAS_VECTORS 0
#endif

namespace chunkpyramid {
namespace {

#if HAS_VECTORS

// For every word of eight starts: how many runs have begun behind the first item, up to each one.
struct Steps {
    std::uint64_t bytes[256];

    constexpr Steps() : bytes() {
        for (int starts = 0; starts < 256; ++starts) {
            std::uint64_t steps = 0;
            for (int item = 1, step = 0; item < 8; ++item) {
                step += starts >> item & 1;
                steps |= static_cast<std::uint64_t>(step) << (8 * item);
            }
            bytes[starts] = steps;
        }
    }
};

constexpr Steps STEPS;

// No item waits for a branch: how long runs are cannot be foreseen.
#pragma GCC push_options
#pragma GCC target("avx512f,avx512bw,avx512vl,avx512dq,prefer-vector-width=512,popcnt,bmi,bmi2")

void fill_512(std::uint64_t* target, std::uint64_t starts, const std::uint64_t* values) {
    // the run of the item before, from which the first item of each eight begins
    const std::uint64_t* run = values - 1;
    for (Index at = 0; at < BLOCK; at += 8, starts >>= 8) {
        const auto eight = static_cast<unsigned char>(starts);
        run += eight & 1;
        const auto steps = _mm_cvtsi64_si128(static_cast<long long>(STEPS.bytes[eight]));
        // those without a mask make the compiler warn of its own headers
        const __m512i places = _mm512_maskz_cvtepu8_epi64(0xff, steps);
        const __m512i chosen = _mm512_maskz_permutexvar_epi64(0xff, places, _mm512_loadu_si512(run));
        _mm512_storeu_si512(target + at, chosen);
        run += __builtin_popcount(eight >> 1);
    }
}

void fill_256(std::uint32_t* target, std::uint64_t starts, const std::uint32_t* values) {
    const std::uint32_t* run = values - 1;
    for (Index at = 0; at < BLOCK; at += 8, starts >>= 8) {
        const auto eight = static_cast<unsigned char>(starts);
        run += eight & 1;
        const auto steps = _mm_cvtsi64_si128(static_cast<long long>(STEPS.bytes[eight]));
        const __m256i here = _mm256_loadu_si256(reinterpret_cast<const __m256i*>(run));
        const __m256i chosen = _mm256_permutevar8x32_epi32(here, _mm256_cvtepu8_epi32(steps));
        _mm256_storeu_si256(reinterpret_cast<__m256i*>(target + at), chosen);
        run += __builtin_popcount(eight >> 1);
    }
}

#pragma GCC pop_options

#endif

constexpr int WITH_512 = 2;

}  // namespace

template <class Value>
FillBlock<Value> best_fill_block() noexcept {
    return nullptr;
}

template FillBlock<std::uint8_t> best_fill_block<std::uint8_t>() noexcept;
template FillBlock<std::uint16_t> best_fill_block<std::uint16_t>() noexcept;

#if HAS_VECTORS
template <>
FillBlock<std::uint32_t> best_fill_block<std::uint32_t>() noexcept {
    return used_instruction_set() == WITH_512 ? fill_256 : nullptr;
}

template <>
FillBlock<std::uint64_t> best_fill_block<std::uint64_t>() noexcept {
    return used_instruction_set() == WITH_512 ? fill_512 : nullptr;
}
#else
template FillBlock<std::uint32_t> best_fill_block<std::uint32_t>() noexcept;
template FillBlock<std::uint64_t> best_fill_block<std::uint64_t>() noexcept;
#endif

}  // namespace chunkpyramid
