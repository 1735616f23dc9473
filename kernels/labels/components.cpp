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
//
// Where runs are hardly longer than a voxel, to keep them costs more than it saves: there the first pass goes voxel by
// voxel. What that looks at of the neighbours, see `Neighbours`.

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

    Plane() = default;
    Plane(Index rows, Index size)
        : runs(new Run<Label, Number>[static_cast<std::size_t>(rows * size)]),
          begins(static_cast<std::size_t>(rows) + 1) {}

    Run<Label, Number>* row(Index at) { return runs.get() + begins[static_cast<std::size_t>(at)]; }
    void end_row(Index at, const Run<Label, Number>* end) {
        begins[static_cast<std::size_t>(at) + 1] = static_cast<std::size_t>(end - runs.get());
    }
};

// An array that grows and is not initialised. What is large is moved by the system, and not copied.
template <class Item>
class Growing {
public:
    Growing() = default;
    ~Growing() { std::free(items_); }
    Growing(const Growing&) = delete;
    Growing& operator=(const Growing&) = delete;

    void grow(std::size_t capacity) {
        auto* items = static_cast<Item*>(std::realloc(items_, capacity * sizeof(Item)));
        if (!items) {
            throw std::bad_alloc();
        }
        items_ = items;
    }

    Item& operator[](std::size_t at) { return items_[at]; }
    const Item& operator[](std::size_t at) const { return items_[at]; }

private:
    Item* items_ = nullptr;
};

// Provisional numbers; number 0 is the background. Sizes and first voxels are kept only if they are needed: memory that
// is touched for the first time costs more than what is computed here.
template <class Number>
class Provisional {
public:
    Provisional(bool has_sizes, bool has_firsts) : has_sizes_(has_sizes), has_firsts_(has_firsts) {
        reserve(FEW);
        parents_[0] = 0;
    }

    // Makes room for so many numbers more.
    void reserve(std::size_t more) {
        if (size_ + more <= capacity_) {
            return;
        }
        capacity_ = std::max(size_ + more, 2 * capacity_);
        parents_.grow(capacity_);
        if (has_sizes_) {
            sizes_.grow(capacity_);
        }
        if (has_firsts_) {
            firsts_.grow(capacity_);
        }
    }

    // There must be room for it.
    Number add(Number size, Number first) {
        const auto number = static_cast<Number>(size_++);
        parents_[number] = number;
        if (has_sizes_) {
            sizes_[number] = size;
        }
        if (has_firsts_) {
            firsts_[number] = first;
        }
        return number;
    }

    void count(Number number, Number size, Number first) {
        if (has_sizes_) {
            sizes_[number] += size;
        }
        if (has_firsts_ && first < firsts_[number]) {
            firsts_[number] = first;
        }
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
        parents_[other] = one;
        return one;
    }

    // Adds up at the roots what is known of all numbers, and makes each root the parent of all its numbers.
    void gather() {
        for (Number number = 1; number < size_; ++number) {
            if (parents_[number] != number) {
                // parents are smaller, so that their own are roots already
                parents_[number] = parents_[parents_[number]];
                count(parents_[number], has_sizes_ ? sizes_[number] : 0, has_firsts_ ? firsts_[number] : 0);
            }
        }
    }

    // Replaces the parent of each number by what `numbered` makes of a root, in ascending order of roots.
    template <class Numbered>
    void replace(const Numbered& numbered) {
        for (Number number = 1; number < size_; ++number) {
            const Number parent = parents_[number];
            // of a smaller number the parent has been replaced already
            parents_[number] = parent == number ? numbered(number) : parents_[parent];
        }
    }

    template <class Visit>
    void visit_roots(const Visit& visit) const {
        for (Number number = 1; number < size_; ++number) {
            if (parents_[number] == number) {
                visit(number);
            }
        }
    }

    bool has_sizes() const { return has_sizes_; }
    bool has_firsts() const { return has_firsts_; }
    Number parent(Number number) const { return parents_[number]; }
    Number size(Number number) const { return sizes_[number]; }
    Number first(Number number) const { return firsts_[number]; }

private:
    Number root(Number number) {
        while (parents_[number] != number) {
            parents_[number] = parents_[parents_[number]];
            number = parents_[number];
        }
        return number;
    }

