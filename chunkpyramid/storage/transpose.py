"""Copies in C order: of arrays in Fortran order, or any other, by a kernel, because NumPy takes them voxel by voxel."""

from __future__ import annotations

from typing import Any

import _chunkpyramid_transpose as kernels
import numpy as np
import numpy.typing as npt

__all__ = ["c_contiguous", "copy_values"]

# so few voxels NumPy copies faster than the call takes
FEW_VOXELS = 4096


def c_contiguous(values: npt.NDArray[Any], dtype: np.dtype[Any]) -> npt.NDArray[Any]:
    """Return values in C order with this dtype: themselves where they are so, else a copy.

    Examples
    --------
    >>> c_contiguous(np.asfortranarray(np.eye(3)), np.dtype(float)).flags.c_contiguous
    True
    """
    if values.dtype != dtype or not _is_transposed(values):
        return np.ascontiguousarray(values, dtype=dtype)
    target = np.empty(values.shape, dtype=dtype)
    copy_values(target, values)
    return target


def copy_values(target: npt.NDArray[Any], values: npt.NDArray[Any]) -> None:
    """Copy values to an array of the same shape, as ``target[...] = values`` does."""
    if values.dtype == target.dtype and target.strides[-1:] == (target.itemsize,) and _is_transposed(values):
        bits = f"u{values.itemsize}"
        kernels.copy_transposed(values.view(bits), target.view(bits))
    else:
        target[...] = values


def _is_transposed(values: npt.NDArray[Any]) -> bool:
    """Whether another axis than the last one is the fastest."""
    if values.size < FEW_VOXELS or values.itemsize not in (1, 2, 4, 8) or values.dtype.hasobject:
        return False
    fast = [s == values.itemsize and n > 1 for s, n in zip(values.strides, values.shape, strict=True)]
    return any(fast[:-1]) and not fast[-1] and values.shape[-1] > 1
