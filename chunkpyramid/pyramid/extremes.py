"""The smallest and largest value of every channel, seen by the tasks that read the source for the levels anyway."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
import numpy.typing as npt

from chunkpyramid.boxes import Box, Shape
from chunkpyramid.engine.journal import Journal
from chunkpyramid.engine.task import BlockTask
from chunkpyramid.metadata.omero import Extremes, channel_extremes, merged_extremes
from chunkpyramid.pyramid.carry import CarryWriter
from chunkpyramid.pyramid.plan import PyramidPlan
from chunkpyramid.reductions.methods import Reduction, State
from chunkpyramid.storage.write_units import WriteUnits

__all__ = ["ExtremesTask", "read_extremes"]


@dataclass(frozen=True, kw_only=True)
class ExtremesTask(BlockTask):
    """A task whose record has the extremes of the channels in its block; ``channel_axis`` is None if there is one."""

    channel_axis: int | None
    # of the block that is walked; every block has a task of its own
    seen: list[Extremes] = field(default_factory=list)

    def run(self, index: Shape, values: npt.NDArray[Any] | None, *, again: bool) -> None:
        super(ExtremesTask, replace(self, seen=[])).run(index, values, again=again)

    def record(self) -> Any:
        return [[channel, *extremes] for channel, extremes in merged_extremes(self.seen).items()] or None

    def _fold(
        self,
        piece: Box,
        found: npt.NDArray[Any] | State,
        reduction: Reduction,
        units: Mapping[int, WriteUnits],
        carry: CarryWriter | None,
    ) -> None:
        if self.stage.source_level == 0 and not isinstance(found, State):
            background = np.asarray(reduction.background, reduction.dtype) if reduction.sparse else None
            first = 0 if self.channel_axis is None else piece.start[self.channel_axis]
            self.seen.append(channel_extremes(found, self.channel_axis, first, background))
        super()._fold(piece, found, reduction, units, carry)


def read_extremes(plan: PyramidPlan, journal: Journal) -> Extremes:
    """Return the extremes of the channels, from the records of all blocks that have read the source."""
    records = journal.flags(0, plan.stages[0].grid).records() if plan.stages else ()
    return merged_extremes({channel: (low, high) for channel, low, high in record} for record in records)
