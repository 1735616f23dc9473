#include "components.hpp"

#include "common/hints.hpp"

#include <algorithm>
#include <cstdlib>
#include <cstring>
#include <new>
#include <vector>

namespace chunkpyramid {

namespace {

// Two passes over runs instead of voxels: He, Chao and Suzuki, "A run-based two-scan labeling algorithm", IEEE
// Transactions on Image Processing 17 (2008). The first pass gives each run the provisional number of a run that it
// touches in the rows before it and notes which numbers are the same component; the second one replaces them. Which are
// the same is kept in a union-find whose roots are the smallest numbers: Wu, Otoo and Suzuki, "Optimizing two-pass
// connected-component labeling algorithms", Pattern Analysis and Applications 12 (2009).

template <class Label, class Number>
struct Run {
    Label label;
    Number start;
    Number stop;
    Number number;
};

// The runs of the rows of a plane, one row after the other.
template <class Label, class Number>
struct Plane {
    std::vector<Run<Label, Number>> runs;
    std::vector<std::size_t> begins;

    explicit Plane(Index rows) : begins(static_cast<std::size_t>(rows) + 1) {}
    Run<Label, Number>* row(Index at) { return runs.data() + begins[static_cast<std::size_t>(at)]; }
};

// Provisional numbers; number 0 is the background.
template <class Number>
class Provisional {
public:
    struct Entry {
        Number parent;
        Number size;
        Number first;
    };

    Provisional() : entries_(1) {}

    Number add() {
        const auto number = static_cast<Number>(entries_.size());
        entries_.push_back({number, 0, static_cast<Number>(-1)});
        return number;
    }

    void count(Number number, Number size, Number first) {
        Entry& entry = entries_[number];
        entry.size += size;
        entry.first = std::min(entry.first, first);
    }

    // Returns a number of both together.
    Number unite(Number one, Number other) {
        if (one == other) {
            return one;
        }
        one = root(one);
        other = root(other);
        if (one > other) {
            std::swap(one, other);
        }
        entries_[other].parent = one;
        return one;
    }

    // Adds up at the roots what is known of all numbers, and makes each root the parent of all its numbers.
    void gather() {
        for (std::size_t number = 1; number < entries_.size(); ++number) {
            Entry& entry = entries_[number];
            if (entry.parent != number) {
                // parents are smaller, so that their own are roots already
                entry.parent = entries_[entry.parent].parent;
                count(entry.parent, entry.size, entry.first);
            }
        }
    }

    // Replaces the parent of each number by what `numbered` makes of a root, in ascending order of roots.
    template <class Numbered>
    void replace(const Numbered& numbered) {
        for (std::size_t number = 1; number < entries_.size(); ++number) {
            Entry& entry = entries_[number];
            entry.parent = entry.parent == number ? numbered(entry) : entries_[entry.parent].parent;
        }
    }

    template <class Visit>
    void visit_roots(const Visit& visit) const {
        for (std::size_t number = 1; number < entries_.size(); ++number) {
            if (entries_[number].parent == number) {
                visit(entries_[number]);
            }
        }
    }

    Number parent(Number number) const { return entries_[number].parent; }

private:
    Number root(Number number) {
        while (entries_[number].parent != number) {
            entries_[number].parent = entries_[entries_[number].parent].parent;
            number = entries_[number].parent;
        }
        return number;
    }

    std::vector<Entry> entries_;
};

// How many voxels of a set come before one: the set is one bit each, with the sum of the bits of all words before.
class Ranks {
public:
    explicit Ranks(std::uint64_t voxels) : bits_(voxels / 64 + 1), before_(voxels / 64 + 1) {}

    void insert(std::uint64_t voxel) { bits_[voxel / 64] |= std::uint64_t{1} << voxel % 64; }

    void sum() {
        std::uint64_t total = 0;
        for (std::size_t word = 0; word < bits_.size(); ++word) {
            before_[word] = total;
            total += static_cast<std::uint64_t>(__builtin_popcountll(bits_[word]));
        }
    }

