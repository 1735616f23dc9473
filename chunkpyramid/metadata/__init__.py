"""What metadata say: OME-Zarr, coordinates, units, attributes and missing values."""