    static constexpr std::size_t FEW = 1023;

    const bool has_sizes_;
    const bool has_firsts_;
    Growing<Number> parents_;
    Growing<Number> sizes_;
    Growing<Number> firsts_;
    std::size_t size_ = 1;
    std::size_t capacity_ = 0;
};

// How many voxels of a set come before one: the set is one bit each, with the sum of the bits of all words before.
class Ranks {
public:
    explicit Ranks(std::uint64_t voxels) : words_(voxels / 64 + 1) {}

    void insert(std::uint64_t voxel) { words_[voxel / 64].bits |= std::uint64_t{1} << voxel % 64; }

    void sum() {
        std::uint64_t total = 0;
        for (Word& word : words_) {
            word.before = total;
            total += static_cast<std::uint64_t>(__builtin_popcountll(word.bits));
        }
    }

    std::uint64_t operator()(std::uint64_t voxel) const {
        const Word& word = words_[voxel / 64];
        const std::uint64_t below = (std::uint64_t{1} << voxel % 64) - 1;
        return word.before + static_cast<std::uint64_t>(__builtin_popcountll(word.bits & below));
    }

private:
    struct Word {
        std::uint64_t bits;
        std::uint64_t before;
    };
    std::vector<Word> words_;
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

// How far a neighbour is along each axis.
struct Offset {
    int z;
    int y;
    int x;
};

// The neighbours that a scan has passed when it comes to a voxel, those that differ along fewer axes first.
constexpr Offset PASSED[] = {{-1, 0, 0}, {0, -1, 0},  {0, 0, -1},   {-1, -1, 0},  {-1, 1, 0},  {-1, 0, -1}, {-1, 0, 1},
                             {0, -1, -1}, {0, -1, 1}, {-1, -1, -1}, {-1, -1, 1}, {-1, 1, -1}, {-1, 1, 1}};

// Which neighbours that a scan has passed a voxel must be joined with, by those that have its label, a bit each: of
// several that touch each other, and so have been joined already, one. Wu, Otoo and Suzuki find them by a tree of
// decisions, which a processor cannot foresee where labels are random; here all are compared, and looked up together.
template <int REACH>
struct Neighbours {
    static constexpr int COUNT = REACH == 1 ? 3 : REACH == 2 ? 9 : 13;
    static constexpr unsigned ALL = (1U << COUNT) - 1;

    std::uint16_t apart[ALL + 1];

    static const Neighbours& table() {
        static const Neighbours made;
        return made;
    }

private:
    Neighbours() {
        unsigned touching[COUNT] = {};
        for (int one = 0; one < COUNT; ++one) {
            const Offset& at = PASSED[one];
            for (int other = 0; other < COUNT; ++other) {
                touching[one] |= unsigned{do_touch(at, PASSED[other])} << other;
            }
        }
        for (unsigned equal = 0; equal <= ALL; ++equal) {
            apart[equal] = 0;
            for (unsigned left = equal; left;) {
                unsigned joined = left & -left, known = 0;
                apart[equal] |= static_cast<std::uint16_t>(joined);
                for (unsigned fresh; (fresh = joined & ~known);) {
                    known |= fresh & -fresh;
                    joined |= touching[__builtin_ctz(fresh)] & equal;
                }
                left &= ~joined;
            }
        }
    }

