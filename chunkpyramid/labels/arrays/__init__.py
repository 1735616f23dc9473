"""Operations on arrays of labels in memory, with the names, parameters and results of fastremap 1.21."""

from chunkpyramid.labels.arrays.component_maps import component_map, inverse_component_map
from chunkpyramid.labels.arrays.dtypes import fit_dtype, narrow_dtype, refit, widen_dtype
from chunkpyramid.labels.arrays.mask import mask, mask_except
from chunkpyramid.labels.arrays.memory_order import ascontiguousarray, asfortranarray, tobytes, transpose
from chunkpyramid.labels.arrays.points import point_cloud
from chunkpyramid.labels.arrays.remap import remap
from chunkpyramid.labels.arrays.remap_from_arrays import remap_from_array, remap_from_array_kv
from chunkpyramid.labels.arrays.renumber import renumber
from chunkpyramid.labels.arrays.scan import foreground, indices, is_solid, is_sorted, minmax, pixel_pairs
from chunkpyramid.labels.arrays.unique import unique

__all__ = [
    "ascontiguousarray",
    "asfortranarray",
    "component_map",
    "fit_dtype",
    "foreground",
    "indices",
    "inverse_component_map",
    "is_solid",
    "is_sorted",
    "mask",
    "mask_except",
    "minmax",
    "narrow_dtype",
    "pixel_pairs",
    "point_cloud",
    "refit",
    "remap",
    "remap_from_array",
    "remap_from_array_kv",
    "renumber",
    "tobytes",
    "transpose",
    "unique",
    "widen_dtype",
]
