"""The smallest and largest value of every channel, seen by the tasks that read the source for the levels anyway."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from chunkpyramid.boxes import Box, Shape
from chunkpyramid.engine.journal import Journal
from chunkpyramid.engine.operation import Put, Wrapper, Writer
from chunkpyramid.metadata.omero import Extremes, channel_extremes, merged_extremes
from chunkpyramid.pyramid.plan import PyramidPlan
from chunkpyramid.reductions.methods import Reduction

__all__ = ["SeeExtremes", "read_extremes"]


@dataclass(frozen=True)
class SeeExtremes(Wrapper):
    """An operation on voxels whose record has the extremes of the channels in its block.

    ``channel_axis`` is None if there is one channel; voxels of the background of a sparse ``reduction`` are left out.
    """

    reduction: Reduction
    channel_axis: int | None

    def begin(self, index: Shape) -> tuple[Any, list[Extremes]]:
        return super().begin(index), []

    def piece(self, state: tuple[Any, list[Extremes]], box: Box, found: Any, put: Put) -> None:
        own, seen = state
        reduction = self.reduction
        background = np.asarray(reduction.background, reduction.dtype) if reduction.sparse else None
        first = 0 if self.channel_axis is None else box.start[self.channel_axis]
        seen.append(channel_extremes(found, self.channel_axis, first, background))
        super().piece(own, box, found, put)

    def finish(self, state: tuple[Any, list[Extremes]], writers: Mapping[str, Writer]) -> Any:
        own, seen = state
        super().finish(own, writers)
        return [[channel, *extremes] for channel, extremes in merged_extremes(seen).items()] or None


def read_extremes(plan: PyramidPlan, journal: Journal) -> Extremes:
    """Return the extremes of the channels, from the records of all blocks that have read the source."""
    records = journal.flags(0, plan.stages[0].grid).records() if plan.stages else ()
    return merged_extremes({channel: (low, high) for channel, low, high in record} for record in records)
