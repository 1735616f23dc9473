"""What a build is asked to make: the arguments of `build_pyramid`, as they were given."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from chunkpyramid.arguments import reordered
from chunkpyramid.boxes import Shape
from chunkpyramid.pyramid.factors import FactorLike

__all__ = ["BuildOptions"]

PER_AXIS = ("voxel_size", "translation", "unit", "factor", "chunks", "shards")


@dataclass(frozen=True, kw_only=True)
class BuildOptions:
    """The arguments of `build_pyramid` that say what is built, all but the source and the target.

    What they mean, and what else they may be, is told there.
    """

    method: str = "auto"
    factor: FactorLike = 2
    levels: int | None = None
    sparse: bool | None = None
    background: Any = None
    rounding: str = "nearest"
    axes: str | Sequence[str] | None = None
    voxel_size: Any = None
    translation: Any = None
    unit: Any = None
    chunks: Any = None
    shards: Any = None
    compressors: Any = "auto"
    zarr_format: int = 3
    ome_version: str | None = None
    name: str = "image"
    layout: str = "flat"
    labels_of: Any = None
    storage_options: Mapping[str, Any] | None = None
    memory_limit: int | str | None = None

    def in_order(self, order: Shape) -> BuildOptions:
        """Return the options with entries per axis in another order of the axes."""
        told = {name: reordered(getattr(self, name), order) for name in PER_AXIS}
        return replace(self, **told)
