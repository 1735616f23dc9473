"""A segmentation gets coarser levels beside it, in its own group: every voxel is the most frequent label below it."""

import tempfile

import numpy as np
import zarr

import chunkpyramid as cp

z, y, x = np.ogrid[:48, :96, :96]
labels = (1 + x // 24 + 4 * (y // 24) + 16 * (z // 24)).astype(np.uint64)
labels[(x % 24 < 3) | (y % 24 < 3) | (z % 24 < 3)] = 0

with tempfile.TemporaryDirectory() as directory:
    group = zarr.create_group(f"{directory}/cells.zarr")
    group.create_array("0", data=labels, chunks=(32, 32, 32))

    pyramid = cp.build_pyramid(f"{directory}/cells.zarr/0", sparse=True, factor=[(1, 2, 2), (2, 2, 2)])
    print(pyramid)
    for level in pyramid.levels:
        print(level.shape, "has", np.unique(level[...]).size - 1, "of", labels.max(), "cells")
