"""Random calls of all functions that fastremap and `chunkpyramid.labels.arrays` have, and what is equal in both."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

Array = npt.NDArray[Any]
Random = np.random.Generator

INTEGERS = ["u1", "u2", "u4", "u8", "i1", "i2", "i4", "i8"]
FLOATS = ["f4", "f8"]
OTHERS = ["?", "f2", "c8"]


@dataclass
class Call:
    """A function and its arguments; those of the two programs must not share memory."""

    function: str
    arguments: tuple[Any, ...]
    options: dict[str, Any]

    def copy(self) -> Call:
        return Call(self.function, tuple(_copied(a) for a in self.arguments), {**self.options})

    def run(self, module: Any) -> Any:
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")
                return getattr(module, self.function)(*self.arguments, **self.options)
        except Exception as error:
            return error

    def __str__(self) -> str:
        shown = ", ".join(_shown(a) for a in self.arguments)
        return f"{self.function}({shown}, {self.options})"


def _shown(value: Any) -> str:
    if not isinstance(value, np.ndarray):
        return repr(value)
    return f"{value.dtype.str}{value.shape} strides {value.strides} {value.flags.writeable} {value.tolist()}"


def _copied(value: Any) -> Any:
    """Return a copy with the same strides: what lies between the items is copied, too."""
    if not isinstance(value, np.ndarray):
        return value.copy() if isinstance(value, dict | list) else value
    base = value
    while isinstance(base.base, np.ndarray):
        base = base.base
    if not base.flags.forc:
        base = value = value.copy()
    memory = (base if base.flags.c_contiguous else base.T).copy()
    # a view of the copy that lies where the view of the original does
    offset = value.__array_interface__["data"][0] - base.__array_interface__["data"][0]
    copied = np.ndarray(value.shape, value.dtype, memory, offset, value.strides) if value.size else value.copy()
    copied.flags.writeable = value.flags.writeable
    return copied


def _dtype(random: Random, others: bool = True) -> np.dtype[Any]:
    names = INTEGERS * 3 + FLOATS + (OTHERS if others else [])
    return np.dtype(random.choice(names))


def _values(random: Random, dtype: np.dtype[Any], shape: tuple[int, ...]) -> Array:
    kind = random.integers(6)
    if dtype.kind == "b":
        return random.integers(0, 2, shape) > 0
    if dtype.kind not in "iu":
        values = random.integers(-4, 5, shape).astype(dtype)
        if kind == 0 and dtype.kind == "f":
            values = np.where(random.random(shape) < 0.2, np.nan, values).astype(dtype)
        return np.where(random.random(shape) < 0.1, -0.0, values).astype(dtype)
    limits = np.iinfo(dtype)
    low, high = [(0, 1), (0, 5), (-3, 4), (0, 100), (limits.min, limits.max), (limits.max - 3, limits.max)][kind]
    low, high = max(low, limits.min), min(high, limits.max)
    if random.random() < 0.3:
        palette = random.integers(low, high, 4, dtype, endpoint=True)
        return palette[random.integers(0, 4, shape)]
    return random.integers(low, high, shape, dtype, endpoint=True)


def array(random: Random, dtype: np.dtype[Any] | None = None, axes: int | None = None) -> Array:
    """Return an array of few values in any memory order, runs of equal ones in some of them."""
    dtype = _dtype(random) if dtype is None else dtype
    axes = int(random.choice([0, 1, 1, 2, 2, 3, 3, 3, 4, 5])) if axes is None else axes
    # the first is as long as two words of the kernels, sometimes
    shape = tuple(
        int(random.choice([0, 1, 2, 3, 4, 5, 6], p=[0.02, 0.13, 0.2, 0.2, 0.2, 0.15, 0.1])) for _ in range(axes)
    )
    if axes == 1 and random.random() < 0.4:
        shape = (int(random.integers(1, 300)),)
    values = np.asarray(_values(random, dtype, shape))
    if random.random() < 0.4 and axes:
        repeats = int(random.integers(2, 9))
        values = np.repeat(values, repeats, axis=int(random.integers(axes)))
    order = random.integers(6)
    if order == 1:
        values = np.asfortranarray(values)
    elif order == 2:
        values = values.transpose(random.permutation(axes))
    elif order == 3:
        values = values[
            (...,) if not axes else tuple(slice(None, None, int(random.choice([1, 2, -1]))) for _ in range(axes))
        ]
    if random.random() < 0.15:
        values = values.copy(order="K")
        values.flags.writeable = False
    return values


def _some_labels(random: Random, values: Array, most: int = 6) -> list[Any]:
    chosen = (
        [values.reshape(-1)[at].item() for at in random.integers(0, values.size, random.integers(0, most))]
        if values.size
        else []
    )
    chosen += random.integers(-3, 9, random.integers(0, 3)).tolist() if random.random() < 0.5 else []
    return [label for label in chosen if _may_be_key(label)]


def _may_be_key(label: Any) -> bool:
    """Tell whether fastremap survives a table with this label: NaN takes all memory."""
    return not isinstance(label, complex) and label == label


def _number(random: Random) -> Any:
    return [0, 1, 7, 100, 127, 200, 255, 256, -1, -128, -129, 300, 40000, 70000, 2**31, 2**33, 2**63, 2.5, True][
        random.integers(19)
    ]


# ---------------------------------------------------------------------------------------------------------- calls


def unique(random: Random) -> Call:
    options = {name: bool(random.integers(2)) for name in ("return_index", "return_inverse", "return_counts")}
    if random.random() < 0.2:
        return Call("unique", (array(random, axes=int(random.integers(1, 4))),), {**options, "axis": 0})
    options |= {"equal_nan": bool(random.integers(2))} if random.random() < 0.2 else {}
    return Call("unique", (array(random),), options)


def renumber(random: Random) -> Call:
    options: dict[str, Any] = {"preserve_zero": bool(random.integers(2)), "in_place": bool(random.integers(2))}
    if random.random() < 0.5:
        options["start"] = [0, 1, 2, 5, 100, 126, 127, 128, 200, 254, 255, 256, 300, 65534, 2**32 - 2, -1, -3][
            random.integers(17)
        ]
    values = array(random)
    if values.dtype.kind == "f":
        # NaN takes all memory there, and there is no test of how it is numbered
        values = np.nan_to_num(values)
    return Call("renumber", (values,), options)


def remap(random: Random) -> Call:
    values = array(random)
    labels = list(dict.fromkeys(_some_labels(random, values)))
    if random.random() < 0.6:
        labels = list(dict.fromkeys([*labels, *values.reshape(-1).tolist()]))
    labels = [label for label in labels if _may_be_key(label)]
    wide = random.random() < 0.3
    table = {label: _number(random) if wide else int(random.integers(0, 100)) for label in labels}
    options = {"preserve_missing_labels": bool(random.integers(2)), "in_place": bool(random.integers(2))}
    return Call("remap", (values, table), options)


def remap_from_array(random: Random) -> Call:
    dtype = np.dtype(random.choice(["u1", "u2", "u4", "u8", "u8", "i4", "?", "f4"]))
    values = array(random, dtype, 1 if random.random() < 0.9 else 2)
    table = random.integers(0, 2 if dtype.kind == "b" else 100, random.integers(1, 9)).astype(dtype)
    return Call("remap_from_array", (values, table), {"in_place": bool(random.integers(2))})


def remap_from_array_kv(random: Random) -> Call:
    dtype = _dtype(random)
    values = array(random, dtype, 1 if random.random() < 0.9 else 2)
    keys = [label for label in _some_labels(random, values) if abs(label) < 100] if dtype.kind in "iu" else [0, 1]
    keys = [max(0, key) for key in keys] if dtype.kind == "u" else keys
    options = {"preserve_missing_labels": bool(random.integers(2)), "in_place": bool(random.integers(2))}
    new = random.integers(0, 2, len(keys)).astype(dtype)
    return Call("remap_from_array_kv", (values, np.array(keys, dtype), new), options)


def mask(random: Random) -> Call:
    values = array(random)
    options = {"in_place": bool(random.integers(2))}
    if random.random() < 0.5:
        options["value"] = _number(random)
    return Call(str(random.choice(["mask", "mask_except"])), (values, _some_labels(random, values)), options)


def component_maps(random: Random) -> Call:
    axes = int(random.integers(0, 4))
    one = array(random, None if random.random() < 0.2 else np.dtype(random.choice(INTEGERS)), axes)
    other = np.empty(one.shape, random.choice(INTEGERS), order=str(random.choice(["C", "F"])))  # type: ignore[call-overload]
    other[...] = _values(random, other.dtype, one.shape)
    if random.random() < 0.1:
        other = array(random)
    return Call(str(random.choice(["component_map", "inverse_component_map"])), (one, other), {})


def scan(random: Random) -> Call:
    return Call(str(random.choice(["minmax", "foreground", "pixel_pairs"])), (array(random),), {})


def search(random: Random) -> Call:
    values = array(random, axes=1 if random.random() < 0.9 else None)
    labels = [*_some_labels(random, values), _number(random)]
    return Call("indices", (values, labels[0]), {})


def order_of_values(random: Random) -> Call:
    values = array(random, axes=1 if random.random() < 0.9 else None)
    if values.ndim == 1 and random.random() < 0.7:
        values = np.sort(values)[:: int(random.choice([1, -1]))]
    return Call("is_sorted", (values, bool(random.integers(2))), {})


def solid(random: Random) -> Call:
    values = array(random)
    if random.random() < 0.7 and values.size:
        values = np.full_like(values, values.reshape(-1)[0])
    labels = [*_some_labels(random, values), _number(random)]
    return Call("is_solid", (values, labels[0]) if random.random() < 0.6 else (values,), {})


def points(random: Random) -> Call:
    axes = int(random.choice([2, 3])) if random.random() < 0.95 else None
    return Call("point_cloud", (array(random, axes=axes),), {})


def refit(random: Random) -> Call:
    options = {"increase_only": bool(random.integers(2)), "exotics": bool(random.integers(2))}
    value = (_number(random),) if random.random() < 0.5 else ()
    return Call("refit", (array(random), *value), options)


def dtypes(random: Random) -> Call:
    dtype = np.dtype(random.choice([*INTEGERS, "f2", "f4", "f8", "c8", "c16", "?", "S2", "g", "G"]))
    exotics = {"exotics": bool(random.integers(2))}
    if random.random() < 0.6:
        value = (
            _number(random) if random.random() < 0.7 else [1e30, 1e39, -1e300, 65504, 65520, 1e39j][random.integers(6)]
        )
        return Call("fit_dtype", (dtype, value), exotics)
    return Call(str(random.choice(["narrow_dtype", "widen_dtype"])), (dtype,), exotics)


def memory_order(random: Random) -> Call:
    name = str(random.choice(["transpose", "asfortranarray", "ascontiguousarray"]))
    if random.random() < 0.3:
        side, axes = int(random.integers(1, 40)), int(random.integers(2, 4))
        values = _values(random, _dtype(random), (side,) * axes)
        return Call(name, (np.asarray(values, order=str(random.choice(["C", "F"]))),), {})  # type: ignore[call-overload]
    return Call(name, (array(random),), {})


def chunks(random: Random) -> Call:
    values = array(random, axes=3 if random.random() < 0.95 else None)
    sizes = [int(random.choice([d for d in range(1, n + 1) if n % d == 0] or [1])) for n in values.shape]
    if random.random() < 0.1:
        sizes[0:1] = [3]
    return Call("tobytes", (values, tuple(sizes), str(random.choice(["C", "F"]))), {})


KINDS: list[Callable[[Random], Call]] = [
    unique, renumber, remap, remap_from_array, remap_from_array_kv, mask, mask, component_maps, scan, search,
    order_of_values, solid, points, refit, dtypes, memory_order, chunks,
]  # fmt: skip


# ----------------------------------------------------------------------------------------------------- comparison


def differs_on_purpose(call: Call) -> bool:
    """Tell whether this is one of the calls whose results are wrong in fastremap."""
    values = call.arguments[0]
    if call.function == "mask_except" and call.options.get("in_place") and not values.flags.forc:
        # what it returns is memory that was never written
        return True
    if call.function == "unique" and values.dtype.kind == "i" and values.size:
        # it writes outside of its memory, and often dies of it
        return int(values.max()) - int(values.min()) > np.iinfo(values.dtype).max
    if call.function == "refit" and len(call.arguments) == 1 and values.dtype.kind == "i" and values.size:
        # of ends as far from zero as one another it fits the negative one only
        return int(values.max()) == -int(values.min())
    return False


def difference(ours: Any, theirs: Any, call: Call) -> str | None:
    """Return in what two results differ, or None."""
    if isinstance(theirs, Exception):
        if not isinstance(ours, Exception):
            return f"no {type(theirs).__name__}: {theirs}"
        kind = next(kind for kind in type(theirs).__mro__ if kind.__module__ in ("builtins", "numpy.exceptions"))
        return None if isinstance(ours, kind) else f"{ours!r} instead of {theirs!r}"
    if isinstance(ours, Exception):
        return f"{ours!r} instead of {theirs!r}"
    return _difference(ours, theirs, call)


def _difference(ours: Any, theirs: Any, call: Call) -> str | None:
    if isinstance(theirs, np.ndarray):
        return _difference_of_arrays(ours, theirs, call)
    if isinstance(theirs, tuple | list):
        if type(ours) is not type(theirs) or len(ours) != len(theirs):
            return f"{ours!r} instead of {theirs!r}"
        told = (_difference(one, other, call) for one, other in zip(ours, theirs, strict=True))
        return next((text for text in told if text), None)
    if isinstance(theirs, dict):
        return _difference_of_dicts(ours, theirs, call)
    same = type(ours) is type(theirs) and (ours == theirs or (ours != ours and theirs != theirs))
    return None if same else f"{ours!r} instead of {theirs!r}"


def _difference_of_arrays(ours: Any, theirs: Array, call: Call) -> str | None:
    if not isinstance(ours, np.ndarray) or ours.dtype != theirs.dtype or ours.shape != theirs.shape:
        return f"{_shown(ours)} instead of {_shown(theirs)}"
    for flag in ("C_CONTIGUOUS", "F_CONTIGUOUS", "WRITEABLE"):
        if theirs.size and ours.flags[flag] != theirs.flags[flag]:
            return f"{flag} is {ours.flags[flag]}: {_shown(ours)} instead of {_shown(theirs)}"
    same = np.array_equal(ours, theirs, equal_nan=theirs.dtype.kind in "fc")
    return None if same else f"{_shown(ours)} instead of {_shown(theirs)}"


def _difference_of_dicts(ours: Any, theirs: dict[Any, Any], call: Call) -> str | None:
    if type(ours) is not type(theirs):
        return f"{type(ours)} instead of {type(theirs)}"
    if call.function == "point_cloud":
        # in which order it has points is chance
        ours = {label: sorted(map(tuple, cloud.tolist())) for label, cloud in ours.items()}
        theirs = {label: sorted(map(tuple, cloud.tolist())) for label, cloud in theirs.items()}
    if call.function == "inverse_component_map":
        ours = {label: sorted(members) for label, members in ours.items()}
        theirs = {label: sorted(members) for label, members in theirs.items()}
    # NaN differ from one another, but there must be as many
    plain = [sorted((repr(key), repr(value)) for key, value in told.items()) for told in (ours, theirs)]
    if call.function == "renumber":
        plain = [[pair for pair in pairs if "nan" not in pair[0]] for pairs in plain]
        plain[0].append(("", str(len(ours))))
        plain[1].append(("", str(len(theirs))))
    plain = [[(key.replace("-0.0", "0.0"), value) for key, value in pairs] for pairs in plain]
    return None if plain[0] == plain[1] else f"{ours!r} instead of {theirs!r}"


def compare(ours: Any, theirs: Any, seed: int) -> str | None:
    """Make one random call of both programs, and return in what they differ, or None."""
    random = np.random.default_rng(seed)
    call = KINDS[random.integers(len(KINDS))](random)
    if differs_on_purpose(call):
        return None
    their_call, our_call = call.copy(), call.copy()
    their_result, our_result = their_call.run(theirs), our_call.run(ours)
    told = difference(our_result, their_result, call)
    if told is None and not isinstance(their_result, Exception):
        # what was in the memory that was given is the same afterwards
        told = _difference_of_memory(our_call.arguments, their_call.arguments, call)
    return None if told is None else f"seed {seed}: {call}: {told}"


def _difference_of_memory(ours: tuple[Any, ...], theirs: tuple[Any, ...], call: Call) -> str | None:
    for one, other in zip(ours, theirs, strict=True):
        if isinstance(other, np.ndarray) and not np.array_equal(one, other, equal_nan=other.dtype.kind in "fc"):
            return f"the input became {_shown(one)} instead of {_shown(other)}"
    return None
