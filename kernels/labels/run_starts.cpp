#include "run_starts.hpp"

#include "common/hints.hpp"

#include <algorithm>
#include <cstring>

#if defined(__x86_64__) && defined(__GNUC__) && !defined(__clang__)
#define HAS_VECTORS 1
#include <immintrin.h>
#else
#define HAS_VECTORS 0
#endif

namespace chunkpyramid {
namespace {

// How every machine does it.
namespace baseline {

// What every compiler makes fast: bytes of a result, packed eight at a time.
struct Baseline {
    template <class Label>
    static ALWAYS_INLINE std::uint64_t block(const Label* labels, Label& any, Label& all) {
        unsigned char differs[BLOCK];
        for (Index at = 0; at < BLOCK; ++at) {
            differs[at] = labels[at] != labels[at - 1];
        }
        for (Index at = 0; at < BLOCK; ++at) {
            any |= labels[at];
            all &= labels[at];
        }
        std::uint64_t starts = 0;
        for (int byte = 0; byte < 8; ++byte) {
            std::uint64_t eight;
            std::memcpy(&eight, differs + 8 * byte, 8);
            starts |= (eight * 0x0102040810204080ULL >> 56) << (8 * byte);
        }
        return starts;
    }
};

#include "look.hpp"

}  // namespace baseline

void look_baseline(const void* labels, int itemsize, Index size, PartOfLabels& part) {
    baseline::look_at<baseline::Baseline>(labels, itemsize, size, part);
}

using Look = void (*)(const void*, int, Index, PartOfLabels&);

#if HAS_VECTORS

#pragma GCC push_options
#pragma GCC target("avx2")

namespace with_256 {

struct Vectors256 {
    static ALWAYS_INLINE std::uint32_t differ(__m256i a, __m256i b, std::uint8_t) {
        return ~static_cast<std::uint32_t>(_mm256_movemask_epi8(_mm256_cmpeq_epi8(a, b)));
    }
    static ALWAYS_INLINE std::uint32_t differ(__m256i a, __m256i b, std::uint16_t) {
        const __m256i bytes = _mm256_packs_epi16(_mm256_cmpeq_epi16(a, b), _mm256_setzero_si256());
        const auto bits = static_cast<std::uint32_t>(_mm256_movemask_epi8(_mm256_permute4x64_epi64(bytes, 0xd8)));
        return ~bits & 0xffff;
    }
    static ALWAYS_INLINE std::uint32_t differ(__m256i a, __m256i b, std::uint32_t) {
        return ~_mm256_movemask_ps(_mm256_castsi256_ps(_mm256_cmpeq_epi32(a, b))) & 0xff;
    }
    static ALWAYS_INLINE std::uint32_t differ(__m256i a, __m256i b, std::uint64_t) {
        return ~_mm256_movemask_pd(_mm256_castsi256_pd(_mm256_cmpeq_epi64(a, b))) & 0xf;
    }

    template <class Label>
    static ALWAYS_INLINE std::uint64_t block(const Label* labels, Label& any, Label& all) {
        constexpr Index LANES = 32 / sizeof(Label);
        __m256i union_of_bits = _mm256_setzero_si256();
        __m256i common_bits = _mm256_set1_epi8(-1);
        std::uint64_t starts = 0;
        for (Index at = 0; at < BLOCK; at += LANES) {
            const __m256i here = _mm256_loadu_si256(reinterpret_cast<const __m256i*>(labels + at));
            const __m256i before = _mm256_loadu_si256(reinterpret_cast<const __m256i*>(labels + at - 1));
            starts |= std::uint64_t{differ(here, before, Label{})} << at;
            union_of_bits = _mm256_or_si256(union_of_bits, here);
            common_bits = _mm256_and_si256(common_bits, here);
        }
        Label lanes[2][LANES];
        _mm256_storeu_si256(reinterpret_cast<__m256i*>(lanes[0]), union_of_bits);
        _mm256_storeu_si256(reinterpret_cast<__m256i*>(lanes[1]), common_bits);
        for (Index lane = 0; lane < LANES; ++lane) {
            any |= lanes[0][lane];
            all &= lanes[1][lane];
        }
        return starts;
    }
};

#include "look.hpp"

}  // namespace with_256

void look_256(const void* labels, int itemsize, Index size, PartOfLabels& part) {
    with_256::look_at<with_256::Vectors256>(labels, itemsize, size, part);
}

#pragma GCC pop_options
#pragma GCC push_options
#pragma GCC target("avx512f,avx512bw,avx512vl,avx512dq,prefer-vector-width=512")

namespace with_512 {

struct Vectors512 {
    static ALWAYS_INLINE std::uint64_t differ(__m512i a, __m512i b, std::uint8_t) {
        return _mm512_cmpneq_epi8_mask(a, b);
    }
    static ALWAYS_INLINE std::uint64_t differ(__m512i a, __m512i b, std::uint16_t) {
        return _mm512_cmpneq_epi16_mask(a, b);
    }
    static ALWAYS_INLINE std::uint64_t differ(__m512i a, __m512i b, std::uint32_t) {
        return _mm512_cmpneq_epi32_mask(a, b);
    }
    static ALWAYS_INLINE std::uint64_t differ(__m512i a, __m512i b, std::uint64_t) {
        return _mm512_cmpneq_epi64_mask(a, b);
    }

    template <class Label>
    static ALWAYS_INLINE std::uint64_t block(const Label* labels, Label& any, Label& all) {
        constexpr Index LANES = 64 / sizeof(Label);
        __m512i union_of_bits = _mm512_setzero_si512();
        __m512i common_bits = _mm512_set1_epi64(-1);
        std::uint64_t starts = 0;
        for (Index at = 0; at < BLOCK; at += LANES) {
            const __m512i here = _mm512_loadu_si512(labels + at);
            const __m512i before = _mm512_loadu_si512(labels + at - 1);
            starts |= differ(here, before, Label{}) << at;
            union_of_bits = _mm512_or_si512(union_of_bits, here);
            common_bits = _mm512_and_si512(common_bits, here);
        }
        Label lanes[2][LANES];
        _mm512_storeu_si512(lanes[0], union_of_bits);
        _mm512_storeu_si512(lanes[1], common_bits);
        for (Index lane = 0; lane < LANES; ++lane) {
            any |= lanes[0][lane];
            all &= lanes[1][lane];
        }
        return starts;
    }
};

#include "look.hpp"

}  // namespace with_512

void look_512(const void* labels, int itemsize, Index size, PartOfLabels& part) {
    with_512::look_at<with_512::Vectors512>(labels, itemsize, size, part);
}

#pragma GCC pop_options

const Look LOOKS[] = {look_baseline, look_256, look_512};

int best() {
    const bool has_512 = __builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512bw") &&
                         __builtin_cpu_supports("avx512vl") && __builtin_cpu_supports("avx512dq");
    return has_512 ? 2 : __builtin_cpu_supports("avx2") ? 1 : 0;
}

#else

const Look LOOKS[] = {look_baseline};

int best() { return 0; }

#endif

int& used() {
    static int chosen = best();
    return chosen;
}

}  // namespace

void look_at_part(const void* labels, int itemsize, Index size, PartOfLabels& part) noexcept {
    LOOKS[used()](labels, itemsize, size, part);
}

int instruction_sets() noexcept { return best() + 1; }

void use_instruction_set(int chosen) noexcept { used() = chosen; }

int used_instruction_set() noexcept { return used(); }

}  // namespace chunkpyramid
