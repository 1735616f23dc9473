"""The command line: every option reaches the build, errors are one line, output is for people and for pipes."""

from __future__ import annotations

import os
import pty
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import zarr
from click.testing import CliRunner, Result
from helpers.child import run as run_in_process

import chunkpyramid as cp
from chunkpyramid.cli.main import cli, with_switches

IMAGE = np.random.default_rng(1).integers(0, 255, (10, 20, 24)).astype(np.uint8)


@pytest.fixture
def source(tmp_path: Path) -> str:
    path = tmp_path / "source.zarr"
    zarr.create_array(path, data=IMAGE, chunks=(8, 8, 8))
    return str(path)


@pytest.fixture
def target(tmp_path: Path) -> str:
    return str(tmp_path / "target.zarr")


def run(*arguments: str) -> Result:
    result = CliRunner().invoke(cli, arguments)
    if result.exit_code:
        raise AssertionError(f"exit code {result.exit_code}: {result.output}") from result.exception
    return result


# all that a process does, from within one in which the package is imported
PROGRAM = """
import warnings
from chunkpyramid.cli.main import main
warnings.simplefilter("error")
main()
"""
COMMAND = [sys.executable, "-W", "error", "-m", "chunkpyramid"]
# a process that starts in another directory is to find the package that is tested
ENVIRONMENT = {**os.environ, "PYTHONPATH": str(Path(cp.__file__).parent.parent), "TERM": "xterm", "COLUMNS": "80"}


def process(*arguments: str, **options: Any) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [*COMMAND, *arguments], capture_output=True, text=True, timeout=120, env=ENVIRONMENT, **options
    )


def test_build_and_info(source: str, target: str) -> None:
    output = run("build", source, target).output
    pyramid = cp.open_pyramid(target)
    np.testing.assert_array_equal(pyramid.levels[0][...], IMAGE)
    assert [level.shape for level in pyramid.levels] == [(10, 20, 24), (5, 10, 12), (3, 5, 6)]
    assert repr(pyramid) in output
    assert re.search(r"built in [\d.]+ s; peak memory [\d.]+ MiB, promised [\d.]+ MiB, limit", output)
    assert run("info", target).output == f"{pyramid}\n"


@pytest.mark.parametrize(
    ("arguments", "options"),
    [
        (["--method", "mode"], {"method": "mode"}),
        (["--method", "max"], {"method": "max"}),
        (["--method", "stride"], {"method": "stride"}),
        (["--factor", "3"], {"factor": 3}),
        (["--factor", "1,2,2"], {"factor": (1, 2, 2)}),
        (["--factor", "1,2,2;2,2,2"], {"factor": [(1, 2, 2), (2, 2, 2)]}),
        (["--factor", "1,2,2;"], {"factor": [(1, 2, 2)]}),
        (["--factor", "isotropic", "--voxel-size", "40,4,4"], {"factor": "isotropic", "voxel_size": (40, 4, 4)}),
        (["--levels", "1"], {"levels": 1}),
        (["--levels", "0"], {"levels": 0}),
        (["--sparse", "--background", "7"], {"sparse": True, "background": 7}),
        (["--rounding", "truncate"], {"rounding": "truncate"}),
        (["--memory", "1 GiB"], {"memory_limit": "1 GiB"}),
        (["--chunks", "4"], {"chunks": 4}),
        (["--chunks", "2,8,16"], {"chunks": (2, 8, 16)}),
        (["--chunks", "4", "--shards", "8"], {"chunks": 4, "shards": 8}),
        (["--chunks", "auto"], {"chunks": "auto"}),
        (["--chunks", "none", "--shards", "none"], {}),
        (["--chunks", "8; 4,4,8;auto", "--levels", "2"], {"chunks": [8, (4, 4, 8), "auto"], "levels": 2}),
        (["--chunks", "4;", "--levels", "0"], {"chunks": [4], "levels": 0}),
        (["--chunks", "4", "--shards", "auto"], {"chunks": 4, "shards": "auto"}),
        (["--chunks", "4", "--shards", "16;8;none;4,4,4"], {"chunks": 4, "shards": [16, 8, None, 4]}),
        (["--unit", "um, nm,nm"], {"unit": ("um", "nm", "nm")}),
        (["--voxel-size", "2.5", "--unit", "nm"], {"voxel_size": 2.5, "unit": "nm"}),
        (["--translation", "-5"], {"translation": -5}),
        (["--axes", "tyx"], {"axes": "tyx"}),
        (["--zarr-format", "2"], {"zarr_format": 2}),
        (["--layout", "datatree", "--name", "cells"], {"layout": "datatree", "name": "cells"}),
    ],
    ids=" ".join,
)
def test_options_of_build_and_plan(
    arguments: list[str], options: dict[str, Any], source: str, target: str, tmp_path: Path
) -> None:
    output = run("plan", source, target, *arguments).output
    assert output == f"{cp.plan_pyramid(source, target, **options)}\n"
    assert not os.path.exists(target)
    run("build", source, target, *arguments)
    cp.build_pyramid(source, tmp_path / "call.zarr", **options)
    by_command, by_call = cp.open_pyramid(target), cp.open_pyramid(tmp_path / "call.zarr")
    assert by_command.multiscale == by_call.multiscale
    for a, b in zip(by_command.levels, by_call.levels, strict=True):
        assert a.metadata == b.metadata
        np.testing.assert_array_equal(a[...], b[...])