    std::uint64_t operator()(std::uint64_t voxel) const {
        const std::uint64_t below = (std::uint64_t{1} << voxel % 64) - 1;
        return before_[voxel / 64] + static_cast<std::uint64_t>(__builtin_popcountll(bits_[voxel / 64] & below));
    }

private:
    std::vector<std::uint64_t> bits_;
    std::vector<std::uint64_t> before_;
};

template <class Label, class Number>
class Labelling {
public:
    Labelling(const LabelArray& array, const ComponentRules& rules, Number* numbers)
        : array_(array),
          rules_(rules),
          numbers_(numbers),
          here_(array.shape[1]),
          before_(array.shape[1]),
          row_(array.strides[2] == static_cast<Index>(sizeof(Label)) ? 0 : static_cast<std::size_t>(array.shape[2])) {}

    void run(ComponentTable& table) {
        for (Index z = 0; z < array_.shape[0]; ++z) {
            std::swap(here_, before_);
            here_.runs.clear();
            for (Index y = 0; y < array_.shape[1]; ++y) {
                find_runs(z, y);
                join(z, y);
                write(z, y);
            }
        }
        provisional_.gather();
        number(table);
        replace();
    }

private:
    using Runs = Run<Label, Number>;

    Index voxels() const { return array_.shape[0] * array_.shape[1] * array_.shape[2]; }

    const Label* values(Index z, Index y) {
        const char* data = array_.data + z * array_.strides[0] + y * array_.strides[1];
        if (row_.empty()) {
            return reinterpret_cast<const Label*>(data);
        }
        for (Index x = 0; x < array_.shape[2]; ++x) {
            std::memcpy(&row_[static_cast<std::size_t>(x)], data + x * array_.strides[2], sizeof(Label));
        }
        return row_.data();
    }

    void find_runs(Index z, Index y) {
        const Label* row = values(z, y);
        const Index size = array_.shape[2];
        const auto background = static_cast<Label>(rules_.background);
        for (Index start = 0, stop; start < size; start = stop) {
            const Label label = row[start];
            stop = start + 1;
            while (stop < size && row[stop] == label) {
                ++stop;
            }
            if (!rules_.has_background || label != background) {
                here_.runs.push_back({label, static_cast<Number>(start), static_cast<Number>(stop), 0});
            }
        }
        here_.begins[static_cast<std::size_t>(y) + 1] = here_.runs.size();
    }

    void join(Index z, Index y) {
        if (y > 0) {
            join(here_, y - 1, y, rules_.reach > 1);
        }
        if (z > 0) {
            join(before_, y, y, rules_.reach > 1);
            if (rules_.reach > 1) {
                if (y > 0) {
                    join(before_, y - 1, y, rules_.reach > 2);
                }
                if (y + 1 < array_.shape[1]) {
                    join(before_, y + 1, y, rules_.reach > 2);
                }
            }
        }
    }

    // Joins the runs of a row with those of one before it that they touch, at their corners too if it `is_wide`.
    void join(Plane<Label, Number>& plane, Index beside, Index y, bool is_wide) {
        const Number wide = is_wide;
        const Runs* other = plane.row(beside);
        const Runs* const end = plane.row(beside + 1);
        Runs* const last = here_.row(y + 1);
        for (Runs* run = here_.row(y); run != last; ++run) {
            while (other != end && other->stop + wide <= run->start) {
                ++other;
            }
            for (const Runs* touched = other; touched != end && touched->start < run->stop + wide; ++touched) {
                if (touched->label == run->label) {
                    run->number =
                        run->number ? provisional_.unite(run->number, touched->number) : touched->number;
                }
            }
        }
    }

