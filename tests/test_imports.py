"""Imports go down only, the floors below need no zarr, and importing is silent."""

from __future__ import annotations

import ast
import subprocess
import sys
from pathlib import Path

import pytest

import chunkpyramid

PACKAGE = Path(chunkpyramid.__file__).parent

# Every file is on one floor, those of a folder on that of the folder unless they have one of their own.
FLOORS = tuple(
    set(names.split())
    for names in (
        "arguments boxes digests errors internals text warn _version metadata.physical_units storage.owner"
        " storage.transpose",
        "metadata reductions sources.phantom",
        "storage",
        "sources",
        "engine",
        "labels pyramid volumes",
        "accessor",
        "cli",
    )
)
MODULES = sorted(
    ".".join(path.relative_to(PACKAGE).with_suffix("").parts)
    for path in PACKAGE.rglob("*.py")
    if path.stem not in ("__init__", "__main__")
)
FOLDERS = {module.partition(".")[0] for module in MODULES if "." in module}


def floor_of(module: str) -> int:
    names = [module.rsplit(".", depth)[0] for depth in range(module.count(".") + 1)]
    return next(floor for name in names for floor, modules in enumerate(FLOORS) if name in modules)


PLANNING = [
    "engine.block_shapes",
    "engine.layout",
    "engine.piece_order",
    "engine.process_memory",
    "engine.stage",
    "engine.task_memory",
    "pyramid.chunk_shapes",
    "pyramid.factors",
    "pyramid.plan",
    "pyramid.plan_stages",
]
PURE = [
    module for module in MODULES if floor_of(module) < 2 and module not in ("internals", "sources.phantom", "_version")
] + PLANNING


def imported(module: str) -> set[str]:
    """What a module imports, at its top, in a function or for types, modules of this package by their name."""
    tree = ast.parse((PACKAGE / f"{module.replace('.', '/')}.py").read_text())
    names: set[str] = set()
    for node in ast.walk(tree):
        assert not isinstance(node, ast.ImportFrom) or not node.level, "all imports are absolute"
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module is not None:
            inside = {f"{node.module}.{alias.name}" for alias in node.names}
            names |= {name for name in inside if name.removeprefix("chunkpyramid.") in MODULES} or {node.module}
    return {name.removeprefix("chunkpyramid.") for name in names}


@pytest.mark.parametrize("module", MODULES)
def test_every_module_has_a_floor_and_imports_only_downwards(module: str) -> None:
    above = {name for name in imported(module) & {*MODULES, *FOLDERS} if floor_of(name) > floor_of(module)}
    assert not above
    # which is above all
    assert "chunkpyramid" not in imported(module)


def test_the_engine_knows_no_operation() -> None:
    names = {name.partition(".")[0] for module in MODULES if module.startswith("engine.") for name in imported(module)}
    assert "storage" in names
    assert not names & {"pyramid", "labels", "volumes", "accessor", "cli", "chunkpyramid"}


def test_no_two_modules_import_each_other() -> None:
    """Modules of one floor may import each other, but never in a circle."""
    left = {module: imported(module) & set(MODULES) for module in MODULES}
    while left:
        free = {module for module, needs in left.items() if not needs & set(left)}
        assert free, f"these import each other: {sorted(left)}"
        left = {module: needs for module, needs in left.items() if module not in free}


@pytest.mark.parametrize("module", PURE)
def test_the_lower_floors_need_no_zarr_dask_or_xarray(module: str) -> None:
    tops = {name.partition(".")[0] for name in imported(module)}
    assert not tops & {"zarr", "dask", "distributed", "xarray", "numcodecs"}
    assert imported(module) & set(MODULES) <= {*PURE, "storage.chunk_access", "_version"}


def test_only_ome_knows_the_metadata_models() -> None:
    users = {module for module in MODULES if any("yaozarrs" in name for name in imported(module))}
    assert users <= {"metadata.ome"}


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
