"""What tells functions from each other must be the same in every process, and not where they are written."""

from __future__ import annotations

import functools
import importlib.util
import subprocess
import sys
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import zarr
from scipy import ndimage

from chunkpyramid.volumes.function_digest import function_digest

MODULE = """
NAMES = {names}
FACTOR = 3
COUNTER = {{"calls": 0}}

def helper(values):
    return values * FACTOR

def function(values, extra={extra}):
    COUNTER["calls"] += 1
    if "alpha" in {{"alpha", "beta", "gamma", "delta"}}:
        return helper(values) {change}
    return values
"""


def loaded(folder: Path, name: str = "module", text: str = MODULE, **parts: str) -> Callable[..., Any]:
    options = {"names": "frozenset('abcdef')", "extra": "1", "change": "+ 1"} | parts
    path = folder / f"{name}.py"
    path.write_text(text.format(**options))
    spec = importlib.util.spec_from_file_location(name, path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    function: Callable[..., Any] = module.function
    return function


def test_file_lines_and_what_was_counted_make_no_difference(tmp_path: Path) -> None:
    first = loaded(tmp_path)
    digest = function_digest(first)
    first(np.ones(3))
    assert function_digest(first) == digest
    assert function_digest(loaded(tmp_path, "other")) == digest
    assert function_digest(loaded(tmp_path, text="\n\n# a comment\n" + MODULE)) == digest


@pytest.mark.parametrize(
    "change",
    [
        {"change": "+ 2"},
        {"change": "- 1"},
        {"extra": "2"},
        {"text": MODULE.replace("FACTOR = 3", "FACTOR = 4")},
        {"text": MODULE.replace("values * FACTOR", "FACTOR - values")},
    ],
)
def test_other_code_constants_and_helpers_do(tmp_path: Path, change: dict[str, str]) -> None:
    assert function_digest(loaded(tmp_path)) != function_digest(loaded(tmp_path, "other", **change))


class Scaled:
    def __init__(self, factor: float, names: set[str]):
        self.factor, self.names = factor, names

    def __call__(self, values: Any) -> Any:
        return values * self.factor

    def method(self, values: Any) -> Any:
        return values + self.factor


def enclosing(value: Any) -> Callable[[Any], Any]:
    return lambda values: values + value


@pytest.mark.parametrize(
    ("first", "second"),
    [
        (enclosing(1), enclosing(2)),
        (enclosing(np.arange(3)), enclosing(np.arange(4))),
        (enclosing([1, {2: 3}]), enclosing([1, {2: 4}])),
        (functools.partial(np.add, 1), functools.partial(np.add, 2)),
        (Scaled(1, set()), Scaled(2, set())),
        (Scaled(1, set()).method, Scaled(2, set()).method),
        (Scaled(1, {"a"}), Scaled(1, {"b"})),
        (np.add, np.maximum),
        (ndimage.gaussian_filter, ndimage.uniform_filter),
        (len, sum),
    ],
)
def test_what_a_function_holds_tells_it_from_others(first: Any, second: Any) -> None:
    assert function_digest(first) == function_digest(first) != function_digest(second)


def test_what_has_been_used_is_what_it_was(tmp_path: Path) -> None:
    array = zarr.create_array(tmp_path / "array.zarr", data=np.arange(12).reshape(3, 4), chunks=(2, 2))
    function = enclosing(array)
    digest = function_digest(function)
    assert array[1, 2] == 6
    assert array.nchunks_initialized == 4
    assert function_digest(function) == digest


def test_what_cannot_be_pickled_or_is_very_deep_has_a_digest() -> None:
    deep: list[Any] = []
    for _ in range(5000):
        deep = [deep]
    for value in (threading.Lock(), deep):
        assert function_digest(enclosing(value)) == function_digest(enclosing(value))


def test_what_holds_itself_has_a_digest() -> None:
    loop: list[Any] = []
    loop.append(loop)
    assert function_digest(enclosing(loop)) == function_digest(enclosing(loop))


PROGRAM = """
import functools
from chunkpyramid.volumes.function_digest import function_digest
names = frozenset({"alpha", "beta", "gamma", "delta"})
class Held:
    def __init__(self): self.names = {"alpha", "beta", "gamma", "delta"}
    def __call__(self, values): return values
def function(values): return "alpha" in {"alpha", "beta", "gamma"} and values in names
print(function_digest(function), function_digest(Held()), function_digest(functools.partial(function, 1)))
"""


def test_digests_are_the_same_in_every_process() -> None:
    runs = {
        subprocess.run([sys.executable, "-c", PROGRAM], capture_output=True, text=True, check=True).stdout
        for _ in range(4)
    }
    assert len(runs) == 1
