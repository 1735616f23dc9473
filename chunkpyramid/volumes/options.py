"""What is said of the volumes that operations read and write: the keywords that they share."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, TypedDict

from chunkpyramid.engine.progress import Progress
from chunkpyramid.errors import ArgumentError

__all__ = ["ReadOptions", "VolumeOptions", "check_options"]


class ReadOptions(TypedDict, total=False):
    """Keywords of operations that read a volume; what they mean is told at `build_pyramid`."""

    axes: str | Sequence[str] | None
    storage_options: Mapping[str, Any] | None
    memory_limit: int | str | None
    progress: Progress


class VolumeOptions(ReadOptions, total=False):
    """Keywords of operations that write a volume; what they mean is told at `build_pyramid`."""

    voxel_size: Any
    translation: Any
    unit: Any
    chunks: Any
    shards: Any
    compressors: Any
    zarr_format: int
    ome_version: str | None
    name: str
    resume: bool
    overwrite: bool


def check_options(options: Mapping[str, Any], allowed: type) -> None:
    """Raise `ArgumentError` for keywords that are none of those allowed: of `ReadOptions`, or of `VolumeOptions`."""
    names = {name for kind in (ReadOptions, allowed) for name in kind.__annotations__}
    unknown = sorted(set(options) - names)
    if unknown:
        raise ArgumentError(
            f"{', '.join(unknown)} cannot be given for this volume; what can is {', '.join(sorted(names))}"
        )
