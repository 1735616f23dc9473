"""The values of coordinates: whether they are evenly spaced, and what tells them from others."""

from __future__ import annotations

import hashlib
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from chunkpyramid.digests import SLAB, digest_of

if TYPE_CHECKING:
    import xarray as xr

__all__ = ["regular_step", "values_digest", "values_of"]

SECONDS = {"W": 604800, "D": 86400, "h": 3600, "m": 60, "s": 1, "ms": 1e-3, "us": 1e-6, "ns": 1e-9}


def values_of(variable: xr.Variable) -> npt.NDArray[Any] | None:
    """Return the values of a variable, None if they are of a kind that pandas has and NumPy has not."""
    return variable.values if isinstance(variable.dtype, np.dtype) else None


def values_digest(variable: xr.Variable) -> str:
    """Return a digest of the values of a variable, of which those of several axes are read a slab at a time."""
    rows = max(1, SLAB // max(1, variable[:1].nbytes)) if variable.ndim > 1 else variable.size
    slabs = [variable[start : start + rows] for start in range(0, len(variable), rows)] if variable.ndim else [variable]
    digest = hashlib.sha256()
    for slab in slabs:
        values = np.asarray(slab.values)
        digest.update((repr(values.tolist()) if values.dtype.hasobject else digest_of(values)).encode())
    return digest.hexdigest()


def regular_step(values: npt.NDArray[Any] | None) -> tuple[float, float] | None:
    """Return first value and step of evenly spaced numbers, times or durations, or None if they are none.

    Those of times and durations are in seconds, of times since 1970. One value alone has step 1.
    """
    if values is None or values.ndim != 1 or values.size == 0:
        return None
    if values.dtype.kind in "mM":
        return _regular_seconds(values)
    if values.dtype.kind not in "iuf":
        return None
    numbers = values.astype(np.float64)
    if numbers.size == 1:
        return float(numbers[0]), 1.0
    step = (numbers[-1] - numbers[0]) / (numbers.size - 1)
    ideal = numbers[0] + step * np.arange(numbers.size)
    # single-precision coordinates are regular only up to their own rounding
    precision = np.finfo(values.dtype).eps if values.dtype.kind == "f" else np.finfo(np.float64).eps
    tolerance = 8 * precision * np.max(np.abs(numbers)) + 1e-6 * abs(step)
    if step == 0 or not np.all(np.abs(numbers - ideal) <= tolerance):
        return None
    return float(numbers[0]), float(step)


def _regular_seconds(values: npt.NDArray[Any]) -> tuple[float, float] | None:
    unit, count = np.datetime_data(values.dtype)
    if unit not in SECONDS or np.isnat(values).any():
        return None
    seconds = count * SECONDS[unit]
    numbers = values.astype(np.int64)
    steps = np.diff(numbers)
    if not steps.size:
        return float(numbers[0]) * seconds, 1.0
    is_even = steps[0] != 0 and (steps == steps[0]).all()
    return (float(numbers[0]) * seconds, float(steps[0]) * seconds) if is_even else None
