"""Writing a volume that is made of another one, voxel by voxel or with a halo: to a target of its own."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, fields, replace
from functools import cached_property
from typing import Any

import numpy as np
import numpy.typing as npt
import zarr

from chunkpyramid.arguments import true_or_false
from chunkpyramid.boxes import Box, Halo, Shape
from chunkpyramid.engine.job import Step
from chunkpyramid.engine.journal import Journal
from chunkpyramid.engine.layout import Limits
from chunkpyramid.engine.operation import ArrayOutput, BaseOperation, Input, Output, Put
from chunkpyramid.engine.plan_stage import plan_stage
from chunkpyramid.engine.process_memory import process_peak
from chunkpyramid.engine.progress import check_progress
from chunkpyramid.engine.source_input import bytes_of_parts, input_of, read_only, reading_of
from chunkpyramid.engine.stage import Reading
from chunkpyramid.errors import ArgumentError, BuildError
from chunkpyramid.pyramid.build import carry_out
from chunkpyramid.pyramid.check_arguments import check_build
from chunkpyramid.pyramid.checked_build import CheckedBuild
from chunkpyramid.pyramid.options import BuildOptions
from chunkpyramid.pyramid.plan import LevelOutput, LevelStage, PlanRequest, PyramidPlan
from chunkpyramid.sources.source import Source
from chunkpyramid.sources.volume import Volume, open_volume
from chunkpyramid.storage.nodes import level_array
from chunkpyramid.volumes.options import VolumeOptions

__all__ = ["BlockFunction", "MapPieces", "write_volume"]


@dataclass(frozen=True, kw_only=True)
class BlockFunction:
    """What is made of the voxels of a piece.

    Attributes
    ----------
    name : str
        What messages call it.
    make : callable
        Takes the voxels of a box and the box, and returns an array of its shape, in a dtype that can be cast to
        ``dtype``. It can be sent to other processes.
    dtype : dtype
        Of the volume that is written.
    told : mapping
        What tells it from others, in values that JSON can hold.
    bytes_per_voxel : int
        What it takes at most for each voxel it is given, what it returns included.
    halo : Halo, optional
        The voxels around a piece that are given to ``make`` too.
    keeps_labels : bool
        Whether each label of the result means what it does in the source.
    held_bytes : int
        What every process holds for it beside the pieces.
    share : callable, optional
        Given the scratch group, returns the same function, of which what is too large to be sent with every task is
        stored there.
    """

    name: str
    make: Callable[[npt.NDArray[Any], Box], Any]
    dtype: np.dtype[Any]
    told: Mapping[str, Any] = field(default_factory=dict)
    bytes_per_voxel: int = 16
    halo: Halo | None = None
    keeps_labels: bool = True
    held_bytes: int = 0
    share: Callable[[zarr.Group], BlockFunction] | None = None

    def shared(self, scratch: zarr.Group) -> BlockFunction:
        """Return the function as it is sent to other processes."""
        return self if self.share is None else replace(self.share(scratch), share=None)


def write_volume(function: BlockFunction, source: Source, target: Any, options: VolumeOptions) -> Volume:
    """Write what a function makes of a source to a target of its own, an OME-Zarr image of one level.

    Raises
    ------
    ArgumentError, TargetExistsError, PlanError, BuildError
        As `build_pyramid` does.
    """
    if target is None:
        raise ArgumentError("target is needed: the result goes to a group of its own")
    told = {**options}
    resume = true_or_false(told.pop("resume", True), "resume")
    overwrite = true_or_false(told.pop("overwrite", False), "overwrite")
    progress: Any = told.pop("progress", False)
    check_progress(progress)
    told.pop("axes", None)
    is_labels = source.is_labels and function.dtype.kind in "iu"
    asked = BuildOptions(method="mode" if is_labels else "stride", levels=0, sparse=False, **told)  # type: ignore[arg-type]
    result = carry_out(
        check_build(source, target, asked, FunctionRecipe(function, source)),
        storage_options=options.get("storage_options"),
        resume=resume,
        overwrite=overwrite,
        progress=progress,
    )
    return open_volume(result.levels[0])


@dataclass(frozen=True)
class FunctionRecipe:
    """Level 0 is what a function makes of the source, and there is no other level."""

    function: BlockFunction
    source: Source

    keeps_values = False

    @property
    def dtype(self) -> np.dtype[Any]:
        return self.function.dtype

    @property
    def keeps_labels(self) -> bool:
        return self.function.keeps_labels

    @property
    def held_bytes(self) -> int:
        return self.function.held_bytes

    @property
    def fingerprint(self) -> dict[str, Any]:
        return {"operation": self.function.name, **self.function.told}

    def plan(self, request: PlanRequest) -> PyramidPlan:
        (level,) = request.levels
        output = LevelOutput(
            level=0, factor=level.factor, unit=level.write_unit, chunk=level.chunks, itemsize=self.dtype.itemsize
        )
        stage, threads = plan_stage(
            self._reading,
            self._demand,
            Limits(request.memory_limit, request.threads, request.slots, request.baseline + self.held_bytes),
            outputs=[output],
            write_access=request.target_access,
            kept=next((stage.block for stage in request.begun), None),
        )
        told = {field.name: getattr(stage, field.name) for field in fields(stage)}
        return PyramidPlan(
            levels=request.levels,
            stages=(LevelStage(**told, source_level=0, reads="source", last_level=0),),
            method=self.function.name,
            dtype=str(self.dtype),
            memory_limit=request.memory_limit,
            peak_bytes=process_peak(stage.memory, stage.tasks, threads, request.baseline + self.held_bytes),
            threads=threads,
            baseline=request.baseline,
        )

    @cached_property
    def _reading(self) -> Reading:
        return reading_of(self.source, self.function.halo)

    def _demand(self, piece: Shape) -> int:
        """Return the bytes of what the function takes, and of what is cut out of its result."""
        given = math.prod(self._reading.around(piece)) * self.function.bytes_per_voxel
        cut = math.prod(piece) * self.dtype.itemsize
        return given + cut + bytes_of_parts(self.source, self.function.halo, piece)

    def steps(self, checked: CheckedBuild, group: zarr.Group, journal: Journal) -> Sequence[Step]:
        (stage,) = checked.plan.stages
        (output,) = stage.outputs
        source = self.source
        read = input_of(source, self.function.halo)
        array = level_array(group, checked.plan.levels[0].path)
        operation = MapPieces(
            function=replace(self.function.shared(journal.scratch), dtype=checked.format.dtype),
            extent=source.shape,
            input=read,
            outputs=(ArrayOutput(output.name, array, output.factor),),
        )
        return [Step(stage, operation, source.shape, checked.present, None if read is not None else source.array)]


@dataclass(frozen=True, kw_only=True)
class MapPieces(BaseOperation):
    """Writes what a function makes of each piece, of which the halo is cut off."""

    function: BlockFunction
    extent: Shape
    input: Input | None
    outputs: tuple[Output, ...]
    advice: str = "what is done so far is kept: run the same again to resume, or another function with overwrite=True"

    @property
    def name(self) -> str:
        return self.function.name

    @property
    def halo(self) -> Halo | None:  # type: ignore[override]
        return self.function.halo

    def piece(self, state: None, box: Box, found: npt.NDArray[Any], put: Put) -> None:
        around = box if self.halo is None else box.grow(self.halo, self.extent)
        made = np.asarray(self.function.make(read_only(found), around))
        if made.shape != around.shape:
            raise BuildError(f"function returned an array of shape {made.shape}, but was given one of {around.shape}")
        dtype = self.function.dtype
        if not np.can_cast(made.dtype, dtype, "same_kind"):
            raise BuildError(f"function returned {made.dtype}, which is not to be cast to {dtype}: give dtype=")
        part = made[box.relative_to(around.start).slices]
        put(self.outputs[0].name, box, np.ascontiguousarray(part, dtype))
