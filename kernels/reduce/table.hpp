// The row functions of all methods and dtypes: what they take, and the table in which the other files find them.
#pragma once

#include "common/axes.hpp"

#include <cstddef>
#include <cstdint>
#include <cstring>

namespace chunkpyramid {

// In the order of common/dtypes.pxi.
enum Dtype {
    UINT8, UINT16, UINT32, UINT64, UINT128,
    INT8, INT16, INT32, INT64, INT128,
    FLOAT16, FLOAT32, FLOAT64,
    DTYPES
};

enum Method { SUM, SPARSE_SUM, MODE, SPARSE_MODE, MIN, MAX, METHODS };

// The input rows under some output rows. At `offsets` from `base` are those under the first, in scan order; under each
// further one of the `repeats` lie the rows `step` bytes on. Every row has `columns` elements of unit stride; output
// element x stands for the elements [x * factor, (x + 1) * factor) of every row. If `reversed`, the scan meets rows
// before columns, else after them.
struct Strip {
    const char* base;
    const Index* offsets;
    Index count;
    Index columns;
    Index factor;
    Index repeats;
    Index step;
    Index neighbours;  // how many of the rows under an output row are neighbours in memory
    bool reversed;
    bool two_by_two;  // factor 2 on exactly two axes, 1 on all others
    const char* background;
    char* column_scratch;     // COLUMN_BYTES per column
    char* footprint_scratch;  // COUNTING_BYTES per voxel of a footprint, for the methods that count
};

constexpr Index COLUMN_BYTES = 16;
constexpr Index COUNTING_BYTES = 32;

// Rows that are `step` bytes apart.
struct Source {
    const char* data;
    Index step;
};
struct Target {
    char* data;
    Index step;
};

// Reduces a strip to the output rows `values`; a sparse sum also writes `counts`.
using Fold = void (*)(const Strip&, Target values, Target counts);

struct Divisor {
    std::int64_t divisor;  // with counts: at least the largest of them
    bool truncate;
    const char* background;
};

// Rounds `repeats` rows of `length` sums to means. `counts` (or null) replace the divisor.
using Render = void (*)(const Divisor&, Source sums, Source counts, Index length, Index repeats, Target out);

// Both in one, for a divisor that is a power of two, and strips whose columns the factor divides; without `counts`.
// `sums` are not wanted if they are null. Returns whether it knows how to do this strip.
using Mean = bool (*)(const Strip&, const Divisor&, Target sums, Target out);

struct Table {
    Fold fold[METHODS][DTYPES][DTYPES];  // [method][of the voxels][of the result]
    Render render[DTYPES][DTYPES];       // [of the sums][of the result]
    Mean mean[DTYPES][DTYPES][DTYPES];   // [of the voxels][of the sums][of the result]; null for most
};

// One of these per instruction set; null where the compiler or the machine does not know it.
const Table* baseline_table();
const Table* v3_table();
const Table* v4_table();

}  // namespace chunkpyramid
