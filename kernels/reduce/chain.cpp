// Takes one box after the other through the levels, so that sums are still in a cache when the next level reads them.
#include "buffer.hpp"
#include "job.hpp"
#include "simplify.hpp"
#include "walk.hpp"

#include <algorithm>
#include <cstddef>
#include <cstring>
#include <new>
#include <vector>

namespace chunkpyramid {
namespace {

// The jobs of all levels, box by box of what the first one reads.
class Chain {
  public:
    Chain(Job* jobs, int count, const Index* box)
        : jobs_(jobs), count_(count), axes_(jobs[0].axes), box_(box), intermediate_(count) {
        for (int k = 0; k + 1 < count; ++k) keep_for_the_next(k);
    }

    Outcome all_boxes() {
        Index start[MAX_AXES] = {};
        for (;;) {
            const Outcome outcome = one_box(start);
            if (outcome != DONE) return outcome;
            int i = axes_ - 1;
            for (; i >= 0; --i) {
                start[i] += box_[i];
                if (start[i] < jobs_[0].axis[i].size) break;
                start[i] = 0;
            }
            if (i < 0) return DONE;
        }
    }

  private:
    struct Intermediate {
        Buffer values, counts;
        char* data[ROLES] = {};
    };

    void keep_for_the_next(int k) {
        Job& job = jobs_[k];
        Job& next = jobs_[k + 1];
        const auto keep = [&](Role out, Role in, Buffer& memory) {
            if (!job.data[out]) {
                Index stride = job.itemsize[out];
                for (int i = axes_ - 1; i >= 0; --i) {
                    Index size = box_[i];
                    for (int j = 0; j <= k; ++j) size = (size - 1) / jobs_[j].axis[i].factor + 1;
                    job.axis[i].strides[out] = stride;
                    stride *= size;
                }
                intermediate_[k].data[out] = memory.reserve(stride);
            }
            for (int i = 0; i < axes_; ++i) next.axis[i].strides[in] = job.axis[i].strides[out];
        };
        keep(OUT_VALUES, VALUES, intermediate_[k].values);
        if (job.sparse) keep(OUT_COUNTS, COUNTS, intermediate_[k].counts);
    }

    Outcome one_box(const Index* start) {
        Index from[MAX_AXES], size[MAX_AXES];
        for (int i = 0; i < axes_; ++i) {
            from[i] = start[i];
            size[i] = std::min(box_[i], jobs_[0].axis[i].size - start[i]);
        }
        char* values = jobs_[0].data[VALUES];
        char* counts = jobs_[0].data[COUNTS];
        for (int k = 0; k < count_; ++k) {
            const Job& whole_job = jobs_[k];
            Job job;
            // most of the axes are not there
            std::memcpy(&job, &whole_job, offsetof(Job, axis) + axes_ * sizeof(Axis));
            if (k == 0) {
                job.data[VALUES] = moved(job, VALUES, values, from);
                job.data[COUNTS] = moved(job, COUNTS, counts, from);
            } else {
                job.data[VALUES] = values;
                job.data[COUNTS] = counts;
            }
            for (int i = 0; i < axes_; ++i) {
                Axis& axis = job.axis[i];
                const Index whole = axis.out_size;
                axis.size = size[i];
                axis.out_size = size[i] = (size[i] - 1) / axis.factor + 1;
                from[i] /= axis.factor;
                if (from[i] + size[i] < whole) axis.last_weight = axis.weight;
            }
            for (const Role role : {OUT_VALUES, OUT_COUNTS, RENDERED}) {
                job.data[role] = moved(job, role, job.data[role], from);
            }
            for (const Role role : {OUT_VALUES, OUT_COUNTS}) {
                if (intermediate_[k].data[role]) job.data[role] = intermediate_[k].data[role];
            }
            values = job.data[OUT_VALUES];
            counts = job.data[OUT_COUNTS];
            simplify(job, row_axis(whole_job));
            if (!has_unit_stride(job)) return NOT_UNIT_STRIDE;
            Walk(job, workspace_).all_lines();
        }
        return DONE;
    }

    char* moved(const Job& job, int role, char* data, const Index* by) const {
        for (int i = 0; data && i < axes_; ++i) data += by[i] * job.axis[i].strides[role];
        return data;
    }

    Job* const jobs_;
    const int count_;
    const int axes_;
    const Index* const box_;
    std::vector<Intermediate> intermediate_;
    Workspace workspace_;
};

}  // namespace

Outcome run(Job* jobs, int count, const Index* box) noexcept {
    try {
        return Chain(jobs, count, box).all_boxes();
    } catch (const std::bad_alloc&) {
        return NO_MEMORY;
    }
}

}  // namespace chunkpyramid
