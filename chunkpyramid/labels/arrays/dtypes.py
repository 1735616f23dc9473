"""The dtypes that values need: the smallest that fits, the next smaller, the next larger."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from chunkpyramid.errors import ArgumentError
from chunkpyramid.labels.arrays.in_memory import Array
from chunkpyramid.labels.arrays.scan import minmax

__all__ = ["fit_dtype", "narrow_dtype", "refit", "widen_dtype"]

DTypeLike = npt.DTypeLike

INTEGERS: dict[str, tuple[type[Any], ...]] = {
    "u": (np.uint8, np.uint16, np.uint32, np.uint64),
    "i": (np.int8, np.int16, np.int32, np.int64),
}


def _unsupported(dtype: np.dtype[Any]) -> ArgumentError:
    return ArgumentError(f"dtype must be of integers, floats or complex numbers, but it is {dtype}")


def _fitting(dtype: np.dtype[Any], exotics: bool) -> tuple[type[Any], ...]:
    """Return the dtypes of a kind that values are fitted to."""
    if dtype.kind in INTEGERS:
        return INTEGERS[dtype.kind]
    if dtype.kind == "f":
        return (np.float16, np.float32, np.float64) if exotics else (np.float32, np.float64)
    if dtype.kind == "c":
        return (np.complex64, np.complex128) if exotics else (np.complex64,)
    raise _unsupported(dtype)


def fit_dtype(dtype: DTypeLike, value: Any, exotics: bool = False) -> type[Any]:
    """Return the smallest dtype of the kind of another one that holds a value.

    Parameters
    ----------
    dtype : dtype
        Integers, floats or complex numbers.
    value : number
        What has to fit.
    exotics : bool, default False
        Whether float16 and complex128 may be chosen.

    Returns
    -------
    type
        A scalar type of NumPy, such as ``numpy.uint8``.

    Raises
    ------
    ArgumentError
        If no dtype of that kind holds the value, or the kind is another one.

    Examples
    --------
    >>> import numpy as np
    >>> fit_dtype(np.uint64, 300), fit_dtype(np.int8, -129), fit_dtype(np.float64, 1)
    (<class 'numpy.uint16'>, <class 'numpy.int16'>, <class 'numpy.float32'>)
    """
    given = np.dtype(dtype)
    fitting = _fitting(given, exotics)
    if given.kind == "u" and value < 0:
        raise ArgumentError(f"{value} is negative, but {given} is unsigned")
    if isinstance(value, complex) and given.kind in "if":
        value = abs(value)
    for candidate in fitting:
        if given.kind in INTEGERS:
            limits = np.iinfo(candidate)
            if limits.min <= value <= limits.max:
                return candidate
        elif np.isfinite(_cast(value, candidate)):
            return candidate
    raise ArgumentError(f"no dtype like {given} fits {value}")


def _cast(value: Any, candidate: type[Any]) -> Any:
    with np.errstate(over="ignore"):
        return candidate(value)


def narrow_dtype(dtype: DTypeLike, exotics: bool = False) -> Any:
    """Return the next smaller dtype of the same kind, or the dtype itself if it is the smallest.

    Parameters
    ----------
    dtype : dtype
        Integers, floats or complex numbers, or anything of 1 byte.
    exotics : bool, default False
        Whether float32 becomes float16.

    Returns
    -------
    type or dtype
        A scalar type of NumPy.

    Raises
    ------
    ArgumentError
        If the dtype is of another kind, or float16 where ``exotics`` is False.

    Examples
    --------
    >>> import numpy as np
    >>> narrow_dtype(np.uint64), narrow_dtype(np.float32), narrow_dtype(np.float32, exotics=True)
    (<class 'numpy.uint32'>, <class 'numpy.float32'>, <class 'numpy.float16'>)
    """
    given = np.dtype(dtype)
    if given.itemsize == 1:
        return given
    if given.kind == "f":
        chain: tuple[type[Any], ...] = (np.float32, np.float64, np.longdouble)
        chain = (np.float16, *chain) if exotics else chain
    elif given.kind == "c":
        chain = (np.complex64, np.complex128, np.clongdouble)
    else:
        chain = _fitting(given, exotics)
    return chain[max(0, _place(given, chain) - 1)]


def widen_dtype(dtype: DTypeLike, exotics: bool = False) -> type[Any]:
    """Return the next larger dtype of the same kind, or the same one if it is the largest.

    Parameters
    ----------
    dtype : dtype
        Integers, floats or complex numbers.
    exotics : bool, default False
        Whether longdouble, complex128 and clongdouble may be chosen.

    Returns
    -------
    type
        A scalar type of NumPy.

    Raises
    ------
    ArgumentError
        If the dtype is of another kind, or one that only ``exotics=True`` knows.

    Examples
    --------
    >>> import numpy as np
    >>> widen_dtype(np.uint8), widen_dtype(np.int64), widen_dtype(np.float32)
    (<class 'numpy.uint16'>, <class 'numpy.int64'>, <class 'numpy.float64'>)
    """
    given = np.dtype(dtype)
    if given.kind == "f":
        chain: tuple[type[Any], ...] = (np.float16, np.float32, np.float64)
        chain = (*chain, np.longdouble) if exotics else chain
    elif given.kind == "c":
        chain = (np.complex64, np.complex128, np.clongdouble) if exotics else (np.complex64,)
    else:
        chain = _fitting(given, exotics)
    return chain[min(len(chain) - 1, _place(given, chain) + 1)]


def _place(dtype: np.dtype[Any], chain: tuple[type[Any], ...]) -> int:
    for place, candidate in enumerate(chain):
        if dtype == candidate:
            return place
    names = ", ".join(np.dtype(candidate).name for candidate in chain)
    raise ArgumentError(f"dtype must be one of {names}, but it is {dtype.str}")


def refit(arr: Array, value: Any = None, increase_only: bool = False, exotics: bool = False) -> Array:
    """Return an array in the smallest dtype of its kind that holds a value.

    Parameters
    ----------
    arr : ndarray
        Integers, floats or complex numbers.
    value : number, optional
        What has to fit; by default all that is in the array. If a value is given, others that do not fit wrap around.
    increase_only : bool, default False
        Whether the dtype stays where it is large enough.
    exotics : bool, default False
        Whether float16 and complex128 may be chosen.

    Returns
    -------
    ndarray
        The array itself if its dtype stays, else a copy in the same memory order.

    Raises
    ------
    ArgumentError
        If no dtype of that kind holds the value, or the kind is another one.
    TypeError
        If no value is given and the array is of a dtype that has no smallest value here, such as complex numbers.

    Examples
    --------
    >>> import numpy as np
    >>> refit(np.array([1, 300], np.uint64)).dtype, refit(np.array([1, 3], np.uint8), 70_000).dtype
    (dtype('uint16'), dtype('uint32'))
    """
    fitted: Any
    if value is not None:
        fitted = fit_dtype(arr.dtype, value, exotics)
    else:
        fitted = _fit_all(arr, exotics)
    if (increase_only and np.dtype(fitted).itemsize <= arr.dtype.itemsize) or fitted == arr.dtype:
        return arr
    return arr.astype(fitted)


def _fit_all(arr: Array, exotics: bool) -> type[Any]:
    if arr.size == 0:
        minmax(arr)
        return fit_dtype(arr.dtype, 0, exotics)
    # both ends, for the one nearer to zero can need the larger dtype
    return max(
        (fit_dtype(arr.dtype, end, exotics) for end in minmax(arr)), key=lambda fitted: np.dtype(fitted).itemsize
    )
