"""Volumes larger than memory become multiscale OME-Zarr pyramids.

`build_pyramid` builds one, `plan_pyramid` tells beforehand what that takes, and `open_pyramid` opens one. The
``downsample`` functions do the same to arrays in memory, and every `xarray.DataArray` has an accessor ``.pyramid``.
"""

from chunkpyramid import labels
from chunkpyramid._version import __version__
from chunkpyramid.accessor import PyramidAccessor
from chunkpyramid.errors import (
    ArgumentError,
    BuildError,
    ChunkError,
    ChunkPyramidError,
    MetadataWarning,
    MissingLabelError,
    OvertakenError,
    PlanError,
    SourceNotFoundError,
    TargetExistsError,
)
from chunkpyramid.pyramid.build import build_pyramid, plan_pyramid
from chunkpyramid.pyramid.plan import PyramidPlan
from chunkpyramid.pyramid.pyramid import Pyramid, open_pyramid
from chunkpyramid.pyramid.update import update_pyramid
from chunkpyramid.pyramid.verify import ChunkProblem, Verification, verify_pyramid
from chunkpyramid.reductions.downsample import (
    downsample,
    downsample_segmentation,
    downsample_with_averaging,
    downsample_with_max_pooling,
    downsample_with_min_pooling,
    downsample_with_striding,
)
from chunkpyramid.sources.volume import Volume, open_volume
from chunkpyramid.volumes.map_blocks import map_blocks
from chunkpyramid.volumes.reduce_blocks import reduce_blocks

__all__ = [
    "ArgumentError",
    "BuildError",
    "ChunkError",
    "ChunkProblem",
    "ChunkPyramidError",
    "MetadataWarning",
    "MissingLabelError",
    "OvertakenError",
    "PlanError",
    "Pyramid",
    "PyramidAccessor",
    "PyramidPlan",
    "SourceNotFoundError",
    "TargetExistsError",
    "Verification",
    "Volume",
    "__version__",
    "build_pyramid",
    "downsample",
    "downsample_segmentation",
    "downsample_with_averaging",
    "downsample_with_max_pooling",
    "downsample_with_min_pooling",
    "downsample_with_striding",
    "labels",
    "map_blocks",
    "open_pyramid",
    "open_volume",
    "plan_pyramid",
    "reduce_blocks",
    "update_pyramid",
    "verify_pyramid",
]
