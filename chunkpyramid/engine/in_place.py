"""Writing to the array that is read: each block is staged whole in the scratch group before any of it is replaced.

A block that was killed while it was staged is computed again, from voxels that are still those of before. Once it is
staged it is only ever copied, as often as it takes. So no voxel is made twice of itself, whatever is killed when.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any
from uuid import uuid4

import zarr

from chunkpyramid.boxes import Box, Shape, tile
from chunkpyramid.engine.operation import Output, Wrapper, Writer
from chunkpyramid.engine.runs import Run
from chunkpyramid.engine.stage import Stage
from chunkpyramid.errors import BuildError
from chunkpyramid.storage.chunk_io import ChunkWriter, erase_torn
from chunkpyramid.storage.chunked_array import ChunkedArray, chunked
from chunkpyramid.storage.keys import delete_dir, fetch, names, put, remove
from chunkpyramid.storage.write_units import WriteUnits

__all__ = ["InPlace", "StagedOutput"]


@dataclass(frozen=True)
class StagedOutput:
    """An array that is written by way of the folder ``path`` of its store, for as long as the ``run`` is the newest."""

    name: str
    array: zarr.Array[Any]
    path: str
    run: Run

    @property
    def store(self) -> Any:
        return self.array.store

    def open(self, *, again: bool) -> WriteUnits:
        # each try has a folder of its own: one that was thought dead may still be writing to its own
        staged = at_folder(chunked(self.array), f"{self.path}/{uuid4().hex}/")
        return WriteUnits(ChunkWriter(staged))

    def erase_torn(self, block: Box) -> None:
        erase_torn(chunked(self.array), block)

    def staged(self, index: Shape) -> Mapping[str, Any] | None:
        """Return what was told when a block was staged, None if it has not been."""
        (found,) = fetch(self.store, [(self._mark(index), None)])
        if isinstance(found, Exception):
            raise BuildError(f"what is told of the staged block {index} cannot be read: {found}") from found
        return None if found is None else dict(json.loads(bytes(found)))

    def mark(self, index: Shape, folder: str) -> Mapping[str, Any]:
        """Tell that a block is staged in a folder; if another try has told so before, that one counts."""
        # a task that comes too late would stage what is made already
        self.run.check()
        before = self.staged(index)
        if before is not None:
            return before
        told = {"folder": folder, "units": sorted(names(self.store, folder.rstrip("/")))}
        put(self.store, [(self._mark(index), json.dumps(told).encode())])
        return told

    def replace_block(self, block: Box, told: Mapping[str, Any]) -> None:
        """Replace the write units of a block by those that are staged; done twice it is as done once."""
        self.run.check()
        array = chunked(self.array)
        staged = at_folder(array, told["folder"])
        there = set(told["units"])
        for unit in tile(block, array.write_unit):
            key, staged_key = array.key(unit.start, array.write_unit), staged.key(unit.start, array.write_unit)
            if staged_key.removeprefix(staged.prefix) not in there:
                remove(array.store, [key])
                continue
            (data,) = fetch(array.store, [(staged_key, None)])
            if isinstance(data, Exception):
                raise BuildError(f"the staged {staged_key} cannot be read: {data}") from data
            # without data another try of the block has copied it, and removed it after that
            if data is not None:
                put(array.store, [(key, data)])
        delete_dir(array.store, staged.prefix.rstrip("/"))

    def _mark(self, index: Shape) -> str:
        return f"{self.path}/blocks/{'.'.join(map(str, index))}"


def at_folder(array: ChunkedArray, folder: str) -> ChunkedArray:
    """Return an array whose write units lie side by side in a folder."""
    return replace(array, prefix=folder, path_of=beside_each_other)


def beside_each_other(index: Shape) -> str:
    return ".".join(map(str, index))


@dataclass(frozen=True)
class InPlace(Wrapper):
    """An operation that writes the array which it reads, by way of a `StagedOutput`, its only output."""

    stage: Stage
    extent: Shape
    output: StagedOutput

    @property
    def outputs(self) -> Sequence[Output]:
        return [self.output]

    def choose(self, index: Shape, pieces: Sequence[Box]) -> Sequence[Box]:
        return [] if self.output.staged(index) is not None else super().choose(index, pieces)

    def begin(self, index: Shape) -> Any:
        return index, super().begin(index)

    def piece(self, state: Any, box: Box, found: Any, put: Callable[[str, Box, Any], None]) -> None:
        super().piece(state[1], box, found, put)

    def finish(self, state: Any, writers: Mapping[str, Writer]) -> Any:
        index, inner = state
        record = super().finish(inner, writers)
        told = self.output.staged(index)
        if told is None:
            writer: Any = writers[self.output.name]
            told = self.output.mark(index, writer.array.prefix)
        self.output.replace_block(self.stage.box(index, self.extent), told)
        return record