def test_nan_as_background(tmp_path: Path) -> None:
    image = np.array([[np.nan, 2], [4, np.nan]], np.float32)
    zarr.create_array(tmp_path / "s.zarr", data=image)
    run("build", str(tmp_path / "s.zarr"), str(tmp_path / "t.zarr"), "--levels=1", "--sparse", "--background=nan")
    assert cp.open_pyramid(tmp_path / "t.zarr").levels[1][...].tolist() == [[3]]


def test_in_place(tmp_path: Path) -> None:
    zarr.create_group(tmp_path / "g.zarr").create_array("0", data=IMAGE, chunks=(8, 8, 8))
    source = str(tmp_path / "g.zarr" / "0")
    assert "nothing" not in run("plan", source, "--in-place", "--levels", "1").output
    assert not (tmp_path / "g.zarr" / "1").exists()
    run("build", source, "--in-place", "--levels", "1")
    pyramid = cp.open_pyramid(tmp_path / "g.zarr")
    assert pyramid.multiscale.paths == ("0", "1")


def test_overwrite(source: str, target: str) -> None:
    run("build", source, target)
    assert "nothing was done" in run("build", source, target).output
    result = CliRunner().invoke(cli, ["build", source, target, "--method", "min"])
    assert isinstance(result.exception, cp.TargetExistsError)
    run("build", source, target, "--overwrite", "--method", "min")
    assert cp.open_pyramid(target).method == "min"


def test_verify(source: str, target: str) -> None:
    run("build", source, target)
    assert run("verify", target).output == "levels 1, 2 were computed again from level 0\nno chunk differs\n"
    (Path(target) / "1" / "c" / "0" / "1" / "0").write_bytes(b"damaged")
    result = CliRunner().invoke(cli, ["verify", target, "--memory", "1 GiB"])
    assert result.exit_code == 1
    assert result.output.splitlines()[1:] == [
        "level  chunk      problem",
        "1      (0, 1, 0)  unreadable  not repaired",
    ]
    mended = run("verify", target, "--repair").output
    assert mended.splitlines()[2] == "1      (0, 1, 0)  unreadable  repaired"
    assert "no chunk differs" in run("verify", target).output
    (Path(target) / "0" / "c" / "0" / "0" / "0").write_bytes(b"damaged")
    result = CliRunner().invoke(cli, ["verify", target, "--repair"])
    assert result.exit_code == 1
    assert "0      (0, 0, 0)  unreadable  not repaired" in result.output


def test_verify_of_a_fraction(source: str, target: str) -> None:
    run("build", source, target)
    assert "in a random 0.5 of level 0" in run("verify", target, "--fraction", "0.5", "--seed", "3").output
    result = CliRunner().invoke(cli, ["verify", target, "--fraction", "1.5"])
    assert isinstance(result.exception, cp.ArgumentError)


def test_exit_codes_of_verify_in_a_process(source: str, target: str) -> None:
    run("build", source, target)
    assert process("verify", target).returncode == 0
    (Path(target) / "1" / "c" / "0" / "1" / "0").unlink()
    done = process("verify", target)
    assert (done.returncode, done.stderr) == (1, "")
    assert "(0, 1, 0)  differs  not repaired" in done.stdout


