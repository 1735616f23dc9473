"""The scratch group of a job: what is being made, and which blocks are begun and done."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, cast

import zarr

from chunkpyramid.boxes import Shape
from chunkpyramid.engine.flags import Flags
from chunkpyramid.engine.runs import ALIVE, Run
from chunkpyramid.storage.keys import delete_dir, names, remove, remove_node
from chunkpyramid.storage.nodes import METADATA_FILES
from chunkpyramid.storage.staging import RECORD, SCRATCH, STAGING

__all__ = ["SCRATCH", "Journal"]

# of runs, which outlive what they build
KEPT_IN_SCRATCH = {ALIVE, RECORD, STAGING, *METADATA_FILES}


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
    def fingerprint(self) -> dict[str, Any]:
        return cast("dict[str, Any]", self.scratch.attrs.get("fingerprint", {}))

    def differences(self, fingerprint: Mapping[str, Any]) -> list[str]:
        """Return in what the unfinished job differs from one with this fingerprint."""
        found = self.fingerprint
        return sorted(key for key in {*found, *fingerprint} if found.get(key) != fingerprint.get(key))

    @property
    def source(self) -> str | None:
        """What the unfinished build reads; None for an update."""
        return cast("str | None", self.fingerprint.get("source"))

    def set_up(self, fingerprint: Mapping[str, Any], blocks: Sequence[Any] = ()) -> None:
        """Record what is being built and in which blocks, once all arrays are there: in one write, all or nothing."""
        attributes = self.scratch.attrs
        attributes.put({**attributes.asdict(), "fingerprint": dict(fingerprint), "blocks": list(blocks)})

    @property
    def blocks(self) -> list[Any]:
        """The blocks of the unfinished build, as they were recorded."""
        return cast(list[Any], self.scratch.attrs["blocks"])

    def flags(self, stage: int, grid: Shape) -> Flags:
        """Return the flags of the blocks of a stage, which can be sent to other processes."""
        number = 0 if self.run is None else self.run.owner.number
        return Flags(self.scratch.store, self.scratch.path, stage, grid, number)

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


def _scratch_path(group: zarr.Group) -> str:
    return f"{group.path}/{SCRATCH}".lstrip("/")
