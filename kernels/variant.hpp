// The table of one instruction set. VARIANT names the namespace of this compilation.
#include "reduce.hpp"
#include "mode.hpp"
#include "render.hpp"

namespace chunkpyramid {
namespace VARIANT {

template <class T> void add_to_table(Table& table, Dtype dtype) {
    table.fold[SUM][dtype] = sum<T, typename Traits<T>::Wider>;
    table.fold[SPARSE_SUM][dtype] = sparse_sum<T>;
    table.fold[MIN][dtype] = extreme<T, Smaller>;
    table.fold[MAX][dtype] = extreme<T, Larger>;
}

// Labels are compared, never ordered: signed integers share the functions of unsigned ones.
template <class T> void add_modes(Table& table, Dtype dtype, Dtype alias) {
    table.fold[MODE][dtype] = table.fold[MODE][alias] = mode<T, false>;
    table.fold[SPARSE_MODE][dtype] = table.fold[SPARSE_MODE][alias] = mode<T, true>;
}

// Results of type T from sums of the next two wider types; 8-bit results also have sums of 64 bits.
template <class T> void add_renders(Table& table, Dtype dtype) {
    using Sum = typename Traits<T>::Wider;
    table.render[dtype + 1][dtype] = render<Sum, T>;
    if constexpr (width<T> <= 32) table.render[dtype + 2][dtype] = render<typename Traits<Sum>::Wider, T>;
    if constexpr (width<T> <= 8) {
        table.render[dtype + 3][dtype] = render<typename Traits<typename Traits<Sum>::Wider>::Wider, T>;
    }
}

static Table make_table() {
    Table table = {};
    add_to_table<std::uint8_t>(table, UINT8);
    add_to_table<std::uint16_t>(table, UINT16);
    add_to_table<std::uint32_t>(table, UINT32);
    add_to_table<std::uint64_t>(table, UINT64);
    add_to_table<std::int8_t>(table, INT8);
    add_to_table<std::int16_t>(table, INT16);
    add_to_table<std::int32_t>(table, INT32);
    add_to_table<std::int64_t>(table, INT64);
    add_to_table<Half>(table, FLOAT16);
    add_to_table<float>(table, FLOAT32);
    add_to_table<double>(table, FLOAT64);
    table.fold[SUM_SAME][UINT16] = sum<std::uint16_t, std::uint16_t>;
    table.fold[SUM_SAME][UINT32] = sum<std::uint32_t, std::uint32_t>;
    table.fold[SUM_SAME][UINT64] = sum<std::uint64_t, std::uint64_t>;
    table.fold[SUM_SAME][UINT128] = sum<uint128, uint128>;
    table.fold[SUM_SAME][INT16] = sum<std::int16_t, std::int16_t>;
    table.fold[SUM_SAME][INT32] = sum<std::int32_t, std::int32_t>;
    table.fold[SUM_SAME][INT64] = sum<std::int64_t, std::int64_t>;
    table.fold[SUM_SAME][INT128] = sum<int128, int128>;
    table.fold[SUM_SAME][FLOAT64] = sum<double, double>;
    add_modes<std::uint8_t>(table, UINT8, INT8);
    add_modes<std::uint16_t>(table, UINT16, INT16);
    add_modes<std::uint32_t>(table, UINT32, INT32);
    add_modes<std::uint64_t>(table, UINT64, INT64);
    add_modes<Half>(table, FLOAT16, FLOAT16);
    add_modes<float>(table, FLOAT32, FLOAT32);
    add_modes<double>(table, FLOAT64, FLOAT64);
    add_renders<std::uint8_t>(table, UINT8);
    add_renders<std::uint16_t>(table, UINT16);
    add_renders<std::uint32_t>(table, UINT32);
    add_renders<std::uint64_t>(table, UINT64);
    add_renders<std::int8_t>(table, INT8);
    add_renders<std::int16_t>(table, INT16);
    add_renders<std::int32_t>(table, INT32);
    add_renders<std::int64_t>(table, INT64);
    table.render[FLOAT64][FLOAT16] = render<double, Half>;
    table.render[FLOAT64][FLOAT32] = render<double, float>;
    table.render[FLOAT64][FLOAT64] = render<double, double>;
    return table;
}

}  // namespace VARIANT
}  // namespace chunkpyramid
