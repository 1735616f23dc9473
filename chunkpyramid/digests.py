"""What tells the values of one array from those of all others."""

from __future__ import annotations

import hashlib
from typing import Any

import numpy as np
import numpy.typing as npt

__all__ = ["SLAB", "digest_of"]

# so many bytes of an array are looked at at once
SLAB = 16 * 2**20


def digest_of(array: npt.NDArray[Any]) -> str:
    """Return a digest of the values of an array, and of the order of its axes in memory, in which they are read.

    Not a checksum: arrays that differ in a few voxels have the same one too often.

    Parameters
    ----------
    array : numpy array
        Of any shape and order, of values of fixed size. No copy of it is made but for a slab at a time.

    Examples
    --------
    >>> import numpy as np
    >>> volume = np.arange(12).reshape(3, 4)
    >>> digest_of(volume) == digest_of(volume.copy()), digest_of(volume) == digest_of(volume[::-1])
    (True, False)
    """
    order = sorted(range(array.ndim), key=lambda axis: -abs(array.strides[axis]))
    digest = hashlib.sha256(f"{array.shape} {array.dtype.str} {order}".encode())
    if array.size:
        values = np.atleast_1d(array.transpose(order))
        rows = max(1, SLAB // max(1, values[0].nbytes))
        for start in range(0, len(values), rows):
            slab = np.ascontiguousarray(values[start : start + rows])
            digest.update(slab.view(np.uint8).data)
    return digest.hexdigest()
