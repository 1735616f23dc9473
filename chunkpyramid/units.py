"""The write units of one array, each written once, the moment that it is full."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt
import zarr

from chunkpyramid.grid import Box, Shape, tile
from chunkpyramid.store import write_box

__all__ = ["WriteUnits"]


class WriteUnits:
    """Collects what pieces deliver for one array, and writes a write unit the moment that it is full.

    With ``direct`` every delivery is a whole number of write units and is written at once.
    """

    def __init__(self, array: zarr.Array[Any], unit: Shape, direct: bool):
        self.array = array
        self.unit = unit
        self.direct = direct
        self.open: dict[Shape, tuple[npt.NDArray[Any], int]] = {}

    def put(self, box: Box, values: npt.NDArray[Any]) -> None:
        if self.direct:
            write_box(self.array, box, values)
            return
        for cell in tile(box, self.unit):
            unit = cell.clip(self.array.shape)
            part = unit.intersect(box)
            if part == unit:
                write_box(self.array, unit, values[part.relative_to(box.start).slices])
                continue
            if unit.start in self.open:
                buffer, missing = self.open.pop(unit.start)
            else:
                buffer, missing = np.empty(unit.shape, dtype=self.array.dtype), unit.size
            buffer[part.relative_to(unit.start).slices] = values[part.relative_to(box.start).slices]
            missing -= part.size
            if missing:
                self.open[unit.start] = (buffer, missing)
            else:
                write_box(self.array, unit, buffer)
