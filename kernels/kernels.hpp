// What the row functions (reduce.hpp), the driver (driver.cpp) and the Cython module share.
#pragma once

#include <cstddef>
#include <cstdint>
#include <cstring>

namespace chunkpyramid {

using Index = std::ptrdiff_t;

enum Dtype {
    UINT8, UINT16, UINT32, UINT64, UINT128,
    INT8, INT16, INT32, INT64, INT128,
    FLOAT16, FLOAT32, FLOAT64,
    DTYPES
};

// SUM returns the next wider type, SUM_SAME the type it is given; both only for the types that need them.
enum Method { SUM, SUM_SAME, SPARSE_SUM, MODE, SPARSE_MODE, MIN, MAX, METHODS };

// The input rows under one output row. Every row has `columns` elements of unit stride; output element x
// stands for the elements [x * factor, (x + 1) * factor) of every row. `rows` are in scan order: if
// `reversed`, the rows are met before the columns, else after them.
struct Rows {
    const char* const* rows;
    Index count;
    Index columns;
    Index factor;
    bool reversed;
    bool two_by_two;  // factor 2 on exactly two axes, 1 on all others
    const char* background;
    char* scratch;  // COUNTING_BYTES per voxel of the footprint, for the methods that count
};

constexpr std::size_t COUNTING_BYTES = 16;

// Reduces rows to the output row `values`; a sparse sum also writes the row `counts`.
using Fold = void (*)(const Rows&, char* values, char* counts);

struct Divisor {
    std::int64_t divisor;  // with counts: at least the largest of them
    bool truncate;
    const char* background;
};

// Rounds `length` sums to means. `counts` (or null) replaces the divisor.
using Render = void (*)(const Divisor&, const char* sums, const char* counts, Index length, char* out);

struct Table {
    Fold fold[METHODS][DTYPES];
    Render render[DTYPES][DTYPES];  // [sum][result]
};

// One of these per instruction set; null where the compiler or the machine does not know it.
const Table* baseline_table();
const Table* v3_table();
const Table* v4_table();

constexpr int MAX_AXES = 64;

enum Role { VALUES, COUNTS, OUT_VALUES, OUT_COUNTS, RENDERED, ROLES };

struct Axis {
    Index size;      // of the inputs
    Index out_size;  // of the outputs: ceil(size / factor)
    Index factor;
    Index strides[ROLES];
    const std::int64_t* weights;  // level-0 voxels under each output index, or null: `weight` everywhere
    std::int64_t weight;
};

// An N-d reduction. The last axis (but for axes of size 1) must have unit stride in every array that is present
// (data not null).
struct Job {
    int axes;
    Axis axis[MAX_AXES + 2];
    char* data[ROLES];
    Index itemsize[ROLES];
    Index sum_itemsize;
    Fold fold;      // null: the inputs are rendered as they are
    Render render;  // null: nothing is rendered
    bool replicate;  // voxels missing at the edge: replicas of the edge (mode), or left out
    bool reversed;   // scan order: first axis fastest
    bool truncate;
    bool sparse;  // sums have counts
    char background[16];
};

enum Outcome { DONE, NO_MEMORY, NOT_UNIT_STRIDE };

Outcome run(Job& job) noexcept;

}  // namespace chunkpyramid
