"""All functions give what those of fastremap give: values, dtypes, memory orders and kinds of exceptions."""

from __future__ import annotations

import doctest
import inspect

import pytest
from helpers.fastremap_cases import KINDS, compare

from chunkpyramid.labels import arrays


@pytest.mark.parametrize("part", range(4))
def test_random_calls(part: int) -> None:
    fastremap = pytest.importorskip("fastremap")
    differences = [compare(arrays, fastremap, seed) for seed in range(part * 500, part * 500 + 500)]
    assert [text for text in differences if text] == []


def test_there_is_every_public_name_with_its_parameters() -> None:
    fastremap = pytest.importorskip("fastremap")
    names = {name for name in dir(fastremap) if not name.startswith("_") and callable(getattr(fastremap, name))}
    assert names <= set(arrays.__all__)
    for name in names:
        function = getattr(fastremap, name)
        if type(function).__name__ != "fused_cython_function":
            theirs = inspect.signature(function).parameters
            ours = inspect.signature(getattr(arrays, name)).parameters
            assert [*theirs] == [key for key in ours if key != "threads" or "threads" in theirs]
            assert all(ours[key].default == theirs[key].default for key in theirs)
            assert all(ours[key].kind == theirs[key].kind for key in theirs)


def test_every_function_is_among_the_random_calls() -> None:
    text = "".join(inspect.getsource(kind) for kind in KINDS)
    assert all(f'"{name}"' in text for name in arrays.__all__)


@pytest.mark.parametrize("name", arrays.__all__)
def test_examples(name: str) -> None:
    thing = getattr(arrays, name)
    (test,) = doctest.DocTestFinder(recurse=False).find(thing, name, module=inspect.getmodule(thing))
    assert test.examples
    assert doctest.DocTestRunner(optionflags=doctest.NORMALIZE_WHITESPACE).run(test).failed == 0
