"""Readable text: byte counts, shapes, and the table that ``print(plan)`` shows."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING

from chunkpyramid.memory import BASELINE, graph_bytes, process_peak

if TYPE_CHECKING:
    from chunkpyramid.grid import Box
    from chunkpyramid.plan import PyramidPlan

__all__ = ["describe_plan", "format_bytes", "format_region", "format_shape", "format_table"]


def format_bytes(nbytes: float, *, up: bool = False) -> str:
    """Return a byte count such as ``"1.50 GiB"``; with ``up`` the number shown is never too small."""
    for unit, size in (("PiB", 2**50), ("TiB", 2**40), ("GiB", 2**30), ("MiB", 2**20), ("KiB", 2**10)):
        if nbytes >= size:
            hundredths = nbytes * 100 / size
            return f"{(math.ceil(hundredths) if up else round(hundredths)) / 100:.2f} {unit}"
    return f"{math.ceil(nbytes)} B"


def format_shape(shape: Sequence[int] | None) -> str:
    """Return a shape such as ``"512 x 1024 x 1024"``."""
    return " x ".join(map(str, shape)) if shape else "-"


def format_region(box: Box) -> str:
    """Return a box of voxels such as ``"[0:64, 128:192]"``, as NumPy takes it."""
    return f"[{', '.join(f'{a}:{b}' for a, b in zip(box.start, box.stop, strict=True))}]"


def format_table(header: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """Return rows as text in aligned columns."""
    widths = [max(map(len, column)) for column in zip(header, *rows, strict=True)]
    return "\n".join(
        "  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip()
        for row in (header, *rows)
    )


def describe_plan(plan: PyramidPlan) -> str:
    """Return the plan as text: levels, stages, and the sum that makes the promised memory; then the hints."""
    return "\n".join([_describe_numbers(plan), *(f"hint: {hint}" for hint in plan.hints)])


def _describe_numbers(plan: PyramidPlan) -> str:
    levels = format_table(
        ("level", "path", "shape", "cumulative factor", "chunks", "shards", "bytes"),
        [
            (
                str(level.index),
                level.path,
                format_shape(level.shape),
                format_shape(level.cumulative),
                format_shape(level.chunks),
                format_shape(level.shards),
                format_bytes(math.prod(level.shape) * plan.itemsize),
            )
            for level in plan.levels
        ],
    )
    stages = format_table(
        ("stage", "reads", "writes levels", "block", "piece", "tasks", "memory per task"),
        [
            (
                str(stage.index),
                stage.reads if stage.reads == "source" else f"{stage.reads} of level {stage.source_level}",
                ", ".join(("carry of " if o.is_carry else "") + str(o.level) for o in stage.outputs),
                format_shape(stage.block),
                format_shape(stage.piece),
                str(stage.tasks),
                format_bytes(stage.memory.total),
            )
            for stage in plan.stages
        ],
    )
    if not plan.stages:
        return f"chunkpyramid plan: nothing to compute, only the metadata is written\n\n{levels}"
    largest = max(plan.stages, key=lambda stage: process_peak(stage.memory, stage.tasks, plan.threads))
    memory = largest.memory
    return (
        f"chunkpyramid plan: method {plan.method}, dtype {plan.dtype}, {len(plan.levels)} levels, "
        f"{plan.tasks} tasks in {len(plan.stages)} stages\n\n{levels}\n\n{stages}\n\n"
        f"reads {format_bytes(plan.bytes_read)}, writes {format_bytes(plan.bytes_written)} (uncompressed), "
        f"of that {format_bytes(plan.bytes_carried)} carried from stage to stage\n"
        f"memory: {format_bytes(BASELINE)} process + {format_bytes(graph_bytes(largest.tasks))} graph + "
        f"{min(plan.threads, largest.tasks)} tasks x {format_bytes(memory.total)} "
        f"(block {format_bytes(memory.block)}, piece {format_bytes(memory.piece)}, "
        f"states {format_bytes(memory.states)}, buffers {format_bytes(memory.buffers)}, "
        f"codecs {format_bytes(memory.codecs)})\n"
        f"        = {format_bytes(plan.peak_bytes)} promised, of a limit of {format_bytes(plan.memory_limit)}"
    )
