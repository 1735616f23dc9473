"""Labels: what the voxels of a segmentation say of its objects, for volumes larger than memory."""

from chunkpyramid.labels.label_statistics import statistics, unique
from chunkpyramid.labels.table import LabelRow, LabelTable

__all__ = ["LabelRow", "LabelTable", "statistics", "unique"]
