// The table of one instruction set. VARIANT names the namespace of this compilation.
// Each header builds on those before it.
#include "elements.hpp"
#include "rows.hpp"
#include "sum.hpp"
#include "extreme.hpp"
#include "mode.hpp"
#include "render.hpp"

namespace chunkpyramid {
namespace VARIANT {

// Sums of any wider type; the row functions are at their best for the next one, and for sums of sums.
template <class T, class Sum> void add_sum(Table& table, Dtype dtype, Dtype sum_dtype) {
    table.fold[SUM][dtype][sum_dtype] = sum<T, Sum>;
    table.fold[SPARSE_SUM][dtype][sum_dtype] = sparse_sum<T, Sum>;
}

template <class T> void add_extremes(Table& table, Dtype dtype) {
    table.fold[MIN][dtype][dtype] = extreme<T, Smaller>;
    table.fold[MAX][dtype][dtype] = extreme<T, Larger>;
}

// Labels are compared, never ordered: signed integers share the functions of unsigned ones.
template <class T> void add_modes(Table& table, Dtype dtype, Dtype alias) {
    table.fold[MODE][dtype][dtype] = table.fold[MODE][alias][alias] = mode<T, false>;
    table.fold[SPARSE_MODE][dtype][dtype] = table.fold[SPARSE_MODE][alias][alias] = mode<T, true>;
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

// Of the first levels of images, whose sums are at most four times as wide as their voxels.
template <class T> void add_means(Table& table, Dtype dtype) {
    using Sum = typename Traits<T>::Wider;
    table.mean[dtype][dtype + 1][dtype] = mean<T, Sum, T>;
    table.mean[dtype + 1][dtype + 1][dtype] = mean<Sum, Sum, T>;
    if constexpr (width<T> == 8) table.mean[dtype + 1][dtype + 2][dtype] = mean<Sum, typename Traits<Sum>::Wider, T>;
}

static Table make_table() {
    Table table = {};
    add_sum<std::uint8_t, std::uint16_t>(table, UINT8, UINT16);
    add_sum<std::uint8_t, std::uint32_t>(table, UINT8, UINT32);
    add_sum<std::uint8_t, std::uint64_t>(table, UINT8, UINT64);
    add_sum<std::uint16_t, std::uint32_t>(table, UINT16, UINT32);
    add_sum<std::uint16_t, std::uint64_t>(table, UINT16, UINT64);
    add_sum<std::uint32_t, std::uint64_t>(table, UINT32, UINT64);
    add_sum<std::uint32_t, uint128>(table, UINT32, UINT128);
    add_sum<std::uint64_t, uint128>(table, UINT64, UINT128);
    add_sum<std::int8_t, std::int16_t>(table, INT8, INT16);
    add_sum<std::int8_t, std::int32_t>(table, INT8, INT32);
    add_sum<std::int8_t, std::int64_t>(table, INT8, INT64);
    add_sum<std::int16_t, std::int32_t>(table, INT16, INT32);
    add_sum<std::int16_t, std::int64_t>(table, INT16, INT64);
    add_sum<std::int32_t, std::int64_t>(table, INT32, INT64);
    add_sum<std::int32_t, int128>(table, INT32, INT128);
    add_sum<std::int64_t, int128>(table, INT64, INT128);
    add_sum<Half, double>(table, FLOAT16, FLOAT64);
    add_sum<float, double>(table, FLOAT32, FLOAT64);
    add_sum<double, double>(table, FLOAT64, FLOAT64);
    table.fold[SUM][UINT16][UINT16] = sum<std::uint16_t, std::uint16_t>;
    table.fold[SUM][UINT32][UINT32] = sum<std::uint32_t, std::uint32_t>;
    table.fold[SUM][UINT64][UINT64] = sum<std::uint64_t, std::uint64_t>;
    table.fold[SUM][UINT128][UINT128] = sum<uint128, uint128>;
    table.fold[SUM][INT16][INT16] = sum<std::int16_t, std::int16_t>;
    table.fold[SUM][INT32][INT32] = sum<std::int32_t, std::int32_t>;
    table.fold[SUM][INT64][INT64] = sum<std::int64_t, std::int64_t>;
    table.fold[SUM][INT128][INT128] = sum<int128, int128>;
    add_extremes<std::uint8_t>(table, UINT8);
    add_extremes<std::uint16_t>(table, UINT16);
    add_extremes<std::uint32_t>(table, UINT32);
    add_extremes<std::uint64_t>(table, UINT64);
    add_extremes<std::int8_t>(table, INT8);
    add_extremes<std::int16_t>(table, INT16);
    add_extremes<std::int32_t>(table, INT32);
    add_extremes<std::int64_t>(table, INT64);
    add_extremes<Half>(table, FLOAT16);
    add_extremes<float>(table, FLOAT32);
    add_extremes<double>(table, FLOAT64);
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
    add_means<std::uint8_t>(table, UINT8);
    add_means<std::int8_t>(table, INT8);
    add_means<std::uint16_t>(table, UINT16);
    add_means<std::int16_t>(table, INT16);
    return table;
}

}  // namespace VARIANT
}  // namespace chunkpyramid
