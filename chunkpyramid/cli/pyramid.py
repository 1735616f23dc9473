"""The commands for pyramids: ``chunkpyramid build | plan | info | verify | update | demo``."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import click

from chunkpyramid.cli.types import (
    BackgroundType,
    FactorType,
    PerAxisType,
    RegionType,
    ShapeType,
    progress_argument,
    unit_name,
)

__all__ = ["COMMANDS"]

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


def _target(dst: str | None, in_place: bool, labels_of: str | None) -> str | None:
    if (dst is not None) + in_place + (labels_of is not None) != 1:
        raise click.UsageError("give one of DST, the path or URL of the output group, --in-place and --labels-of")
    return dst


@click.command()
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
    from chunkpyramid.engine.process_memory import peak_memory
    from chunkpyramid.pyramid.build import build_pyramid
    from chunkpyramid.text import format_bytes

    target = _target(dst, in_place, labels_of)
    options["labels_of"] = labels_of
    start = time.perf_counter()
    with progress_argument() as progress:
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


@click.command()
@click.argument("src")
@click.argument("dst", required=False)
@build_options
def plan(src: str, dst: str | None, in_place: bool, labels_of: str | None, **options: Any) -> None:
    """Print what `build` would do with the same arguments: levels, stages, tasks, bytes and memory."""
    from chunkpyramid.pyramid.build import plan_pyramid

    # a plan needs no target, but one that is not the source's own group
    needs_target = dst is None and labels_of is None and not in_place
    target = _target("new.zarr" if needs_target else dst, in_place, labels_of)
    click.echo(str(plan_pyramid(src, target, labels_of=labels_of, **options)))


@click.command()
@click.argument("src")
def info(src: str) -> None:
    """Print the levels of the OME-Zarr pyramid SRC, written by this or any other program."""
    from chunkpyramid.pyramid.pyramid import open_pyramid

    click.echo(str(open_pyramid(src)))


@click.command()
@click.argument("target")
@click.option("--fraction", type=float, default=1.0, show_default=True, help="Read just so much of level 0, at random.")
@click.option("--seed", type=int, default=0, show_default=True, help="Of the random choice.")
@click.option("--repair", is_flag=True, help="Write chunks anew that differ or cannot be read.")
@click.option("--memory", "memory_limit", help="Limit for the process, such as '2 GiB'.")
def verify(target: str, **options: Any) -> None:
    """Compute the levels of the pyramid TARGET again from its level 0, and report chunks that differ.

    The exit code is 1 if there are any that were not repaired.
    """
    from chunkpyramid.pyramid.verify import verify_pyramid

    with progress_argument() as progress:
        verification = verify_pyramid(target, progress=progress, **options)
    click.echo(str(verification))
    if not verification.ok:
        sys.exit(1)


# a region may begin with a minus
@click.command(context_settings={"ignore_unknown_options": True})
@click.argument("target")
@click.argument("region", type=RegionType())
@click.option("--memory", "memory_limit", help="Limit for the process, such as '2 GiB'.")
def update(target: str, region: tuple[slice, ...], memory_limit: str | None) -> None:
    """Rebuild what lies above a REGION of level 0 of the pyramid TARGET that has changed, such as 0:64,128:192,:."""
    from chunkpyramid.pyramid.update import update_pyramid

    with progress_argument() as progress:
        click.echo(str(update_pyramid(target, region, memory_limit=memory_limit, progress=progress)))


@click.command()
@click.argument("directory", required=False, type=click.Path(path_type=Path))
@click.option("--memory", "memory_limit", default="256 MiB", show_default=True, help="Limit for each build.")
def demo(directory: Path | None, memory_limit: str) -> None:
    """Make an EM-like volume and its segmentation, both larger than the memory limit, and build their pyramids.

    Everything is written to DIRECTORY, which must not exist yet; without it, to a temporary one that is deleted.
    """
    from chunkpyramid.cli.demo import run_demo

    run_demo(directory, memory_limit, click.echo)


COMMANDS = (build, plan, info, verify, update, demo)
