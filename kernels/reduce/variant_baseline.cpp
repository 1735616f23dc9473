#include "table.hpp"

#define VARIANT baseline
#include "variant.hpp"

const chunkpyramid::Table* chunkpyramid::baseline_table() {
    static const Table table = baseline::make_table();
    return &table;
}
