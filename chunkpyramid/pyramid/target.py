"""The target of a build: what is there, what may be done with it, and creating what the build fills."""

from __future__ import annotations

import logging
import os
from collections.abc import Mapping
from dataclasses import dataclass
from enum import Enum, auto
from typing import Any

import zarr

from chunkpyramid.engine.journal import Journal
from chunkpyramid.engine.runs import Run, group_of
from chunkpyramid.errors import ArgumentError, SourceNotFoundError, TargetExistsError
from chunkpyramid.metadata import ome
from chunkpyramid.pyramid.carry import create_carry
from chunkpyramid.pyramid.checked_build import CheckedBuild
from chunkpyramid.pyramid.unfinished import check_fingerprint, level_paths_of, told_of_build, was_consolidated
from chunkpyramid.sources.overlap import refuse_around, refuse_inside
from chunkpyramid.storage.consolidated import is_consolidated
from chunkpyramid.storage.groups import existing_group, store_and_path
from chunkpyramid.storage.keys import names, remove_node
from chunkpyramid.storage.locations import is_local_path, plain_path
from chunkpyramid.storage.nodes import DIMENSIONS, entries, level_array, plain_files, shape_in
from chunkpyramid.storage.staging import SCRATCH

__all__ = ["Action", "Target"]

logger = logging.getLogger(__name__)


class Action(Enum):
    """What is to be done with a target."""

    CREATE = auto()
    RESUME = auto()
    NOTHING = auto()


