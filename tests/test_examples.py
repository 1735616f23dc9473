"""The examples in docstrings, in the README and in examples/ run and show what they say."""

from __future__ import annotations

import doctest
import inspect
import os
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import zarr
from helpers.child import run

import chunkpyramid as cp

EXAMPLES = sorted((Path(__file__).parent.parent / "examples").glob("*.py"))
FUNCTIONS = [name for name in cp.__all__ if inspect.isfunction(getattr(cp, name))]


@pytest.mark.parametrize("path", EXAMPLES, ids=lambda path: path.name)
def test_example_script(path: Path, tmp_path: Path) -> None:
    command = [sys.executable, "-W", "error", str(path)]
    # the script is to find the package that is tested, installed or not
    environment = {**os.environ, "PYTHONPATH": str(Path(cp.__file__).parent.parent)}
    done = subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr
    assert done.stderr == ""
    assert done.stdout
    assert not list(tmp_path.iterdir())


def test_there_are_examples() -> None:
    assert {path.stem for path in EXAMPLES} >= {"image", "labels", "grid"}


README = (Path(__file__).parent.parent / "README.md").read_text()
IN_README = dict(re.findall(r"^## ([^\n]+)\n\n```python\n(.*?)```", README, flags=re.DOTALL | re.MULTILINE))


@pytest.mark.parametrize("title", IN_README)
def test_example_in_the_readme(title: str, tmp_path: Path) -> None:
    zarr.create_array(tmp_path / "volume.zarr" / "0", data=np.ones((128, 128, 128), np.uint8), chunks=(64, 64, 64))
    done = run(IN_README[title], folder=tmp_path)
    assert (done.returncode, done.stderr) == (0, "")
    if title == "Checking and mending":
        assert "1      (1, 0, 1)  differs  repaired" in done.stdout
        assert done.stdout.endswith("True\n")


def test_there_are_examples_in_the_readme() -> None:
    expected = {"Images", "Labels", "xarray", "Your own functions", "Label statistics", "Checking and mending"}
    assert expected <= set(IN_README)


NEW_OPERATION = (Path(__file__).parent.parent / "docs" / "new_operation.md").read_text()


def test_the_new_operation_of_the_documentation(tmp_path: Path) -> None:
    """It is short, right, and resumable and bounded in memory without a line about that."""
    (code,) = re.findall(r"```python\n(.*?)```", NEW_OPERATION, flags=re.DOTALL)
    assert len(code.splitlines()) <= 60
    names: dict[str, Any] = {}
    exec(compile(code, "new_operation.md", "exec"), names)
    volume = np.random.default_rng(0).integers(0, 99, (33, 40, 37)).astype(np.int32)
    source = zarr.create_array(tmp_path / "source.zarr", data=volume, chunks=(4, 8, 8))
    expected = volume.sum(axis=(1, 2))
    np.testing.assert_array_equal(names["plane_sums"](source), expected)

    def interrupt(done: int, total: int) -> None:
        if done >= 5:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        names["plane_sums"](source, target=tmp_path / "sums", progress=interrupt)
    steps: list[int] = []
    result = names["plane_sums"](source, target=tmp_path / "sums", progress=lambda done, total: steps.append(done))
    np.testing.assert_array_equal(result, expected)
    assert steps[0] >= 5
    with pytest.raises(cp.PlanError, match="at least"):
        names["plane_sums"](source, memory_limit="10 MiB")


GUIDES = [Path(__file__).parent.parent / "docs" / name for name in ("labels.md",)]


@pytest.mark.parametrize("path", GUIDES, ids=lambda path: path.name)
def test_guides_run_as_they_stand(path: Path, tmp_path: Path) -> None:
    code = "\n".join(re.findall(r"```python\n(.*?)```", path.read_text(), flags=re.DOTALL))
    done = run(f"import warnings\nwarnings.simplefilter('error')\n{code}", folder=tmp_path)
    assert (done.returncode, done.stderr) == (0, "")


def public_objects() -> Iterator[tuple[str, Any]]:
    for name in FUNCTIONS:
        yield name, getattr(cp, name)
    for name in cp.labels.__all__:
        if name not in ("ContactRow", "LabelRow"):
            yield f"labels.{name}", getattr(cp.labels, name)
    yield "Volume", cp.Volume
    for name, method in vars(cp.PyramidAccessor).items():
        if not name.startswith("_"):
            yield f"pyramid.{name}", method


@pytest.mark.parametrize("name", dict(public_objects()))
def test_examples_of_docstrings(name: str) -> None:
    thing = dict(public_objects())[name]
    finder = doctest.DocTestFinder(recurse=False)
    (test,) = finder.find(thing, name, module=inspect.getmodule(thing))
    if name != "pyramid.plan":
        assert test.examples, f"{name} has no example"
    result = doctest.DocTestRunner(optionflags=doctest.NORMALIZE_WHITESPACE).run(test)
    assert result.failed == 0


@pytest.mark.parametrize("name", cp.__all__)
def test_all_that_is_public_has_a_docstring(name: str) -> None:
    assert isinstance(getattr(cp, name), str) or inspect.getdoc(getattr(cp, name))


def test_plan_and_build_take_the_same_arguments() -> None:
    plan, build = inspect.signature(cp.plan_pyramid), inspect.signature(cp.build_pyramid)
    assert plan.parameters == build.parameters


def test_every_argument_of_build_is_documented() -> None:
    documentation = inspect.getdoc(cp.build_pyramid) or ""
    parameters = documentation[documentation.index("Parameters\n") : documentation.index("Returns\n")]
    named = {
        word.strip() for line in parameters.splitlines() if " : " in line for word in line.split(" : ")[0].split(",")
    }
    assert named == set(inspect.signature(cp.build_pyramid).parameters)


def test_print_of_a_plan_tells_its_numbers() -> None:
    plan = cp.plan_pyramid(np.zeros((64, 64), np.uint8), chunks=16, levels=2, memory_limit="1 GiB")
    text = str(plan)
    for part in ("64 x 64", "32 x 32", "16 x 16", "mean", "uint8", "promised", "limit of 1.00 GiB"):
        assert part in text
