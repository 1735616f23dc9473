# The dtypes that there are kernels for, in the order of the enumeration in reduce/table.hpp, and their bytes.
ITEMSIZES = {
    "uint8": 1, "uint16": 2, "uint32": 4, "uint64": 8, "uint128": 16,
    "int8": 1, "int16": 2, "int32": 4, "int64": 8, "int128": 16,
    "float16": 2, "float32": 4, "float64": 8,
}  # fmt: skip
