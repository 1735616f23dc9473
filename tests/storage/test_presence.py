"""Absent is not empty: what cannot be seen is an error wherever it is read, and never taken for zeros."""

from __future__ import annotations

import os
import shutil
import socket
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import dask
import dask.array as da
import numpy as np
import pytest
import xarray as xr
import zarr
from zarr.storage import MemoryStore

import chunkpyramid as cp
from chunkpyramid.pyramid import build
from chunkpyramid.storage.presence import presences

VOLUME = np.random.default_rng(0).integers(1, 255, (16, 32, 32)).astype(np.uint8)
OPTIONS: dict[str, Any] = {"levels": 2, "chunks": 8}


def source(path: Path, zarr_format: Any = 3, **options: Any) -> zarr.Array[Any]:
    array = zarr.create_array(
        path, shape=VOLUME.shape, dtype="u1", chunks=(8, 8, 8), zarr_format=zarr_format, **options
    )
    array[...] = VOLUME
    return array


@pytest.fixture(autouse=True)
def one_by_one() -> Any:
    with dask.config.set(scheduler="synchronous"):
        yield


KINDS: dict[str, Callable[[Path], Any]] = {
    "zarr": lambda path: zarr.open_array(path, mode="r"),
    "path": lambda path: path,
    "dask": lambda path: da.from_zarr(str(path)) + 0,
    "DataArray": lambda path: xr.DataArray(da.from_zarr(str(path)), dims=("z", "y", "x")),
}