def test_update(source: str, target: str) -> None:
    run("build", source, target)
    for argument, region in (("2:5,4:9", np.s_[2:5, 4:9]), (":, -3:,5:6", np.s_[:, -3:, 5:6]), ("3:", np.s_[3:])):
        array = zarr.open_array(target, path="0")
        array[region] = 99
        assert CliRunner().invoke(cli, ["verify", target]).exit_code == 1
        assert run("update", target, argument, "--memory", "1 GiB").output == f"{cp.open_pyramid(target)}\n"
        run("verify", target)
    result = CliRunner().invoke(cli, ["update", target, "0:1,0:1,0:1,0:1"])
    assert isinstance(result.exception, cp.ArgumentError)


def test_every_option_of_verify_and_update_has_a_switch() -> None:
    assert {p.name for p in cli.commands["verify"].params} == {"target", "fraction", "seed", "repair", "memory_limit"}
    assert {p.name for p in cli.commands["update"].params} == {"target", "region", "memory_limit"}


def test_plan_needs_no_target(source: str) -> None:
    assert run("plan", source).output == f"{cp.plan_pyramid(source, 'new.zarr')}\n"


def test_version_and_help() -> None:
    assert cp.__version__ in run("--version").output
    for command in ("build", "plan", "info", "verify", "update"):
        assert "Usage" in run(command, "--help").output
        assert "Usage" in run(command, "-h").output


def test_every_option_of_build_has_a_switch() -> None:
    switches = {parameter.name for parameter in cli.commands["build"].params}
    arguments = {"memory_limit", "method", "factor", "levels", "sparse", "background", "rounding", "axes", "name"}
    arguments |= {"voxel_size", "translation", "unit", "chunks", "shards", "zarr_format", "layout", "overwrite"}
    assert arguments <= switches


@pytest.mark.parametrize(
    "arguments",
    [
        [],
        ["build"],
        ["info"],
        ["no-such-command"],
        ["build", "a", "b", "c"],
        ["build", "a"],
        ["build", "a", "b", "--in-place"],
        ["plan", "a", "b", "--in-place"],
        ["build", "a", "b", "--no-such-option"],
        ["build", "a", "b", "--factor", "two"],
        ["build", "a", "b", "--factor", "2x2"],
        ["build", "a", "b", "--factor", "1.5"],
        ["build", "a", "b", "--levels", "many"],
        ["build", "a", "b", "--chunks", "64x64"],
        ["build", "a", "b", "--chunks", ""],
        ["build", "a", "b", "--chunks", ";"],
        ["build", "a", "b", "--chunks", "64;;32"],
        ["build", "a", "b", "--shards", "large"],
        ["build", "a", "b", "--shards", "64;1.5"],
        ["build", "a", "b", "--unit", "nm,,nm"],
        ["build", "a", "b", "--voxel-size", "4nm"],
        ["build", "a", "b", "--background", "black"],
        ["build", "a", "b", "--zarr-format", "three"],
        ["verify"],
        ["verify", "a", "--fraction", "half"],
        ["verify", "a", "--seed", "x"],
        ["update", "a"],
        ["update", "a", ""],
        ["update", "a", "5"],
        ["update", "a", "0:8:2"],
        ["update", "a", "0:8,,0:8"],
        ["update", "a", "0:8;0:8"],
        ["update", "a", "x:y"],
    ],
    ids=" ".join,
)
def test_wrong_usage_exits_with_2(arguments: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    result = CliRunner().invoke(cli, arguments)
    assert result.exit_code == 2, result.output
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["info", "missing.zarr"], "missing.zarr"),
        (["info", "source.zarr"], "array"),
        (["build", "missing.zarr", "new.zarr"], "missing.zarr"),
        (["build", "source.zarr", "new.zarr", "--factor", "0"], "factor"),
        (["build", "source.zarr", "new.zarr", "--method", "median"], "median"),
        (["build", "source.zarr", "new.zarr", "--memory", "1 MiB"], "--memory"),
        (["build", "source.zarr", "new.zarr", "--chunks", "8", "--shards", "12"], "shards"),
        (["build", "source.zarr", "--in-place"], "give DST"),
        (["build", "source.zarr", "new.zarr", "--zarr-format", "2", "--shards", "16"], "--zarr-format 2 was given"),
        (["build", "source.zarr", "new.zarr", "--name", "a/b"], "'a/b'"),
        (["build", "source.zarr", "full.zarr"], "pass --overwrite"),
        (["build", "nosuchprotocol://x", "new.zarr"], "nosuchprotocol"),
        (["info", "broken.zarr"], "malformed"),
        (["plan", "source.zarr", "--axes", "zy"], "axes"),
        (["verify", "missing.zarr"], "missing.zarr"),
        (["verify", "source.zarr"], "array"),
        (["update", "missing.zarr", "0:8"], "missing.zarr"),
        (["update", "source.zarr", "0:8"], "array"),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else "",
)
def test_errors_are_one_line(arguments: list[str], message: str, source: str, tmp_path: Path) -> None:
    broken = {"version": "0.5", "multiscales": [{"axes": 3, "datasets": [{"path": "0"}]}]}
    zarr.create_group(tmp_path / "broken.zarr", attributes={"ome": broken})
    zarr.create_group(tmp_path / "full.zarr", attributes={"mine": 1})
    done = run_in_process(PROGRAM, *arguments, folder=tmp_path)
    assert done.returncode == 1
    assert done.stdout == ""
    assert len(done.stderr.splitlines()) == 1, done.stderr
    assert done.stderr.startswith("chunkpyramid: ")
    assert message in done.stderr
    assert not (tmp_path / "new.zarr").exists()


