// The reduction of N-d arrays, level after level: what the Cython module asks for.
#pragma once

#include "table.hpp"

namespace chunkpyramid {

enum Role { VALUES, COUNTS, OUT_VALUES, OUT_COUNTS, RENDERED, ROLES };

inline bool is_input(int role) { return role == VALUES || role == COUNTS; }

struct Axis {
    Index size;      // of the inputs
    Index out_size;  // of the outputs: ceil(size / factor)
    Index factor;
    Index strides[ROLES];
    std::int64_t weight, last_weight;  // level-0 voxels under each output index but the last, and under the last
};

// An N-d reduction. The last axis (but for axes of size 1) must have unit stride in every array that is present
// (data not null).
struct Job {
    char* data[ROLES];
    Index itemsize[ROLES];
    Fold fold;       // null: the inputs are rendered as they are
    Render render;   // null: nothing is rendered
    Mean mean;       // may be null
    bool replicate;  // voxels missing at the edge: replicas of the edge (mode), or left out
    bool reversed;   // scan order: first axis fastest
    bool truncate;
    bool sparse;  // sums have counts
    char background[16];
    int axes;
    Axis axis[MAX_AXES + 2];
};

enum Outcome { DONE, NO_MEMORY, NOT_UNIT_STRIDE };

// Each job but the first reads what the one before it folded; an intermediate result that has no array of its own is
// only kept as long as the next job needs it. `box`: so much of what the first job reads is taken through all jobs
// before the rest; along each axis the whole size, or whole footprints of the last job.
Outcome run(Job* jobs, int count, const Index* box) noexcept;

}  // namespace chunkpyramid
