"""Types of arguments that several commands take, and what shows their progress."""

from __future__ import annotations

import re
import sys
from collections.abc import Callable
from contextlib import nullcontext
from pathlib import Path
from typing import Any

import click

__all__ = [
    "BackgroundType",
    "FactorType",
    "LabelListType",
    "PerAxisType",
    "RangeType",
    "RegionType",
    "ShapeType",
    "progress_argument",
    "unit_name",
]


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


class LabelListType(click.ParamType[Any]):
    """Labels separated by commas, or the path of a file with one in each line."""

    name = "labels"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        if not isinstance(value, str):
            return value
        is_file = Path(value).is_file()
        entries = Path(value).read_text().split() if is_file else value.split(",")
        try:
            return [int(entry) for entry in entries]
        except ValueError:
            where = "file with a label in each line" if is_file else "list of labels, such as 3,17,8, nor a file"
            self.fail(f"{value!r} is no {where}", param, ctx)


class RangeType(click.ParamType[Any]):
    """The least and the largest value, separated by a comma; either may be left out."""

    name = "range"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        if not isinstance(value, str):
            return value
        least, _, most = value.partition(",")
        try:
            ends = tuple(_number(end) if end.strip() else None for end in (least, most))
        except ValueError:
            ends = (None, None)
        if ends == (None, None):
            self.fail(f"{value!r} is no range: give 100,200, or 100, or ,200", param, ctx)
        return ends


def _number(text: str) -> int | float:
    try:
        return int(text)
    except ValueError:
        return float(text)


def progress_argument() -> Any:
    """Return a context manager that yields the ``progress`` argument: a bar on a terminal, else False."""
    if not sys.stderr.isatty():
        return nullcontext(False)
    from chunkpyramid.engine.progress import progress_bar

    return progress_bar()
