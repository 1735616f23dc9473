"""What is said of the volumes that operations read and write: the keywords that they share."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, TypedDict

from chunkpyramid.engine.progress import Progress

__all__ = ["ReadOptions", "VolumeOptions"]


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
