"""Tables that are kept in a group: their columns are arrays, which xarray opens as a Dataset."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
import zarr

from chunkpyramid.metadata.coordinates import Axis
from chunkpyramid.storage.new_arrays import create_array, default_compressors

__all__ = ["Columns", "save_columns"]

# The values of columns by name, each along the rows, or along the rows and the axes.
Columns = Mapping[str, npt.NDArray[Any]]

# a chunk for a column would be encoded as a whole
ROWS_PER_CHUNK = 2**20


def save_columns(group: zarr.Group, columns: Columns, rows: str, axes: Sequence[Axis]) -> list[str]:
    """Write columns along the dimension ``rows``, along with names and units of the axes, and return their names."""
    for name, values in columns.items():
        array = create_array(
            group,
            name,
            values.shape,
            values.dtype,
            chunks=tuple(max(1, min(n, ROWS_PER_CHUNK)) for n in values.shape),
            compressors=default_compressors(values.dtype, group.metadata.zarr_format, labels=False),
            dimension_names=(rows, "axis")[: values.ndim],
            overwrite=True,
        )
        array[...] = values
    texts = {"axis": [axis.name for axis in axes], "unit": [axis.unit or "" for axis in axes]}
    for name, words in texts.items():
        text = group.create_array(name, shape=(len(words),), dtype=str, dimension_names=("axis",), overwrite=True)
        text[...] = np.array(words, dtype=object)
    # so xarray tells coordinates from other variables
    group.attrs.update({"axes": texts["axis"], "coordinates": "unit"})
    return [*columns, *texts]
