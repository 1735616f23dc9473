// Finds the input rows under an output row. Only included by fold.cpp.
#pragma once

#include "runs.hpp"

#include <algorithm>
#include <cstddef>
#include <vector>

namespace chunkpyramid {
namespace {

// So many output rows are made of input rows that are read at a time.
constexpr Index STRIP = 8;

// Steps through the indices of a box, the last axis fastest, and sums up index times stride.
struct Odometer {
    std::vector<Index> sizes, strides, index;
    Index position = 0;

    bool next() {
        for (std::size_t axis = sizes.size(); axis-- > 0;) {
            position += strides[axis];
            if (++index[axis] < sizes[axis]) return true;
            position -= sizes[axis] * strides[axis];
            index[axis] = 0;
        }
        return false;
    }
};

class Children {
public:
    explicit Children(const RunsJob& job) : job_(job) {
        const int outer = job.axes - 1;
        child_.sizes.resize(outer);
        child_.strides.resize(outer);
        Index stride = job.axis[outer].size;
        for (int i = outer; i-- > 0;) {
            child_.strides[i] = job.values ? job.axis[i].stride : stride;
            stride *= job.axis[i].size;
        }
    }

    // Where they begin: bytes in dense voxels, else the numbers of voxels.
    const std::vector<Index>& rows() const { return rows_; }

    // `index`: of the output row.
    void find(const std::vector<Index>& index) {
        child_.index.assign(index.size(), 0);
        child_.position = 0;
        for (std::size_t i = 0; i < index.size(); ++i) {
            const RunsAxis& axis = job_.axis[i];
            const Index begin = index[i] * axis.factor;
            child_.sizes[i] = std::min(axis.factor, axis.size - begin);
            child_.position += begin * child_.strides[i];
        }
        rows_.clear();
        do {
            rows_.push_back(child_.position);
        } while (child_.next());
        if (job_.values && !index.empty() && index.back() % STRIP == 0) read_strip(index.back());
    }

private:
    // Reads the input rows under some output rows in the order of memory, which hardware prefetchers follow: they do not
    // when the rows are read side by side.
    void read_strip(Index begin) const {
        const RunsAxis& line = job_.axis[job_.axes - 2];
        const Index neighbours = child_.sizes.back();
        const Index lines = std::min(STRIP * line.factor, line.size - begin * line.factor);
        const Index bytes = job_.axis[job_.axes - 1].size * job_.itemsize;
        constexpr Index cache_line = 64;
        for (std::size_t r = 0; r < rows_.size(); r += std::size_t(neighbours)) {
            for (Index y = 0; y < lines; ++y) {
                const volatile char* at = job_.values + rows_[r] + y * line.stride;
                const volatile char* const end = at + bytes;
                for (; at < end; at += cache_line) static_cast<void>(*at);
            }
        }
    }

    const RunsJob& job_;
    Odometer child_;
    std::vector<Index> rows_;
};

}  // namespace
}  // namespace chunkpyramid
