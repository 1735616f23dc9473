"""The scratch group of a build: what is being built, which blocks are begun and done, and the carry between stages."""

from __future__ import annotations

import itertools
import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any, cast

import numpy as np
import numpy.typing as npt
import zarr

from chunkpyramid.boxes import Box, Shape, windows
from chunkpyramid.errors import BuildError, TargetExistsError
from chunkpyramid.memory import MOST_TASKS_IN_A_GRAPH
from chunkpyramid.plan import Level, Stage
from chunkpyramid.reductions.methods import Reduction
from chunkpyramid.runs import ALIVE, Run
from chunkpyramid.storage.keys import delete_dir, fetch, names, put, remove, remove_node
from chunkpyramid.storage.nodes import METADATA_FILES, create_level, default_compressors
from chunkpyramid.storage.staging import RECORD, SCRATCH, STAGING
from chunkpyramid.text import format_region

__all__ = ["SCRATCH", "BlockSet", "Flags", "Journal", "update_fingerprint"]

# of runs, which outlive what they build
KEPT_IN_SCRATCH = {ALIVE, RECORD, STAGING, *METADATA_FILES}

# so many records are read at once
AT_ONCE = 100


@dataclass(frozen=True, slots=True)
class BlockSet:
    """Some of the blocks of a window, one bit each: every task that is sent to another process takes it along.

    Examples
    --------
    >>> blocks = BlockSet.of(np.array([[True, False], [False, False]]))
    >>> (0, 0) in blocks, (1, 0) in blocks
    (True, False)
    """

    shape: Shape
    bits: bytes

    @staticmethod
    def of(mask: npt.NDArray[np.bool_]) -> BlockSet:
        """Return the set of the blocks that are True in the mask."""
        return BlockSet(mask.shape, np.packbits(mask).tobytes())

    def __contains__(self, index: Sequence[int]) -> bool:
        at = int(np.ravel_multi_index(tuple(index), self.shape))
        return bool(self.bits[at // 8] & 128 >> at % 8)


@dataclass(frozen=True)
class Flags:
    """The flags of the blocks of one stage: a task sets *begun* before it writes anything, and *done* last.

    A flag is set if its key exists, and the keys of a window are in a folder of their own: one listing tells them.
    So reading flags takes no memory but for a window, and setting one is one request that touches no other flag.
    Blocks that are begun and not done may have written some of their write units. What is stored under the key has the
    number of the ``run`` that set it, and with "done" the record of the block, if it leaves any.
    """

    store: Any
    path: str
    stage: int
    grid: Shape
    run: int = 0
    most: int = MOST_TASKS_IN_A_GRAPH

    def windows(self) -> Iterator[Box]:
        """Yield the windows of the grid, whose blocks run together and whose flags are read together."""
        return windows(self.grid, self.most)

    def begin(self, index: Shape) -> None:
        """Set the begun flag of a block."""
        self._set("begun", index)

    def finish(self, index: Shape, record: Any = None) -> None:
        """Set the done flag of a block, with a record of it that JSON can hold."""
        self._set("done", index, record)

    def records(self) -> Iterator[Any]:
        """Yield the records of all blocks that are done and have left one."""
        for window in self.windows():
            folder = self._folder("done", window.start)
            keys = [f"{folder}/{name}" for name in sorted(names(self.store, folder))]
            for start in range(0, len(keys), AT_ONCE):
                for key, found in zip(
                    keys[start : start + AT_ONCE],
                    fetch(self.store, [(key, None) for key in keys[start : start + AT_ONCE]]),
                    strict=True,
                ):
                    if found is None or isinstance(found, Exception):
                        raise BuildError(f"the record {key} of a block that is done cannot be read: {found}")
                    record = json.loads(bytes(found)).get("record")
                    if record is not None:
                        yield record

    def is_begun(self, index: Shape) -> bool:
        """Whether a block has been begun, as it is known now."""
        (found,) = fetch(self.store, [(f"{self._folder('begun', index)}/{_name(index)}", None)])
        return found is not None

    def begun(self, window: Box) -> npt.NDArray[np.bool_]:
        """Return which blocks of a window of the grid have been begun, be they done or not."""
        return self._get("begun", window)

    def done(self, window: Box) -> npt.NDArray[np.bool_]:
        """Return which blocks of a window of the grid are done."""
        return self._get("done", window)

    def _set(self, kind: str, index: Shape, record: Any = None) -> None:
        told = {"run": self.run} if record is None else {"run": self.run, "record": record}
        put(self.store, [(f"{self._folder(kind, index)}/{_name(index)}", json.dumps(told).encode())])

    def _get(self, kind: str, window: Box) -> npt.NDArray[np.bool_]:
        there = names(self.store, self._folder(kind, window.start))
        blocks = itertools.product(*map(range, window.start, window.stop))
        return np.fromiter((_name(index) in there for index in blocks), np.bool_, window.size).reshape(window.shape)

    def _folder(self, kind: str, index: Shape) -> str:
        window = tuple(i // n for i, n in zip(index, self._window, strict=True))
        return f"{self.path}/{kind}/{self.stage}/{_name(window)}"

    @cached_property
    def _window(self) -> Shape:
        return next(self.windows()).shape


def _name(index: Sequence[int]) -> str:
    return ".".join(map(str, index))


class Journal:
    """The scratch group beside the levels, there from before the first voxel is written until the build is complete."""

    def __init__(self, scratch: zarr.Group, run: Run | None = None):
        self.scratch = scratch
        self.run = run

    @staticmethod
    def find(group: zarr.Group, run: Run | None = None) -> Journal | None:
        """Return the journal of an unfinished build or update in the group, or None; ``run`` goes on with it."""
        try:
            # not through the group: its consolidated metadata, if it has any, know nothing of what is unfinished
            scratch = zarr.open_group(
                group.store,
                path=_scratch_path(group),
                mode="r" if group.store.read_only else "r+",
                zarr_format=group.metadata.zarr_format,
                use_consolidated=False,
            )
        except FileNotFoundError:
            return None
        return Journal(scratch, run)

    @staticmethod
    def create(group: zarr.Group, run: Run | None, told: Mapping[str, Any]) -> Journal:
        """Create the scratch group, with what is ``told`` as its attributes; what an earlier one left is removed.

        The attributes of one that is there are replaced last: until then it tells what was unfinished before.
        """
        path = _scratch_path(group)
        kept = KEPT_IN_SCRATCH if Journal.find(group) is not None else KEPT_IN_SCRATCH - METADATA_FILES
        for name in sorted(names(group.store, path) - kept):
            remove_node(group.store, f"{path}/{name}")
        scratch = zarr.open_group(group.store, path=path, mode="a", zarr_format=group.metadata.zarr_format)
        scratch.attrs.put(dict(told))
        return Journal(scratch, run)

    def create_carry(self, stages: Sequence[Stage], levels: Sequence[Level], reduction: Reduction) -> None:
        """Create the arrays of the carry; those of a ragged one come about when it is known how long they are."""
        scratch = self.scratch
        for stage in stages:
            for output in stage.outputs:
                if output.is_carry:
                    level = levels[output.level]
                    if reduction.is_ragged:
                        scratch.create_group(f"carry/{level.index}")
                        continue
                    for name, dtype in reduction.carry_dtypes(level.footprint).items():
                        create_level(
                            scratch,
                            f"carry/{level.index}/{name}",
                            level.shape,
                            dtype,
                            chunks=level.chunks,
                            compressors=default_compressors(dtype, scratch.metadata.zarr_format, labels=False),
                        )

    @property
    def is_set_up(self) -> bool:
        """Whether all arrays of the build were created; before that nothing is computed, so nothing can be lost."""
        return "fingerprint" in self.scratch.attrs

    @property
    def levels(self) -> list[str]:
        """The paths of the arrays that the unfinished build makes or replaces."""
        return [str(path) for path in cast("list[str]", self.scratch.attrs.get("levels", []))]

    @property
    def was_consolidated(self) -> bool:
        """Whether the group had consolidated metadata when the build began."""
        return bool(self.scratch.attrs.get("consolidated", False))

    @property
    def _fingerprint(self) -> dict[str, Any]:
        return cast("dict[str, Any]", self.scratch.attrs.get("fingerprint", {}))

    @property
    def source(self) -> str | None:
        """What the unfinished build reads; None for an update."""
        return cast("str | None", self._fingerprint.get("source"))

    def set_up(self, fingerprint: Mapping[str, Any], blocks: Sequence[Any] = ()) -> None:
        """Record what is being built and in which blocks, once all arrays are there: in one write, all or nothing."""
        attributes = self.scratch.attrs
        attributes.put({**attributes.asdict(), "fingerprint": dict(fingerprint), "blocks": list(blocks)})

    @property
    def blocks(self) -> list[Any]:
        """The blocks of the unfinished build, as they were recorded."""
        return cast(list[Any], self.scratch.attrs["blocks"])

    def check(self, fingerprint: Mapping[str, Any], where: str) -> None:
        """Raise `TargetExistsError` unless the unfinished build has this fingerprint, naming what differs."""
        found = self._fingerprint
        differences = [
            f"{key}: {found.get(key)!r} there, {fingerprint.get(key)!r} now"
            for key in sorted({*found, *fingerprint})
            if found.get(key) != fingerprint.get(key)
        ]
        if "update" in found:
            raise TargetExistsError(
                f"{where} holds a pyramid whose update has not been finished: {_how_to_finish(found)}, or pass "
                "overwrite=True to build anew"
            )
        if differences:
            raise TargetExistsError(
                f"{where} holds an unfinished build with another plan ({'; '.join(differences)}): run it with the "
                "arguments it was begun with, or pass overwrite=True to begin anew"
            )

    def check_region(self, region: Box | None, group: zarr.Group) -> None:
        """Raise `BuildError` unless an update of this region finishes what is unfinished, saying how to finish it."""
        found = self._fingerprint
        if "update" in found:
            if region is not None and region.contains(_updated_region(found)):
                return
            raise BuildError(f"an update of {group} has not been finished: {_how_to_finish(found)}")
        raise BuildError(
            f"a build into {group} has not been finished: run build_pyramid again with the same arguments to resume it"
        )

    def flags(self, stage: Stage) -> Flags:
        """Return the flags of the stage's blocks, which can be sent to other processes."""
        number = 0 if self.run is None else self.run.owner.number
        return Flags(self.scratch.store, self.scratch.path, stage.index, stage.grid, number)

    def carry(self, level: int) -> zarr.Group:
        """Return the group with the carry of a level."""
        group = self.scratch[f"carry/{level}"]
        if not isinstance(group, zarr.Group):
            raise TargetExistsError(f"the scratch group {self.scratch} of an unfinished build is damaged")
        return group

    @staticmethod
    def close(group: zarr.Group) -> None:
        """Delete the metadata of the scratch group: from now on the pyramid is finished.

        They go at once and before all else: with flags or carry gone but the group still there, a rerun would take
        the build for unfinished, and compute levels from nothing.
        """
        path = _scratch_path(group)
        names = ("zarr.json",) if group.metadata.zarr_format == 3 else (".zgroup", ".zattrs")
        remove(group.store, [f"{path}/{name}" for name in names])

    @staticmethod
    def remove(group: zarr.Group) -> None:
        """Delete the scratch group of a group that no run writes to."""
        if Journal.find(group) is not None:
            Journal.close(group)
            delete_dir(group.store, _scratch_path(group))


def update_fingerprint(region: Box) -> dict[str, Any]:
    """Return the fingerprint of an update of a region of level 0."""
    return {"update": [list(region.start), list(region.stop)]}


def _updated_region(fingerprint: Mapping[str, Any]) -> Box:
    """Return the region of level 0 that an update is of."""
    start, stop = fingerprint["update"]
    return Box(tuple(start), tuple(stop))


def _how_to_finish(fingerprint: Mapping[str, Any]) -> str:
    region = format_region(_updated_region(fingerprint))
    return f"run update_pyramid for the region {region}, or one around it, to finish it"


def _scratch_path(group: zarr.Group) -> str:
    return f"{group.path}/{SCRATCH}".lstrip("/")
