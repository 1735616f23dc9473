"""Labels: what the voxels of a segmentation say of its objects, for volumes larger than memory."""

from chunkpyramid.labels.agglomerate import agglomerate
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
    "contacts",
    "dust",
    "foreground",
    "mask",
    "mask_except",
    "minmax",
    "pixel_pairs",
    "point_cloud",
    "refit",
    "remap",
    "remap_from_array",
    "remap_from_array_kv",
    "renumber",
    "statistics",
    "unique",
]
