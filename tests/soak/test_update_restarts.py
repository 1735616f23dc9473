"""Updates that die: told by all that opens the pyramid, finished by running them again, and nothing is lost."""

from __future__ import annotations

import re
import shutil
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import dask
import numpy as np
import numpy.typing as npt
import pytest
import zarr
from helpers.counting_store import CountingStore
from zarr.storage import MemoryStore

import chunkpyramid as cp

Array = npt.NDArray[Any]

LABELS = np.random.default_rng(0).integers(0, 4, (33, 40, 37)).astype(np.uint16)
REGION = np.s_[3:29, 7:38, :20]
OPTIONS: dict[str, Any] = {"method": "mean", "levels": 3, "chunks": 8}

CHILD = """
import os, signal, sys
import dask, numpy as np
import chunkpyramid as cp

def die(done, total):
    if done >= int(sys.argv[2]):
        os.kill(os.getpid(), signal.SIGKILL)

with dask.config.set(scheduler="threads", num_workers=8):
    cp.update_pyramid(sys.argv[1], np.s_[3:29, 7:38, :20], progress=die)
"""


@pytest.fixture(autouse=True)
def many_blocks_and_stages() -> Iterator[None]:
    with dask.config.set(scheduler="threads", num_workers=8):
        yield


def changed(target: Any, **options: Any) -> Array:
    """Build a pyramid, and change the region of its level 0; return what level 0 holds then."""
    pyramid = cp.build_pyramid(LABELS, target, **OPTIONS | options)
    array = LABELS.copy()
    array[REGION] = np.where(LABELS[REGION] > 1, 0, 9)
    pyramid.levels[0][REGION] = array[REGION]
    return array


def assert_unfinished(target: Any, source: Any = LABELS, **options: Any) -> None:
    """An update that has not been finished is told by all that could take the pyramid for a good one."""
    told = r"update_pyramid for the region \[3:29, 7:38, 0:20\]"
    with pytest.raises(cp.BuildError, match=told):
        cp.open_pyramid(target)
    with pytest.raises(cp.BuildError, match=told):
        cp.verify_pyramid(target, repair=True)
    with pytest.raises(cp.BuildError, match=told):
        cp.update_pyramid(target, np.s_[3:29, 7:38, :19])
    with pytest.raises(cp.TargetExistsError, match=told):
        cp.build_pyramid(source, target, **OPTIONS | options)


def assert_finished(target: Any, array: Array, **options: Any) -> None:
    whole = MemoryStore()
    expected = cp.build_pyramid(array, whole, **OPTIONS | options)
    for level, values in zip(cp.open_pyramid(target).levels, expected.levels, strict=True):
        assert level[...].tobytes() == values[...].tobytes()
    assert cp.verify_pyramid(target).ok


@pytest.mark.filterwarnings("ignore:coroutine", "ignore::pytest.PytestUnraisableExceptionWarning")
@pytest.mark.parametrize("layout", ["flat", "datatree"])
@pytest.mark.parametrize("method", ["mean", "mode", "exact_mode"])
@pytest.mark.parametrize("write", [1, 8, 14])
def test_an_update_that_fails_is_told_and_finished(method: str, layout: str, write: int) -> None:
    memory = MemoryStore()
    array = changed(memory, method=method, layout=layout)
    failing = CountingStore(memory)
    failing.counts["fail"].append(str(write))
    with pytest.raises(cp.BuildError, match=r"connection was lost.*run update_pyramid for the same region again"):
        cp.update_pyramid(failing, REGION)
    assert_unfinished(memory, method=method, layout=layout)
    failing.counts["fail"].clear()
    # a region around it finishes it too
    cp.update_pyramid(failing, REGION if write > 1 else np.s_[2:, 7:38])
    assert_finished(memory, array, method=method, layout=layout)
    assert not any(".chunkpyramid" in key for key in memory._store_dict)


@pytest.mark.parametrize("options", [{}, {"shards": 16}, {"zarr_format": 2}], ids=str)
def test_an_update_that_is_killed_is_told_and_finished(tmp_path: Path, options: dict[str, Any]) -> None:
    target = tmp_path / "target.zarr"
    array = changed(target, **options)
    done = subprocess.run([sys.executable, "-c", CHILD, str(target), "3"], capture_output=True, text=True, check=False)
    assert done.returncode == -signal.SIGKILL, done.stderr
    # as a write leaves it that is killed
    separated = target / "1" / ("0/0" if options.get("zarr_format") == 2 else "c/0/0")
    (separated / "0.a1b2.partial").write_bytes(b"torn")
    assert_unfinished(target, **options)
    cp.update_pyramid(target, REGION)
    assert_finished(target, array, **options)
    assert not list(target.rglob("*.partial"))
    assert not (target / ".chunkpyramid").exists()


def test_an_update_that_is_cut_off_while_it_is_set_up_is_no_build_to_begin_anew(tmp_path: Path) -> None:
    """A pyramid beside an empty scratch group is not deleted."""
    target = tmp_path / "target.zarr"
    array = changed(target, zarr_format=2)
    zarr.open_group(target).create_group(".chunkpyramid")
    with pytest.raises(cp.TargetExistsError):
        cp.build_pyramid(LABELS, target, **OPTIONS | {"zarr_format": 2})
    np.testing.assert_array_equal(zarr.open_array(target / "0", mode="r")[...], array)


def test_a_damaged_chunk_stops_an_update_only_if_part_of_it_is_needed(tmp_path: Path) -> None:
    target = tmp_path / "target.zarr"
    array = changed(target)
    shutil.copytree(target, tmp_path / "copy.zarr")
    for path in (target, tmp_path / "copy.zarr"):
        # of which all is made anew, and a part
        (path / "1" / "c" / "0" / "0" / "0").write_bytes(b"damaged")
        (path / "1" / "c" / "0" / "0" / "1").write_bytes(b"damaged")
    with pytest.raises(cp.BuildError, match=r"chunk \(0, 0, 1\) of .*1 cannot be read"):
        cp.update_pyramid(target, REGION)
    cp.update_pyramid(target, np.s_[:])
    assert_finished(target, array)
    # or is mended before
    assert cp.verify_pyramid(tmp_path / "copy.zarr", repair=True).ok
    assert_finished(tmp_path / "copy.zarr", array)


@pytest.mark.parametrize(("shards", "damaged"), [(None, "0/0/1"), (16, "0/0/0")])
def test_the_error_of_a_damaged_chunk_names_a_region_whose_update_finishes(
    tmp_path: Path, shards: int | None, damaged: str
) -> None:
    target = tmp_path / "target.zarr"
    array = changed(target, shards=shards)
    (target / "1" / "c" / damaged).write_bytes(b"damaged")
    with pytest.raises(cp.BuildError, match="cannot be read") as error:
        cp.update_pyramid(target, REGION)
    named = re.search(r"an update of the region \[([\d:, ]+)\] would write it anew", str(error.value))
    assert named is not None, error.value
    cp.update_pyramid(target, tuple(slice(*map(int, axis.split(":"))) for axis in named[1].split(", ")))
    assert_finished(target, array, shards=shards)
