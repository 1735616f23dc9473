"""The commands for labels: ``chunkpyramid labels unique | statistics | renumber | remap | mask | ...``."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import asdict, is_dataclass
from pathlib import Path
from typing import Any

import click

from chunkpyramid.cli.types import LabelListType, RangeType, ShapeType, progress_argument

__all__ = ["labels"]

READING = [
    click.option(
        "--memory",
        "memory_limit",
        help="Limit for the whole process, such as '2 GiB'.  [default: half of what is there]",
    ),
    click.option("--axes", help="Such as zyx or tczyx."),
]
TABLE = [
    click.option("--json", "as_json", is_flag=True, help="Print JSON: a list of objects."),
    click.option("-o", "--output", type=click.Path(path_type=Path), help="Write the table to a .csv or .parquet file."),
]
KEEPING = [
    click.option("--keep", help="Keep the table in this new group, which xarray opens; it can be resumed then."),
    click.option("--overwrite", is_flag=True, help="Replace what is at --output or --keep."),
]
WRITING = [
    *READING,
    click.option("--chunks", type=ShapeType(), help="64, or 1,64,64, or auto."),
    click.option("--shards", type=ShapeType(), help="512, or 1,512,512, or auto."),
    click.option("--zarr-format", type=int, help="3 (OME-Zarr 0.5) or 2 (0.4).  [default: 3]"),
    click.option("--name", help="Name of the image.  [default: image]"),
    click.option("--overwrite", is_flag=True, help="Replace what is at DST, or do again what was done in place."),
    click.option("--no-resume", is_flag=True, help="Refuse to continue what is unfinished."),
]
IN_PLACE = click.option("--in-place", is_flag=True, help="Change SRC itself; give no DST.")


def with_options(*options: Callable[..., Any]) -> Callable[[Callable[..., Any]], Callable[..., Any]]:
    """Return a decorator that gives a command these options, in this order."""

    def decorate(command: Callable[..., Any]) -> Callable[..., Any]:
        for option in reversed(options):
            command = option(command)
        return command

    return decorate


def given(**options: Any) -> dict[str, Any]:
    """Return the options that were given, as the functions take them."""
    told = {name: value for name, value in options.items() if value is not None}
    if told.pop("no_resume", False):
        told["resume"] = False
    if not told.get("overwrite", True):
        del told["overwrite"]
    return told


def place(dst: str | None, in_place: bool) -> dict[str, Any]:
    """Return where the result goes."""
    if (dst is not None) + in_place != 1:
        raise click.UsageError("give one of DST, the path or URL of the output group, and --in-place")
    return {"in_place": True} if in_place else {"target": dst}


def tell_volume(volume: Any, start: float) -> None:
    from chunkpyramid.engine.process_memory import peak_memory
    from chunkpyramid.text import format_bytes

    peak = peak_memory()
    measured = "" if peak is None else f"; peak memory {format_bytes(peak)}"
    click.echo(f"{volume}\nwritten in {time.perf_counter() - start:.1f} s{measured}")


def tell_table(table: Any, rows: Iterable[Any], as_json: bool, output: Path | None, *, overwrite: bool = False) -> None:
    """Print a table as JSON or as it shows itself, or write it to a file."""
    if output is not None:
        write = {".csv": table.to_csv, ".parquet": table.to_parquet}.get(output.suffix)
        if write is None:
            raise click.UsageError(f"--output must be a .csv or .parquet file, but {str(output)!r} was given")
        write(output, overwrite=overwrite)
        click.echo(f"{len(table)} rows written to {output}", err=as_json)
    if as_json:
        click.echo(json.dumps([plain(row) for row in rows]))
    elif output is None:
        click.echo(str(table))


def plain(row: Any) -> Any:
    """Return a row in values that JSON has: bounding boxes as pairs of numbers."""
    if is_dataclass(row) and not isinstance(row, type):
        return {name: plain(value) for name, value in asdict(row).items()}
    if isinstance(row, Mapping):
        return {name: plain(value) for name, value in row.items()}
    if isinstance(row, slice):
        return [row.start, row.stop]
    if isinstance(row, Sequence) and not isinstance(row, str):
        return [plain(value) for value in row]
    return row


@click.group()
def labels() -> None:
    """Count, number, replace and connect the labels of a segmentation larger than memory."""


@labels.command()
@click.argument("src")
@click.option("--counts", is_flag=True, help="Print how many voxels each label has, too.")
@click.option("--json", "as_json", is_flag=True, help="Print JSON: a list of labels, or of objects with counts.")
@with_options(*READING)
def unique(src: str, counts: bool, as_json: bool, **options: Any) -> None:
    """Print the labels of SRC, one in a line, in ascending order."""
    from chunkpyramid.labels.unique import unique

    with progress_argument() as progress:
        found, numbers = unique(src, return_counts=True, progress=progress, **given(**options))
    told = list(zip(found.tolist(), numbers.tolist(), strict=True))
    if as_json:
        click.echo(json.dumps([{"label": a, "count": n} for a, n in told] if counts else [a for a, _ in told]))
        return
    for label, number in told:
        click.echo(f"{label} {number}" if counts else str(label))


@labels.command()
@click.argument("src")
@click.option("--background", default="0", show_default=True, help="The label that is left out, or none.")
@click.option("--largest", type=int, help="Only so many labels, the largest first.")
@with_options(*KEEPING, *TABLE, *READING)
def statistics(
    src: str,
    background: str,
    largest: int | None,
    keep: str | None,
    overwrite: bool,
    as_json: bool,
    output: Path | None,
    **options: Any,
) -> None:
    """Print count, bounding box and centroid of every label of SRC."""
    from chunkpyramid.labels.label_statistics import statistics

    with progress_argument() as progress:
        table = statistics(
            src,
            background=_background(background),
            target=keep,
            overwrite=overwrite,
            progress=progress,
            **given(**options),
        )
    table = table if largest is None else table.largest(largest)
    tell_table(table, table.values(), as_json, output, overwrite=overwrite)


@labels.command()
@click.argument("src")
@click.option("--connectivity", type=int, default=6, show_default=True, help="6, 18 or 26; 4 or 8 in 2-D.")
@click.option("--background", default="0", show_default=True, help="The label that is left out, or none.")
@with_options(*KEEPING, *TABLE, *READING)
def contacts(
    src: str,
    connectivity: int,
    background: str,
    keep: str | None,
    overwrite: bool,
    as_json: bool,
    output: Path | None,
    **options: Any,
) -> None:
    """Print which labels of SRC touch, with the number of faces and their area."""
    from chunkpyramid.labels.label_contacts import contacts

    with progress_argument() as progress:
        table = contacts(
            src,
            connectivity=connectivity,
            background=_background(background),
            target=keep,
            overwrite=overwrite,
            progress=progress,
            **given(**options),
        )
    tell_table(table, table.values(), as_json, output, overwrite=overwrite)


@labels.command()
@click.argument("src")
@click.argument("dst", required=False)
@click.option("--start", type=int, default=1, show_default=True, help="The first number.")
@click.option("--no-preserve-zero", is_flag=True, help="Give zero a number too.")
@IN_PLACE
@with_options(*TABLE, *WRITING)
def renumber(
    src: str,
    dst: str | None,
    start: int,
    no_preserve_zero: bool,
    in_place: bool,
    as_json: bool,
    output: Path | None,
    **options: Any,
) -> None:
    """Give the labels of SRC the numbers from 1 on, in the order of their first voxels.

    With --json or --output it tells which label has become which.
    """
    from chunkpyramid.labels.renumber import renumber

    begun = time.perf_counter()
    with progress_argument() as progress:
        volume, table = renumber(
            src, start, not no_preserve_zero, progress=progress, **place(dst, in_place), **given(**options)
        )
    if not as_json:
        tell_volume(volume, begun)
    if as_json or output is not None:
        tell_table(table, ({"old": old, "new": new} for old, new in table.items()), as_json, output)


@labels.command()
@click.argument("src")
@click.argument("dst", required=False)
@click.option("--table", required=True, help="A .csv or .parquet file, or a zarr array: labels, and what they become.")
@click.option("--preserve-missing-labels", is_flag=True, help="Labels that are not in the table stay what they are.")
@IN_PLACE
@with_options(*WRITING)
def remap(src: str, dst: str | None, table: str, preserve_missing_labels: bool, in_place: bool, **options: Any) -> None:
    """Replace the labels of SRC by others, as a table tells."""
    from chunkpyramid.labels.remap import remap

    begun = time.perf_counter()
    with progress_argument() as progress:
        volume = remap(
            src, table, preserve_missing_labels, progress=progress, **place(dst, in_place), **given(**options)
        )
    tell_volume(volume, begun)


@labels.command()
@click.argument("src")
@click.argument("dst", required=False)
@click.option(
    "--labels",
    "chosen",
    required=True,
    type=LabelListType(),
    help="Such as 3,17,8, or a file with a label in each line.",
)
@click.option("--except", "is_except", is_flag=True, help="Replace all other labels instead.")
@click.option("--value", type=int, default=0, show_default=True, help="What they become.")
@IN_PLACE
@with_options(*WRITING)
def mask(
    src: str, dst: str | None, chosen: list[int], is_except: bool, value: int, in_place: bool, **options: Any
) -> None:
    """Replace some labels of SRC by the background."""
    from chunkpyramid.labels.mask import mask, mask_except

    function = mask_except if is_except else mask
    begun = time.perf_counter()
    with progress_argument() as progress:
        volume = function(src, chosen, value=value, progress=progress, **place(dst, in_place), **given(**options))
    tell_volume(volume, begun)


@labels.command()
@click.argument("src")
@click.argument("dst", required=False)
@click.option("--threshold", type=int, required=True, help="The fewest voxels that a label needs to stay.")
@IN_PLACE
@with_options(*WRITING)
def dust(src: str, dst: str | None, threshold: int, in_place: bool, **options: Any) -> None:
    """Replace small labels of SRC by the background."""
    from chunkpyramid.labels.dust import dust

    begun = time.perf_counter()
    with progress_argument() as progress:
        volume = dust(src, threshold=threshold, progress=progress, **place(dst, in_place), **given(**options))
    tell_volume(volume, begun)


@labels.command()
@click.argument("src")
@click.argument("dst", required=False)
@click.option("--pairs", required=True, help="A .csv or .parquet file, or a zarr array: pairs of labels.")
@IN_PLACE
@with_options(*WRITING)
def agglomerate(src: str, dst: str | None, pairs: str, in_place: bool, **options: Any) -> None:
    """Join labels of SRC: those that pairs lead to each other become the smallest of them."""
    from chunkpyramid.labels.agglomerate import agglomerate

    begun = time.perf_counter()
    with progress_argument() as progress:
        volume = agglomerate(src, pairs, progress=progress, **place(dst, in_place), **given(**options))
    tell_volume(volume, begun)


@labels.command()
@click.argument("src")
@click.argument("dst")
@click.option("--connectivity", type=int, help="6, 18 or 26; 4 or 8 in 2-D.  [default: 6, 4]")
@click.option("--background", default="0", show_default=True, help="What belongs to no component, or none.")
@click.option("--threshold", type=RangeType(), help="Make SRC binary: 100,200, or 100, or ,200, both inclusive.")
@click.option("--dust", type=int, default=0, show_default=True, help="Components of fewer voxels become background.")
@with_options(*WRITING)
def components(
    src: str,
    dst: str,
    connectivity: int | None,
    background: str,
    threshold: tuple[float | None, float | None] | None,
    dust: int,
    **options: Any,
) -> None:
    """Write the connected components of SRC to DST, numbered from 1 on in the order of their first voxels."""
    from chunkpyramid.labels.components import connected_components

    begun = time.perf_counter()
    with progress_argument() as progress:
        volume = connected_components(
            src,
            dst,
            connectivity=connectivity,
            background=_background(background),
            threshold=threshold,
            dust=dust,
            progress=progress,
            **given(**options),
        )
    tell_volume(volume, begun)


def _background(text: str) -> int | None:
    if text == "none":
        return None
    try:
        return int(text)
    except ValueError:
        raise click.UsageError(f"--background must be a label or none, but {text!r} was given") from None
