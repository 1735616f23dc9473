#include "components.hpp"

#include "common/hints.hpp"

#include <algorithm>
#include <cstdlib>
#include <cstring>
#include <memory>
#include <new>
#include <utility>
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

// The runs of the rows of a plane, one row after the other. Memory that is not used is not touched either.
template <class Label, class Number>
struct Plane {
    std::unique_ptr<Run<Label, Number>[]> runs;
    std::vector<std::size_t> begins;

    Plane(Index rows, Index size)
        : runs(new Run<Label, Number>[static_cast<std::size_t>(rows * size)]),
          begins(static_cast<std::size_t>(rows) + 1) {}

    Run<Label, Number>* row(Index at) { return runs.get() + begins[static_cast<std::size_t>(at)]; }
    void end_row(Index at, const Run<Label, Number>* end) {
        begins[static_cast<std::size_t>(at) + 1] = static_cast<std::size_t>(end - runs.get());
    }
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

    Provisional() { grow(); }
    ~Provisional() { std::free(entries_); }
    Provisional(const Provisional&) = delete;
    Provisional& operator=(const Provisional&) = delete;

    Number add(Number size, Number first) {
        if (size_ == capacity_) {
            grow();
        }
        const auto number = static_cast<Number>(size_);
        entries_[size_++] = {number, size, first};
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
        for (std::size_t number = 1; number < size_; ++number) {
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
        for (std::size_t number = 1; number < size_; ++number) {
            Entry& entry = entries_[number];
            entry.parent = entry.parent == number ? numbered(entry) : entries_[entry.parent].parent;
        }
    }

    template <class Visit>
    void visit_roots(const Visit& visit) const {
        for (std::size_t number = 1; number < size_; ++number) {
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

    // What is large is moved by the system, and not copied.
    void grow() {
        const std::size_t capacity = capacity_ ? 2 * capacity_ : 1024;
        auto* entries = static_cast<Entry*>(std::realloc(entries_, capacity * sizeof(Entry)));
        if (!entries) {
            throw std::bad_alloc();
        }
        entries_ = entries;
        capacity_ = capacity;
        entries_[0] = {};
    }

    Entry* entries_ = nullptr;
    std::size_t size_ = 1;
    std::size_t capacity_ = 0;
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

// Returns which of the eight voxels from here on differ from the one before, a bit each.
template <class Label>
ALWAYS_INLINE std::uint64_t changes_of_eight(const Label* row) {
    std::uint8_t differs[8];
    for (int voxel = 0; voxel < 8; ++voxel) {
        differs[voxel] = row[voxel] != row[voxel - 1];
    }
    std::uint64_t bytes;
    std::memcpy(&bytes, differs, sizeof(bytes));
    // the lowest bits of all bytes come together in the highest byte
    return (bytes * 0x0102040810204080ULL) >> 56;
}

// Calls `visit` with each voxel of a row that differs from the one before.
template <class Label, class Visit>
ALWAYS_INLINE void visit_changes(const Label* row, Index size, const Visit& visit) {
    constexpr Index AT_ONCE = 64;
    Index at = 1;
    for (; at + AT_ONCE <= size; at += AT_ONCE) {
        std::uint64_t changes = 0;
        for (int part = 0; part < 8; ++part) {
            changes |= changes_of_eight(row + at + 8 * part) << (8 * part);
        }
        for (; changes; changes &= changes - 1) {
            visit(at + __builtin_ctzll(changes));
        }
    }
    for (; at < size; ++at) {
        if (row[at] != row[at - 1]) {
            visit(at);
        }
    }
}

template <class Label, class Number>
class Labelling {
public:
    Labelling(const LabelArray& array, const ComponentRules& rules, Number* numbers)
        : array_(array),
          rules_(rules),
          numbers_(numbers),
          here_(array.shape[1], array.shape[2]),
          before_(array.shape[1], array.shape[2]),
          row_(array.strides[2] == static_cast<Index>(sizeof(Label)) ? 0 : static_cast<std::size_t>(array.shape[2])) {}

    void run(ComponentTable& table) {
        switch (rules_.reach) {
            case 1: find<1>(); break;
            case 2: find<2>(); break;
            default: find<3>();
        }
        provisional_.gather();
        number(table);
        replace();
    }

private:
    using Runs = Run<Label, Number>;

    // The first pass.
    template <int REACH>
    void find() {
        for (Index z = 0; z < array_.shape[0]; ++z) {
            std::swap(here_, before_);
            for (Index y = 0; y < array_.shape[1]; ++y) {
                find_runs(z, y);
                join<REACH>(z, y);
                write(z, y);
            }
        }
    }

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
        const bool has_background = rules_.has_background;
        Runs* run = here_.row(y);
        Index start = 0;
        const auto end_run = [&](Index stop) {
            const Label label = row[start];
            *run = {label, static_cast<Number>(start), static_cast<Number>(stop), 0};
            run += !has_background || label != background;
            start = stop;
        };
        visit_changes(row, size, end_run);
        if (size > 0) {
            end_run(size);
        }
        here_.end_row(y, run);
    }

    // The runs of a row before this one that have not been passed yet.
    struct Before {
        const Runs* at = nullptr;
        const Runs* end = nullptr;
    };

    // Joins the runs of a row with those that they touch in the rows before it.
    template <int REACH>
    void join(Index z, Index y) {
        constexpr Number ACROSS_EDGE = REACH > 1, ACROSS_CORNER = REACH > 2;
        const bool has_next = y + 1 < array_.shape[1];
        Before behind = z > 0 ? row(before_, y) : Before{};
        Before above = y > 0 ? row(here_, y - 1) : Before{};
        Before behind_above = z > 0 && y > 0 && REACH > 1 ? row(before_, y - 1) : Before{};
        Before behind_below = z > 0 && has_next && REACH > 1 ? row(before_, y + 1) : Before{};
        Runs* const last = here_.row(y + 1);
        for (Runs* run = here_.row(y); run != last; ++run) {
            const bool is_covered = join<ACROSS_EDGE, REACH == 2>(*run, behind);
            // whatever else it touches touches the run that covers it, and has been joined with that
            if (REACH > 1 && is_covered) {
                continue;
            }
            const bool is_covered_above = join<ACROSS_EDGE, 0>(*run, above);
            if (REACH > 1) {
                if (!is_covered_above) {
                    join<ACROSS_CORNER, 0>(*run, behind_above);
                }
                join<ACROSS_CORNER, 0>(*run, behind_below);
            }
        }
    }

    Before row(Plane<Label, Number>& plane, Index at) { return {plane.row(at), plane.row(at + 1)}; }

    // Joins a run with those of another row that are no farther than `APART` away. Returns whether one of these extends
    // over all of it, and `MARGIN` farther at both ends.
    template <Number APART, Number MARGIN>
    ALWAYS_INLINE bool join(Runs& run, Before& other) {
        while (other.at != other.end && other.at->stop + APART <= run.start) {
            ++other.at;
        }
        for (const Runs* touched = other.at; touched != other.end && touched->start < run.stop + APART; ++touched) {
            if (touched->label == run.label) {
                run.number = run.number ? provisional_.unite(run.number, touched->number) : touched->number;
                if (touched->start + MARGIN <= run.start && touched->stop >= run.stop + MARGIN) {
                    return true;
                }
            }
        }
        return false;
    }

    // Notes the number of each run, and where it ends, in the place of its first voxels.
    void write(Index z, Index y) {
        Number* const out = numbers_ + (z * array_.shape[1] + y) * array_.shape[2];
        const Index index = z * array_.steps[0] + y * array_.steps[1];
        Number at = 0;
        Runs* const last = here_.row(y + 1);
        for (Runs* run = here_.row(y); run != last; ++run) {
            const Number size = run->stop - run->start;
            const auto first = static_cast<Number>(index + static_cast<Index>(run->start) * array_.steps[2]);
            if (run->number) {
                provisional_.count(run->number, size, first);
            } else {
                run->number = provisional_.add(size, first);
            }
            if (at < run->start) {
                note(out, at, run->start, 0);
            }
            note(out, run->start, run->stop, run->number);
            at = run->stop;
        }
        if (at < static_cast<Number>(array_.shape[2])) {
            note(out, at, static_cast<Number>(array_.shape[2]), 0);
        }
    }

    static void note(Number* out, Number start, Number stop, Number number) {
        if (stop - start == 1) {
            out[start] = number;
        } else {
            out[start] = number | IS_LONG;
            out[start + 1] = stop;
        }
    }

    bool is_kept(const typename Provisional<Number>::Entry& root) const { return root.size >= rules_.least; }

    // Whether memory has the voxels in the order in which they are counted.
    bool is_in_order() const {
        Index before = voxels();
        for (int axis = 0; axis < 3; ++axis) {
            if (array_.shape[axis] > 1) {
                if (array_.steps[axis] > before) {
                    return false;
                }
                before = array_.steps[axis];
            }
        }
        return true;
    }

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

    // Writes the number of each voxel in place of what was noted of runs.
    void replace() {
        const auto size = static_cast<Number>(array_.shape[2]);
        const Index rows = array_.shape[0] * array_.shape[1];
        for (Index row = 0; row < rows; ++row) {
            Number* const out = numbers_ + row * array_.shape[2];
            for (Number start = 0; start < size;) {
                const Number noted = out[start];
                const Number number = provisional_.parent(noted & ~IS_LONG);
                if (noted & IS_LONG) {
                    const Number stop = out[start + 1];
                    std::fill(out + start, out + stop, number);
                    start = stop;
                } else {
                    out[start++] = number;
                }
            }
        }
    }

    // the bit of a number that tells that its run is longer than a voxel
    static constexpr Number IS_LONG = Number{1} << (8 * sizeof(Number) - 1);

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
