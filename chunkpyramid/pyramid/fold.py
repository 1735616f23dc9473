"""What a stage of a pyramid does to a piece: fold it through all levels of the stage."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import zarr

from chunkpyramid.boxes import Box, Shape
from chunkpyramid.engine.job import Step
from chunkpyramid.engine.operation import (
    ArrayInput,
    ArrayOutput,
    BaseOperation,
    BlockOperation,
    Input,
    Output,
    Put,
    Writer,
)
from chunkpyramid.engine.process_memory import headroom
from chunkpyramid.pyramid.carry import Carry, carry_of
from chunkpyramid.pyramid.plan import Level, LevelStage, PyramidPlan
from chunkpyramid.reductions.methods import Reduction, State
from chunkpyramid.storage.codec import all_bits_equal
from chunkpyramid.storage.presence import Presence

__all__ = ["Fold", "fold_steps"]


@dataclass(frozen=True)
class CarryInput:
    """The carry of a level, as what a stage reads."""

    name: str
    carry: Carry
    reduction: Reduction
    piece: Shape
    headroom: float

    def open(self, writers: Mapping[str, Writer]) -> Callable[[Box], State]:
        return self.carry.reader(self.reduction, self.piece, self.headroom)


@dataclass(frozen=True)
class CarryOutput:
    """The carry of a level, as what a stage writes."""

    name: str
    store: Any
    carry: Carry
    reduction: Reduction
    headroom: float

    def open(self, *, again: bool) -> Writer:
        return self.carry.writer(self.reduction, self.headroom, replaces=again)

    def erase_torn(self, block: Box) -> None:
        """Nothing: the scratch group is deleted in the end."""


@dataclass(frozen=True)
class Fold(BaseOperation):
    """Folds each piece of a stage through its levels.

    States whose size depends on the voxels may take ``headroom`` times as much memory as planned. With ``skips_blank``
    pieces of zeros are neither computed nor written, because zero is the fill value of all that they would be written
    to.
    """

    stage: LevelStage
    levels: tuple[Level, ...]
    reduction: Reduction
    input: Input | None
    outputs: tuple[Output, ...]
    headroom: float
    skips_blank: bool

    advice = "what is done so far is kept: run the same build again to resume"

    @property
    def name(self) -> str:
        return f"the stage that makes levels {self.stage.source_level} to {self.stage.last_level}"

    def begin(self, index: Shape) -> Reduction:
        """Return the reduction of one block, which keeps to the memory that was planned for its states."""
        return self.reduction.within(int(self.stage.state_bytes * self.headroom))

    def piece(self, state: Reduction, box: Box, found: npt.NDArray[Any] | State, put: Put) -> None:
        """Fold the voxels of a piece, or the state that an earlier stage has carried."""
        stage, reduction = self.stage, state
        carried: State | None
        if isinstance(found, State):
            carried = found
        else:
            values = found.astype(reduction.dtype, copy=False)
            blank = self.skips_blank and all_bits_equal(values, np.zeros((), values.dtype))
            first = stage.outputs[0]
            if first.level == stage.source_level and not first.copied:
                put(first.name, box, None if blank else values)
            carried = None if blank else reduction.lift(values)
        levels = self.levels[stage.source_level + 1 : stage.last_level + 1]
        carry = next((output for output in stage.outputs if output.is_carry), None)
        rendered: Sequence[npt.NDArray[Any] | None] = [None] * len(levels)
        if carried is not None:
            factors = [level.factor for level in levels]
            carried, rendered = reduction.steps(carried, factors, keep_state=carry is not None)
        made = [output for output in stage.outputs if output.level > stage.source_level and not output.is_carry]
        for level, output, voxels in zip(levels, made, rendered, strict=True):
            box = box.fold(level.factor)
            put(output.name, box, voxels)
        if carry is not None:
            put(carry.name, box, carried)


def fold_steps(
    plan: PyramidPlan,
    reduction: Reduction,
    source: Any,
    arrays: Mapping[int, zarr.Array[Any]],
    scratch: zarr.Group,
    *,
    skips_blank: bool = False,
    present: tuple[Presence, ...] = (),
    wrap: Callable[[Fold], BlockOperation] = lambda fold: fold,
) -> list[Step]:
    """Return the stages of a plan, each with its operation.

    Parameters
    ----------
    source : zarr, dask or NumPy array
        What the first stage reads, and ``present`` the arrays that it reads in any way.
    arrays : mapping of int to zarr.Array
        The levels.
    scratch : zarr.Group
        Where the carry is.
    skips_blank : bool
        Whether the fill value is zero, so that zeros need not be written.
    wrap : callable
        Returns what is to be run in place of the operation of a stage.
    """
    levels = plan.levels

    def carry_at(level: int) -> Carry:
        return carry_of(scratch, levels[level], levels[0].shape, reduction)

    def fold(stage: LevelStage) -> Fold:
        room = headroom(stage.memory, stage.tasks, plan.threads, plan.memory_limit, plan.baseline)
        name = f"level {stage.source_level}"
        array = source if stage.index == 0 else arrays[stage.source_level]
        read: Input | None = None
        if stage.reads == "carry":
            read = CarryInput(name, carry_at(stage.source_level), reduction, stage.piece, room)
        elif isinstance(array, zarr.Array):
            read = ArrayInput(name, array, next((output.name for output in stage.outputs if output.copied), None))
        outputs = tuple(
            CarryOutput(output.name, scratch.store, carry_at(output.level), reduction, room)
            if output.is_carry
            else ArrayOutput(output.name, arrays[output.level], output.factor)
            for output in stage.outputs
        )
        return Fold(stage, levels, reduction, read, outputs, room, skips_blank and reduction.keeps_blank)

    return [
        Step(
            stage,
            wrap(fold(stage)),
            levels[stage.source_level].shape,
            present if stage.index == 0 else (),
            None if stage.index > 0 or isinstance(source, zarr.Array) else source,
        )
        for stage in plan.stages
    ]
