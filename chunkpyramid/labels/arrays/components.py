"""Connected components of an array in memory."""

from __future__ import annotations

import math
import operator
from dataclasses import dataclass
from typing import Any

import _chunkpyramid_labels as kernels
import numpy as np
import numpy.typing as npt

from chunkpyramid.arguments import whole_number
from chunkpyramid.boxes import Shape
from chunkpyramid.errors import ArgumentError

__all__ = ["CONNECTIVITIES", "ComponentRules", "Components", "connected_components", "label_components"]

# By the number of axes: along how many of them neighbours may differ, by how many neighbours there are then.
CONNECTIVITIES: dict[int, dict[int, int]] = {1: {2: 1}, 2: {4: 1, 8: 2}, 3: {6: 1, 18: 2, 26: 3}}

# of which there may be more axes, each index along them a volume of its own
MOST_AXES = 3

# of these dtypes only a threshold makes components
NOT_LABELS = "f"


def connected_components(
    array: Any,
    *,
    connectivity: int | None = None,
    background: int | None = 0,
    threshold: tuple[Any, Any] | None = None,
    dust: int = 0,
    dtype: Any = None,
) -> npt.NDArray[Any]:
    """Return the connected components of an array, as `chunkpyramid.labels.connected_components` explains it.

    C- and Fortran-ordered arrays are equally fast. Axes before the last three are no neighbourhood: each index along
    them is a volume of its own.

    Examples
    --------
    >>> import numpy as np
    >>> connected_components(np.array([[5, 5, 0, 7], [0, 5, 0, 7], [5, 0, 7, 0]]))
    array([[1, 1, 0, 2],
           [0, 1, 0, 2],
           [3, 0, 4, 0]], dtype=uint32)
    """
    values = np.asarray(array)
    rules = ComponentRules.checked(
        values.dtype, min(max(1, values.ndim), MOST_AXES), connectivity, background, threshold, dust
    )
    made = checked_dtype(dtype)
    leading = values.shape[:-MOST_AXES]
    volumes = values.reshape((*leading, *padded(values.shape[-MOST_AXES:]))) if values.ndim < MOST_AXES else values
    widest = number_dtype(values.size)
    numbers, count = [], 0
    for index in np.ndindex(leading):
        found = label_components(volumes[index], rules, widest, is_described=False)
        if count:
            np.add(found.numbers, count, out=found.numbers, where=found.numbers != 0)
        numbers.append(found.numbers)
        count += found.count
    fitting = fitting_dtype(count, made)
    if not leading:
        return numbers[0].reshape(values.shape, order="A").astype(fitting, copy=False)
    result = np.empty(values.shape, fitting)
    for index, part in zip(np.ndindex(leading), numbers, strict=True):
        result[index] = part
    return result


@dataclass(frozen=True)
class Components:
    """The components of a volume: the number of each voxel, and of each component its size and its first voxel.

    ``firsts`` count voxels in C order. If they are not described, there are no sizes and no firsts.
    """

    count: int
    numbers: npt.NDArray[Any]
    sizes: npt.NDArray[Any]
    firsts: npt.NDArray[Any]


@dataclass(frozen=True)
class ComponentRules:
    """What makes voxels a component.

    Neighbours differ along at most ``reach`` axes. With a threshold, from ``low`` to ``high`` (None: without an end),
    the voxels inside it are what is connected, else those of one label that is not the ``background``. Components of
    fewer than ``dust`` voxels are none.
    """

    reach: int
    background: int | None
    has_threshold: bool
    low: Any
    high: Any
    dust: int

    @staticmethod
    def checked(
        dtype: np.dtype[Any], axes: int, connectivity: Any, background: Any, threshold: Any, dust: Any
    ) -> ComponentRules:
        """Return the rules that arguments tell for volumes of so many axes.

        Raises
        ------
        ArgumentError
            If one of them is malformed, or does not fit the dtype.
        """
        reaches = CONNECTIVITIES[axes]
        if connectivity is None:
            connectivity = min(reaches)
        if isinstance(connectivity, bool) or connectivity not in reaches:
            allowed = " or ".join(map(str, reaches))
            raise ArgumentError(
                f"connectivity must be {allowed} for a volume of {axes} axes, but {connectivity!r} was given"
            )
        if dtype.kind not in "iubf":
            raise ArgumentError(f"source must hold labels or numbers, but it holds {dtype}")
        if dtype.kind in NOT_LABELS and threshold is None:
            raise ArgumentError(f"source holds {dtype}, which are no labels: give threshold=(low, high)")
        if background is not None and (isinstance(background, bool) or not isinstance(background, int | np.integer)):
            raise ArgumentError(f"background must be a label or None, but {background!r} was given")
        low, high = (None, None) if threshold is None else _limits(threshold, dtype)
        return ComponentRules(
            reaches[connectivity],
            None if background is None else int(background),
            threshold is not None,
            low,
            high,
            whole_number(dust, "dust", least=0),
        )