    static bool do_touch(const Offset& one, const Offset& other) {
        const int z = std::abs(one.z - other.z), y = std::abs(one.y - other.y), x = std::abs(one.x - other.x);
        return std::max({z, y, x}) <= 1 && z + y + x <= REACH;
    }
};

// Labels in a byte each: equal ones have equal codes, and most others do not.
using Code = std::uint8_t;

template <class Label>
ALWAYS_INLINE Code code(Label label) {
    std::uint64_t bits = label;
    for (std::size_t half = sizeof(Label) * 4; half >= 8; half /= 2) {
        bits ^= bits >> half;
    }
    return static_cast<Code>(bits);
}

// Writes for each voxel of a row of codes which of the neighbours from FIRST to LAST have the same code, a bit each.
template <int FIRST, int LAST>
void find_equal(const Code* here, const Code* const* neighbours, Index size, std::uint8_t* __restrict equal) {
    const Code* others[LAST - FIRST];
    std::copy(neighbours + FIRST, neighbours + LAST, others);
    INDEPENDENT
    for (Index x = 0; x < size; ++x) {
        std::uint8_t bits = 0;
        for (int at = 0; at < LAST - FIRST; ++at) {
            bits = static_cast<std::uint8_t>(bits | (others[at][x] == here[x] ? 1 << at : 0));
        }
        equal[x] = bits;
    }
}

template <class Label, class Number>
class Labelling {
public:
    Labelling(const LabelArray& array, const ComponentRules& rules, Number* numbers)
        : array_(array),
          rules_(rules),
          numbers_(numbers),
          row_(array.strides[2] == static_cast<Index>(sizeof(Label)) ? 0 : static_cast<std::size_t>(array.shape[2])),
          provisional_(rules.is_described || rules.least > 1, rules.is_described || !is_in_order()) {}

    void run(ComponentTable& table) {
        switch (rules_.reach) {
            case 1: find<1>(); break;
            case 2: find<2>(); break;
            default: find<3>();
        }
        number(table);
        replace();
    }

private:
    using Runs = Run<Label, Number>;

    // The first pass.
    template <int REACH>
    void find() {
        is_by_voxels_ = are_runs_short();
        if (is_by_voxels_) {
            find_by_voxels<REACH>();
        } else {
            find_by_runs<REACH>();
        }
    }

    // Whether a few rows from all over the array have more runs than it pays to keep.
    bool are_runs_short() {
        constexpr Index SAMPLE = 64, LONG_ENOUGH = 3;
        const Index rows = array_.shape[0] * array_.shape[1];
        const Index step = rows / SAMPLE + 1;
        Index runs = 0, seen = 0;
        for (Index at = step / 2; at < rows; at += step) {
            const Label* row = values(at / array_.shape[1], at % array_.shape[1]);
            ++runs;
            visit_changes(row, array_.shape[2], [&](Index) { ++runs; });
            seen += array_.shape[2];
        }
        return seen < LONG_ENOUGH * runs;
    }

    template <int REACH>
    void find_by_voxels() {
        using Near = Neighbours<REACH>;
        const Near& near = Near::table();
        const Index size = array_.shape[2], rows = array_.shape[1];
        // around a plane of codes there are some that are never looked at, so that each voxel has all neighbours
        const Index length = size + 2;
        std::vector<Code> codes[2];
        for (auto& plane : codes) {
            plane.resize(static_cast<std::size_t>((rows + 2) * length));
        }
        std::vector<std::uint8_t> equal(static_cast<std::size_t>(2 * size));
        std::uint8_t* const low = equal.data();
        std::uint8_t* const high = low + size;
        Index numbers_to[Near::COUNT], bytes_to[Near::COUNT];
        for (int at = 0; at < Near::COUNT; ++at) {
            const Offset& to = PASSED[at];
            numbers_to[at] = (to.z * rows + to.y) * size + to.x;
            bytes_to[at] = to.z * array_.strides[0] + to.y * array_.strides[1] + to.x * array_.strides[2];
        }
        // which neighbours lie to each side: at the ends of the array there are none
        unsigned behind = 0, above = 0, below = 0, before = 0, after = 0;
        for (int at = 0; at < Near::COUNT; ++at) {
            const Offset& to = PASSED[at];
            behind |= unsigned{to.z < 0} << at;
            above |= unsigned{to.y < 0} << at;
            below |= unsigned{to.y > 0} << at;
            before |= unsigned{to.x < 0} << at;
            after |= unsigned{to.x > 0} << at;
        }
        const auto background = static_cast<Label>(rules_.background);
        for (Index z = 0; z < array_.shape[0]; ++z) {
            std::swap(codes[0], codes[1]);
            for (Index y = 0; y < rows; ++y) {
                const Label* row = values(z, y);
                Code* const here = codes[0].data() + (y + 1) * length + 1;
                for (Index x = 0; x < size; ++x) {
                    here[x] = code(row[x]);
                }
                const Code* neighbours[Near::COUNT];
                for (int at = 0; at < Near::COUNT; ++at) {
                    const Offset& to = PASSED[at];
                    neighbours[at] = codes[-to.z].data() + (y + 1 + to.y) * length + 1 + to.x;
                }
                find_equal<0, std::min(8, Near::COUNT)>(here, neighbours, size, low);
                if (Near::COUNT > 8) {
                    find_equal<8, std::max(9, Near::COUNT)>(here, neighbours, size, high);
                }
                provisional_.reserve(static_cast<std::size_t>(size));
                const unsigned missing = (z == 0 ? behind : 0) | (y == 0 ? above : 0) | (y + 1 == rows ? below : 0);
                const char* const bytes = array_.data + z * array_.strides[0] + y * array_.strides[1];
                Number* const out = numbers_ + (z * rows + y) * size;
                const Index index = z * array_.steps[0] + y * array_.steps[1];
                for (Index x = 0; x < size; ++x) {
                    const Label label = row[x];
                    if (rules_.has_background && label == background) {
                        out[x] = 0;
                        continue;
                    }
                    unsigned bits = (low[x] | (Near::COUNT > 8 ? unsigned{high[x]} << 8 : 0)) & ~missing;
                    bits &= ~((x == 0 ? before : 0) | (x + 1 == size ? after : 0));
                    if (sizeof(Label) > sizeof(Code)) {
                        // other labels can have the same code
                        const char* const voxel = bytes + x * array_.strides[2];
                        for (unsigned left = bits; left; left &= left - 1) {
                            const int at = __builtin_ctz(left);
                            Label other;
                            std::memcpy(&other, voxel + bytes_to[at], sizeof(Label));
                            bits ^= unsigned{other != label} << at;
                        }
                    }
                    const auto first = static_cast<Number>(index + x * array_.steps[2]);
                    unsigned apart = near.apart[bits];
                    if (!apart) {
                        out[x] = provisional_.add(1, first);
                        continue;
                    }
                    Number number = out[x + numbers_to[__builtin_ctz(apart)]];
                    while (apart &= apart - 1) {
                        number = provisional_.unite(number, out[x + numbers_to[__builtin_ctz(apart)]]);
                    }
                    provisional_.count(number, 1, first);
                    out[x] = number;
                }
            }
        }
    }

