"""What a process may use: control groups of both versions, resource limits, and builds inside of such a limit."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest
from helpers.child import run

from chunkpyramid.engine.process_memory import available_memory

MIB = 2**20
UNLIMITED = {"memory.max": "max", "memory.high": "max", "memory.limit_in_bytes": "9223372036854771712"}


def available(tmp_path: Path, membership: str, files: dict[str, str]) -> int:
    """The memory in a tree of control groups with these files."""
    for name, text in files.items():
        path = tmp_path / "cgroup" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text + "\n")
    (tmp_path / "membership").write_text(membership)
    return available_memory(tmp_path / "cgroup", tmp_path / "membership")


@pytest.mark.parametrize(
    ("membership", "files"),
    [
        ("0::/\n", {"memory.max": str(64 * MIB)}),
        ("0::/a/b\n", {"a/b/memory.max": str(64 * MIB), "a/memory.max": str(65 * MIB)}),
        ("0::/a/b\n", {"a/b/memory.max": str(65 * MIB), "a/memory.max": str(64 * MIB)}),
        ("0::/a/b\n", {"a/b/memory.max": "max", "a/b/memory.high": str(64 * MIB)}),
        ("0::/a/b\n", {"a/b/memory.max": "max", "a/memory.max": "max", "memory.max": str(64 * MIB)}),
        # the container's own group is the root of the mount, the path that of the host
        ("0::/kubepods/pod/container\n", {"memory.max": str(64 * MIB)}),
        ("0::/../sibling\n", {"memory.max": str(64 * MIB)}),
        ("12:cpu,cpuacct:/x\n4:memory:/a/b\n0::/\n", {"memory/a/b/memory.limit_in_bytes": str(64 * MIB)}),
        ("4:hugetlb,memory:/a/b\n", {"memory/a/memory.limit_in_bytes": str(64 * MIB)}),
        ("4:memory:/docker/container\n0::/\n", {"memory/memory.limit_in_bytes": str(64 * MIB)}),
        ("4:cpu:/x\n0::/a\n", {"unified/a/memory.max": str(64 * MIB)}),
        ("4:memory:/a:b\n", {"memory/a:b/memory.limit_in_bytes": str(64 * MIB)}),
    ],
)
def test_the_smallest_limit_on_the_way_to_the_root_counts(
    membership: str, files: dict[str, str], tmp_path: Path
) -> None:
    assert available(tmp_path, membership, files) == 64 * MIB


@pytest.mark.parametrize(
    ("membership", "files"),
    [
        ("0::/a\n", {}),
        ("", {}),
        ("0::/a\n", {"b/memory.max": str(MIB), "a/below/memory.max": str(MIB)}),
        ("0::/a\n", {"a/memory.max": "max", "a/memory.high": "max"}),
        ("4:memory:/a\n", {"memory/a/memory.limit_in_bytes": UNLIMITED["memory.limit_in_bytes"]}),
        # other controllers' groups are no limits of memory
        ("4:cpu:/a\n", {"memory/a/memory.limit_in_bytes": str(MIB)}),
    ],
)
def test_no_limit_of_ours_means_what_the_machine_has(membership: str, files: dict[str, str], tmp_path: Path) -> None:
    physical = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    assert available(tmp_path, membership, files) == physical


def test_a_system_without_control_groups(tmp_path: Path) -> None:
    physical = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    assert available_memory(tmp_path / "none", tmp_path / "neither") == physical


# a child that limits itself and prints what it may use
LIMITED = """
import resource, sys
resource.setrlimit(getattr(resource, sys.argv[1]), (int(sys.argv[2]), resource.RLIM_INFINITY))
import numpy as np, zarr
import chunkpyramid as cp
from chunkpyramid.engine.process_memory import available_memory
print(available_memory(), cp.plan_pyramid(np.zeros((64, 64), np.uint8), {}, chunks=32).memory_limit)
"""


@pytest.mark.parametrize("kind", ["RLIMIT_AS", "RLIMIT_DATA"])
def test_resource_limits_count(kind: str) -> None:
    limit = 3 * 2**30
    done = run(LIMITED, kind, str(limit))
    assert done.returncode == 0, done.stderr
    assert done.stdout.split() == [str(limit), str(limit // 2)]


# a child that limits its data, beyond which allocations fail, and builds with half of that
CONFINED_DATA = """
import resource, sys
import dask, dask.array as da, numpy as np, zarr
import chunkpyramid as cp
target, limit = sys.argv[1], int(sys.argv[2])
source = zarr.create_array(target + "/source.zarr", shape=(512, 512, 1024), chunks=(128,) * 3, dtype="u1")
rng = np.random.default_rng(0)
for z in range(0, 512, 128):
    for y in range(0, 512, 128):
        source[z : z + 128, y : y + 128] = rng.integers(0, 255, (128, 128, 1024), dtype=np.uint8)
resource.setrlimit(resource.RLIMIT_DATA, (limit, limit))
with dask.config.set(scheduler="threads", num_workers=2):
    cp.build_pyramid(source, target + "/target.zarr", method="mean", memory_limit=limit // 2)
"""


def test_a_build_stays_inside_a_hard_limit_of_its_data(tmp_path: Path) -> None:
    limit = 640 * MIB
    done = subprocess.run(
        [sys.executable, "-c", CONFINED_DATA, str(tmp_path), str(limit)], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr


# a child that moves into a control group, and then builds what would not fit there at once
CONFINED = """
import os, sys
group, target, limit = sys.argv[1:]
open(group + "/cgroup.procs", "w").write(str(os.getpid()))
import dask, dask.array as da, numpy as np, zarr
import chunkpyramid as cp
source = zarr.create_array(target + "/source.zarr", shape=(1024, 1024, 1024), chunks=(128,) * 3, dtype="u1")
rng = np.random.default_rng(0)
for z in range(0, 1024, 128):
    for y in range(0, 1024, 128):
        source[z : z + 128, y : y + 128] = rng.integers(0, 255, (128, 128, 1024), dtype=np.uint8)
print(cp.plan_pyramid(source, target + "/default.zarr", method="mean").memory_limit)
with dask.config.set(scheduler="threads", num_workers=2):
    cp.build_pyramid(source, target + "/explicit.zarr", method="mean", memory_limit=int(limit) // 2)
"""


@pytest.mark.skipif(
    "CHUNKPYRAMID_TEST_CGROUP" not in os.environ,
    reason="CHUNKPYRAMID_TEST_CGROUP names no control group in which memory groups may be made for this test",
)
def test_a_build_stays_inside_a_control_group(tmp_path: Path) -> None:
    """With twice the memory limit of the build as a hard limit, beyond which the system kills."""
    limit = 768 * MIB
    group = Path(os.environ["CHUNKPYRAMID_TEST_CGROUP"]) / f"chunkpyramid-{os.getpid()}"
    group.mkdir()
    try:
        name = "memory.max" if (group / "memory.max").exists() else "memory.limit_in_bytes"
        (group / name).write_text(str(limit))
        done = subprocess.run(
            [sys.executable, "-c", CONFINED, str(group), str(tmp_path), str(limit)],
            capture_output=True,
            text=True,
            check=False,
        )
        assert done.returncode == 0, done.stderr
        assert int(done.stdout) == limit // 2
    finally:
        group.rmdir()
