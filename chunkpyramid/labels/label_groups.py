"""Which labels belong together, when pairs of them do."""

from __future__ import annotations

from typing import Any

import _chunkpyramid_labels as kernels
import numpy as np
import numpy.typing as npt

from chunkpyramid.errors import ArgumentError

__all__ = ["groups_of_pairs"]

# What the order of signed numbers takes for their bits to be in the same order as unsigned ones.
SIGN = np.uint64(2**63)


def groups_of_pairs(pairs: Any) -> tuple[npt.NDArray[Any], npt.NDArray[Any]]:
    """Return the smallest label of the group of every label that pairs join.

    Labels are of one group if a chain of pairs leads from one to the other. The result does not depend on the order of
    the pairs, nor on that of the two labels of each.

    Parameters
    ----------
    pairs : array_like of integers, shape (n, 2)
        Labels that belong together.

    Returns
    -------
    labels : ndarray of shape (m,)
        Every label of the pairs once, ascending, in their dtype.
    smallest : ndarray of shape (m,)
        The smallest label of the group of each.

    Raises
    ------
    ArgumentError
        If ``pairs`` has another shape, or holds no integers.

    Examples
    --------
    >>> labels, smallest = groups_of_pairs([(5, 3), (9, 8), (7, 5)])
    >>> labels.tolist(), smallest.tolist()
    ([3, 5, 7, 8, 9], [3, 3, 3, 8, 8])
    """
    given = np.asarray(pairs)
    if given.size == 0 and given.ndim <= 2:
        given = given.reshape(0, 2).astype(given.dtype if given.dtype.kind in "iu" else np.int64)
    if given.ndim != 2 or given.shape[1] != 2:
        raise ArgumentError(f"pairs must be of shape (n, 2), but its shape is {given.shape}")
    if given.dtype.kind not in "iu":
        raise ArgumentError(f"pairs must be integers, but they are {given.dtype}")
    is_signed = given.dtype.kind == "i"
    bits = given.astype(np.int64).view(np.uint64) ^ SIGN if is_signed else given.astype(np.uint64)
    met, smallest_of = kernels.join(np.ascontiguousarray(bits))
    ordered = np.frombuffer(met, np.uint64)
    ascending = np.argsort(ordered)
    labels = (ordered ^ SIGN).view(np.int64) if is_signed else ordered
    labels = labels.astype(given.dtype.newbyteorder("="))
    smallest = labels[np.frombuffer(smallest_of, np.int64)]
    return labels[ascending], smallest[ascending]
