"""The command line: ``chunkpyramid build | plan | info | verify | update | demo``."""

from __future__ import annotations

import re
import sys
import time
import warnings
from collections.abc import Callable
from contextlib import nullcontext
from pathlib import Path
from typing import Any

import click

from chunkpyramid._version import __version__

__all__ = ["main", "with_switches"]


class FactorType(click.ParamType[Any]):
    """A factor: 2, "1,2,2", several of those separated by semicolons, or "isotropic"."""

    name = "factor"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        if not isinstance(value, str) or value == "isotropic":
            return value
        if not re.fullmatch(r"\s*-?\d+(\.0*)?(\s*[,;]\s*-?\d+(\.0*)?)*\s*;?\s*", value):
            self.fail(
                f"{value!r} is no factor: give 2, or 1,2,2, or 1,2,2;2,2,2 (one per level), or isotropic", param, ctx
            )
        rows = [tuple(int(float(number)) for number in row.split(",")) for row in value.split(";") if row.strip()]
        if ";" in value:
            return rows
        return rows[0] if len(rows[0]) > 1 else rows[0][0]


class ShapeType(click.ParamType[Any]):
    """A shape: 64, "1,64,64", "auto" or "none", or one of these per level, separated by semicolons."""

    name = "shape"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        if not isinstance(value, str):
            return value
        entries = [self._entry(text.strip(), param, ctx) for text in value.removesuffix(";").split(";")]
        return entries if ";" in value else entries[0]

    def _entry(self, text: str, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        if text in ("auto", "none"):
            return None if text == "none" else text
        if not re.fullmatch(r"-?\d+(\s*,\s*-?\d+)*", text):
            self.fail(
                f"{text!r} is no shape: give 64, or 1,64,64, or auto, or none, or 64;32;32 (one per level)", param, ctx
            )
        numbers = tuple(int(number) for number in text.split(","))
        return numbers if len(numbers) > 1 else numbers[0]


class PerAxisType(click.ParamType[Any]):
    """One value for all spatial axes, or one per axis separated by commas."""

    name = "values"

    def __init__(self, kind: Callable[[str], Any]):
        self.kind = kind

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        if not isinstance(value, str):
            return value
        try:
            entries = tuple(self.kind(entry) for entry in value.split(","))
        except ValueError:
            self.fail(f"{value!r} is neither one value nor one per axis, separated by commas", param, ctx)
        return entries if len(entries) > 1 else entries[0]


def unit_name(text: str) -> str:
    """Return a unit without the spaces around it."""
    if not text.strip():
        raise ValueError("no unit")
    return text.strip()


class RegionType(click.ParamType[Any]):
    """One slice per axis, separated by commas: 0:64,128:192,:"""

    name = "region"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        if not isinstance(value, str):
            return value
        if not re.fullmatch(r"\s*-?\d*:-?\d*\s*(,\s*-?\d*:-?\d*\s*)*", value):
            self.fail(f"{value!r} is no region: give one slice per axis, such as 0:64,128:192,:", param, ctx)
        ends = [[int(end) if end else None for end in axis.strip().split(":")] for axis in value.split(",")]
        return tuple(slice(start, stop) for start, stop in ends)


class BackgroundType(click.ParamType[Any]):
    """A number or nan."""

    name = "number"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        if not isinstance(value, str):
            return value
        for kind in (int, float):
            try:
                return kind(value)
            except ValueError:
                continue
        self.fail(f"{value!r} is no number", param, ctx)


BUILD_OPTIONS = [
    click.option(
        "--method", default="auto", show_default=True, help="auto, mean, mode, exact_mode, min, max or stride."
    ),
    click.option(
        "--factor", type=FactorType(), default="2", show_default=True, help="2, 1,2,2, 1,2,2;2,2,2 or isotropic."
    ),
    click.option("--levels", type=int, help="How many levels below 0.  [default: until a level fits in one chunk]"),
    click.option(
        "--sparse/--no-sparse",
        default=None,
        help="Background voxels neither vote nor count.  [default: if SRC declares a missing value]",
    ),
    click.option("--background", type=BackgroundType(), help="[default: the missing value that SRC declares, or 0]"),
    click.option("--rounding", default="nearest", show_default=True, help="nearest (half to even) or truncate."),
    click.option(
        "--memory",
        "memory_limit",
        help="Limit for the whole process, such as '2 GiB'.  [default: half of what is there]",
    ),
    click.option("--chunks", type=ShapeType(), help="64, or 1,64,64, or auto, or one per level: 64;32;32."),
    click.option("--shards", type=ShapeType(), help="512, or 1,512,512, or auto, or one per level: 512;256;none."),
    click.option("--voxel-size", type=PerAxisType(float), help="4, or 40,4,4 (spatial axes)."),
    click.option("--translation", type=PerAxisType(float), help="Centre of the first voxel."),
    click.option("--unit", type=PerAxisType(unit_name), help="Such as nanometer, or um,nm,nm."),
    click.option("--axes", help="Such as zyx or tczyx."),
    click.option("--zarr-format", type=int, default=3, show_default=True, help="3 (OME-Zarr 0.5) or 2 (0.4)."),
    click.option("--layout", default="flat", show_default=True, help="flat or datatree."),
    click.option("--name", default="image", show_default=True, help="Name of the image."),
    click.option("--in-place", is_flag=True, help="Build beside the source array; give no DST."),
    click.option("--labels-of", help="Build the labels NAME of this OME-Zarr image; give no DST."),
]


def build_options(command: Callable[..., Any]) -> Callable[..., Any]:
    for option in reversed(BUILD_OPTIONS):
        command = option(command)
    return command


@click.group(context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(__version__, prog_name="chunkpyramid")
def cli() -> None:
    """Turn volumes larger than memory into multiscale OME-Zarr pyramids."""


def _target(dst: str | None, in_place: bool, labels_of: str | None) -> str | None:
    if (dst is not None) + in_place + (labels_of is not None) != 1:
        raise click.UsageError("give one of DST, the path or URL of the output group, --in-place and --labels-of")
    return dst


@cli.command()
@click.argument("src")
@click.argument("dst", required=False)
@build_options
@click.option("--overwrite", is_flag=True, help="Replace what is at DST.")
@click.option("--no-resume", is_flag=True, help="Refuse to continue an unfinished build.")
def build(
    src: str,
    dst: str | None,
    in_place: bool,
    labels_of: str | None,
    overwrite: bool,
    no_resume: bool,
    **options: Any,
) -> None:
    """Build the pyramid of the array or OME-Zarr image SRC in the new group DST."""
    from chunkpyramid.build import build_pyramid
    from chunkpyramid.memory import peak_memory
    from chunkpyramid.text import format_bytes

    target = _target(dst, in_place, labels_of)
    options["labels_of"] = labels_of
    start = time.perf_counter()
    with _progress_bar() as progress:
        pyramid = build_pyramid(src, target, overwrite=overwrite, resume=not no_resume, progress=progress, **options)
    seconds = time.perf_counter() - start
    click.echo(str(pyramid))
    if pyramid.plan is None:
        click.echo(
            "an identical build has been finished here, so nothing was done; if the values of the source have changed "
            "since, --overwrite builds it anew"
        )
        return
    peak = peak_memory()
    measured = "" if peak is None else f"; peak memory {format_bytes(peak)}"
    click.echo(
        f"built in {seconds:.1f} s{measured}, promised {format_bytes(pyramid.plan.peak_bytes)}, "
        f"limit {format_bytes(pyramid.plan.memory_limit)}"
    )


@cli.command()
@click.argument("src")
@click.argument("dst", required=False)
@build_options
def plan(src: str, dst: str | None, in_place: bool, labels_of: str | None, **options: Any) -> None:
    """Print what `build` would do with the same arguments: levels, stages, tasks, bytes and memory."""
    from chunkpyramid.build import plan_pyramid

    # a plan needs no target, but one that is not the source's own group
    needs_target = dst is None and labels_of is None and not in_place
    target = _target("new.zarr" if needs_target else dst, in_place, labels_of)
    click.echo(str(plan_pyramid(src, target, labels_of=labels_of, **options)))


@cli.command()
@click.argument("src")
def info(src: str) -> None:
    """Print the levels of the OME-Zarr pyramid SRC, written by this or any other program."""
    from chunkpyramid.pyramid import open_pyramid

    click.echo(str(open_pyramid(src)))


@cli.command()
@click.argument("target")
@click.option("--fraction", type=float, default=1.0, show_default=True, help="Read just so much of level 0, at random.")
@click.option("--seed", type=int, default=0, show_default=True, help="Of the random choice.")
@click.option("--repair", is_flag=True, help="Write chunks anew that differ or cannot be read.")
@click.option("--memory", "memory_limit", help="Limit for the process, such as '2 GiB'.")
def verify(target: str, **options: Any) -> None:
    """Compute the levels of the pyramid TARGET again from its level 0, and report chunks that differ.

    The exit code is 1 if there are any that were not repaired.
    """
    from chunkpyramid.verify import verify_pyramid

    with _progress_bar() as progress:
        verification = verify_pyramid(target, progress=progress, **options)
    click.echo(str(verification))
    if not verification.ok:
        sys.exit(1)


# a region may begin with a minus
@cli.command(context_settings={"ignore_unknown_options": True})
@click.argument("target")
@click.argument("region", type=RegionType())
@click.option("--memory", "memory_limit", help="Limit for the process, such as '2 GiB'.")
def update(target: str, region: tuple[slice, ...], memory_limit: str | None) -> None:
    """Rebuild what lies above a REGION of level 0 of the pyramid TARGET that has changed, such as 0:64,128:192,:."""
    from chunkpyramid.update import update_pyramid

    with _progress_bar() as progress:
        click.echo(str(update_pyramid(target, region, memory_limit=memory_limit, progress=progress)))


@cli.command()
@click.argument("directory", required=False, type=click.Path(path_type=Path))
@click.option("--memory", "memory_limit", default="256 MiB", show_default=True, help="Limit for each build.")
def demo(directory: Path | None, memory_limit: str) -> None:
    """Make an EM-like volume and its segmentation, both larger than the memory limit, and build their pyramids.

    Everything is written to DIRECTORY, which must not exist yet; without it, to a temporary one that is deleted.
    """
    from chunkpyramid.demo import run_demo

    run_demo(directory, memory_limit, click.echo)


def _progress_bar() -> Any:
    """Return a context manager that yields the ``progress`` argument: a bar on a terminal, else False."""
    if not sys.stderr.isatty():
        return nullcontext(False)
    from chunkpyramid.progress import progress_bar

    return progress_bar()


def main() -> None:
    """Run the command line: an error of ours is one line, and exit code 1."""
    from chunkpyramid.errors import ChunkPyramidError

    with warnings.catch_warnings():
        warnings.showwarning = _show_warning
        try:
            cli(standalone_mode=True)
        except ChunkPyramidError as error:
            click.echo(f"chunkpyramid: {with_switches(str(error))}", err=True)
            sys.exit(1)


def _show_warning(message: Warning | str, *_: Any, **__: Any) -> None:
    click.echo(f"chunkpyramid: warning: {with_switches(str(message))}", err=True)


# What is not said as an option and its value.
SWITCHES = {
    "pass resume=True": "leave out --no-resume",
    "leave shards=None": "leave out --shards",
    "overwrite=True": "--overwrite",
    "repair=True": "--repair",
    "sparse=True": "--sparse",
    "sparse=False": "--no-sparse",
    "target=None": "--in-place",
    "give target=": "give DST",
    "target=": "DST",
    "memory_limit": "--memory",
}


def with_switches(text: str) -> str:
    """Return a message in one line, with the options of the command line in place of the arguments of functions."""
    text = " ".join(text.split())
    for said, switch in SWITCHES.items():
        text = text.replace(said, switch)
    names = [option.name for command in cli.commands.values() for option in command.params if option.name is not None]
    pattern = rf"(?<![\w/'.-])({'|'.join(names)})=(?=([\w'\"(\[{{-])?)"
    return re.sub(pattern, lambda at: f"--{at[1].replace('_', '-')}{' ' if at[2] else ''}", text)
