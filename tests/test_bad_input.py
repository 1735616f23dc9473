"""Bad input gets a clear error of this package before anything is written, and nothing that exists is lost."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import dask.array as da
import numpy as np
import pytest
import xarray as xr
import zarr
from hypothesis import given
from hypothesis import strategies as st
from zarr.storage import LocalStore, MemoryStore, ZipStore

import chunkpyramid as cp

IMAGE = np.random.default_rng(1).integers(0, 255, (12, 16, 20)).astype(np.uint8)
NAN, INFINITY = float("nan"), float("inf")


def contents(root: Path) -> dict[str, bytes]:
    return {str(path.relative_to(root)): path.read_bytes() for path in root.rglob("*") if path.is_file()}


def identify(value: Any) -> str:
    # the processes that share the tests out have to call them alike
    return re.sub(r" at 0x\w+", "", repr(value))[:60]


# What is given, and what the message must say: the argument to change.
BAD_ARGUMENTS: list[tuple[dict[str, Any], str]] = [
    *(({"method": value}, "method") for value in ("median", "MEAN", "", None, 3, ["mean"])),
    *(({"factor": value}, "factor") for value in (0, -2, 2.5, [2, 2, 1], True, None, "two", (), [], b"222", {1, 2, 3})),
    *(({"factor": value}, "factor") for value in ((2, 2), (2, 2, 2, 2), (2, 2, 0), (2, 2, -1), (2, 2, 1.5))),
    *(({"factor": value}, "factor") for value in ([(2, 2, 2), (2, 2)], [(2, 2, 2), 3], {"q": 2}, {"z": 0}, {1: 2})),
    ({"factor": "isotropic"}, "voxel_size"),
    *(({"factor": value, "levels": 1, "method": "max"}, "factor") for value in (2**54, 10**20, (1, 1, 10**30))),
    *(({"factor": value, "levels": 1, "method": "mode"}, "factor") for value in (128, (1, 1, 2**21), 10**20)),
    *(({"levels": value}, "levels") for value in (-1, 1.5, "2", True, 65, 10**9)),
    ({"factor": [(2, 2, 2)], "levels": 2}, "levels=2 does not match the 1 factors"),
    *(({"sparse": value}, "sparse") for value in (1, "no")),
    ({"sparse": True, "method": "max"}, "sparse"),
    *(({"background": value, "sparse": True}, "background") for value in (300, -1, 1.5, NAN, "black", [0])),
    *(({"rounding": value}, "rounding") for value in ("up", None, [])),
    *(
        ({"axes": value}, "axes")
        for value in ("yx", "zyxcc", "zzz", "tzc", "ctx", 3, [1, 2, 3], ["z", "", "x"], b"zyx")
    ),
    *(({"voxel_size": value}, "voxel_size") for value in (0, -1, NAN, INFINITY, "4", (1, 2), (1, 2, 0), 10**400)),
    *(({"voxel_size": value}, "voxel_size") for value in ({"q": 1}, {"z": -1}, {"z": None}, {1: 1, "q": 2}, True, 1j)),
    *(({"translation": value}, "translation") for value in (NAN, "0", (1, 2), {"q": 1}, (0, 0, INFINITY))),
    *(({"unit": value}, "unit") for value in (3, ("nm", "nm"), {"q": "nm"}, ["nm", 4, "nm"])),
    *(({"chunks": value}, "chunks") for value in (0, -8, 8.0, True, "big", (8, 8), (8, 8, 0), (), ((8, 4), 8, 8))),
    *(({"chunks": value}, "chunks") for value in (b"888", {8}, {"q": 8}, {"z": 0}, {"z": None}, [], [8, "none"])),
    *(({"chunks": value, "levels": 1}, "chunks of level 1") for value in ([8, 0], [8, (8, 8)], [8, "big"])),
    ({"chunks": [8, 8, None], "levels": 1}, "chunks is a list of 3 entries, but there are 2 levels"),
    *(({"shards": value, "chunks": 8}, "shards") for value in (0, 12, 4, 8.5, "big", (16, 16), (16, 16, 12))),
    *(({"shards": value, "chunks": 8}, "shards") for value in (b"888", {16}, {"q": 16}, {"z": 12}, [], ["auto"] * 3)),
    ({"shards": [16, 8], "chunks": 8, "levels": 2}, "shards is a list of 2 entries, but there are 3 levels"),
    (
        {"shards": [16, None, 12], "chunks": [8, 8, 8], "levels": 2},
        r"shards \(12, 12, 12\) of level 2 must be multiples of the chunks \(8, 8, 8\) of that level",
    ),
    *(
        ({"shards": value, "chunks": 8, "levels": 1, "zarr_format": 2}, "shards need zarr_format=3")
        for value in (16, "auto", [None, 16])
    ),
    *(({"compressors": value}, "compressors") for value in ("zip", 3, object(), {"name": "zip"})),
    ({"compressors": zarr.codecs.GzipCodec(), "zarr_format": 2}, "compressors"),
    *(({"zarr_format": value}, "zarr_format") for value in (1, 4, "3", None, True, [])),
    *(({"ome_version": value}, "ome_version") for value in ("0.4", "0.6", "", [])),
    ({"zarr_format": 2, "ome_version": "0.5"}, "ome_version"),
    *(
        ({"name": value}, "name")
        for value in ("", 3, "a/b", ".", "..", "__a", "a\\b", b"a", "\n", "a\x7f", "\ud800", "ä" * 128)
    ),
    *(({"name": value, "layout": "datatree"}, "name") for value in ("x", "zarr.json", ".zattrs")),
    ({"axes": ("a/b", "y", "x"), "layout": "datatree"}, "axes"),
    *(({"layout": value}, "layout") for value in ("tree", None, [], 1)),
    *(({"memory_limit": value}, "memory_limit") for value in (0, -1, 1.5, "much", "nan", "1e400 GB", [], True, b"1")),
]
BAD_FLAGS: list[tuple[dict[str, Any], str]] = [
    *(({"resume": value}, "resume") for value in ("yes", None, 1)),
    *(({"overwrite": value}, "overwrite") for value in ("no", None, 0)),
    *(({"progress": value}, "progress") for value in ("yes", None, 1)),
]


@pytest.mark.parametrize(("options", "message"), BAD_ARGUMENTS + BAD_FLAGS, ids=identify)
def test_bad_arguments(options: dict[str, Any], message: str, tmp_path: Path) -> None:
    with pytest.raises(cp.ArgumentError, match=message):
        cp.build_pyramid(IMAGE, tmp_path / "new.zarr", **options)
    assert not (tmp_path / "new.zarr").exists()
    if (options, message) in BAD_ARGUMENTS:
        with pytest.raises(cp.ArgumentError, match=message):
            cp.plan_pyramid(IMAGE, **options)


@pytest.mark.parametrize("bad", [{"factor": 0}, {"method": "median"}, {"memory_limit": 1}], ids=identify)
def test_bad_arguments_with_overwrite_lose_nothing(bad: dict[str, Any], tmp_path: Path) -> None:
    cp.build_pyramid(IMAGE, tmp_path / "old.zarr", levels=1)
    before = contents(tmp_path)
    with pytest.raises((cp.ArgumentError, cp.PlanError)):
        cp.build_pyramid(IMAGE, tmp_path / "old.zarr", overwrite=True, **bad)
    assert contents(tmp_path) == before


def test_messages_say_what_was_given_and_what_is_allowed() -> None:
    for options, parts in (
        ({"method": "median"}, ("'median'", "auto", "mean", "mode", "exact_mode", "min", "max", "stride")),
        ({"factor": -3}, ("-3", "at least 1")),
        ({"axes": "yx"}, ("'yx'", "2", "3")),
        ({"chunks": 8, "shards": 12}, ("(12, 12, 12)", "(8, 8, 8)", "multiples")),
        ({"factor": (2, 2)}, ("(2, 2)", "3 axes", "['z', 'y', 'x']")),
        ({"background": 300, "sparse": True}, ("300", "uint8")),
    ):
        with pytest.raises(cp.ArgumentError) as caught:
            cp.build_pyramid(IMAGE, MemoryStore(), **options)
        assert [part for part in parts if part not in str(caught.value)] == []


# ---------------------------------------------------------------------------------------------------- memory limits


def test_too_small_a_memory_limit_tells_the_least_that_would_do(tmp_path: Path) -> None:
    source = zarr.create_array(MemoryStore(), shape=(4096, 4096), dtype="u2", chunks=(1024, 1024))
    for target in (tmp_path / "new.zarr", None):
        with pytest.raises(cp.PlanError, match=r"needs at least ([\d.]+ \w+) .* memory_limit is 1.00 MiB") as caught:
            cp.plan_pyramid(source, "elsewhere.zarr" if target is None else target, memory_limit="1 MiB")
        assert not (tmp_path / "new.zarr").exists()
    least = str(caught.value).split("at least ")[1].split(" of")[0]
    plan = cp.plan_pyramid(source, "elsewhere.zarr", memory_limit=least)
    assert plan.peak_bytes <= plan.memory_limit
    number, unit = least.split()
    with pytest.raises(cp.PlanError):
        cp.plan_pyramid(source, "elsewhere.zarr", memory_limit=f"{float(number) - 0.02:.2f} {unit}")


@given(
    side=st.integers(1, 600), chunk=st.integers(1, 600), dtype=st.sampled_from(["u1", "f8"]), levels=st.integers(0, 4)
)
def test_the_least_memory_that_is_told_always_does(side: int, chunk: int, dtype: str, levels: int) -> None:
    array = da.zeros((side, side, side), dtype=dtype, chunks=chunk)
    with pytest.raises(cp.PlanError) as caught:
        cp.plan_pyramid(array, chunks=min(chunk, 128), levels=levels, memory_limit=1)
    least = str(caught.value).split("at least ")[1].split(" of")[0]
    plan = cp.plan_pyramid(array, chunks=min(chunk, 128), levels=levels, memory_limit=least)
    assert plan.peak_bytes <= plan.memory_limit


def test_the_promise_counts_whole_chunks() -> None:
    plan = cp.plan_pyramid(IMAGE, chunks=300, levels=0, memory_limit="8 GiB")
    assert plan.peak_bytes > 300**3
    with pytest.raises(cp.PlanError, match="smaller chunks"):
        cp.plan_pyramid(IMAGE, chunks=10**6)


# ---------------------------------------------------------------------------------------------------- sources

BAD_SOURCES: dict[str, Callable[[], Any]] = {
    "nothing": lambda: None,
    "number": lambda: 3,
    "list": lambda: [[1, 2], [3, 4]],
    "bytes": lambda: b"path",
    "zero-size": lambda: np.zeros((4, 0, 4), np.uint8),
    "zero-size dask": lambda: da.zeros((4, 0), dtype=np.uint8),
    "zero-size zarr": lambda: zarr.create_array(MemoryStore(), shape=(0, 4), dtype="u1", chunks=(1, 4)),
    "zero-size DataArray": lambda: xr.DataArray(np.zeros((0, 3))),
    "scalar": lambda: np.zeros((), np.uint8),
    "1-D": lambda: np.zeros(4, np.uint8),
    "6-D": lambda: np.zeros((2,) * 6, np.uint8),
    "unknown shape": lambda: (lambda a: a[a[:, 0, 0] > 100])(da.from_array(IMAGE, chunks=4)),
    "masked": lambda: np.ma.masked_less(IMAGE, 100),
    "masked dask": lambda: da.ma.masked_less(da.from_array(IMAGE, chunks=4), 100),
    "objects": lambda: np.array([[None, 1]], dtype=object),
    "objects in dask": lambda: da.from_array(np.array([[None, 1]], dtype=object), chunks=1),
    "strings": lambda: np.array([["a", "b"]]),
    "variable strings": lambda: zarr.create_array(MemoryStore(), shape=(4, 4), dtype="str", chunks=(4, 4)),
    "complex": lambda: np.zeros((4, 4), complex),
    "datetimes": lambda: np.zeros((4, 4), "M8[s]"),
    "long double": lambda: np.zeros((4, 4), np.longdouble),
    "records": lambda: np.zeros((4, 4), [("a", "u1")]),
    "Dataset": lambda: xr.Dataset({"a": (("y", "x"), np.zeros((4, 4)))}),
    "empty store": MemoryStore,
    "plain group": lambda: zarr.create_group(MemoryStore()),
    "unknown protocol": lambda: "nosuchprotocol://a/b",
}


@pytest.mark.parametrize("kind", BAD_SOURCES)
def test_bad_sources(kind: str, tmp_path: Path) -> None:
    source = BAD_SOURCES[kind]()
    with pytest.raises((cp.ArgumentError, cp.SourceNotFoundError)):
        cp.build_pyramid(source, tmp_path / "new.zarr")
    with pytest.raises((cp.ArgumentError, cp.SourceNotFoundError)):
        cp.plan_pyramid(source, tmp_path / "new.zarr")
    assert not (tmp_path / "new.zarr").exists()


@pytest.mark.parametrize("target", [None, "new.zarr"])
def test_missing_sources(target: str | None, tmp_path: Path) -> None:
    (tmp_path / "folder").mkdir()
    (tmp_path / "file.txt").write_text("no zarr")
    before = sorted(tmp_path.rglob("*"))
    for source in ("missing.zarr", "folder", "file.txt", "folder/missing.zarr"):
        for prefix in (f"{tmp_path}/", f"file://{tmp_path}/"):
            for function in (cp.build_pyramid, cp.plan_pyramid):
                with pytest.raises(cp.SourceNotFoundError, match=source):
                    function(f"{prefix}{source}", target and tmp_path / target)
    for source in ("", "missing.zarr", Path("missing.zarr")):
        with pytest.raises(FileNotFoundError):
            cp.build_pyramid(source, tmp_path / "new.zarr")
    assert sorted(tmp_path.rglob("*")) == before


def test_a_damaged_source_is_no_crash(tmp_path: Path) -> None:
    zarr.create_array(tmp_path / "a.zarr", data=IMAGE)
    for text in ("", "{", "[]", '{"zarr_format": 3}', '{"zarr_format": 9, "node_type": "array"}'):
        (tmp_path / "a.zarr" / "zarr.json").write_text(text)
        with pytest.raises((cp.ArgumentError, cp.SourceNotFoundError)):
            cp.build_pyramid(tmp_path / "a.zarr", tmp_path / "new.zarr")
    assert not (tmp_path / "new.zarr").exists()


MALFORMED = {
    "no axes": {"datasets": [{"path": "0"}]},
    "no datasets": {"axes": [{"name": "y", "type": "space"}, {"name": "x", "type": "space"}], "datasets": []},
    "axes are a number": {"axes": 3, "datasets": [{"path": "0"}]},
    "empty": {},
    "a string": "multiscale",
}


@pytest.mark.parametrize("kind", MALFORMED)
def test_malformed_ome_metadata(kind: str, tmp_path: Path) -> None:
    group = zarr.create_group(tmp_path / "g.zarr")
    group.create_array("0", data=IMAGE[0])
    group.attrs["ome"] = {"version": "0.5", "multiscales": [MALFORMED[kind]]}
    before = contents(tmp_path)
    for call in (cp.open_pyramid, cp.build_pyramid, lambda path: cp.build_pyramid(path, tmp_path / "new.zarr")):
        with pytest.raises(cp.ArgumentError, match="malformed"):
            call(tmp_path / "g.zarr")
    assert contents(tmp_path) == before


def test_an_image_without_its_level_0(tmp_path: Path) -> None:
    cp.build_pyramid(IMAGE, tmp_path / "p.zarr", levels=1)
    (tmp_path / "p.zarr" / "0").rename(tmp_path / "elsewhere")
    with pytest.raises(cp.SourceNotFoundError, match="'0'"):
        cp.build_pyramid(tmp_path / "p.zarr", tmp_path / "new.zarr")
    with pytest.raises(cp.SourceNotFoundError, match="'0'"):
        cp.open_pyramid(tmp_path / "p.zarr")
    assert not (tmp_path / "new.zarr").exists()


@pytest.mark.parametrize("target", [None, 3, b"path", "", [], object(), "missing.zarr", "nosuchprotocol://a"])
def test_open_pyramid_of_nothing(target: Any) -> None:
    with pytest.raises((cp.ArgumentError, cp.SourceNotFoundError)):
        cp.open_pyramid(target)


def test_open_pyramid_of_what_is_no_pyramid(tmp_path: Path) -> None:
    array = zarr.create_array(tmp_path / "a.zarr", data=IMAGE)
    with pytest.raises(cp.ArgumentError, match="array"):
        cp.open_pyramid(array)
    with pytest.raises(cp.ArgumentError, match="array"):
        cp.open_pyramid(tmp_path / "a.zarr")
    with pytest.raises(cp.ArgumentError, match="no OME-Zarr"):
        cp.open_pyramid(zarr.create_group(MemoryStore()))


# ---------------------------------------------------------------------------------------------------- targets

TARGETS: dict[str, Callable[[Path], Any]] = {
    "string": str,
    "Path": lambda path: path,
    "file URL": lambda path: f"file://{path}",
    "store": LocalStore,
    "group": lambda path: zarr.open_group(path, mode="r+"),
}


@pytest.mark.parametrize("target", [3, b"path", object(), [1], "", "nosuchprotocol://a", "nul\0"], ids=identify)
@pytest.mark.parametrize("overwrite", [False, True])
def test_targets_that_are_none(target: Any, overwrite: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "precious").write_text("kept")
    with pytest.raises(cp.ArgumentError, match="target"):
        cp.build_pyramid(IMAGE, target, overwrite=overwrite)
    assert contents(tmp_path) == {"precious": b"kept"}


@pytest.mark.parametrize("handle", TARGETS)
@pytest.mark.parametrize("zarr_format", [2, 3])
def test_an_existing_group_is_kept_unless_overwritten(handle: str, zarr_format: Any, tmp_path: Path) -> None:
    path = tmp_path / "g.zarr"
    zarr.create_group(path, zarr_format=zarr_format).create_array("mine", data=IMAGE)
    before = contents(tmp_path)
    with pytest.raises(cp.TargetExistsError, match=r"'mine'.*overwrite=True"):
        cp.build_pyramid(IMAGE, TARGETS[handle](path))
    assert contents(tmp_path) == before
    cp.build_pyramid(IMAGE, TARGETS[handle](path), overwrite=True, levels=1)
    assert not (path / "mine").exists()
    np.testing.assert_array_equal(cp.open_pyramid(path).levels[0][...], IMAGE)


@pytest.mark.parametrize("handle", TARGETS)
def test_an_empty_group_is_a_target(handle: str, tmp_path: Path) -> None:
    zarr.create_group(tmp_path / "g.zarr")
    cp.build_pyramid(IMAGE, TARGETS[handle](tmp_path / "g.zarr"), levels=1)
    assert len(cp.open_pyramid(tmp_path / "g.zarr").levels) == 2


def test_an_empty_group_of_the_other_format_is_none(tmp_path: Path) -> None:
    zarr.create_group(tmp_path / "g.zarr", zarr_format=2)
    before = contents(tmp_path)
    with pytest.raises(cp.TargetExistsError, match="zarr format 2"):
        cp.build_pyramid(IMAGE, tmp_path / "g.zarr")
    assert contents(tmp_path) == before


@pytest.mark.parametrize("handle", ["string", "Path", "file URL"])
@pytest.mark.parametrize("overwrite", [False, True])
@pytest.mark.parametrize("what", ["files", "file", "array"])
def test_what_is_no_group_is_never_deleted(handle: str, overwrite: bool, what: str, tmp_path: Path) -> None:
    path = tmp_path / "x"
    if what == "files":
        (path / "sub").mkdir(parents=True)
        (path / "sub" / "precious").write_text("kept")
    elif what == "file":
        path.write_text("kept")
    else:
        zarr.create_array(path, data=IMAGE)
    before = contents(tmp_path)
    with pytest.raises(cp.TargetExistsError, match="choose another target"):
        cp.build_pyramid(IMAGE, TARGETS[handle](path), overwrite=overwrite)
    assert contents(tmp_path) == before


@pytest.mark.parametrize("handle", TARGETS)
def test_foreign_files_in_a_group_are_kept_unless_overwritten(handle: str, tmp_path: Path) -> None:
    zarr.create_group(tmp_path / "g.zarr")
    (tmp_path / "g.zarr" / "notes.txt").write_text("kept")
    before = contents(tmp_path)
    with pytest.raises(cp.TargetExistsError, match=r"notes\.txt"):
        cp.build_pyramid(IMAGE, TARGETS[handle](tmp_path / "g.zarr"))
    assert contents(tmp_path) == before


def test_a_store_over_foreign_files_loses_none(tmp_path: Path) -> None:
    (tmp_path / "notes.txt").write_text("kept")
    cp.build_pyramid(IMAGE, LocalStore(tmp_path), levels=0, overwrite=True)
    assert (tmp_path / "notes.txt").read_text() == "kept"


SOURCES_IN_THE_TARGET: dict[str, Callable[[Path], Any]] = {
    "array": lambda path: zarr.open_group(path, mode="r")["source"],
    "path": lambda path: path / "source",
    "file URL": lambda path: f"file://{path}/source",
    "store": lambda path: LocalStore(path / "source"),
    "dask": lambda path: da.from_zarr(path / "source"),
    "computed dask": lambda path: da.from_zarr(zarr.open_array(path / "source"))[::2] + np.uint8(1),
    "DataArray": lambda path: xr.open_zarr(path, consolidated=False).source,
    "lazy DataArray": lambda path: xr.open_dataset(path, engine="zarr", consolidated=False, chunks=None).source,
}


@pytest.mark.parametrize("kind", SOURCES_IN_THE_TARGET)
@pytest.mark.parametrize("handle", TARGETS)
def test_overwriting_never_deletes_what_is_read(kind: str, handle: str, tmp_path: Path) -> None:
    path = tmp_path / "g.zarr"
    zarr.create_group(path).create_array("source", data=IMAGE, chunks=(8, 8, 8), dimension_names=list("zyx"))
    before = contents(tmp_path)
    with pytest.raises(cp.ArgumentError, match="contains the source"):
        cp.build_pyramid(SOURCES_IN_THE_TARGET[kind](path), TARGETS[handle](path), overwrite=True)
    assert contents(tmp_path) == before


def test_overwriting_never_deletes_what_is_read_by_fsspec() -> None:
    url = "memory://chunkpyramid-overlap"
    source = zarr.create_group(url, overwrite=True).create_array("source", data=IMAGE)
    for given_source in (f"{url}/source", source, da.from_zarr(f"{url}/source")):
        with pytest.raises(cp.ArgumentError, match="contains the source"):
            cp.build_pyramid(given_source, url, overwrite=True)
    np.testing.assert_array_equal(source[...], IMAGE)


def test_a_target_inside_the_source_array_is_refused(tmp_path: Path) -> None:
    zarr.create_array(tmp_path / "a.zarr", data=IMAGE)
    before = contents(tmp_path)
    with pytest.raises(cp.ArgumentError, match="inside the source"):
        cp.build_pyramid(tmp_path / "a.zarr", tmp_path / "a.zarr" / "pyramid")
    with pytest.raises(cp.TargetExistsError):
        cp.build_pyramid(tmp_path / "a.zarr", tmp_path / "a.zarr", overwrite=True)
    assert contents(tmp_path) == before


def test_a_read_only_store_is_no_target() -> None:
    for overwrite in (False, True):
        with pytest.raises(cp.ArgumentError, match=r"target.*read-only"):
            cp.build_pyramid(IMAGE, MemoryStore(read_only=True), overwrite=overwrite)


# ---------------------------------------------------------------------------------------------------- in memory

FUNCTIONS = [
    cp.downsample,
    cp.downsample_segmentation,
    cp.downsample_with_averaging,
    cp.downsample_with_max_pooling,
    cp.downsample_with_min_pooling,
    cp.downsample_with_striding,
]


@pytest.mark.parametrize("function", FUNCTIONS)
def test_bad_arguments_in_memory(function: Callable[..., Any]) -> None:
    levels = "num_levels" if function is cp.downsample else "num_mips"
    for factor in (0, -1, 2.0, 2.5, "2", None, (), (2, 2, 2, 2), (2, 2, 0), True, {"y": 2}, [[2, 2, 2]], (2, None, 2)):
        with pytest.raises(cp.ArgumentError, match="factor"):
            function(IMAGE, factor)
    for count in (0, -1, 1.5, "1", None, True):
        with pytest.raises(cp.ArgumentError, match=levels):
            function(IMAGE, 2, **{levels: count})
    for array in (None, "image", 3, np.zeros((0, 3)), [[1, 2], [3]], np.array([None, 1]), np.ma.masked_less(IMAGE, 9)):
        with pytest.raises(cp.ArgumentError):
            function(array, 2)


def test_factors_beyond_the_axes_cost_no_more_than_the_axes() -> None:
    for method, value in (("mean", IMAGE.mean().round()), ("max", IMAGE.max()), ("stride", IMAGE[0, 0, 0])):
        for factor in (10**4, 10**9, 10**25):
            assert cp.downsample(IMAGE, factor, method=method)[0].item() == value
    for factor in (128, 10**4, 10**25):
        with pytest.raises(cp.ArgumentError, match="factor"):
            cp.downsample(IMAGE, factor, method="mode")


@pytest.mark.parametrize(
    "options",
    [
        {"method": "median"},
        {"method": None},
        {"sparse": 2},
        {"sparse": True, "method": "max"},
        {"sparse": True, "background": 300},
        {"background": "black"},
        {"rounding": "up"},
    ],
    ids=identify,
)
def test_bad_options_of_downsample(options: dict[str, Any]) -> None:
    with pytest.raises(cp.ArgumentError, match=list(options)[-1] if "method" not in options else "method"):
        cp.downsample(IMAGE, 2, **options)


def test_all_errors_have_one_base_and_a_builtin_one() -> None:
    for error, builtin in (
        (cp.ArgumentError, ValueError),
        (cp.PlanError, ValueError),
        (cp.TargetExistsError, FileExistsError),
        (cp.SourceNotFoundError, FileNotFoundError),
        (cp.BuildError, RuntimeError),
    ):
        assert issubclass(error, cp.ChunkPyramidError)
        assert issubclass(error, builtin)


def test_stores_in_which_nothing_can_be_deleted_are_refused(tmp_path: Path) -> None:
    with ZipStore(tmp_path / "volume.zip", mode="w") as store:
        group = zarr.open_group(store, mode="a")
        source = group.create_array("0", shape=IMAGE.shape, dtype=IMAGE.dtype, chunks=(8, 8, 8))
        source[...] = IMAGE
        before = set(store._zf.namelist())
        for call in (
            lambda: cp.build_pyramid(IMAGE, store),
            lambda: cp.build_pyramid(IMAGE, group),
            lambda: cp.build_pyramid(source),
            lambda: cp.update_pyramid(store, np.s_[:]),
        ):
            with pytest.raises(cp.ArgumentError, match="nothing can be deleted: give a folder or URL"):
                call()
        assert set(store._zf.namelist()) == before
