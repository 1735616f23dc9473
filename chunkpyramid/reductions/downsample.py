"""Levels of arrays in memory: NumPy in, a list of NumPy arrays out.

Entry i of a factor belongs to array axis i. Arrays in C order and in Fortran order are equally fast, and the levels
keep the order of the input. Every level of a mean is computed from exact sums, and of an exact mode from exact counts,
not from the level before it.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from chunkpyramid.arguments import one_of, whole_number
from chunkpyramid.boxes import ceil_shape
from chunkpyramid.errors import ArgumentError
from chunkpyramid.reductions.kernels import Array, Factor, memory_order
from chunkpyramid.reductions.methods import METHODS, auto_method, resolve_method

__all__ = [
    "downsample",
    "downsample_segmentation",
    "downsample_with_averaging",
    "downsample_with_max_pooling",
    "downsample_with_min_pooling",
    "downsample_with_striding",
]

FactorLike = int | Sequence[int]


def downsample(
    array: npt.ArrayLike,
    factor: FactorLike,
    *,
    method: str = "mean",
    num_levels: int = 1,
    sparse: bool = False,
    background: Any = 0,
    rounding: str = "nearest",
) -> list[Array]:
    """Coarser levels of an array, by any method.

    Parameters
    ----------
    array
        At least one axis and one voxel. It is not modified.
    factor
        An integer of at least 1 for all axes, or one per axis. Sizes that it does not divide are rounded up.
    method
        "mean", "mode", "exact_mode", "min", "max", "stride", or "auto": the mode for bool and for integers of 32 and 64
        bits, which may be labels, and the mean for the rest. Ties of the mode go to the value met first, last axis
        fastest. Every level of the exact mode is made from the voxels of `array`, and ties go to the smallest label.
    num_levels
        How many levels below `array`.
    sparse
        Voxels equal to `background` neither vote nor count ("mean", "mode" and "exact_mode").
    background
        The value of empty voxels; NaN for floats is allowed.
    rounding
        For means of integers: "nearest" (half to even) or "truncate" (toward zero).

    Returns
    -------
    list of ndarray
        `num_levels` arrays of the input's dtype, finest first.

    Raises
    ------
    ArgumentError
        If an argument is not allowed; before any work is done.

    Examples
    --------
    >>> import numpy as np
    >>> from chunkpyramid import downsample
    >>> image = np.array([[0, 2, 9], [4, 8, 1]], dtype=np.uint8)
    >>> downsample(image, 2)[0]
    array([[4, 5]], dtype=uint8)
    >>> downsample(image, (1, 2), method="max")[0]
    array([[2, 9],
           [8, 1]], dtype=uint8)
    >>> downsample(image, 2, sparse=True)[0]
    array([[5, 5]], dtype=uint8)
    >>> [level.shape for level in downsample(np.zeros((5, 100, 100)), (1, 2, 2), num_levels=3)]
    [(5, 50, 50), (5, 25, 25), (5, 13, 13)]
    """
    voxels = _as_array(array)
    steps = _full_factor(factor, voxels.ndim, may_be_short=False)
    return _levels(
        voxels, steps, num_levels, "num_levels", method, sparse=sparse, background=background, rounding=rounding
    )


def downsample_with_averaging(
    img: npt.ArrayLike, factor: FactorLike, num_mips: int = 1, sparse: bool = False
) -> list[Array]:
    """Means of the voxels of `img`, rounded toward zero for integers.

    Parameters
    ----------
    img
        The image, for example with axes x, y, z and channel.
    factor
        An integer for all axes, or one per axis; axes after the last one named keep their size.
    num_mips
        How many levels.
    sparse
        Leave voxels of value 0 out of the mean.

    Returns
    -------
    list of ndarray
        `num_mips` arrays, finest first.

    Examples
    --------
    >>> import numpy as np
    >>> from chunkpyramid import downsample_with_averaging
    >>> image = np.array([[0, 2, 9, 9], [4, 8, 1, 0]], dtype=np.uint8)
    >>> downsample_with_averaging(image, (2, 2))[0]
    array([[3, 4]], dtype=uint8)
    >>> downsample_with_averaging(image, (2, 2), sparse=True)[0]
    array([[4, 6]], dtype=uint8)
    """
    voxels = _as_array(img)
    steps = _full_factor(factor, voxels.ndim, may_be_short=True)
    return _levels(voxels, steps, num_mips, "num_mips", "mean", sparse=sparse, rounding="truncate")


def downsample_segmentation(
    labels: npt.ArrayLike, factor: FactorLike, num_mips: int = 1, sparse: bool = False
) -> list[Array]:
    """The most frequent labels. Ties are settled with axis 0 as the fastest of the scan.

    Parameters
    ----------
    labels
        The labels, for example with axes x, y, z.
    factor
        An integer for all axes, or one per axis; axes after the last one named keep their size.
    num_mips
        How many levels; each is made from the one before it.
    sparse
        Label 0 has no vote.

    Returns
    -------
    list of ndarray
        `num_mips` arrays, finest first.

    Examples
    --------
    >>> import numpy as np
    >>> from chunkpyramid import downsample_segmentation
    >>> labels = np.array([[7, 7, 0, 0], [5, 7, 0, 3]], dtype=np.uint64)
    >>> downsample_segmentation(labels, (2, 2))[0]
    array([[7, 0]], dtype=uint64)
    >>> downsample_segmentation(labels, (2, 2), sparse=True)[0]
    array([[7, 3]], dtype=uint64)
    """
    voxels = _as_array(labels)
    steps = _full_factor(factor, voxels.ndim, may_be_short=True)
    levels = _levels(voxels.T, steps[::-1], num_mips, "num_mips", "mode", sparse=sparse)
    return [level.T for level in levels]


def downsample_with_max_pooling(img: npt.ArrayLike, factor: FactorLike, num_mips: int = 1) -> list[Array]:
    """The largest voxels; NaN propagates.

    Parameters
    ----------
    img
        The image.
    factor
        An integer for all axes, or one per axis; axes after the last one named keep their size.
    num_mips
        How many levels.

    Returns
    -------
    list of ndarray
        `num_mips` arrays, finest first.

    Examples
    --------
    >>> import numpy as np
    >>> from chunkpyramid import downsample_with_max_pooling
    >>> downsample_with_max_pooling(np.array([3, 1, 4, 1, 5]), 2, num_mips=2)
    [array([3, 4, 5]), array([4, 5])]
    """
    return _simple_levels(img, factor, num_mips, "max")


def downsample_with_min_pooling(img: npt.ArrayLike, factor: FactorLike, num_mips: int = 1) -> list[Array]:
    """The smallest voxels; NaN propagates.

    Parameters
    ----------
    img
        The image.
    factor
        An integer for all axes, or one per axis; axes after the last one named keep their size.
    num_mips
        How many levels.

    Returns
    -------
    list of ndarray
        `num_mips` arrays, finest first.

    Examples
    --------
    >>> import numpy as np
    >>> from chunkpyramid import downsample_with_min_pooling
    >>> downsample_with_min_pooling(np.array([3, 1, 4, 1, 5]), 2, num_mips=2)
    [array([1, 1, 5]), array([1, 5])]
    """
    return _simple_levels(img, factor, num_mips, "min")


def downsample_with_striding(img: npt.ArrayLike, factor: FactorLike, num_mips: int = 1) -> list[Array]:
    """The first voxel of each footprint.

    Parameters
    ----------
    img
        The image, of any dtype without objects.
    factor
        An integer for all axes, or one per axis; axes after the last one named keep their size.
    num_mips
        How many levels.

    Returns
    -------
    list of ndarray
        `num_mips` arrays, finest first. They share no memory with `img`.

    Examples
    --------
    >>> import numpy as np
    >>> from chunkpyramid import downsample_with_striding
    >>> downsample_with_striding(np.array([3, 1, 4, 1, 5]), 2, num_mips=2)
    [array([3, 4, 5]), array([3, 5])]
    """
    return _simple_levels(img, factor, num_mips, "stride")


def _simple_levels(img: npt.ArrayLike, factor: FactorLike, num_mips: int, method: str) -> list[Array]:
    voxels = _as_array(img)
    return _levels(voxels, _full_factor(factor, voxels.ndim, may_be_short=True), num_mips, "num_mips", method)


def _levels(array: Array, factor: Factor, count: int, count_name: str, method: str, **rules: Any) -> list[Array]:
    number = whole_number(count, count_name, least=1)
    if one_of(method, "method", METHODS, default="auto") == "auto":
        method = auto_method(array.dtype)
    reduction = resolve_method(method, array.dtype, **rules)
    order = memory_order(array) or "C"
    shape = array.shape
    levels = []
    for _ in range(number):
        shape = ceil_shape(shape, factor)
        levels.append(np.empty(shape, reduction.dtype, order=order))
    reduction.steps(reduction.lift(array), [factor] * number, keep_state=False, outs=levels)
    return levels


def _as_array(array: npt.ArrayLike) -> Array:
    if isinstance(array, np.ma.MaskedArray):
        raise ArgumentError("array: it is a masked array, and levels have no masks: give array.filled(...) instead")
    try:
        voxels = np.asarray(array)
    except (TypeError, ValueError) as error:
        raise ArgumentError(f"array: {type(array).__name__} cannot be made a NumPy array: {error}") from error
    if voxels.ndim == 0 or voxels.size == 0:
        raise ArgumentError(f"array: at least one axis and one voxel are needed, its shape is {voxels.shape}")
    return voxels


def _full_factor(factor: FactorLike, ndim: int, *, may_be_short: bool) -> Factor:
    if isinstance(factor, Sequence | np.ndarray) and not isinstance(factor, str | bytes) and np.ndim(factor):
        entries = [whole_number(entry, "factor", least=1) for entry in factor]
    else:
        entries = [whole_number(factor, "factor", least=1)] * ndim
    if may_be_short and 0 < len(entries) < ndim:
        entries += [1] * (ndim - len(entries))
    if len(entries) != ndim:
        raise ArgumentError(
            f"factor must be a whole number, or {'at most' if may_be_short else 'exactly'} {ndim} of them for an array "
            f"of {ndim} axes, but {factor!r} was given"
        )
    return tuple(entries)