def _limits(threshold: Any, dtype: np.dtype[Any]) -> tuple[Any, Any]:
    """Return the ends of a threshold, those for integers as integers, which compare exactly."""
    try:
        low, high = (None if end is None else _number(end) for end in threshold)
    except (TypeError, ValueError):
        low = high = None
    if (low is None and high is None) or (low is not None and high is not None and low > high):
        raise ArgumentError(
            "threshold must be (low, high), two numbers of which the first is no larger, or one of them and None, but "
            f"{threshold!r} was given"
        )
    if dtype.kind == "f":
        return low, high
    if low == math.inf or high == -math.inf:
        # nothing is that large, or that small
        return 1, 0
    least = None if low is None or math.isinf(low) else math.ceil(low)
    most = None if high is None or math.isinf(high) else math.floor(high)
    return least, most


def _number(value: Any) -> int | float:
    """Return a number of Python's, or raise `ValueError` if it is none."""
    try:
        return operator.index(value)
    except TypeError:
        number = float(value)
    if math.isnan(number) or isinstance(value, str):
        raise ValueError
    return number


def label_components(
    values: npt.NDArray[Any],
    rules: ComponentRules,
    dtype: npt.DTypeLike,
    *,
    dust: int | None = None,
    is_described: bool = True,
) -> Components:
    """Return the components of a volume of three axes, numbered in the order of their first voxels, from 1 on.

    Parameters
    ----------
    dtype : uint32 or uint64
        Of the numbers; see `number_dtype`.
    dust : int, optional
        In place of that of the rules.
    is_described : bool, optional
        Whether the sizes and first voxels are wanted, which take time where there are many components.
    """
    background = rules.background
    if rules.has_threshold:
        values, background = _inside(values, rules), 0
    native = np.require(values, values.dtype.newbyteorder("="), "A")
    # the kernel runs along the last axis
    order = sorted(range(MOST_AXES), key=lambda axis: (native.shape[axis] > 1, -abs(native.strides[axis])))
    if native.shape[order[0]] == 1:
        # of runs it keeps two planes, which are rows then
        order[:2] = order[1], order[0]
    bits = native.transpose(order).view(f"u{native.itemsize}")
    numbers = np.empty(bits.shape, dtype)
    steps = [math.prod(native.shape[axis + 1 :]) for axis in order]
    count, sizes, firsts = kernels.components(
        bits,
        numbers,
        tuple(steps),
        rules.reach,
        _bits(background, native.dtype),
        rules.dust if dust is None else dust,
        is_described,
    )
    return Components(
        count,
        numbers.transpose(np.argsort(order)),
        np.frombuffer(sizes, numbers.dtype),
        np.frombuffer(firsts, numbers.dtype),
    )


def _inside(values: npt.NDArray[Any], rules: ComponentRules) -> npt.NDArray[np.bool_]:
    """Return which voxels are inside the threshold."""
    inside = np.ones(values.shape, np.bool_)
    with np.errstate(over="ignore"):
        if rules.low is not None:
            inside &= values >= rules.low
        if rules.high is not None:
            inside &= values <= rules.high
    return inside


def _bits(background: int | None, dtype: np.dtype[Any]) -> int | None:
    """Return the bits of the background, None if no voxel can have it."""
    if background is None:
        return None
    least, most = (0, 1) if dtype.kind == "b" else (np.iinfo(dtype).min, np.iinfo(dtype).max)
    return background % 2 ** (8 * dtype.itemsize) if least <= background <= most else None


def padded(shape: Shape) -> Shape:
    """Return a shape of three axes: those in front have length 1."""
    return (1,) * (MOST_AXES - len(shape)) + shape


def number_dtype(voxels: int) -> np.dtype[Any]:
    """Return the dtype of numbers while there may be as many components as voxels, with a bit that is left."""
    return np.dtype(np.uint32 if voxels < 2**31 else np.uint64)


def checked_dtype(dtype: Any) -> np.dtype[Any] | None:
    """Return the dtype that was asked for.

    Raises
    ------
    ArgumentError
        If it is none of integers.
    """
    if dtype is None:
        return None
    try:
        made: np.dtype[Any] = np.dtype(dtype).newbyteorder("=")
    except TypeError:
        made = np.dtype(object)
    if made.kind not in "iu":
        raise ArgumentError(f"dtype must be one of integers, but {dtype!r} was given")
    return made


def fitting_dtype(count: int, dtype: np.dtype[Any] | None) -> np.dtype[Any]:
    """Return the dtype of the numbers of so many components: the smallest one, or the one that was asked for.

    Raises
    ------
    ArgumentError
        If the one that was asked for does not hold them.
    """
    if dtype is None:
        return np.dtype(np.uint32 if count < 2**32 else np.uint64)
    if count > np.iinfo(dtype).max:
        raise ArgumentError(f"there are {count} components, which {dtype} does not hold: give a wider dtype")
    return dtype
