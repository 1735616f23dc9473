"""How kernels see an array: as flat bits, in the order of memory."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any, Literal

import numpy as np
import numpy.typing as npt

from chunkpyramid.errors import ArgumentError
from chunkpyramid.storage.transpose import c_contiguous

__all__ = ["Array", "Order", "as_bits", "check_kind", "checked_scalar", "contiguous", "flat", "in_threads", "shaped"]

Array = npt.NDArray[Any]
Order = Literal["C", "F"]

# so few items are not worth a thread
FEW_ITEMS = 1 << 16


def contiguous(array: Array) -> tuple[Array, Order]:
    """Return an array and its order; one that is neither in C nor in Fortran order is copied in C order."""
    if array.flags.c_contiguous:
        return array, "C"
    if array.flags.f_contiguous:
        return array, "F"
    return c_contiguous(array, array.dtype), "C"


def flat(array: Array, order: Order) -> Array:
    """Return the items of a contiguous array as a view, in the order of memory."""
    return array.reshape(-1) if order == "C" else array.T.reshape(-1)


def shaped(items: Array, shape: tuple[int, ...], order: Order) -> Array:
    """Return the array that `flat` made flat."""
    return items.reshape(shape) if order == "C" else items.reshape(shape[::-1]).T


def as_bits(array: Array) -> Array:
    """Return a view as unsigned integers."""
    return array.view(f"u{array.itemsize}")


def check_kind(array: Array, kinds: str, what: str) -> None:
    """Refuse dtypes that are not of one of some kinds (float16 never is), and foreign byte orders.

    Raises
    ------
    TypeError
        If the dtype is of another kind.
    ArgumentError
        If the bytes are in the other order.
    """
    dtype = array.dtype
    if dtype.kind not in kinds or dtype.itemsize > 8 or dtype == np.float16:
        names = {"b": "bool", "i": "integers", "u": "", "f": "float32 or float64"}
        allowed = ", ".join(names[kind] for kind in kinds if names[kind])
        raise TypeError(f"{what} must be {allowed}, but they are {dtype}")
    if not dtype.isnative:
        raise ArgumentError(f"{what} are {dtype.str}: convert them to the byte order of this machine first")


def checked_scalar(value: Any, dtype: np.dtype[Any]) -> Any:
    """Return a number as the kernels compare it, bool as 0 or 1; fractions of integers are cut off.

    Raises
    ------
    TypeError
        If it is no number.
    OverflowError
        If the dtype, an integer or bool, cannot hold it.
    """
    is_number = hasattr(value, "__float__" if dtype.kind == "f" else "__int__")
    if isinstance(value, str | bytes | complex | np.complexfloating) or not is_number:
        raise TypeError(f"a number is required, not {value!r}")
    if dtype.kind == "f":
        with np.errstate(over="ignore"):
            return dtype.type(float(value))
    number = int(value)
    limits = np.iinfo("u1" if dtype.kind == "b" else dtype)
    if not limits.min <= number <= limits.max:
        raise OverflowError(f"{value} does not fit {dtype}")
    return limits.dtype.type(number)


def in_threads(work: Callable[[int, int], int], size: int, threads: int) -> list[int]:
    """Do the work from ``begin`` to ``end`` for some parts of ``size`` items, and return what each has told."""
    if threads < 1:
        raise ArgumentError(f"threads must be at least 1, but it is {threads}")
    parts = max(1, min(threads, size // FEW_ITEMS))
    if parts == 1:
        return [work(0, size)]
    # bounds are multiples of a line of the cache
    bounds = [size * part // parts // 64 * 64 for part in range(parts)] + [size]
    with ThreadPoolExecutor(parts) as pool:
        return list(pool.map(work, bounds[:-1], bounds[1:]))
