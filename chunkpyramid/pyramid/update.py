"""`update_pyramid`: rebuild what lies above a part of level 0 that has changed."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

import zarr

from chunkpyramid.arguments import region_box
from chunkpyramid.boxes import Box, multiply
from chunkpyramid.engine.job import run_steps
from chunkpyramid.engine.journal import Journal
from chunkpyramid.engine.operation import ArrayOutput, Output, Wrapper, Writer
from chunkpyramid.engine.progress import Progress, check_progress
from chunkpyramid.engine.runs import begin_run, group_of
from chunkpyramid.errors import ChunkError
from chunkpyramid.pyramid.carry import create_carry
from chunkpyramid.pyramid.fold import fold_steps
from chunkpyramid.pyramid.plan import Level, LevelStage
from chunkpyramid.pyramid.plan_again import plan_existing
from chunkpyramid.pyramid.pyramid import Pyramid, pyramid_at
from chunkpyramid.pyramid.unfinished import check_region, update_fingerprint
from chunkpyramid.storage.chunk_io import ChunkWriter
from chunkpyramid.storage.chunked_array import chunked
from chunkpyramid.storage.locations import check_deletes
from chunkpyramid.storage.presence import presences
from chunkpyramid.storage.write_units import PartialUnits
from chunkpyramid.text import format_region

__all__ = ["update_pyramid"]


def update_pyramid(
    target: Any,
    region: Sequence[slice],
    *,
    memory_limit: int | str | None = None,
    progress: Progress = False,
) -> Pyramid:
    """Rebuild what lies above voxels of level 0 that have changed.

    The levels are then those that a full build would make, bit for bit. It costs reading level 0 in the region, rounded
    up to whole voxels of the last level, and writing the chunks above it.

    Parameters
    ----------
    target : path, URL, zarr store, zarr.Group or Pyramid
        A pyramid that `build_pyramid` has finished, and whose level 0 was changed since.
    region : sequence of slices
        Where level 0 has changed: one slice per axis, in voxels of level 0, without steps; axes that are left out at
        the end have changed as a whole.
    memory_limit : int or str, optional
        As for `build_pyramid`.
    progress : bool or callable
        As for `build_pyramid`.

    Returns
    -------
    Pyramid

    Raises
    ------
    SourceNotFoundError
        If nothing is there.
    ArgumentError
        If the region is malformed, or the metadata do not tell how the levels were made.
    PlanError
        If the memory limit is too small, with the least that would do.
    BuildError
        If a build, or an update of another region, has not been finished, or a block fails. Until the same update, or
        one of a region around it, has been run again the pyramid counts as unfinished.

    Examples
    --------
    >>> import numpy as np, zarr
    >>> import chunkpyramid as cp
    >>> store = zarr.storage.MemoryStore()
    >>> pyramid = cp.build_pyramid(np.zeros((64, 64), np.uint8), store, levels=2)
    >>> pyramid.levels[0][8:12, 40:44] = 16
    >>> int(cp.update_pyramid(store, np.s_[8:12, 40:44]).levels[2][2, 10])
    16
    """
    check_progress(progress)
    check_deletes(getattr(target, "store", target))
    pyramid = pyramid_at(target)
    box = region_box(region, tuple(map(int, pyramid.levels[0].shape)))
    _check_unfinished(pyramid.group, box)
    plan = plan_existing(pyramid, memory_limit).plan
    if box.size == 0 or len(plan.levels) == 1:
        return pyramid
    run = begin_run(pyramid.group.store, pyramid.group.path, alone=True, where=str(pyramid.group))
    with run.living():
        # another process may have been here since
        own = pyramid_at(Pyramid(group_of(run, pyramid.group.metadata.zarr_format), pyramid.multiscale))
        unfinished = _check_unfinished(own.group, box)
        existing = plan_existing(own, memory_limit)
        journal = Journal.create(own.group, run, {"fingerprint": update_fingerprint(box)})
        create_carry(journal.scratch, existing.plan.stages, existing.plan.levels, existing.reduction)
        plan = existing.plan
        whole = box.rounded_to(plan.levels[-1].cumulative)
        steps = fold_steps(
            plan,
            existing.reduction,
            own.levels[0],
            dict(enumerate(own.levels)),
            journal.scratch,
            present=presences(own.levels[:1]),
            wrap=lambda fold: Region(fold, whole, plan.levels, fold.stage),
        )
        for _ in run_steps(steps, journal, plan.threads, progress, again=unfinished is not None):
            pass
        Journal.close(own.group)
        run.finish()
    return pyramid


def _check_unfinished(group: zarr.Group, box: Box) -> Journal | None:
    """Return the journal of an unfinished update that one of this region finishes, None if there is none."""
    unfinished = Journal.find(group)
    if unfinished is not None:
        check_region(unfinished, box, group)
    return unfinished


@dataclass(frozen=True)
class Region(Wrapper):
    """An operation on levels that makes only what lies above a box of level 0: whole voxels of the last level."""

    box: Box
    levels: tuple[Level, ...]
    stage: LevelStage

    advice: ClassVar[str] = "what is done so far is kept: run update_pyramid for the same region again"

    @property
    def region(self) -> Box:
        level = self.levels[self.stage.source_level]
        return self.box.fold(level.cumulative).clip(level.shape)

    @property
    def outputs(self) -> Sequence[Output]:
        return [
            UpdatedOutput(output.name, output.array, output.factor, self._write_units_above(self.levels[planned.level]))
            if isinstance(output, ArrayOutput)
            else output
            for output, planned in zip(super().outputs, self.stage.outputs, strict=True)
        ]

    def finish(self, state: Any, writers: Mapping[str, Writer]) -> Any:
        for writer in writers.values():
            writer.flush()
        return super().finish(state, writers)

    def _write_units_above(self, level: Level) -> Box:
        """Return the region of level 0 under all write units of a level that are written."""
        whole = self.box.rounded_to(multiply(level.write_unit, level.cumulative))
        return whole.clip(self.levels[0].shape)


@dataclass(frozen=True)
class UpdatedOutput(ArrayOutput):
    """A level of which only a part is delivered, and the rest stays what it is.

    An update of the region ``needs_no_reading`` of level 0 would write all of the write units.
    """

    needs_no_reading: Box

    def open(self, *, again: bool) -> Writer:
        return UpdatedUnits(self.array, self.needs_no_reading)


class UpdatedUnits(PartialUnits):
    """`PartialUnits` that say which region an update has to be of, so that none of its write units need be read."""

    def __init__(self, array: zarr.Array[Any], needs_no_reading: Box):
        super().__init__(ChunkWriter(chunked(array), replaces=True))
        self.needs_no_reading = needs_no_reading

    def flush(self) -> None:
        try:
            super().flush()
        except ChunkError as error:
            raise ChunkError(
                f"{error}; an update of the region {format_region(self.needs_no_reading)} would write it anew"
            ) from error
