"""Values that stand for missing voxels, and attributes as they are stored.

The conventions are those of CF (``_FillValue`` and ``missing_value``), as xarray writes them to zarr: in format 2 the
fill value of the array is the missing value, in format 3 an attribute, which for floats is base64 of their bytes.
"""

from __future__ import annotations

import base64
import math
import struct
from collections.abc import Mapping
from typing import Any

import numpy as np

from chunkpyramid.errors import ArgumentError
from chunkpyramid.reductions.methods import can_be_sparse
from chunkpyramid.warn import warn

__all__ = [
    "check_signs",
    "declared_missing",
    "leaving_out_missing",
    "plain_attributes",
    "stored_attributes",
    "with_finite_numbers",
]

FILL, MISSING, UNSIGNED = "_FillValue", "missing_value", "_Unsigned"


def plain_attributes(attributes: Mapping[str, Any], dtype: Any, owner: str = "") -> dict[str, Any]:
    """Return attributes in values that JSON can hold, also those that NumPy holds; the others are warned of.

    The warnings say that they are those of the ``owner``, such as " of the coordinate 'time'".
    """
    plain: dict[str, Any] = {}
    for name, value in attributes.items():
        if name in (FILL, MISSING):
            value = _decoded(value, dtype)
        try:
            plain[str(name)] = _plain(value)
        except TypeError:
            warn(
                f"the attribute {name!r}{owner} is left out: zarr cannot store {type(value).__name__} in attributes; "
                "convert it, or drop it from the source"
            )
    missing = plain.get(MISSING)
    if getattr(dtype, "kind", "O") == "f" and isinstance(missing, float) and missing != missing:
        # JSON has no NaN, but there is a way to store this one
        del plain[MISSING]
        plain.setdefault(FILL, missing)
    return plain


def _plain(value: Any) -> Any:
    if isinstance(value, np.generic | np.ndarray):
        if value.dtype.kind not in "biufUS":
            raise TypeError
        value = value.astype(str).tolist() if value.dtype.kind == "S" else value.tolist()
    if isinstance(value, Mapping):
        return {str(key): _plain(entry) for key, entry in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(entry) for entry in value]
    if value is None or isinstance(value, str | int | float | bool):
        return value
    raise TypeError


def _decoded(value: Any, dtype: Any) -> Any:
    """Return a fill value of floats that may be base64 or the name of a number."""
    if not isinstance(value, str) or getattr(dtype, "kind", "O") != "f":
        return value
    try:
        return float(value)
    except ValueError:
        pass
    try:
        (number,) = struct.unpack("<d", base64.standard_b64decode(value))
    except (ValueError, struct.error):
        return value
    return number


def stored_attributes(
    attributes: Mapping[str, Any], dtype: np.dtype[Any], zarr_format: int, fill_value: Any
) -> dict[str, Any]:
    """Return plain attributes as they are stored with an array of this format.

    In format 2 the missing value is the fill value of the array, if that can be it.
    """
    stored = dict(attributes)
    declared = stored.get(FILL)
    is_number = isinstance(declared, int | float)
    if zarr_format == 3 and is_number and dtype.kind == "f":
        stored[FILL] = base64.standard_b64encode(struct.pack("<d", float(stored[FILL]))).decode()
    elif zarr_format == 2 and is_number and fill_value is not None and _same(declared, fill_value):
        del stored[FILL]
    return {name: with_finite_numbers(value) for name, value in stored.items()}


def with_finite_numbers(value: Any) -> Any:
    """Return a plain value with NaN and infinities as strings, as zarr spells them: JSON has no such numbers."""
    if isinstance(value, Mapping):
        return {key: with_finite_numbers(entry) for key, entry in value.items()}
    if isinstance(value, list):
        return [with_finite_numbers(entry) for entry in value]
    if isinstance(value, float) and not math.isfinite(value):
        return "NaN" if value != value else "Infinity" if value > 0 else "-Infinity"
    return value


def declared_missing(attributes: Mapping[str, Any], dtype: np.dtype[Any]) -> Any:
    """Return the value that plain attributes declare to stand for missing voxels, None if they declare none.

    One that voxels of this dtype cannot have is warned of, and so is a second one: only one value can be left out.
    """
    found: list[tuple[str, Any]] = []
    for name in (FILL, MISSING):
        values = attributes.get(name)
        for value in values if isinstance(values, list) else [values]:
            number = _as_number(value, dtype)
            if number is not None and not any(_same(number, other) for _, other in found):
                found.append((name, number))
            elif number is None and value is not None:
                warn(f"{name}={value!r} is no value that voxels of dtype {dtype} can have, so it is not left out")
    if not found:
        return None
    (name, chosen), *others = found
    if others:
        warn(
            f"{name}={chosen!r} is left out of the levels, and {others[0][0]}={others[0][1]!r} is not: only one value "
            "can be; replace one by the other in the source"
        )
    return chosen


def check_signs(attributes: Mapping[str, Any], dtype: np.dtype[Any]) -> None:
    """Raise `ArgumentError` if attributes say that integers of this dtype stand for others, as those of netCDF-3 do."""
    told = str(attributes.get(UNSIGNED, "")).lower()
    if (dtype.kind, told) in (("i", "true"), ("u", "false")):
        meant = "unsigned" if told == "true" else "signed"
        raise ArgumentError(
            f"the source has dtype {dtype}, and its attribute {UNSIGNED}={attributes[UNSIGNED]!r} says that the values "
            f"are {meant}: give what xarray.open_zarr decodes it to, or a view of it with dtype {meant} and without "
            "the attribute"
        )


def leaving_out_missing(missing: Any, method: str, sparse: bool | None, background: Any) -> tuple[Any, Any]:
    """Return ``sparse`` and ``background`` with what None stands for: voxels that are declared missing do not count."""
    if sparse is None and background is None and missing is not None:
        if can_be_sparse(method):
            return True, missing
        warn(
            f"the source declares {missing!r} missing, but method {method!r} takes it for a value like all others: "
            "replace it in the source, or give sparse=False if that is right"
        )
    if background is None:
        background = missing if sparse and missing is not None else 0
    return sparse is not None and sparse, background


def _as_number(value: Any, dtype: np.dtype[Any]) -> Any:
    if isinstance(value, str) and dtype.kind == "f":
        try:
            value = float(value)
        except ValueError:
            return None
    if isinstance(value, bool | np.bool_) and dtype.kind != "b":
        return None
    if not isinstance(value, int | float | np.number | np.bool_) or dtype.kind not in "biuf":
        return None
    if dtype.kind == "f":
        return float(dtype.type(value))
    if not math.isfinite(value) or value != int(value):
        return None
    info = np.iinfo(dtype) if dtype.kind in "iu" else None
    low, high = (0, 1) if info is None else (info.min, info.max)
    return int(value) if low <= value <= high else None


def _same(first: Any, second: Any) -> bool:
    return bool(first == second or (first != first and second != second))
