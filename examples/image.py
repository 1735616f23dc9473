"""An image volume becomes an OME-Zarr pyramid: exact means, voxel sizes in nanometers, at most 1 GiB of memory."""

import tempfile

import numpy as np

import chunkpyramid as cp

z, y, x = np.ogrid[:96, :192, :192]
image = (127 * (1 + np.sin(z / 9) * np.sin(y / 15) * np.sin(x / 15))).astype(np.uint8)

with tempfile.TemporaryDirectory() as directory:
    target = f"{directory}/image.zarr"
    print(cp.plan_pyramid(image, factor="isotropic", voxel_size=(40, 8, 8), chunks=32))
    cp.build_pyramid(
        image, target, factor="isotropic", voxel_size=(40, 8, 8), unit="nanometer", chunks=32, memory_limit="1 GiB"
    )
    pyramid = cp.open_pyramid(target)
    print(pyramid)
    print("mean of every level:", [float(level.mean().compute().round(2)) for level in pyramid.to_dask()])
