#include "table.hpp"

// What loops gain from in x86-64-v4, on the compiler that can say so within a file.
#if defined(__x86_64__) && defined(__GNUC__) && !defined(__clang__)
#pragma GCC target("avx2,fma,bmi,bmi2,avx512f,avx512bw,avx512cd,avx512dq,avx512vl,prefer-vector-width=512")

#define VARIANT v4
#include "variant.hpp"

const chunkpyramid::Table* chunkpyramid::v4_table() {
    static const Table table = v4::make_table();
    return &table;
}
#else
const chunkpyramid::Table* chunkpyramid::v4_table() { return nullptr; }
#endif