@dataclass(frozen=True)
class Target:
    """Where a checked build goes, and whether it may go on there, or replace what is there."""

    checked: CheckedBuild
    storage_options: Mapping[str, Any] | None
    resume: bool
    overwrite: bool

    @property
    def location(self) -> Any:
        return plain_path(self.checked.target)

    @property
    def where(self) -> str:
        """The target as messages name it."""
        if self.checked.group is not None:
            return str(self.checked.group)
        location = self.location
        if not is_local_path(location):
            return repr(location)
        link = f", a symbolic link to {os.path.realpath(location)!r}," if os.path.islink(location) else ""
        return f"{os.fspath(location)!r}{link}"

    def find(self) -> zarr.Group | None:
        """Return the group that is there, None if there is none.

        Raises
        ------
        ArgumentError, TargetExistsError
            If there is no target, or it and what the source reads are inside of each other, or something else is there.
        """
        if self.checked.group is not None:
            return self.checked.group
        if self.checked.target is None:
            raise ArgumentError(
                "target is needed: a source in memory has no group of its own that the levels could go to"
            )
        group = existing_group(self.location, self.storage_options)
        there = self.location if group is None else group
        source = self.checked.source
        arrays = source.zarr_arrays() if self.overwrite or source.is_zarr else ()
        refuse_around(there, source, arrays)
        refuse_inside(there, arrays)
        return group

    def place(self, group: zarr.Group | None) -> tuple[Any, str]:
        """Return the store and path of the group, which is created in stores that are no folders."""
        return store_and_path(self.location, group, self.checked.format.zarr_format, self.storage_options)

    def find_in(self, run: Run) -> zarr.Group | None:
        """Return the group as a run sees and writes it, None if it is still to be created."""
        try:
            return zarr.open_group(run.store, path=run.path, mode="r+", use_consolidated=False)
        except FileNotFoundError:
            return None

    def decide(self, group: zarr.Group | None) -> Action:
        """Return what is to be done.

        Raises
        ------
        TargetExistsError
            If something is there that may not be replaced.
        """
        if group is None or self.overwrite:
            return Action.CREATE
        journal = Journal.find(group)
        if journal is not None and journal.is_set_up:
            if not self.resume:
                raise TargetExistsError(
                    f"{self.where} holds an unfinished build: pass resume=True to finish it, or overwrite=True to "
                    "begin anew"
                )
            check_fingerprint(journal, self.checked.fingerprint, self.where)
            return Action.RESUME
        # read after the journal was looked for: a run that has just finished has put its metadata before it closed that
        fresh = self._opened_again(group)
        if fresh is None:
            return Action.CREATE
        group = fresh
        if self._was_cut_off(group, journal):
            return Action.CREATE
        if journal is None and self._is_finished(group):
            return Action.NOTHING
        if journal is None and Journal.find(group) is not None:
            # another run has begun to create what would be refused
            return self.decide(group)
        self._refuse_existing(group)
        return Action.CREATE

    def _opened_again(self, group: zarr.Group) -> zarr.Group | None:
        """Return a group with the attributes that it has now, None if it is being made anew."""
        mode: Any = "r" if group.store.read_only else "r+"
        try:
            return zarr.open_group(
                group.store,
                path=group.path,
                mode=mode,
                zarr_format=group.metadata.zarr_format,
                use_consolidated=False,
            )
        except FileNotFoundError:
            return None

    def create(self, run: Run, group: zarr.Group | None, *, is_new: bool) -> tuple[zarr.Group, Journal]:
        """Create the level arrays and the scratch group, in place of what is there and may be replaced.

        Where the group ``is_new``, files that are beside it are nobody's to delete.
        """
        checked = self.checked
        levels = checked.plan.levels
        own = levels[1:] if checked.in_place else levels
        consolidated, waste = False, set(checked.own_paths)
        if group is not None:
            journal = Journal.find(group)
            consolidated = is_consolidated(group) or (journal is not None and was_consolidated(journal))
            if self._was_cut_off(group, journal) and journal is not None:
                waste |= set(level_paths_of(journal))
            Journal.close(group)
            if not checked.in_place and (journal is not None or not is_new):
                # metadata first: without them it is no pyramid any more
                there = names(group.store, group.path) - {SCRATCH} - plain_files(group)
                for name in sorted(there, key=lambda name: "." not in name):
                    remove_node(group.store, f"{group.path}/{name}".lstrip("/"))
        group = group_of(run, checked.format.zarr_format)
        told = told_of_build([level.path for level in own], is_consolidated=consolidated)
        journal = Journal.create(group, run, told)
        if checked.in_place:
            self._forget_levels(group, waste | {level.path for level in own})
        create_carry(journal.scratch, checked.plan.stages, levels, checked.reduction)
        for level in own:
            checked.format.create(group, level)
        journal.set_up(checked.fingerprint, checked.block_shapes)
        return group, journal

    def renew_attributes(self, group: zarr.Group) -> None:
        """Give the level arrays of a build that is continued the attributes that the source has now."""
        checked = self.checked
        for level in checked.plan.levels[checked.in_place :]:
            attributes = level_array(group, level.path).attrs
            told = attributes.asdict()
            names = {key: told.pop(key) for key in (DIMENSIONS,) if key in told}
            if told != checked.format.attributes:
                attributes.put({**names, **checked.format.attributes})

    def _was_cut_off(self, group: zarr.Group, journal: Journal | None) -> bool:
        """Whether a build was killed while it was set up: then nothing was computed yet."""
        if journal is None or journal.is_set_up:
            return False
        # metadata are written last: with them it is an update that was cut off, and there is a pyramid to lose
        return self.checked.in_place or ome.read_multiscale(group.attrs.asdict(), shape_in(group)) is None

    def _is_finished(self, group: zarr.Group) -> bool:
        """Whether there is the pyramid that this build would make, finished."""
        first = self.checked.plan.levels[0].path
        found = ome.read_multiscale(group.attrs.asdict(), shape_in(group), dataset=first)
        wanted = self.checked.multiscale
        if found is None or found.digest != wanted.digest or found.paths != wanted.paths:
            return False
        try:
            arrays = [level_array(group, path) for path in found.paths]
        except SourceNotFoundError:
            return False
        levels = self.checked.plan.levels
        return found.coordinates == wanted.coordinates and all(
            array.shape == level.shape and array.chunks == level.chunks
            for array, level in zip(arrays, levels, strict=True)
        )

    def _forget_levels(self, group: zarr.Group, paths: set[str]) -> None:
        """Delete levels beside the source that are to be replaced; the metadata name only level 0 from then on."""
        if self.checked.own_paths:
            group.attrs.put(ome.only_level_0(group.attrs.asdict(), self.checked.index))
        for path in sorted(paths):
            if path in group:
                del group[path]

    def _refuse_existing(self, group: zarr.Group) -> None:
        checked = self.checked
        if checked.in_place:
            paths = dict.fromkeys([*checked.own_paths, *(level.path for level in checked.plan.levels[1:])])
            taken = [path for path in paths if path in group]
            if taken:
                raise TargetExistsError(
                    f"the group of the source, {group}, has {taken} already: pass overwrite=True to replace them, "
                    "or give target="
                )
            return
        members = entries(group)
        if members or group.attrs.asdict():
            raise TargetExistsError(
                f"{self.where} exists and is not empty (it has {members or 'attributes'}): pass overwrite=True to "
                "replace it, or choose another target"
            )
        if group.metadata.zarr_format != checked.format.zarr_format:
            raise TargetExistsError(
                f"{self.where} is a group of zarr format {group.metadata.zarr_format}, not "
                f"{checked.format.zarr_format}: pass overwrite=True to replace it, or choose another target"
            )
