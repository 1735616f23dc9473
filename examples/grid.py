"""Coarser levels of gridded data with xarray: lazily as a DataTree, or written for xarray.open_datatree."""

import tempfile

import numpy as np
import xarray as xr

import chunkpyramid  # noqa: F401  (registers the accessor .pyramid)

lat, lon = np.linspace(-89.5, 89.5, 180), np.linspace(0.5, 359.5, 360)
warm = 30 * np.cos(np.deg2rad(lat))[:, None] + np.sin(np.deg2rad(lon))
temperature = xr.DataArray(
    warm[None] + np.arange(4)[:, None, None],
    dims=("time", "lat", "lon"),
    coords={"time": np.arange(4), "lat": ("lat", lat, {"units": "degrees_north"}), "lon": lon},
    name="temperature",
)
print(temperature.pyramid.levels(2)["s2"])

with tempfile.TemporaryDirectory() as directory:
    temperature.pyramid.build(f"{directory}/temperature.zarr", levels=3, layout="datatree")
    with xr.open_datatree(f"{directory}/temperature.zarr", engine="zarr") as tree:
        print(tree["s3/temperature"].sel(lat=0, lon=180, method="nearest").values)
