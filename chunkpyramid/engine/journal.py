"""The scratch group of a job: what is being made, and which blocks are begun and done."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any, cast

import zarr

from chunkpyramid.boxes import Shape
from chunkpyramid.engine.flags import Flags
from chunkpyramid.engine.runs import ALIVE, Run
from chunkpyramid.errors import ArgumentError
from chunkpyramid.storage.groups import group_within
from chunkpyramid.storage.keys import delete_dir, names, remove, remove_node
from chunkpyramid.storage.nodes import METADATA_FILES
from chunkpyramid.storage.staging import RECORD, SCRATCH, STAGING

__all__ = ["SCRATCH", "Journal", "refuse_changing"]

# what a job writes to: most often a group, in place an array
Node = zarr.Group | zarr.Array[Any]

# of runs, which outlive what they make
KEPT_IN_SCRATCH = {ALIVE, RECORD, STAGING, *METADATA_FILES}


class Journal:
    """The scratch group of a target, there from before the first voxel is written until the job is complete."""

    def __init__(self, scratch: zarr.Group, run: Run | None = None):
        self.scratch = scratch
        self.run = run

    @staticmethod
    def find(group: Node, run: Run | None = None) -> Journal | None:
        """Return the journal of an unfinished job in the group or array, or None; ``run`` goes on with it."""
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
    def create(group: Node, run: Run | None, told: Mapping[str, Any]) -> Journal:
        """Create the scratch group, with what is ``told`` as its attributes; what an earlier one left is removed.

        The attributes of one that is there are replaced last: until then it tells what was unfinished before.
        """
        path = _scratch_path(group)
        kept = KEPT_IN_SCRATCH if Journal.find(group) is not None else KEPT_IN_SCRATCH - METADATA_FILES
        for name in sorted(names(group.store, path) - kept):
            remove_node(group.store, f"{path}/{name}")
        scratch = group_within(group, path)
        scratch.attrs.put(dict(told))
        return Journal(scratch, run)

    @property
    def is_set_up(self) -> bool:
        """Whether all arrays of the job were created; before that nothing is computed, so nothing can be lost."""
        return "fingerprint" in self.scratch.attrs

    @property
    def told(self) -> dict[str, Any]:
        """What was told of the job when it was created."""
        return self.scratch.attrs.asdict()

    @property
    def fingerprint(self) -> dict[str, Any]:
        """What tells the unfinished job from others."""
        return cast("dict[str, Any]", self.scratch.attrs.get("fingerprint", {}))

    def differences(self, fingerprint: Mapping[str, Any]) -> list[str]:
        """Return in what the unfinished job differs from one with this fingerprint."""
        found = self.fingerprint
        return sorted(key for key in {*found, *fingerprint} if found.get(key) != fingerprint.get(key))

    def set_up(self, fingerprint: Mapping[str, Any], block_shapes: Sequence[Any]) -> None:
        """Record what is being made and in which blocks, once all arrays are there: in one write, all or nothing."""
        attributes = self.scratch.attrs
        attributes.put({**attributes.asdict(), "fingerprint": dict(fingerprint), "blocks": list(block_shapes)})

    @property
    def block_shapes(self) -> list[Any]:
        """The shapes of the blocks of the unfinished job, as they were recorded."""
        return cast(list[Any], self.scratch.attrs["blocks"])

    def flags(self, stage: int, grid: Shape) -> Flags:
        """Return the flags of the blocks of a stage, which can be sent to other processes."""
        number = 0 if self.run is None else self.run.owner.number
        return Flags(self.scratch.store, self.scratch.path, stage, grid, number)

    @staticmethod
    def close(group: Node) -> None:
        """Delete the metadata of the scratch group: from now on the job is finished.

        They go at once and before all else: with flags or carry gone but the group still there, a rerun would take
        the job for unfinished, and compute from nothing.
        """
        path = _scratch_path(group)
        names = ("zarr.json",) if group.metadata.zarr_format == 3 else (".zgroup", ".zattrs")
        remove(group.store, [f"{path}/{name}" for name in names])

    @staticmethod
    def remove(group: Node) -> None:
        """Delete the scratch group of a group that no run writes to."""
        if Journal.find(group) is not None:
            Journal.close(group)
            delete_dir(group.store, _scratch_path(group))


def refuse_changing(arrays: Iterable[zarr.Array[Any]]) -> None:
    """Raise `ArgumentError` for an array of which only some blocks have been changed in place so far."""
    for array in arrays:
        journal = Journal.find(array)
        if journal is not None and journal.is_set_up:
            raise ArgumentError(
                f"the source {array} is being changed in place by {journal.fingerprint.get('operation')}, which has "
                "not been finished: run that again to finish it first"
            )


def _scratch_path(group: Node) -> str:
    return f"{group.path}/{SCRATCH}".lstrip("/")
