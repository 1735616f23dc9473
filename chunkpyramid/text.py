"""Readable text: byte counts, shapes, regions and tables."""

from __future__ import annotations

import math
from collections.abc import Sequence

from chunkpyramid.boxes import Box

__all__ = ["format_bytes", "format_region", "format_shape", "format_table"]


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
