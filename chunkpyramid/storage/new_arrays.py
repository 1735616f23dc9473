"""Creating arrays."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import zarr

from chunkpyramid.boxes import Shape
from chunkpyramid.storage.nodes import DIMENSIONS

__all__ = ["create_array", "default_compressors"]


def default_compressors(dtype: np.dtype[Any], zarr_format: int, *, labels: bool) -> Any:
    """Return blosc-zstd, with the byte shuffle where values have several bytes and are no labels.

    Labels repeat as a whole, which the shuffle hides: without it a real segmentation of neurons was less than half the
    size (uint64, 64^3 chunks).
    """
    shuffle = dtype.itemsize > 1 and not labels
    if zarr_format == 2:
        from numcodecs import Blosc

        return Blosc(cname="zstd", clevel=3, shuffle=Blosc.SHUFFLE if shuffle else Blosc.NOSHUFFLE)
    from zarr.codecs import BloscCodec

    return BloscCodec(cname="zstd", clevel=3, shuffle="shuffle" if shuffle else "noshuffle", typesize=dtype.itemsize)


def create_array(
    group: zarr.Group,
    path: str,
    shape: Shape,
    dtype: np.dtype[Any],
    *,
    chunks: Shape,
    shards: Shape | None = None,
    compressors: Any,
    fill_value: Any = 0,
    dimension_names: Sequence[str] | None = None,
    attributes: Mapping[str, Any] | None = None,
    overwrite: bool = False,
) -> zarr.Array[Any]:
    """Create an array in a group; ``path`` may lead through groups, which are created too."""
    zarr_format = group.metadata.zarr_format
    attributes = dict(attributes or {})
    options: dict[str, Any] = {}
    if zarr_format == 3:
        options["dimension_names"] = dimension_names
    else:
        options["chunk_key_encoding"] = {"name": "v2", "separator": "/"}
        if dimension_names is not None:
            attributes[DIMENSIONS] = list(dimension_names)
    return group.create_array(
        path,
        shape=shape,
        dtype=dtype,
        chunks=chunks,
        shards=shards,
        compressors=compressors,
        fill_value=fill_value,
        attributes=attributes,
        overwrite=overwrite,
        **options,
    )