@pytest.mark.parametrize(
    ("text", "wanted"),
    [
        (
            "shards need zarr_format=3, but zarr_format=2 was given: leave shards=None",
            "shards need --zarr-format 3, but --zarr-format 2 was given: leave out --shards",
        ),
        ("give another unit=, such as 'um'", "give another --unit, such as 'um'"),
        ("labels_of='x' is an array", "--labels-of 'x' is an array"),
        ("pass resume=True to finish it, or overwrite=True to begin anew", "leave out --no-resume to finish it, or "),
        ("'/data/name=3/axes=zyx' is no zarr", "'/data/name=3/axes=zyx' is no zarr"),
        ("memory_limit must be a number\nof bytes", "--memory must be a number of bytes"),
    ],
)
def test_messages_speak_of_switches(text: str, wanted: str) -> None:
    assert wanted in with_switches(text)


def test_integral_factors_and_regions_that_begin_with_a_minus(source: str, target: str) -> None:
    run("build", source, target, "--factor", "2.0", "--levels", "2")
    assert cp.open_pyramid(target).coordinates[2].scale == (4.0, 4.0, 4.0)
    run("update", target, "-5:,:,:-2")


def test_no_progress_bar_in_a_pipe(source: str, target: str) -> None:
    done = process("build", source, target)
    assert done.returncode == 0, done.stderr
    assert done.stderr == ""
    assert done.stdout.startswith("Pyramid image of 3 levels")


def test_a_progress_bar_on_a_terminal(source: str, target: str) -> None:
    master, slave = pty.openpty()
    command = [*COMMAND, "build", source, target]
    with (
        open(master, "rb", buffering=0) as terminal,
        subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=slave, env=ENVIRONMENT) as done,
    ):
        os.close(slave)
        # while it runs, for a terminal that nobody reads is full soon, and then the process waits
        shown = b""
        try:
            while part := terminal.read(4096):
                shown += part
        except OSError:  # Linux tells the end of a pseudo-terminal so
            pass
    assert done.returncode == 0, shown
    text = re.sub(r"\x1b\[[0-9;?]*[A-Za-z]", "", shown.decode())
    assert "blocks" in text
    assert re.search(r"\b(\d+)/\1\b", text), text


def test_demo_writes_only_to_a_new_directory(tmp_path: Path) -> None:
    (tmp_path / "precious").write_text("kept")
    result = CliRunner().invoke(cli, ["demo", str(tmp_path)])
    assert isinstance(result.exception, cp.TargetExistsError)
    assert [path.name for path in tmp_path.iterdir()] == ["precious"]


def test_the_installed_command() -> None:
    command = Path(sys.executable).with_name("chunkpyramid")
    if not command.exists():
        pytest.skip("the package runs from its sources without being installed")
    done = subprocess.run([command, "--version"], capture_output=True, text=True, timeout=60)
    assert cp.__version__ in done.stdout
