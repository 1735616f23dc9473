"""Whether what is given is an array in memory, and how labels of volumes are opened and written."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import numpy.typing as npt

from chunkpyramid.boxes import Box
from chunkpyramid.errors import ArgumentError

__all__ = ["box_index", "holding", "is_in_memory", "refuse_options"]


def is_in_memory(given: Any, target: Any, options: Mapping[str, Any]) -> bool:
    """Whether this is an array in memory whose result is to be one too; one with options of volumes goes by blocks."""
    return target is None and not options and isinstance(given, np.ndarray | np.generic | list | tuple | int | float)


def refuse_options(options: Mapping[str, Any], why: str) -> None:
    """Raise `ArgumentError` if there are any of the options of volumes."""
    if options:
        raise ArgumentError(f"{', '.join(sorted(options))} cannot be given {why}")


def holding(dtype: np.dtype[Any], values: npt.NDArray[Any], argument: str, *, in_place: bool = False) -> np.dtype[Any]:
    """Return the narrowest dtype, of the kind of this one and no narrower, that holds all values.

    That of bool is uint8, unless the values are to replace bool ``in_place`` and are 0 and 1.

    Raises
    ------
    ArgumentError
        If there is none.
    """
    if in_place and dtype.kind == "b" and np.all((values == 0) | (values == 1)):
        return dtype
    native = np.dtype(np.uint8) if dtype.kind == "b" else dtype.newbyteorder("=")
    if len(values) == 0:
        return native
    least, most = int(values.min()), int(values.max())
    for size in (1, 2, 4, 8):
        wider = np.dtype(f"{native.kind}{size}")
        if size >= native.itemsize and np.iinfo(wider).min <= least and most <= np.iinfo(wider).max:
            return wider
    raise ArgumentError(
        f"{argument} has labels from {least} to {most}, which no dtype of the kind of {native} holds: convert the "
        "source, or give others"
    )


def box_index(box: Box, shape: tuple[int, ...], at: npt.NDArray[np.int64]) -> npt.NDArray[np.int64]:
    """Return the indices, in C order of an array of this shape, of voxels with these indices in a box of it."""
    index = np.zeros(len(at), np.int64)
    for place, start, size in zip(np.unravel_index(at, box.shape), box.start, shape, strict=True):
        index = index * size + (place + start)
    return index