    template <int REACH>
    void find_by_runs() {
        here_ = {array_.shape[1], array_.shape[2]};
        before_ = {array_.shape[1], array_.shape[2]};
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
        provisional_.reserve(static_cast<std::size_t>(last - here_.row(y)));
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

    bool is_kept(Number root) const { return rules_.least <= 1 || provisional_.size(root) >= rules_.least; }

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
        if (provisional_.has_sizes() || provisional_.has_firsts()) {
            provisional_.gather();
        }
        const bool has_ranks = !is_in_order();
        Ranks ranks(has_ranks ? static_cast<std::uint64_t>(voxels()) : 0);
        std::size_t count = 0;
        if (has_ranks || rules_.is_described) {
            provisional_.visit_roots([&](Number root) {
                if (is_kept(root)) {
                    ++count;
                    if (has_ranks) {
                        ranks.insert(provisional_.first(root));
                    }
                }
            });
            ranks.sum();
        }
        if (rules_.is_described) {
            table.sizes = std::malloc(count * sizeof(Number) + 1);
            table.firsts = std::malloc(count * sizeof(Number) + 1);
            if (!table.sizes || !table.firsts) {
                throw std::bad_alloc();
            }
        }
        auto* sizes = static_cast<Number*>(table.sizes);
        auto* firsts = static_cast<Number*>(table.firsts);
        Number last = 0;
        provisional_.replace([&](Number root) {
            if (!is_kept(root)) {
                return Number{0};
            }
            ++last;
            const Number number = has_ranks ? static_cast<Number>(ranks(provisional_.first(root)) + 1) : last;
            if (sizes) {
                sizes[number - 1] = provisional_.size(root);
                firsts[number - 1] = provisional_.first(root);
            }
            return number;
        });
        table.count = static_cast<Index>(last);
    }

    // Writes the number of each voxel in place of what was noted of runs.
    void replace() {
        if (is_by_voxels_) {
            std::for_each(numbers_, numbers_ + voxels(), [&](Number& number) { number = provisional_.parent(number); });
            return;
        }
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
    bool is_by_voxels_ = false;
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
