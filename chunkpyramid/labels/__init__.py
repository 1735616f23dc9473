"""Labels: arithmetic, components and tables of segmentations, for arrays in memory and volumes larger than memory.

For NumPy arrays it has all functions of fastremap 1.21, with their parameters, results and exceptions, so that
``import chunkpyramid.labels as fastremap`` takes its place. Given a volume (a zarr array, dask array, DataArray, path,
URL or store), or a ``target``, the same functions go through it block by block.
"""

from chunkpyramid.labels.agglomerate import agglomerate
from chunkpyramid.labels.arrays import (
    ascontiguousarray,
    asfortranarray,
    component_map,
    fit_dtype,
    indices,
    inverse_component_map,
    is_solid,
    is_sorted,
    narrow_dtype,
    tobytes,
    transpose,
    widen_dtype,
)
from chunkpyramid.labels.components import connected_components
from chunkpyramid.labels.contact_table import ContactRow, ContactTable
from chunkpyramid.labels.dust import dust
from chunkpyramid.labels.label_contacts import contacts
from chunkpyramid.labels.label_statistics import statistics
from chunkpyramid.labels.mask import mask, mask_except
from chunkpyramid.labels.points import foreground, minmax, pixel_pairs, point_cloud
from chunkpyramid.labels.remap import remap, remap_from_array, remap_from_array_kv
from chunkpyramid.labels.renumber import refit, renumber
from chunkpyramid.labels.renumbering import Renumbering
from chunkpyramid.labels.table import LabelRow, LabelTable
from chunkpyramid.labels.unique import unique

__all__ = [
    "ContactRow",
    "ContactTable",
    "LabelRow",
    "LabelTable",
    "Renumbering",
    "agglomerate",
    "ascontiguousarray",
    "asfortranarray",
    "component_map",
    "connected_components",
    "contacts",
    "dust",
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
    "statistics",
    "tobytes",
    "transpose",
    "unique",
    "widen_dtype",
]
