"""The scratch group of a running build: what is being built, which blocks are done, and the carry between stages."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, cast

import numpy as np
import numpy.typing as npt
import zarr

from chunkpyramid.errors import TargetExistsError
from chunkpyramid.methods import Reduction
from chunkpyramid.plan import Level, Stage
from chunkpyramid.store import create_level, default_compressors, delete, delete_dir

__all__ = ["SCRATCH", "Journal"]

SCRATCH = ".chunkpyramid"


class Journal:
    """The scratch group beside the levels, there from before the first voxel is written until the build is complete."""

    def __init__(self, scratch: zarr.Group):
        self.scratch = scratch

    @staticmethod
    def find(group: zarr.Group) -> Journal | None:
        """Return the journal of an unfinished build in the group, or None."""
        if SCRATCH not in group:
            return None
        scratch = group[SCRATCH]
        return Journal(scratch) if isinstance(scratch, zarr.Group) else None

    @staticmethod
    def create(group: zarr.Group, stages: Sequence[Stage], levels: Sequence[Level], reduction: Reduction) -> Journal:
        """Create the scratch group with the done flags and the carry arrays of all stages.

        Those of a ragged carry come about when it is known how long they are.
        """
        scratch = group.create_group(SCRATCH, overwrite=True)
        for stage in stages:
            create_level(
                scratch,
                f"done/{stage.index}",
                stage.grid,
                np.dtype(np.uint8),
                chunks=(1,) * len(stage.grid),
                compressors=None,
            )
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
                            compressors=default_compressors(dtype, group.metadata.zarr_format, labels=False),
                        )
        return Journal(scratch)

    @property
    def is_set_up(self) -> bool:
        """Whether all arrays of the build were created; before that nothing is computed, so nothing can be lost."""
        return "fingerprint" in self.scratch.attrs

    def set_up(self, fingerprint: Mapping[str, Any]) -> None:
        """Record what is being built, once all arrays are there."""
        self.scratch.attrs["fingerprint"] = dict(fingerprint)

    def check(self, fingerprint: Mapping[str, Any], where: str) -> None:
        """Raise `TargetExistsError` unless the unfinished build has this fingerprint, naming what differs."""
        found: dict[str, Any] = cast(Any, self.scratch.attrs.get("fingerprint", {}))
        differences = [
            f"{key}: {found.get(key)!r} there, {fingerprint.get(key)!r} now"
            for key in sorted({*found, *fingerprint})
            if found.get(key) != fingerprint.get(key)
        ]
        if differences:
            raise TargetExistsError(
                f"{where} holds an unfinished build with another plan ({'; '.join(differences)}): run it with the "
                "arguments it was begun with, or pass overwrite=True to begin anew"
            )

    def done(self, stage: Stage) -> npt.NDArray[np.bool_]:
        """Return which blocks of the stage are done, in the shape of its grid."""
        return np.asarray(self._flags(stage)[...]).astype(bool)

    def flags(self, stage: Stage) -> zarr.Array[Any]:
        """Return the array in which a task sets the done flag of its block."""
        return self._flags(stage)

    def carry(self, level: int) -> zarr.Group:
        """Return the group with the carry of a level."""
        group = self.scratch[f"carry/{level}"]
        if not isinstance(group, zarr.Group):
            raise TargetExistsError(f"the scratch group {self.scratch} of an unfinished build is damaged")
        return group

    def _flags(self, stage: Stage) -> zarr.Array[Any]:
        flags = self.scratch[f"done/{stage.index}"]
        if not isinstance(flags, zarr.Array):
            raise TargetExistsError(f"the scratch group {self.scratch} of an unfinished build is damaged")
        return flags

    @staticmethod
    def remove(group: zarr.Group) -> None:
        """Delete the scratch group.

        Its own metadata go first and at once: with flags or carry gone but the group still there, a rerun would take
        the build for unfinished, and compute levels from nothing.
        """
        if SCRATCH in group:
            path = f"{group.path}/{SCRATCH}".lstrip("/")
            delete(group.store, f"{path}/{'zarr.json' if group.metadata.zarr_format == 3 else '.zgroup'}")
            delete_dir(group.store, path)
