// Exact modes: every voxel of a level is a list of runs (label, count), sorted by label.
#pragma once

#include "common/axes.hpp"

#include <cstdint>

namespace chunkpyramid {

// How the bits of a label are to be read. Runs hold labels as unsigned keys in the order of the labels' values.
enum Kind { UNSIGNED_LABELS, SIGNED_LABELS, FLOAT_LABELS };

struct RunsAxis {
    Index size;             // of the input
    Index factor;
    Index stride;           // of dense voxels, in bytes
    Index rendered_stride;  // in bytes
};

// The runs of voxel i, in C order, are those from offsets[i] to offsets[i + 1].
struct Runs {
    const std::int64_t* offsets;
    const char* keys;
    const char* counts;
};

// Memory of malloc with the offsets, from its begin on, and the keys and counts, from so many bytes after it.
struct KeptRuns {
    char* memory;
    Index bytes;
    Index keys;
    Index counts;
    Index runs;
};

// Folds dense voxels, or runs where there are none. The last axis of dense voxels must have unit stride.
struct RunsJob {
    int axes;
    RunsAxis axis[MAX_AXES];
    Kind kind;
    int itemsize;        // of labels: 1, 2, 4 or 8
    int count_itemsize;  // of counts: 4 or 8
    bool sparse;
    char background[8];
    const char* values;  // or null
    Runs runs;
    char* rendered;      // or null
    bool keep;           // whether the folded runs are wanted
    Index most_runs;     // that may be kept
    KeptRuns kept;       // the result, or no memory
};

enum RunsOutcome { RUNS_DONE, RUNS_NO_MEMORY, RUNS_TOO_MANY };

RunsOutcome fold_runs(RunsJob& job) noexcept;

}  // namespace chunkpyramid