@pytest.mark.parametrize("zarr_format", [2, 3])
@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("when", ["at first", "in the middle", "at the end"])
def test_a_source_that_is_removed_is_an_error(when: str, kind: str, zarr_format: int, tmp_path: Path) -> None:
    source(tmp_path / "source.zarr", zarr_format)
    opened = KINDS[kind](tmp_path / "source.zarr")
    plan = cp.plan_pyramid(opened, tmp_path / "target.zarr", **OPTIONS)

    def remove(done: int, total: int) -> None:
        if done == {"at first": 1, "in the middle": total // 2, "at the end": total}[when]:
            shutil.rmtree(tmp_path / "source.zarr")

    with pytest.raises(cp.BuildError, match=r"does not see the array .*source\.zarr.*share the folder") as error:
        cp.build_pyramid(opened, tmp_path / "target.zarr", progress=remove, **OPTIONS)
    assert f"process {os.getpid()} on {socket.gethostname()}" in str(error.value)
    assert plan.tasks >= 1
    with pytest.raises(cp.BuildError, match="not been finished"):
        cp.open_pyramid(tmp_path / "target.zarr")


def test_a_source_that_is_another_is_an_error(tmp_path: Path) -> None:
    source(tmp_path / "source.zarr")
    opened = zarr.open_array(tmp_path / "source.zarr", mode="r")

    def replace(done: int, total: int) -> None:
        source(tmp_path / "source.zarr", fill_value=7, overwrite=True)

    with pytest.raises(cp.BuildError, match=r"not the one that was planned with"):
        cp.build_pyramid(opened, tmp_path / "target.zarr", progress=replace, **OPTIONS)


def test_attributes_may_change_while_an_array_is_read(tmp_path: Path) -> None:
    array = source(tmp_path / "source.zarr")

    def annotate(done: int, total: int) -> None:
        array.attrs["done"] = done

    cp.build_pyramid(tmp_path / "source.zarr", tmp_path / "target.zarr", progress=annotate, **OPTIONS)


def test_chunks_that_are_missing_are_the_fill_value(tmp_path: Path) -> None:
    array = zarr.create_array(tmp_path / "s.zarr", shape=VOLUME.shape, dtype="u1", chunks=(8, 8, 8), fill_value=9)
    pyramid = cp.build_pyramid(array, tmp_path / "target.zarr", **OPTIONS)
    assert (pyramid.levels[2][...] == 9).all()


def test_verify_does_not_agree_with_what_it_does_not_see(tmp_path: Path) -> None:
    cp.build_pyramid(VOLUME, tmp_path / "target.zarr", **OPTIONS)

    def remove(done: int, total: int) -> None:
        shutil.rmtree(tmp_path / "target.zarr" / "0", ignore_errors=True)

    with pytest.raises(cp.BuildError, match="does not see the array"):
        cp.verify_pyramid(tmp_path / "target.zarr", progress=remove)


@pytest.mark.filterwarnings("ignore::ResourceWarning")
def test_workers_that_see_another_place_are_an_error(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Workers in another folder, where the relative path of the source leads elsewhere."""
    from distributed import Client, LocalCluster

    source(tmp_path / "here" / "source.zarr")
    (tmp_path / "there").mkdir()
    monkeypatch.chdir(tmp_path / "there")
    cluster = LocalCluster(n_workers=1, dashboard_address=":0")
    with dask.config.set(scheduler=None), cluster, Client(cluster):
        monkeypatch.chdir(tmp_path / "here")
        with pytest.raises(cp.BuildError, match=r"does not see the array .*source\.zarr") as error:
            cp.build_pyramid("source.zarr", tmp_path / "target.zarr", **OPTIONS)
        assert f"process {os.getpid()} " not in str(error.value)


def test_presences_are_told_once_each(tmp_path: Path) -> None:
    array = source(tmp_path / "source.zarr")
    other = zarr.create_array(MemoryStore(), data=VOLUME)
    found = presences([array, zarr.open_array(tmp_path / "source.zarr", mode="r"), other])
    assert len(found) == 2
    for presence in found:
        presence.check()


def _as_the_run_begins(monkeypatch: pytest.MonkeyPatch, happens: Callable[[], object]) -> None:
    """Let something happen after a build was planned, and before it has written anything."""
    begin = build.begin_run

    def begin_run(*arguments: Any, **options: Any) -> Any:
        happens()
        return begin(*arguments, **options)

    monkeypatch.setattr(build, "begin_run", begin_run)


@pytest.mark.parametrize("kind", KINDS)
def test_a_source_that_goes_between_plan_and_run_is_an_error(
    kind: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    source(tmp_path / "source.zarr")
    opened = KINDS[kind](tmp_path / "source.zarr")
    _as_the_run_begins(monkeypatch, lambda: shutil.rmtree(tmp_path / "source.zarr"))
    with pytest.raises(cp.BuildError, match="does not see the array"):
        cp.build_pyramid(opened, tmp_path / "target.zarr", **OPTIONS)


def test_a_source_that_becomes_another_between_plan_and_run_is_an_error(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    source(tmp_path / "source.zarr")
    _as_the_run_begins(monkeypatch, lambda: source(tmp_path / "source.zarr", fill_value=7, overwrite=True))
    with pytest.raises(cp.BuildError, match="not the one that was planned with"):
        cp.build_pyramid(tmp_path / "source.zarr", tmp_path / "target.zarr", **OPTIONS)


@pytest.mark.parametrize("zarr_format", [2, 3])
def test_a_handle_to_what_is_gone_is_no_source(zarr_format: Any, tmp_path: Path) -> None:
    array = source(tmp_path / "source.zarr", zarr_format)
    shutil.rmtree(tmp_path / "source.zarr")
    with pytest.raises(cp.SourceNotFoundError, match=r"source\.zarr is not there"):
        cp.build_pyramid(array, tmp_path / "target.zarr", **OPTIONS)
    assert not (tmp_path / "target.zarr").exists()


def test_a_build_does_not_go_on_with_a_source_that_was_written_anew(tmp_path: Path) -> None:
    source(tmp_path / "source.zarr")

    def stop(done: int, total: int) -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        cp.build_pyramid(tmp_path / "source.zarr", tmp_path / "target.zarr", progress=stop, **OPTIONS)
    source(tmp_path / "source.zarr", fill_value=7, overwrite=True)
    with pytest.raises(cp.TargetExistsError, match="source_metadata"):
        cp.build_pyramid(tmp_path / "source.zarr", tmp_path / "target.zarr", **OPTIONS)


@pytest.mark.parametrize("zarr_format", [2, 3])
def test_consolidated_metadata_can_be_all_there_is(zarr_format: Any, tmp_path: Path) -> None:
    group = zarr.open_group(tmp_path / "g.zarr", mode="w", zarr_format=zarr_format)
    group.create_array("inner/deep/raw", data=VOLUME, chunks=(8, 8, 8))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        opened = zarr.consolidate_metadata(tmp_path / "g.zarr", zarr_format=zarr_format)["inner/deep/raw"]
    for name in ("zarr.json", ".zarray"):
        (tmp_path / "g.zarr" / "inner" / "deep" / "raw" / name).unlink(missing_ok=True)
    pyramid = cp.build_pyramid(opened, tmp_path / "target.zarr", **OPTIONS)
    np.testing.assert_array_equal(pyramid.levels[0][...], VOLUME)


@pytest.mark.parametrize("kind", ["grown", "another dtype"])
def test_an_array_is_what_it_is_now_not_what_it_was_when_it_was_opened(kind: str, tmp_path: Path) -> None:
    array = zarr.create_array(tmp_path / "s.zarr", data=VOLUME[:8], chunks=(8, 8, 8))
    opened, lazy = zarr.open_array(tmp_path / "s.zarr", mode="r"), da.from_zarr(str(tmp_path / "s.zarr")) + 0
    wanted = VOLUME if kind == "grown" else VOLUME.astype("f4") * 1000
    if kind == "grown":
        array.resize(VOLUME.shape)
        array[...] = VOLUME
    else:
        zarr.create_array(tmp_path / "s.zarr", data=wanted, chunks=(8, 8, 8), overwrite=True)
    pyramid = cp.build_pyramid(opened, tmp_path / "p.zarr", levels=1)
    np.testing.assert_array_equal(pyramid.levels[0][...], wanted)
    assert cp.verify_pyramid(tmp_path / "p.zarr").ok
    with pytest.raises(cp.ArgumentError, match=r"s\.zarr is not what it was when it was opened"):
        cp.build_pyramid(lazy, tmp_path / "q.zarr", levels=1)
