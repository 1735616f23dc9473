#include "table.hpp"

// What loops gain from in x86-64-v3, on the compiler that can say so within a file.
#if defined(__x86_64__) && defined(__GNUC__) && !defined(__clang__)
#pragma GCC target("avx2,fma,bmi,bmi2")

#define VARIANT v3
#include "variant.hpp"

const chunkpyramid::Table* chunkpyramid::v3_table() {
    static const Table table = v3::make_table();
    return &table;
}
#else
const chunkpyramid::Table* chunkpyramid::v3_table() { return nullptr; }
#endif
