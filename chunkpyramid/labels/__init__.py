"""Labels: what the voxels of a segmentation say of its objects, for volumes larger than memory."""

from chunkpyramid.labels.contact_table import ContactRow, ContactTable
from chunkpyramid.labels.label_contacts import contacts
from chunkpyramid.labels.label_statistics import statistics, unique
from chunkpyramid.labels.table import LabelRow, LabelTable

__all__ = ["ContactRow", "ContactTable", "LabelRow", "LabelTable", "contacts", "statistics", "unique"]
