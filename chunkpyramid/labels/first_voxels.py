"""The labels of a volume, each with the first voxel that has it."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, cast

import numpy as np
import numpy.typing as npt

from chunkpyramid.boxes import Box
from chunkpyramid.engine.records import Record
from chunkpyramid.engine.reduce_job import ReduceJob
from chunkpyramid.engine.result import ResultPlace
from chunkpyramid.labels import arrays
from chunkpyramid.labels.volumes_or_arrays import box_index
from chunkpyramid.sources.source import Source
from chunkpyramid.volumes.options import ReadOptions

__all__ = ["first_voxels"]

# what it takes to find the labels of a piece, each with its first voxel: sorted, before and after
FINDING_BYTES_PER_VOXEL = 48


def first_voxels(source: Source, options: ReadOptions) -> tuple[npt.NDArray[Any], npt.NDArray[np.int64]]:
    """Return the labels of a volume in the order of their first voxels in C order, and the indices of these."""
    job = ReduceJob.plan(
        "labels.renumber",
        source,
        FirstVoxels(source.shape),
        _earlier,
        demand=lambda piece: int(np.prod(piece, dtype=object)) * FINDING_BYTES_PER_VOXEL,
        memory_limit=options.get("memory_limit"),
        fingerprint={},
    )
    found = cast("Mapping[str, npt.NDArray[Any]]", ResultPlace(None, None, True, False).compute(job, False))
    order = np.argsort(found["first"])
    return found["label"][order], found["first"][order]


@dataclass(frozen=True)
class FirstVoxels:
    """Finds the labels of a piece, each with the first voxel of the volume that has it."""

    shape: tuple[int, ...]

    def __call__(self, values: npt.NDArray[Any], box: Box) -> Iterator[Record]:
        labels, first = arrays.unique(np.ascontiguousarray(values), return_index=True)
        yield {"label": labels, "first": box_index(box, self.shape, first)}


def _earlier(first: Record, second: Record) -> Record:
    """Return the labels of two parts, each with the first of its voxels."""
    one, other = cast("Mapping[str, npt.NDArray[Any]]", first), cast("Mapping[str, npt.NDArray[Any]]", second)
    labels = np.concatenate([one["label"], other["label"]])
    voxels = np.concatenate([one["first"], other["first"]])
    order = np.lexsort((voxels, labels))
    labels, voxels = labels[order], voxels[order]
    kept = np.concatenate([[True], labels[1:] != labels[:-1]])
    return {"label": labels[kept], "first": voxels[kept]}
