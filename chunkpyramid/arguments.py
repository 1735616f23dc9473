"""Arguments with entries per axis, per level or both."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from chunkpyramid.grid import Shape

__all__ = ["reordered"]


def reordered(value: Any, order: Shape) -> Any:
    """Return an argument with one entry per axis, or a list of such, with its entries in another order of the axes.

    Others stay as they are: one value for all axes, and dicts by axis.

    Examples
    --------
    >>> reordered((1, 2, 3), (2, 0, 1)), reordered([(1, 2, 3), None], (2, 0, 1)), reordered(2, (2, 0, 1))
    ((3, 1, 2), [(3, 1, 2), None], 2)
    """
    if isinstance(value, list) and any(isinstance(entry, Sequence | np.ndarray) for entry in value):
        return [entry if isinstance(entry, str) else reordered(entry, order) for entry in value]
    if isinstance(value, Sequence | np.ndarray) and not isinstance(value, str | bytes) and len(value) == len(order):
        return tuple(value[axis] for axis in order)
    return value