    void write(Index z, Index y) {
        Number* const out = numbers_ + (z * array_.shape[1] + y) * array_.shape[2];
        const Index index = z * array_.steps[0] + y * array_.steps[1];
        Number* at = out;
        Runs* const last = here_.row(y + 1);
        for (Runs* run = here_.row(y); run != last; ++run) {
            if (!run->number) {
                run->number = provisional_.add();
            }
            const Index start = static_cast<Index>(run->start);
            provisional_.count(
                run->number, run->stop - run->start, static_cast<Number>(index + start * array_.steps[2]));
            std::fill(at, out + start, Number{0});
            at = out + run->stop;
            std::fill(out + start, at, run->number);
        }
        std::fill(at, out + array_.shape[2], Number{0});
    }

    bool is_kept(const typename Provisional<Number>::Entry& root) const { return root.size >= rules_.least; }

    bool is_in_order() const { return array_.steps[0] >= array_.steps[1] && array_.steps[1] >= array_.steps[2]; }

    // Replaces the provisional numbers by those that the components have in the end.
    void number(ComponentTable& table) {
        Index count = 0;
        provisional_.visit_roots([&](const auto& root) { count += is_kept(root); });
        const std::size_t bytes = static_cast<std::size_t>(count) * sizeof(Number);
        table.sizes = std::malloc(bytes + 1);
        table.firsts = std::malloc(bytes + 1);
        if (!table.sizes || !table.firsts) {
            throw std::bad_alloc();
        }
        table.count = count;
        auto* sizes = static_cast<Number*>(table.sizes);
        auto* firsts = static_cast<Number*>(table.firsts);
        const auto tell = [&](const auto& root, Number number) {
            sizes[number - 1] = root.size;
            firsts[number - 1] = root.first;
            return number;
        };
        if (is_in_order()) {
            Number next = 0;
            provisional_.replace([&](const auto& root) { return is_kept(root) ? tell(root, ++next) : Number{0}; });
            return;
        }
        Ranks ranks(static_cast<std::uint64_t>(voxels()));
        provisional_.visit_roots([&](const auto& root) {
            if (is_kept(root)) {
                ranks.insert(root.first);
            }
        });
        ranks.sum();
        provisional_.replace([&](const auto& root) {
            return is_kept(root) ? tell(root, static_cast<Number>(ranks(root.first) + 1)) : Number{0};
        });
    }

    void replace() {
        Number before = 0, after = 0;
        Number* const end = numbers_ + voxels();
        for (Number* at = numbers_; at != end; ++at) {
            if (*at != before) {
                before = *at;
                after = provisional_.parent(before);
            }
            *at = after;
        }
    }

    const LabelArray& array_;
    const ComponentRules& rules_;
    Number* const numbers_;
    Plane<Label, Number> here_;
    Plane<Label, Number> before_;
    std::vector<Label> row_;
    Provisional<Number> provisional_;
};

template <class Label>
void label_as(
    const LabelArray& array, const ComponentRules& rules, void* numbers, int number_bytes, ComponentTable& table) {
    if (number_bytes == 4) {
        Labelling<Label, std::uint32_t>(array, rules, static_cast<std::uint32_t*>(numbers)).run(table);
    } else {
        Labelling<Label, std::uint64_t>(array, rules, static_cast<std::uint64_t*>(numbers)).run(table);
    }
}

}  // namespace

bool label_components(
    const LabelArray& array, const ComponentRules& rules, void* numbers, int number_bytes,
    ComponentTable& table) noexcept {
    table = {nullptr, nullptr, 0};
    try {
        switch (array.itemsize) {
            case 1: label_as<std::uint8_t>(array, rules, numbers, number_bytes, table); break;
            case 2: label_as<std::uint16_t>(array, rules, numbers, number_bytes, table); break;
            case 4: label_as<std::uint32_t>(array, rules, numbers, number_bytes, table); break;
            default: label_as<std::uint64_t>(array, rules, numbers, number_bytes, table);
        }
    } catch (const std::bad_alloc&) {
        return false;
    }
    return true;
}

void release(ComponentTable& table) noexcept {
    std::free(table.sizes);
    std::free(table.firsts);
    table = {nullptr, nullptr, 0};
}

}  // namespace chunkpyramid
