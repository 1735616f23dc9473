"""What tells a user's function from others, in this process and in the next."""

from __future__ import annotations

import functools
import hashlib
import sys
import sysconfig
import types
from collections.abc import Mapping
from typing import Any

import cloudpickle
import numpy as np

from chunkpyramid.digests import digest_of

__all__ = ["function_digest"]


# what a function looks up in its module and cannot change
CONSTANT = (types.FunctionType, bool, int, float, complex, str, bytes, tuple, frozenset)


def function_digest(function: Any) -> str:
    """Return a digest of the code of a function and of what it holds.

    It is that of its bytecode and constants, of its defaults, of the variables that it encloses, and of the functions
    and constants of its module that it names; not that of the file and the lines in which it is written. Functions of
    installed packages are known by their names. What it looks up elsewhere, or in what can change, is not known.

    Examples
    --------
    >>> def double(values):
    ...     return 2 * values
    >>> function_digest(double) == function_digest(lambda values: 2 * values)
    True
    >>> function_digest(double) == function_digest(lambda values: 3 * values)
    False
    """
    try:
        told = repr(_told(function, {})).encode()
    except RecursionError:
        told = _pickled(function).encode()
    return hashlib.sha256(told).hexdigest()


def _told(value: Any, seen: dict[int, Any]) -> Any:
    """Return what tells a value from others, in values whose text is always the same."""
    if value is None or isinstance(value, bool | int | float | complex | str | bytes | np.generic):
        return type(value).__name__, repr(value)
    if isinstance(value, types.ModuleType | type | types.BuiltinFunctionType | np.ufunc):
        return "named", getattr(value, "__module__", None), getattr(value, "__qualname__", value.__name__)
    if isinstance(value, np.ndarray) and not value.dtype.hasobject:
        return "array", value.shape, str(value.dtype), digest_of(value)
    if isinstance(value, tuple):
        return "tuple", [_told(entry, seen) for entry in value]
    if isinstance(value, set | frozenset):
        return "set", sorted(repr(_told(entry, seen)) for entry in value)
    if isinstance(value, types.CodeType):
        return "code", value.co_code, value.co_names, [_told(constant, seen) for constant in value.co_consts]
    if isinstance(value, types.FunctionType) and _is_installed(value.__code__.co_filename):
        return "named", value.__module__, value.__qualname__
    # what may hold itself; the values keep their numbers as long as they are here
    if id(value) in seen:
        return ("again",)
    seen[id(value)] = value
    if isinstance(value, list):
        return "list", [_told(entry, seen) for entry in value]
    if isinstance(value, Mapping):
        return "mapping", sorted((repr(_told(key, seen)), repr(_told(entry, seen))) for key, entry in value.items())
    if isinstance(value, functools.partial):
        return "partial", [_told(part, seen) for part in (value.func, value.args, value.keywords)]
    if isinstance(value, types.MethodType):
        return "method", _told(value.__func__, seen), _told(value.__self__, seen)
    if isinstance(value, types.FunctionType):
        return "function", *_parts_of_function(value, seen)
    kind = type(value)
    is_users = not _is_installed(getattr(sys.modules.get(kind.__module__), "__file__", None) or "")
    if hasattr(value, "__dict__") and is_users:
        methods = {name: part for name, part in vars(kind).items() if isinstance(part, types.FunctionType)}
        return "object", kind.__qualname__, _told(methods, seen), _told(vars(value), seen)
    return "other", _pickled(value)


def _pickled(value: Any) -> str:
    try:
        return hashlib.sha256(cloudpickle.dumps(value)).hexdigest()
    except Exception:  # what cannot be sent anywhere, such as locks, raises what it likes
        return type(value).__qualname__


def _parts_of_function(function: types.FunctionType, seen: dict[int, Any]) -> list[Any]:
    enclosed = [_told(_content(cell), seen) for cell in function.__closure__ or ()]
    used = {
        name: _told(function.__globals__[name], seen)
        for name in sorted(_names(function.__code__))
        if isinstance(function.__globals__.get(name), CONSTANT)
    }
    held = [function.__code__, function.__defaults__, function.__kwdefaults__]
    return [*(_told(part, seen) for part in held), enclosed, used]


def _is_installed(file: str) -> bool:
    """Whether a file is of Python or an installed package, which nobody edits."""
    paths = sysconfig.get_paths()
    return file.startswith(tuple(paths[name] for name in ("stdlib", "purelib", "platlib")))


def _names(code: types.CodeType) -> set[str]:
    """Return the names that code looks up, and code inside of it."""
    inner = [_names(constant) for constant in code.co_consts if isinstance(constant, types.CodeType)]
    return set(code.co_names).union(*inner)


def _content(cell: types.CellType) -> Any:
    try:
        return cell.cell_contents
    except ValueError:
        return None  # of what is not defined yet
