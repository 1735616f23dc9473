"""The two passes over a volume: one finds the components of each cell, the other one writes their final numbers."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import zarr

from chunkpyramid.boxes import Box, Shape
from chunkpyramid.engine.operation import ArrayOutput, BaseOperation, Input, Output, Put, Writer
from chunkpyramid.engine.source_input import read_only
from chunkpyramid.errors import BuildError
from chunkpyramid.labels.arrays.components import ComponentRules, label_components, number_dtype, padded
from chunkpyramid.labels.component_cells import Cell, CellComponents, CellFaces, CellGrid, CellRecords, described
from chunkpyramid.storage.nodes import level_array

__all__ = ["FindComponents", "NumberedOutput", "WriteNumbers"]

NAME = "labels.connected_components"


@dataclass(frozen=True)
class CellLabeller:
    """Finds the components of cells, which are the same in both passes."""

    grid: CellGrid
    rules: ComponentRules

    def __call__(self, cell: Cell, values: npt.NDArray[Any]) -> tuple[npt.NDArray[Any], CellComponents, CellFaces]:
        """Return the numbers of the voxels of a cell, and what is recorded of its components."""
        volume = values.reshape(padded(values.shape))
        # what is small in a cell may be part of something large
        found = label_components(volume, self.rules, number_dtype(volume.size), dust=0)
        components, faces = described(self.grid, cell, volume, found, has_labels=not self.rules.has_threshold)
        return found.numbers, components, faces


@dataclass(frozen=True, kw_only=True)
class FindComponents(BaseOperation):
    """Records the components of each cell."""

    labeller: CellLabeller
    records: CellRecords
    input: Input | None
    outputs: tuple[Output, ...] = ()

    name = NAME

    def begin(self, index: Shape) -> list[list[int]]:
        return []

    def piece(self, state: list[list[int]], box: Box, found: npt.NDArray[Any], put: Put) -> None:
        for cell, index in self.labeller.grid.cells_in(box):
            _, components, faces = self.labeller(cell, read_only(found)[index])
            if len(components.sizes):
                self.records.put(cell, components, faces)
                state.append([*cell, len(components.sizes), len(components.border)])

    def finish(self, state: list[list[int]], writers: Mapping[str, Writer]) -> Any:
        return state or None


@dataclass(frozen=True, kw_only=True)
class WriteNumbers(BaseOperation):
    """Finds the components of each cell again, and writes the numbers that they have in the whole volume."""

    labeller: CellLabeller
    records: CellRecords
    input: Input | None
    outputs: tuple[NumberedOutput, ...]

    name = NAME
    advice = "what is done so far is kept: run the same again to resume, or with overwrite=True to begin anew"

    def begin(self, index: Shape) -> np.dtype[Any]:
        return self.outputs[0].array.dtype

    def piece(self, state: np.dtype[Any], box: Box, found: npt.NDArray[Any], put: Put) -> None:
        written = np.empty(box.shape, state)
        for cell, index in self.labeller.grid.cells_in(box):
            numbers, components, _ = self.labeller(cell, read_only(found)[index])
            table = self._numbers(cell, components).astype(state)
            np.take(table, numbers.reshape(written[index].shape), out=written[index], mode="clip")
        put(self.outputs[0].name, box, written)

    def _numbers(self, cell: Cell, components: CellComponents) -> npt.NDArray[Any]:
        """Return the final number of each component of a cell, after that of the background."""
        known, digest = self.records.numbers(cell)
        is_known = digest == components.digest if len(components.sizes) else digest is None
        if not is_known:
            box = self.labeller.grid.box(cell)
            raise BuildError(
                f"the source has changed since its components were found, between the voxels {box.start} and "
                f"{box.stop} of volume {cell[0]}: begin anew with overwrite=True when nobody writes to it"
            )
        return np.concatenate([np.zeros(1, known.dtype), known])


@dataclass(frozen=True)
class NumberedOutput:
    """The array of the numbers, in the dtype that it has when all components are known."""

    name: str
    group: zarr.Group
    path: str
    factor: Shape

    @property
    def store(self) -> Any:
        return self.group.store

    @property
    def array(self) -> zarr.Array[Any]:
        """The array as it is now."""
        return level_array(self.group, self.path)

    def open(self, *, again: bool) -> Writer:
        return self._output.open(again=again)

    def erase_torn(self, block: Box) -> None:
        self._output.erase_torn(block)

    @property
    def _output(self) -> ArrayOutput:
        return ArrayOutput(self.name, self.array, self.factor)
