"""Reductions and maps keep their promise of memory, whatever the voxels are."""

from __future__ import annotations

import re
import subprocess
import sys
from itertools import product
from pathlib import Path

import numpy as np
import pytest
import zarr
from dask.utils import parse_bytes

import chunkpyramid as cp

LIMIT = 300 * 2**20

CHILD = """
import sys
import dask.array as da
import numpy as np
import zarr
from zarr.storage import FsspecStore
import chunkpyramid as cp
from chunkpyramid.engine.process_memory import peak_memory

def sharpen(part):
    return part ^ (part >> 1)

what, source, target, limit, kind = sys.argv[1:]
if what == "statistics":
    cp.labels.statistics(source, background=None, memory_limit=int(limit))
elif what == "contacts":
    cp.labels.contacts(source, background=None, connectivity=6, memory_limit=int(limit))
elif what == "unique":
    cp.labels.unique(source, memory_limit=int(limit))
elif what == "reduce":
    cp.reduce_blocks(lambda part: np.bincount((part % 1000).astype(np.int64).ravel()), np.add, source,
                     memory_limit=int(limit))
else:
    if kind == "dask":
        source = da.from_zarr(source)
    elif kind == "fsspec":
        source = zarr.open_array(FsspecStore.from_url("file://" + source), mode="r")
    cp.map_blocks(sharpen, source, target, halo=int(what), memory_limit=int(limit))
print(peak_memory())
"""


@pytest.fixture(scope="module")
def volumes(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """A quarter of a gibibyte each: labels as they are, as many as there can be in a piece, and all of few touching."""
    folder = tmp_path_factory.mktemp("volumes")
    rng = np.random.default_rng(0)
    made = {}
    for name, most in (("noise", 20_000), ("few", 200), ("runs", 50)):
        array = zarr.create_array(folder / f"{name}.zarr", shape=(128, 512, 512), dtype=np.uint64, chunks=(64, 64, 64))
        for start in range(0, 128, 64):
            voxels = rng.integers(0, most, (64, 512, 16 if name == "runs" else 512)).astype(np.uint64)
            array[start : start + 64] = np.repeat(voxels, 32, axis=2) if name == "runs" else voxels
        made[name] = folder / f"{name}.zarr"
    return made


@pytest.mark.parametrize(
    ("what", "name"),
    [
        *product(["statistics", "unique", "reduce", "0", "5"], ["noise", "runs"]),
        # what the table itself takes is not promised, so there are fewer pairs of labels
        *product(["contacts"], ["few", "runs"]),
    ],
)
def test_the_peak_keeps_the_limit(what: str, name: str, volumes: dict[str, Path], tmp_path: Path) -> None:
    command = [sys.executable, "-c", CHILD, what, str(volumes[name]), str(tmp_path / "target.zarr"), str(LIMIT), "path"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert int(done.stdout) <= LIMIT


@pytest.mark.parametrize("kind", ["path", "dask", "fsspec"])
@pytest.mark.parametrize("halo", [3, 40])
def test_the_peak_of_a_map_keeps_the_least_limit_that_is_told(
    kind: str, halo: int, volumes: dict[str, Path], tmp_path: Path
) -> None:
    def run(limit: int) -> subprocess.CompletedProcess[str]:
        command = [sys.executable, "-c", CHILD, str(halo), str(volumes["noise"]), str(tmp_path / "target.zarr")]
        return subprocess.run([*command, str(limit), kind], capture_output=True, text=True, check=False)

    told = re.search(r"at least ([\d.]+ \w+)", run(170 * 2**20).stderr)
    assert told is not None
    least = parse_bytes(told[1])
    done = run(least)
    assert done.returncode == 0, done.stderr
    assert int(done.stdout) <= least


def test_many_labels_are_counted_right(volumes: dict[str, Path]) -> None:
    labels, counts = np.unique(zarr.open_array(volumes["noise"])[:], return_counts=True)
    table = cp.labels.statistics(volumes["noise"], background=None, memory_limit=LIMIT)
    np.testing.assert_array_equal(table.label, labels)
    np.testing.assert_array_equal(table.count, counts)
