"""Imports go down only, the floors below need no zarr, and importing is silent."""

from __future__ import annotations

import ast
import subprocess
import sys
from pathlib import Path

import pytest

import chunkpyramid

PACKAGE = Path(chunkpyramid.__file__).parent

FLOORS = tuple(
    set(names.split())
    for names in (
        "boxes content errors exact_mode methods owner physical_units reduce reduction text transpose warn _version",
        "arguments blocking chunking coordinates downsample factors internals memory missing omero options phantom "
        "plan planner",
        "chunks codec dataarray keys level_coordinates ome opening presence progress runs shards source "
        "source_coordinates staging store",
        "block carry journal naming units",
        "execute extremes stages",
        "accessor build cli demo existing labelled prepare prepared pyramid target update verify",
    )
)
FLOOR = {module: floor for floor, modules in enumerate(FLOORS) for module in modules}
MODULES = sorted(path.stem for path in PACKAGE.glob("*.py") if path.stem not in ("__init__", "__main__"))
PURE = set.union(*FLOORS[:2]) - {"internals", "phantom", "_version"}


def imported(module: str) -> set[str]:
    """The modules that a module imports, at its top, in a function or for types, those of this package by their name."""
    tree = ast.parse((PACKAGE / f"{module}.py").read_text())
    names: set[str] = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.level:
            names |= {node.module} if node.module else {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module == "chunkpyramid":
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module:
            names.add(node.module)
    return {name.removeprefix("chunkpyramid.") for name in names}


@pytest.mark.parametrize("module", MODULES)
def test_every_module_has_a_floor_and_imports_only_downwards(module: str) -> None:
    assert module in FLOOR
    above = {name for name in imported(module) if FLOOR.get(name, -1) > FLOOR[module]}
    assert not above


def test_no_two_modules_import_each_other() -> None:
    """Modules of one floor may import each other, but never in a circle."""
    left = {module: imported(module) & set(MODULES) for module in MODULES}
    while left:
        free = {module for module, needs in left.items() if not needs & set(left)}
        assert free, f"these import each other: {sorted(left)}"
        left = {module: needs for module, needs in left.items() if module not in free}


@pytest.mark.parametrize("module", sorted(PURE))
def test_the_lower_floors_need_no_zarr_dask_or_xarray(module: str) -> None:
    tops = {name.partition(".")[0] for name in imported(module)}
    assert not tops & {"zarr", "dask", "distributed", "xarray", "numcodecs"}
    assert all(FLOOR[name] <= 1 for name in imported(module) if name in FLOOR)


def test_only_ome_knows_the_metadata_models() -> None:
    users = {module for module in MODULES if any("yaozarrs" in name for name in imported(module))}
    assert users <= {"ome"}


def test_importing_is_silent() -> None:
    done = subprocess.run(
        [sys.executable, "-W", "error", "-c", "import chunkpyramid"], capture_output=True, text=True, check=False
    )
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")


def test_importing_starts_no_scheduler_and_no_plotting() -> None:
    code = "import sys, chunkpyramid; print({'distributed', 'matplotlib', 'tensorstore', 'zarrs'} & set(sys.modules))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "set()"


def test_every_public_name_is_there_and_explained() -> None:
    for name in chunkpyramid.__all__:
        assert name == "__version__" or getattr(chunkpyramid, name).__doc__
